//! Pages around plots, and the colours that pages and plots share.

use std::fmt::Write as _;

/// The colours as CSS properties. The categorical ones keep their distance in lightness for readers who
/// see few hues (after Okabe and Ito); no yellow, which has no contrast to paper.
pub(super) const LIGHT: &str = "--paper:#fff;--ink:#1c2430;--soft:#5b6675;--grid:#e3e7ec;--edge:#b8c0ca;\
    --good:#0a7a4b;--bad:#b3261e;--shade:#f5f7f9;--heat:#0b3d78;\
    --s0:#0b6bb8;--s1:#d1560a;--s2:#12855f;--s3:#a6438a;--s4:#8a6400;--s5:#3f3f9e;--s6:#a01f2d;--s7:#4d5663";
pub(super) const DARK: &str = "--paper:#12161c;--ink:#e6eaf0;--soft:#9aa6b5;--grid:#262d37;--edge:#4a5563;\
    --good:#4cc38a;--bad:#ff8a80;--shade:#1a2028;--heat:#8cc8ff;\
    --s0:#5ab0f2;--s1:#f59255;--s2:#4cc39a;--s3:#e08ac6;--s4:#dcb44a;--s5:#a3a0f5;--s6:#f27a86;--s7:#b4bfcc";

/// The declarations for light, dark and print on the elements that `selector` picks.
pub(super) fn colours(selector: &str) -> String {
    format!(
        "{selector}{{{LIGHT}}}@media (prefers-color-scheme:dark){{{selector}{{{DARK}}}}}\
         @media print{{{selector}{{{LIGHT}}}}}"
    )
}

const PAGE_STYLE: &str = "\
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',\
Roboto,'Helvetica Neue',Arial,sans-serif}\
main{max-width:900px;margin:0 auto;padding:28px 20px 60px}\
h1{font-size:26px;line-height:1.25;margin:0 0 16px;overflow-wrap:anywhere}\
h2{font-size:18px;margin:36px 0 12px}\
h3{font-size:15px;margin:20px 0 6px}\
p{margin:8px 0;max-width:75ch}\
figure{margin:12px 0}\
svg.plot{display:block;width:100%;height:auto}\
.scroll{overflow-x:auto}\
.scroll svg.plot{min-width:640px}\
table{border-collapse:collapse;margin:8px 0;font-variant-numeric:tabular-nums}\
th,td{padding:4px 14px 4px 0;text-align:left;border-bottom:1px solid var(--grid);vertical-align:top}\
th{font-weight:600;color:var(--soft);font-size:13px}\
td.n,th.n{text-align:right;white-space:nowrap}\
td.t{overflow-wrap:anywhere;min-width:8em}\
pre,code{font:13px/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,'Liberation Mono',monospace}\
pre{background:var(--shade);padding:10px 12px;white-space:pre-wrap;overflow-wrap:anywhere;border-radius:4px}\
.keep{white-space:nowrap}.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}\
.note{border-left:4px solid var(--edge);background:var(--shade);padding:10px 14px;margin:12px 0}\
.note.good{border-color:var(--good);color:inherit}.note.bad{border-color:var(--bad);color:inherit}\
.note strong{display:block}.note ul{margin:4px 0;padding-left:20px}\
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(124px,1fr));gap:14px 18px;margin:16px 0}\
.facts div{border-top:1px solid var(--edge);padding-top:6px}\
.facts b{display:block;font-size:22px;font-weight:600;line-height:1.25}\
.facts span{color:var(--soft);font-size:13px}\
@media print{main{max-width:none;padding:0}h2{break-after:avoid}figure,svg,table,.note{break-inside:avoid}}";

/// A whole HTML document: a title, and sections of heading and HTML. A section with an empty heading has
/// none. It loads nothing and runs no script.
///
/// Classes for the sections: `n` numbers in a table, `t` long texts in one, `scroll` around wide tables,
/// `note` with `good` or `bad`, `facts` (a `div` each with `b` and `span`), `soft`.
#[must_use]
pub fn page(title: &str, sections: &[(&str, String)]) -> String {
    let mut out = String::new();
    let title = escape(title);
    // INVARIANT: writing to a string does not fail.
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>{}{PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n",
        colours(":root"),
    );
    for (heading, html) in sections {
        out.push_str("<section>\n");
        if !heading.is_empty() {
            let _ = writeln!(out, "<h2>{}</h2>", escape(heading));
        }
        out.push_str(html);
        out.push_str("\n</section>\n");
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

/// Text as it may stand in HTML and SVG, also inside an attribute's quotes. Characters that no document
/// may hold (control characters) become `�`.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(character),
            _ if character.is_control() => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}
