//! Reads a Rust file the way house-keeping needs it: what is code, what is comment, what is a literal,
//! and which lines are tests. Not a parser: a lexer of comments and literals, and a matcher of braces.
//!
//! ```text
//!   text   let a = "x {"; // why {
//!   code   let a = "   ";              same length, same lines: offsets and line numbers agree
//! ```
//!
//! Not here: what is allowed (`rules.rs`), which files exist (`mod.rs`).

/// A string literal of a file.
pub(crate) struct Literal {
    /// The line it starts on, from 1.
    pub(crate) line: usize,
    /// What stands between the quotes, escapes not resolved.
    pub(crate) text: String,
}

/// A function with a body.
pub(crate) struct Function {
    /// Its name, without the type it belongs to.
    pub(crate) name: String,
    /// The line of `fn`, from 1.
    pub(crate) line: usize,
    /// Lines from `fn` to the closing brace, both included.
    pub(crate) lines: usize,
}

/// One Rust file, read once for all rules.
pub(crate) struct Source {
    /// From the repository's root, with `/`.
    pub(crate) path: String,
    /// As it is on disk.
    pub(crate) text: String,
    /// The text with comments and the insides of literals replaced by spaces.
    pub(crate) code: String,
    /// Every string literal.
    pub(crate) literals: Vec<Literal>,
    /// For each line (from 0), whether it belongs to a test.
    tests: Vec<bool>,
    /// Files (from the repository's root) that this one declares as test modules.
    pub(crate) test_modules: Vec<String>,
}

impl Source {
    /// Reads `text` as the file at `path`.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, literals) = blank(text);
        let (tests, test_modules) = test_regions(path, text, &code);
        Source { path: path.into(), text: text.into(), code, literals, tests, test_modules }
    }

    /// From now on every line is a test's.
    pub(crate) fn mark_as_test(&mut self) {
        self.tests.fill(true);
    }

    /// Whether the line (from 1) belongs to a test.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.tests.get(line - 1).copied().unwrap_or(false)
    }

    /// How many lines are not tests.
    pub(crate) fn lines_without_tests(&self) -> usize {
        self.tests.iter().filter(|&&test| !test).count()
    }

    /// Lines of code (comments blanked) that are not tests, with their numbers from 1.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line))
            .filter(|&(line, _)| !self.is_test(line))
    }

    /// The lines of the module comment, without `//!`.
    pub(crate) fn module_comment(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map_while(|line| line.strip_prefix("//!"))
    }

    /// Whether `mark` stands in the line (from 1) or in the `before` lines above it.
    pub(crate) fn marked(&self, line: usize, before: usize, mark: &str) -> bool {
        let first = line.saturating_sub(before + 1);
        self.text.lines().skip(first).take(line - first).any(|text| text.contains(mark))
    }

    /// Whether `mark` stands between the comment above the function around `line` (from 1) and that line.
    pub(crate) fn marked_in_function(&self, line: usize, before: usize, mark: &str) -> bool {
        let around = |function: &Function| (function.line..function.line + function.lines).contains(&line);
        let first = self.functions().into_iter().filter(around).map(|function| function.line).max();
        self.marked(line, before + line - first.unwrap_or(line), mark)
    }

    /// Every function with a body that is not a test's.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let bytes = self.code.as_bytes();
        let mut found = Vec::new();
        for at in words(&self.code, "fn") {
            let rest = self.code[at + 2..].trim_start();
            let name: String = rest.chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect();
            let line = line_of(&self.code, at);
            if name.is_empty() || self.is_test(line) {
                continue;
            }
            let Some(end) = item_end(bytes, at) else { continue };
            if bytes[end] == b'}' {
                found.push(Function { name, line, lines: line_of(&self.code, end) - line + 1 });
            }
        }
        found
    }
}

/// Where `word` stands in `code` as a whole identifier.
pub(crate) fn words(code: &str, word: &str) -> Vec<usize> {
    let bytes = code.as_bytes();
    let part = |at: usize| bytes.get(at).is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'_');
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(|&at| (at == 0 || !part(at - 1)) && !part(at + word.len()))
        .collect()
}

/// The line (from 1) of an offset.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count() + 1
}

/// Every path that a file names: `use` trees taken apart, and paths inside expressions.
///
/// `use std::{env, time::Duration};` gives `std::env` and `std::time::Duration`.
pub(crate) fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut plain = code.as_bytes().to_vec();
    for at in words(code, "use") {
        let Some(end) = code[at..].find(';').map(|length| at + length) else { continue };
        let tree: String = code[at + 3..end].split_whitespace().collect::<Vec<_>>().join(" ");
        let tree = tree.replace(", ", ",").replace("{ ", "{").replace(" }", "}");
        use_tree("", &tree, line_of(code, at), &mut found);
        plain[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    let plain = String::from_utf8_lossy(&plain).into_owned();
    for (number, line) in plain.lines().enumerate() {
        for path in line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            let path = path.trim_matches(':');
            if path.contains("::") {
                found.push((number + 1, path.to_owned()));
            }
        }
    }
    found
}

/// Adds every leaf of one `use` tree to `found`, under `prefix`.
fn use_tree(prefix: &str, tree: &str, line: usize, found: &mut Vec<(usize, String)>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let leaf = tree.split(" as ").next().unwrap_or(tree).trim();
        let path =
            if leaf == "self" { prefix.trim_end_matches("::").into() } else { format!("{prefix}{leaf}") };
        found.push((line, path));
        return;
    };
    let prefix = format!("{prefix}{}", tree[..open].trim());
    let inside = tree[open + 1..].strip_suffix('}').unwrap_or(&tree[open + 1..]);
    let (mut depth, mut start) = (0_i32, 0);
    for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = &inside[start..at];
                start = (at + 1).min(inside.len());
                if !part.trim().is_empty() {
                    use_tree(&prefix, part, line, found);
                }
            }
            _ => {}
        }
    }
}

/// Where the item that begins at `at` ends: its closing brace, or its semicolon.
fn item_end(code: &[u8], at: usize) -> Option<usize> {
    let mut round = 0_i32;
    for (offset, &byte) in code.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' => round -= 1,
            b';' if round == 0 => return Some(offset),
            b'{' if round == 0 => return closing_brace(code, offset),
            _ => {}
        }
    }
    None
}

/// Whether an item or a statement begins here, and not a field, a variant or an arm.
fn is_item(code: &str) -> bool {
    const FIRST: [&str; 22] = [
        "fn",
        "mod",
        "impl",
        "struct",
        "enum",
        "use",
        "const",
        "static",
        "trait",
        "type",
        "extern",
        "unsafe",
        "async",
        "macro_rules",
        "let",
        "if",
        "match",
        "for",
        "while",
        "loop",
        "return",
        "union",
    ];
    let code = code.trim_start();
    let code = match code.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')').map_or("", |(_, rest)| rest),
        Some(rest) if rest.starts_with(char::is_whitespace) => rest,
        _ => code,
    };
    let word: String = code.trim_start().chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect();
    FIRST.contains(&word.as_str()) || code.starts_with('{')
}

/// Where the field, variant or arm that begins at `at` ends: its comma, or before the brace around it.
fn part_end(code: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, &byte) in code.iter().enumerate().skip(at) {
        match byte {
            b'>' if matches!(code[offset - 1], b'=' | b'-') => {}
            b'(' | b'[' | b'{' | b'<' => depth += 1,
            b')' | b']' | b'}' | b'>' if depth > 0 => depth -= 1,
            b')' | b']' | b'}' => return Some(offset - 1),
            b',' | b';' if depth == 0 => return Some(offset),
            _ => {}
        }
    }
    None
}

/// The brace that closes the one at `open`.
fn closing_brace(code: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, &byte) in code.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Some(offset);
        }
    }
    None
}

/// Marks the lines under `#[cfg(test)]`, and names the files of `#[cfg(test)] mod x;`.
fn test_regions(path: &str, text: &str, code: &str) -> (Vec<bool>, Vec<String>) {
    let mut tests = vec![false; text.lines().count()];
    let mut modules = Vec::new();
    for (at, _) in code.match_indices("#[cfg(") {
        let Some(close) = code[at..].find(']').map(|length| at + length) else { continue };
        let condition = &code[at..close];
        if words(condition, "test").is_empty() || condition.contains("not(test") {
            continue;
        }
        let mut item = close + 1;
        while code[item..].trim_start().starts_with("#[") {
            item += code[item..].find(']').map_or(0, |length| length + 1);
        }
        let end = if is_item(&code[item..]) {
            item_end(code.as_bytes(), item)
        } else {
            part_end(code.as_bytes(), item)
        };
        let Some(end) = end else { continue };
        tests[line_of(code, at) - 1..line_of(code, end)].fill(true);
        let words: Vec<&str> = code[item..end].split_whitespace().collect();
        if let [.., "mod", name] = words[..]
            && code.as_bytes()[end] == b';'
        {
            modules.push(module_file(path, &text[close..item], name));
        }
    }
    (tests, modules)
}

/// The file (without `.rs` where a folder may stand for it) of `mod name;` declared in `path`.
fn module_file(path: &str, attributes: &str, name: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    if let Some((_, rest)) = attributes.split_once("path = \"") {
        return format!("{folder}/{}", rest.split('"').next().unwrap_or(rest));
    }
    match file {
        "lib.rs" | "main.rs" | "mod.rs" => format!("{folder}/{name}"),
        _ => format!("{folder}/{}/{name}", file.trim_end_matches(".rs")),
    }
}

/// Replaces comments and the insides of literals by spaces, and collects the string literals.
fn blank(text: &str) -> (String, Vec<Literal>) {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut literals = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let fresh = at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        if rest.starts_with(b"//") {
            let end = at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
            erase(&mut code, at, end);
            at = end;
        } else if rest.starts_with(b"/*") {
            let end = at + block_comment(rest);
            erase(&mut code, at, end);
            at = end;
        } else if fresh && let Some((open, length)) = raw_string(rest) {
            let (start, end) = (at + open, at + open + length);
            literals.push(Literal { line: line_of(text, at), text: text[start..end].into() });
            erase(&mut code, start, end);
            at = end + open - rest.iter().take(open).filter(|&&b| b.is_ascii_alphabetic()).count();
        } else if rest[0] == b'"' {
            let length = quoted(&rest[1..], b'"');
            literals.push(Literal { line: line_of(text, at), text: text[at + 1..at + 1 + length].into() });
            erase(&mut code, at + 1, at + 1 + length);
            at += length + 2;
        } else if rest[0] == b'\'' && is_char(&text[at + 1..]) {
            let length = quoted(&rest[1..], b'\'');
            erase(&mut code, at + 1, at + 1 + length);
            at += length + 2;
        } else {
            at += 1;
        }
    }
    (String::from_utf8_lossy(&code).into_owned(), literals)
}

fn erase(code: &mut [u8], from: usize, to: usize) {
    let to = to.min(code.len());
    code[from..to].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

/// The length of a (nesting) block comment that begins here.
fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// If a raw string begins here: how long its opening is, and how long its inside.
fn raw_string(rest: &[u8]) -> Option<(usize, usize)> {
    let letters = [&b"br"[..], b"cr", b"r"].into_iter().find(|letters| rest.starts_with(letters))?.len();
    let hashes = rest[letters..].iter().take_while(|&&b| b == b'#').count();
    if rest.get(letters + hashes) != Some(&b'"') {
        return None;
    }
    let open = letters + hashes + 1;
    let closing: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let inside = &rest[open..];
    let length = inside.windows(closing.len()).position(|w| w == closing).unwrap_or(inside.len());
    Some((open, length))
}

/// How far it is to the unescaped `quote`.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at.min(rest.len())
}

/// Whether what follows a `'` makes it a character and not a lifetime.
fn is_char(after: &str) -> bool {
    let mut chars = after.chars();
    match chars.next() {
        Some('\\') => true,
        Some(_) => chars.next() == Some('\''),
        None => false,
    }
}
