//! The rules over documents: links lead somewhere, the index is whole, nothing names one machine.
//!
//! Not here: whether a document is true; examples of configuration are checked where `check` is tested.

use std::{collections::HashSet, path::Component, path::Path};

use super::{Finding, read, root};

/// A relative link of a document, with its line.
pub(crate) struct Link {
    pub(crate) line: usize,
    pub(crate) target: String,
}

/// The relative links of a Markdown text; code blocks and code spans hold none.
pub(crate) fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (line, prose) in prose(text) {
        for (at, _) in prose.match_indices("](") {
            let target = prose[at + 2..].split([')', ' ']).next().unwrap_or("");
            let outside = ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme));
            if !outside {
                found.push(Link { line, target: target.into() });
            }
        }
    }
    found
}

/// The anchors that a Markdown text's headings have, as the usual renderers make them.
pub(crate) fn anchors(text: &str) -> HashSet<String> {
    let heading = |line: &str| line.starts_with('#') && line.trim_start_matches('#').starts_with(' ');
    fenceless(text)
        .filter(|(_, line)| heading(line))
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            title.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
        })
        .collect()
}

/// Links of the document at `path` that lead nowhere.
pub(crate) fn broken_links(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for link in links(text) {
        let (file, anchor) = link.target.split_once('#').unwrap_or((&link.target, ""));
        let target = if file.is_empty() { path.to_owned() } else { joined(path, file) };
        if !root().join(&target).exists() {
            found.push(Finding::new(
                path,
                link.line,
                format!("link to `{}`, which does not exist", link.target),
            ));
        } else if !anchor.is_empty() && target.ends_with(".md") {
            let same = target == path;
            let has = if same { anchors(text) } else { anchors(&read(&target)) };
            if !has.contains(anchor) {
                found.push(Finding::new(
                    path,
                    link.line,
                    format!("link to `{}`: no such heading", link.target),
                ));
            }
        }
    }
    found
}

/// Code spans of a document that name a file of this repository which does not exist.
///
/// Patterns (`*`, `{`, `…`, `<`) are not judged.
pub(crate) fn missing_files(path: &str, text: &str) -> Vec<Finding> {
    const FOLDERS: [&str; 10] = [
        "core/",
        "proxy/",
        "control/",
        "bench/",
        "loadtest/",
        "tuning/",
        "docs/",
        "examples/",
        ".ci/",
        "ci/",
    ];
    let mut found = Vec::new();
    for (line, text) in fenceless(text) {
        for span in text.split('`').skip(1).step_by(2) {
            let plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
            let ours = FOLDERS.iter().any(|folder| span.starts_with(folder));
            if plain && ours && !root().join(span).exists() {
                found.push(Finding::new(path, line, format!("names `{span}`, which does not exist")));
            }
        }
    }
    found
}

/// Places of one machine, and hosts of package registries, in any text of the repository.
pub(crate) fn machine_paths(path: &str, text: &str) -> Vec<Finding> {
    // Put together here so that this file does not find itself.
    let folders =
        [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tm", "p/"), concat!("/Use", "rs/")];
    let hosts =
        [concat!("regis", "try"), concat!("mir", "ror"), concat!("/sim", "ple"), concat!("stat", "ic.")];
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for folder in folders {
            let hit = line.match_indices(folder).any(|(at, _)| {
                let before = line[..at].chars().next_back().unwrap_or(' ');
                !(before.is_alphanumeric() || "._-/*}>~$".contains(before))
            });
            if hit {
                found.push(Finding::new(
                    path,
                    number + 1,
                    format!("names a path of one machine (`{folder}`)"),
                ));
            }
        }
        for (at, _) in line.match_indices("://") {
            let url = line[at..].split([' ', '"', '`', ')', '>']).next().unwrap_or("");
            if hosts.iter().any(|host| url.contains(host)) {
                found.push(Finding::new(path, number + 1, format!("names a package host (`{url}`)")));
            }
        }
    }
    found
}

/// `file`, as written in the document at `path`, from the repository's root.
fn joined(path: &str, file: &str) -> String {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut parts: Vec<String> = Vec::new();
    for component in folder.join(file).components() {
        match component {
            Component::ParentDir => {
                parts.pop();
            }
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    parts.join("/")
}

/// The lines outside fenced code blocks, with their numbers from 1.
fn fenceless(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The same, with code spans blanked out.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    fenceless(text).map(|(number, line)| {
        let parts = line.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "" });
        (number, parts.collect::<Vec<_>>().join("`"))
    })
}
