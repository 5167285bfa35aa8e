//! A table as Markdown for pull requests and as HTML for pages.

use std::fmt::Write as _;

use pinion_load::plot::escape;

/// A table with what stands above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Of the section.
    pub(crate) heading: String,
    /// What the numbers are.
    pub(crate) note: String,
    pub(crate) columns: Vec<String>,
    /// As long as `columns` each.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// As Markdown, with its heading and note.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("### {}\n\n{}\n\n", self.heading, self.note);
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        out.push_str(&line(&self.columns));
        out.push_str(&format!("|{}\n", "---|".repeat(self.columns.len())));
        for row in &self.rows {
            out.push_str(&line(row));
        }
        out.push('\n');
        out
    }

    /// As HTML, with its note and without its heading.
    pub(crate) fn html(&self) -> String {
        let mut out = format!("<p>{}</p>\n<div class=\"scroll\"><table>\n<tr>", escape(&self.note));
        for column in &self.columns {
            // INVARIANT: writing to a string does not fail.
            let _ = write!(out, "<th>{}</th>", escape(column));
        }
        out.push_str("</tr>\n");
        for row in &self.rows {
            out.push_str("<tr>");
            for cell in row {
                let class = if is_number(cell) { " class=\"n\"" } else { "" };
                let _ = write!(out, "<td{class}>{}</td>", escape(cell));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table></div>\n");
        out
    }
}

/// Whether a cell is to stand at the right edge: a number, a share, a range, or nothing.
fn is_number(cell: &str) -> bool {
    cell.chars().all(|c| c.is_ascii_digit() || ".-–% ".contains(c))
}

/// A number with so many decimal places, or `-`.
pub(crate) fn show(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_can_not_break_the_table() {
        let table = Table {
            heading: "H".to_owned(),
            note: "a < b".to_owned(),
            columns: vec!["x".to_owned(), "y".to_owned()],
            rows: vec![
                vec!["a|b".to_owned(), "<i>".to_owned()],
                vec![show(Some(1.256), 2), "1 MiB".to_owned()],
            ],
        };
        let markdown = table.markdown();
        assert!(markdown.contains("| a\\|b | <i> |\n| 1.26 | 1 MiB |\n"), "{markdown}");
        let html = table.html();
        assert!(html.contains("a &lt; b") && html.contains("<td>&lt;i&gt;</td>"), "{html}");
        assert!(html.contains("<td class=\"n\">1.26</td><td>1 MiB</td>"), "{html}");
    }
}
