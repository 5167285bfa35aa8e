//! The rules that look at one Rust file: each takes a [`Source`] and says what it found.
//!
//! Not here: which files they are asked about, and the rules over manifests and documents.

use super::{
    Finding,
    scan::{Source, line_of, paths, words},
};

/// The only places where `unsafe` may stand.
pub(crate) const UNSAFE_ADDRESSES: [&str; 2] = ["proxy/src/sys/", "loadtest/src/sys.rs"];
/// How many lines above may carry the comment that allows something.
const MARK_LINES: usize = 6;

/// Every file begins with what it is for.
pub(crate) fn module_comment(source: &Source) -> Vec<Finding> {
    let first = source.text.lines().next().unwrap_or("");
    match first.strip_prefix("//!") {
        Some(text) if text.trim().len() >= 10 => Vec::new(),
        _ => vec![Finding::new(
            &source.path,
            1,
            "no module comment (`//! ...`: job, invariants, what is not here)",
        )],
    }
}

/// `unsafe` stands only at its addresses.
pub(crate) fn unsafe_address(source: &Source) -> Vec<Finding> {
    if UNSAFE_ADDRESSES.iter().any(|address| source.path.starts_with(address)) {
        return Vec::new();
    }
    words(&source.code, "unsafe")
        .into_iter()
        .map(|at| Finding::new(&source.path, line_of(&source.code, at), "`unsafe` outside its addresses"))
        .collect()
}

/// A crate root says that unsafe code is refused; where one module may hold some, only that is let off.
pub(crate) fn unsafe_refused(source: &Source, package: &str, is_root: bool) -> Vec<Finding> {
    let may_hold = matches!(package, "proxy" | "loadtest" | "bench");
    let mut found = Vec::new();
    let attribute = if may_hold { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
    let forbids = source.code.contains("#![forbid(unsafe_code)]");
    if is_root && !forbids && !source.code.contains(attribute) {
        found.push(Finding::new(&source.path, 0, format!("a crate root without `{attribute}`")));
    }
    for at in words(&source.code, "unsafe_code") {
        let line = line_of(&source.code, at);
        let statement = &source.code[..at];
        let lets_off = statement.ends_with("allow(") || statement.ends_with("expect(");
        let after: String = source.code[at..].split([';', '{']).next().unwrap_or("").into();
        let item = after.rsplit(']').next().unwrap_or("").trim();
        let is_address = UNSAFE_ADDRESSES.iter().any(|address| source.path.starts_with(address));
        if lets_off && !is_address && !(item.ends_with("mod sys") || item.ends_with("mod alloc")) {
            found.push(Finding::new(
                &source.path,
                line,
                "unsafe code allowed for more than `mod sys` or `mod alloc`",
            ));
        }
    }
    found
}

/// Nothing outside tests may panic without saying why it can't.
pub(crate) fn panics(source: &Source) -> Vec<Finding> {
    const CALLS: [&str; 9] = [
        ".unwrap()",
        ".unwrap_err()",
        ".expect(\"",
        ".expect_err(\"",
        ".expect(&format",
        "panic!",
        "unreachable!",
        "todo!",
        "unimplemented!",
    ];
    let marked = |line| source.marked(line, MARK_LINES, "INVARIANT:");
    without_mark(source, &CALLS, marked, "may panic, without an `INVARIANT:` comment")
}

/// In a file marked `HOT`, nothing allocates or formats without a reason.
pub(crate) fn hot(source: &Source) -> Vec<Finding> {
    const CALLS: [&str; 20] = [
        "format!",
        "vec!",
        "println!",
        "eprintln!",
        ".to_string()",
        ".to_owned()",
        ".to_vec()",
        ".into_boxed",
        "Box::new",
        "Box::pin",
        "Box::from",
        "String::",
        "Arc::clone",
        "Arc::new",
        "Rc::new",
        "Vec::with_capacity",
        "Vec::from",
        "collect::<Vec",
        "Mutex",
        "RwLock",
    ];
    if !source.module_comment().any(|line| line.trim_start().starts_with("HOT")) {
        return Vec::new();
    }
    let marked = |line| source.marked_in_function(line, MARK_LINES, "ALLOC:");
    without_mark(source, &CALLS, marked, "in a file marked HOT, without an `ALLOC:` comment in its function")
}

/// No queue without a bound, and no bound without a name.
pub(crate) fn bounds(source: &Source) -> Vec<Finding> {
    const UNBOUNDED: [&str; 4] = ["unbounded", "unbounded_channel", "SegQueue", "LinkedList"];
    const BOUNDED: [&str; 5] =
        ["ArrayQueue::new(", "bounded(", "sync_channel(", "channel(", "RingBuffer::new("];
    let mut found = Vec::new();
    for (line, code) in source.product_lines() {
        for word in UNBOUNDED {
            if !words(code, word).is_empty() {
                found.push(Finding::new(&source.path, line, format!("`{word}`: nothing holds it back")));
            }
        }
        if code.contains("mpsc::channel()") || code.contains("mpsc::channel::<") && code.contains(">()") {
            found.push(Finding::new(
                &source.path,
                line,
                "std's `mpsc::channel` has no bound; use `sync_channel`",
            ));
        }
        for call in BOUNDED {
            for (at, _) in code.match_indices(call) {
                let digits =
                    code[at + call.len()..].chars().take_while(|c| c.is_ascii_digit() || *c == '_').count();
                if digits > 1 {
                    let what = format!("`{call}…` with a bare number: name it, with its unit and reason");
                    found.push(Finding::new(&source.path, line, what));
                }
            }
        }
    }
    found
}

/// Serde derives only in the configuration's schema.
pub(crate) fn serde_derives(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices("derive(") {
        let list = source.code[at..].split(')').next().unwrap_or("");
        let line = line_of(&source.code, at);
        if !source.is_test(line)
            && ["Serialize", "Deserialize", "JsonSchema"].iter().any(|name| list.contains(name))
        {
            found.push(Finding::new(
                &source.path,
                line,
                "a serde derive outside `core/src/config/schema.rs`",
            ));
        }
    }
    found
}

/// Metric names are written down once.
pub(crate) fn metric_names(source: &Source) -> Vec<Finding> {
    const CRATES: [&str; 6] =
        ["pinion_core", "pinion_proxy", "pinion_control", "pinion_tune", "pinion_load", "pinion_bench"];
    let mut found = Vec::new();
    for literal in &source.literals {
        let is_crate = CRATES.iter().any(|name| literal.text.contains(name));
        if literal.text.contains("pinion_") && !is_crate && !source.is_test(literal.line) {
            let what =
                format!("a metric name as a literal ({:?}): use the constant in `names.rs`", literal.text);
            found.push(Finding::new(&source.path, literal.line, what));
        }
    }
    found
}

/// Nothing unfinished lands, and nothing unused is kept by silencing the compiler.
pub(crate) fn unfinished(source: &Source) -> Vec<Finding> {
    // Put together here so that this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut found = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        for mark in marks {
            if !words(line, mark).is_empty() {
                found.push(Finding::new(
                    &source.path,
                    number + 1,
                    format!("`{mark}`: finish it, or open an issue"),
                ));
            }
        }
    }
    for (line, code) in source.product_lines() {
        if ["allow(dead_code", "allow(unused"].iter().any(|lint| code.contains(lint)) {
            found.push(Finding::new(&source.path, line, "something unused is kept: remove it, or use it"));
        }
    }
    found
}

/// Functions are named by what they give.
pub(crate) fn names(source: &Source) -> Vec<Finding> {
    let functions = source.functions().into_iter().filter(|function| function.name.starts_with("get_"));
    functions
        .map(|function| Finding::new(&source.path, function.line, format!("`{}`: no `get_`", function.name)))
        .collect()
}

/// `core` decides: it reads no clock, file, environment or socket, starts no thread, prints nothing.
pub(crate) fn purity(source: &Source) -> Vec<Finding> {
    const PATHS: [&str; 12] = [
        "std::env",
        "std::fs",
        "std::thread",
        "std::process",
        "std::os",
        "std::io::stdin",
        "std::io::stdout",
        "std::io::stderr",
        "std::time::Instant",
        "std::time::SystemTime",
        "std::sync::mpsc",
        "rand",
    ];
    const LOCKS: [&str; 3] = ["std::sync::Mutex", "std::sync::RwLock", "std::sync::Condvar"];
    const NET: [&str; 9] = [
        "IpAddr",
        "Ipv4Addr",
        "Ipv6Addr",
        "SocketAddr",
        "SocketAddrV4",
        "SocketAddrV6",
        "AddrParseError",
        "self",
        "",
    ];
    const WORDS: [&str; 16] = [
        "SystemTime",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "UnixListener",
        "to_socket_addrs",
        "thread_local",
        "println",
        "eprintln",
        "print",
        "dbg",
        "canonicalize",
        "read_dir",
        "symlink_metadata",
        "Instant::now",
    ];
    let mut found = Vec::new();
    let mut add = |line: usize, name: &str| {
        if !source.is_test(line) {
            found.push(Finding::new(
                &source.path,
                line,
                format!("`{name}` in core: time, randomness and I/O are arguments"),
            ));
        }
    };
    for (line, path) in paths(&source.code) {
        let under =
            |root: &str| path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with("::"));
        if PATHS.iter().chain(&LOCKS).copied().any(under) {
            add(line, &path);
        }
        if let Some(rest) = path.strip_prefix("std::net") {
            let name = rest.trim_start_matches(':').split("::").next().unwrap_or("");
            if !NET.contains(&name) {
                add(line, &path);
            }
        }
    }
    for (line, code) in source.code.lines().enumerate() {
        for word in WORDS {
            let is_macro = matches!(word, "println" | "eprintln" | "print" | "dbg" | "thread_local");
            for at in words(code, word) {
                if !is_macro || code[at + word.len()..].starts_with('!') {
                    add(line + 1, word);
                }
            }
        }
    }
    found
}

/// Lines of product code with one of `calls`, except those that are `marked`.
fn without_mark(source: &Source, calls: &[&str], marked: impl Fn(usize) -> bool, what: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, code) in source.product_lines() {
        for call in calls {
            let hit = code.match_indices(call).any(|(at, _)| {
                let first = call.as_bytes()[0];
                let glued =
                    code.as_bytes()[..at].last().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
                !(first.is_ascii_alphabetic() && glued)
            });
            if hit && !marked(line) {
                found.push(Finding::new(&source.path, line, format!("`{call}` {what}")));
            }
        }
    }
    found
}
