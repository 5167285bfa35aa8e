//! House-keeping that looks at text: module comments, sizes, unsafe, panics, bounds, names, documents.
//!
//! Each rule is a function in `house/`; the first half of this file runs them over the repository, the
//! second half shows each of them a planted offence, so that a rule that finds nothing is noticed.
//!
//! Sizes are a ratchet: `tidy_ratchet.txt` lists what is above its limit. `PINION_TIDY_UPDATE=1` lowers and
//! removes entries; `PINION_TIDY_UPDATE=all` also adds and raises, and wants its reason in the change.
//!
//! Not here: dependency direction and purity of core (`architecture.rs`).

use std::{collections::BTreeMap, env, fmt::Write as _, fs};

use house::{
    Finding, documents, files, none, read, root, rules,
    scan::{Source, paths},
    sources,
};

mod house;

const RATCHET: &str = "core/tests/tidy_ratchet.txt";
const UPDATE: &str = "PINION_TIDY_UPDATE";
const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const TEST_MODULE_LINES_MAX: usize = 150;

/// The folders of the workspace's members.
const MEMBERS: [&str; 6] = ["core", "proxy", "control", "bench", "loadtest", "tuning"];

fn package(path: &str) -> &str {
    path.split('/').next().unwrap_or("")
}

/// Runs one rule over every source that `wanted` picks.
fn over(wanted: impl Fn(&Source) -> bool, rule: impl Fn(&Source) -> Vec<Finding>) -> Vec<Finding> {
    sources().iter().filter(|source| wanted(source)).flat_map(rule).collect()
}

#[test]
fn every_file_begins_with_a_module_comment() {
    none(
        &over(|_| true, rules::module_comment),
        "Say on the first line what the file is for (house rule 11).",
    );
}

#[test]
fn unsafe_has_two_addresses() {
    let found = over(|_| true, rules::unsafe_address);
    none(&found, "Unsafe lives in proxy/src/sys/ and loadtest/src/sys.rs only (rule 6).");
}

#[test]
fn crate_roots_refuse_unsafe() {
    let found = over(
        |source| MEMBERS.contains(&package(&source.path)) && source.path.contains("/src/"),
        |source| {
            let inside = source.path.split_once("/src/").map_or("", |(_, inside)| inside);
            let is_root = matches!(inside, "lib.rs" | "main.rs") || inside.starts_with("bin/");
            rules::unsafe_refused(source, package(&source.path), is_root)
        },
    );
    none(&found, "Forbid unsafe code at the crate root; deny it where one module may hold some (rule 6).");
}

#[test]
fn nothing_panics_without_saying_why_it_cannot() {
    let found = over(|source| MEMBERS.contains(&package(&source.path)), rules::panics);
    none(&found, "Return a typed error, or write `// INVARIANT: ...` above (rules 7 and 8).");
}

#[test]
fn queues_have_named_bounds() {
    let found = over(|source| matches!(package(&source.path), "proxy" | "control"), rules::bounds);
    none(&found, "Every queue has a limit with a name in core/src/limits.rs or beside it (rule 4).");
}

#[test]
fn serde_stays_in_the_schema() {
    let core =
        |source: &Source| source.path.starts_with("core/src/") && !source.path.contains("/config/schema");
    none(
        &over(core, rules::serde_derives),
        "Schema types stay in config/schema.rs; compiled types don't (rule 9).",
    );
}

#[test]
fn metric_names_are_constants() {
    // The load generator and the gate are outside witnesses: they read metrics as any user would.
    let wanted = |source: &Source| {
        matches!(package(&source.path), "core" | "proxy" | "control" | "tuning")
            && !source.path.ends_with("names.rs")
    };
    none(&over(wanted, rules::metric_names), "Metric names live in core/src/telemetry/names.rs (rule 10).");
}

#[test]
fn metric_names_are_documented() {
    let (path, document) = ("core/src/telemetry/names.rs", "docs/metrics.md");
    let text = read(document);
    let mut found = Vec::new();
    for literal in Source::new(path, &read(path)).literals {
        let is_name = literal.text.starts_with("pinion_") && !literal.text.contains(char::is_whitespace);
        if is_name && !text.contains(&literal.text) {
            found.push(Finding::new(path, literal.line, format!("`{}` is not in {document}", literal.text)));
        }
    }
    none(&found, "Describe it in docs/metrics.md: meaning, unit, labels.");
}

#[test]
fn nothing_is_unfinished() {
    none(&over(|_| true, rules::unfinished), "What lands is whole.");
}

#[test]
fn functions_are_named_by_what_they_give() {
    none(&over(|_| true, rules::names), "`limit()`, not `get_limit()` (rule 10).");
}

#[test]
fn skips_name_tests_and_reasons() {
    let path = ".ci/skips";
    let sources = sources();
    let mut found = Vec::new();
    for (number, line) in read(path).lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let Some((test, reason)) = line.split_once(char::is_whitespace) else {
            found.push(Finding::new(path, number + 1, "a line is a test's name and a reason"));
            continue;
        };
        let name = format!("fn {}(", test.rsplit("::").next().unwrap_or(test));
        if reason.trim().is_empty() || !sources.iter().any(|source| source.text.contains(&name)) {
            found.push(Finding::new(path, number + 1, format!("no reason, or no test {test}")));
        }
    }
    none(&found, "See CONTRIBUTING.md, Tests.");
}

#[test]
fn hot_files_do_not_allocate() {
    none(
        &over(|_| true, rules::hot),
        "Steady state allocates nothing; a cold line says `// ALLOC: why` (rule 5).",
    );
}

#[test]
fn links_lead_somewhere() {
    let mut found = Vec::new();
    for path in files(&[".md"]) {
        found.extend(documents::broken_links(&path, &read(&path)));
        found.extend(documents::missing_files(&path, &read(&path)));
    }
    none(&found, "Links are relative to the document; file names in code spans to the root.");
}

#[test]
fn the_index_lists_every_document() {
    let index = read("docs/README.md");
    let linked: Vec<String> = documents::links(&index).into_iter().map(|link| link.target).collect();
    let mut found = Vec::new();
    for path in files(&[".md"]) {
        let Some(name) = path.strip_prefix("docs/") else { continue };
        if name != "README.md" && !linked.iter().any(|target| target == name) {
            found.push(Finding::new(&path, 0, "not in docs/README.md"));
        }
    }
    none(&found, "Add it to the index, with one line of what it answers.");
}

#[test]
fn nothing_names_one_machine() {
    let endings = [
        ".rs", ".md", ".toml", ".yml", ".yaml", ".sh", ".py", ".txt", ".json", ".cfg", ".conf", "/run",
        "/long",
    ];
    let found: Vec<Finding> =
        files(&endings).iter().flat_map(|path| documents::machine_paths(path, &read(path))).collect();
    none(&found, "Paths are relative to the repository, hosts are the public ones.");
}

#[test]
fn tests_beside_code_stay_short() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.path.contains("/src/")) {
        let all = source.text.lines().count();
        let tests = all - source.lines_without_tests();
        if tests < all && tests > TEST_MODULE_LINES_MAX {
            found.push(Finding::new(&source.path, 0, format!("{tests} lines of tests beside the code")));
        }
    }
    none(&found, "Tests over 150 lines move to a sibling file (rule 11).");
}

/// What is above its limit now: kind and place, with its lines.
fn offenders() -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for source in sources() {
        if source.lines_without_tests() > FILE_LINES_MAX {
            found.insert(format!("file {}", source.path), source.lines_without_tests());
        }
        for function in source.functions().into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX)
        {
            // Two functions of one name in one file share an entry: the longer one counts.
            let lines = found.entry(format!("function {}::{}", source.path, function.name)).or_insert(0);
            *lines = function.lines.max(*lines);
        }
    }
    found
}

fn ratchet(text: &str) -> BTreeMap<String, usize> {
    let entries = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    entries
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(key, n)| (key.into(), n.parse().unwrap_or(0)))
        .collect()
}

/// What the ratchet has to say: growth, newcomers, and entries that are no longer needed.
fn judge(listed: &BTreeMap<String, usize>, now: &BTreeMap<String, usize>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (place, &lines) in now {
        match listed.get(place) {
            None => found.push(Finding::new(place, 0, format!("{lines} lines, over the limit"))),
            Some(&allowed) if lines > allowed => {
                found.push(Finding::new(place, 0, format!("grew from {allowed} to {lines} lines")));
            }
            Some(_) => {}
        }
    }
    for place in listed.keys().filter(|place| !now.contains_key(*place)) {
        found.push(Finding::new(place, 0, "listed, but no longer over its limit"));
    }
    found
}

#[test]
fn sizes_only_shrink() {
    let (now, mut listed) = (offenders(), ratchet(&read(RATCHET)));
    match env::var(UPDATE).as_deref() {
        Ok("all") => listed = now.clone(),
        Ok("1") => {
            listed.retain(|place, _| now.contains_key(place));
            listed.iter_mut().for_each(|(place, lines)| *lines = (*lines).min(now[place]));
        }
        _ => {}
    }
    if env::var_os(UPDATE).is_some() {
        let mut text = String::from(
            "# Files over 400 lines without their tests and functions over 70 lines. This list may only shrink:\n\
             # PINION_TIDY_UPDATE=1 cargo test -p pinion-core --test tidy\n",
        );
        for (place, lines) in &listed {
            let _ = writeln!(text, "{place} {lines}");
        }
        assert!(fs::write(root().join(RATCHET), text).is_ok(), "{RATCHET} can't be written");
    }
    let way_out = "Split it (limits: 400 lines a file without tests, 70 a function). If it shrank, run with \
                   PINION_TIDY_UPDATE=1.";
    none(&judge(&listed, &now), way_out);
}

// The rules against planted offences.

type Rule = fn(&Source) -> Vec<Finding>;

fn lines_found(rule: impl Fn(&Source) -> Vec<Finding>, text: &str) -> Vec<usize> {
    rule(&Source::new("proxy/src/planted.rs", text)).iter().map(|finding| finding.line).collect()
}

#[test]
fn rules_find_what_they_should() {
    #[rustfmt::skip]
    let rows: &[(&str, Rule, &str, &[usize])] = &[
        ("comment present", rules::module_comment, "//! What this file does.\n", &[]),
        ("comment missing", rules::module_comment, "use a;\n//! Late.\n", &[1]),
        ("comment empty", rules::module_comment, "//!\n", &[1]),
        ("unsafe", rules::unsafe_address, "fn a() {\n    unsafe { b() }\n}\n", &[2]),
        ("unsafe in words", rules::unsafe_address, "// unsafe\n#![forbid(unsafe_code)]\nlet a = \"unsafe\";\n", &[]),
        ("unwrap", rules::panics, "fn a() {\n    b().unwrap();\n}\n", &[2]),
        ("unwrap in a test", rules::panics, "#[cfg(test)]\nmod tests {\n    fn a() { b().unwrap(); }\n}\n", &[]),
        ("unwrap after a test", rules::panics, "#[cfg(test)]\nmod tests { }\nfn a() { b().unwrap(); }\n", &[3]),
        ("not(test) is product", rules::panics, "#[cfg(not(test))]\nfn a() { panic!(); }\n", &[2]),
        ("expect", rules::panics, "fn a() { b.expect(\"c\"); }\n", &[1]),
        ("own expect", rules::panics, "fn a() { b.expect(Token::C)?; }\n", &[]),
        ("with its reason", rules::panics, "// INVARIANT: b is full.\nfn a() { b.unwrap(); }\n", &[]),
        ("debug_assert", rules::panics, "fn a() { debug_assert!(b); }\n", &[]),
        ("lifetimes are not characters", rules::panics, "fn a<'b>(c: &'b str, d: char) { d == '\"'; panic!() }\n", &[1]),
        ("raw strings", rules::panics, "let a = r#\"b\".unwrap()\"#;\nlet c = d.unwrap();\n", &[2]),
        ("unbounded", rules::bounds, "let (a, b) = mpsc::unbounded_channel();\n", &[1]),
        ("std channel", rules::bounds, "let (a, b) = mpsc::channel();\n", &[1]),
        ("bare number", rules::bounds, "let a = ArrayQueue::new(1024);\n", &[1]),
        ("named number", rules::bounds, "let a = ArrayQueue::new(INBOX_MESSAGES);\n", &[]),
        ("serde", rules::serde_derives, "#[derive(Clone, Serialize)]\nstruct A;\n", &[1]),
        ("no serde", rules::serde_derives, "#[derive(Clone, Debug)]\nstruct A;\n", &[]),
        ("metric", rules::metric_names, "let a = \"pinion_requests_total\";\n", &[1]),
        ("crate name", rules::metric_names, "let a = \"pinion_core=info\";\n", &[]),
        ("hot", rules::hot, "//! Copies.\n//! HOT: 0 allocations.\nfn a() {\n    let b = format!(\"c\");\n}\n", &[4]),
        ("hot with reason", rules::hot, "//! Copies.\n//! HOT: 0.\n// ALLOC: boot.\nlet b = vec![0; 9];\n", &[]),
        ("hot, above its function", rules::hot, "//! HOT\n/// ALLOC: boot.\nfn a() {\n\n\n\n\n\n\n\n    vec![0; 9];\n}\n\nfn b() {\n\n\n    vec![0];\n}\n", &[17]),
        ("cold", rules::hot, "//! Boots.\nlet b = vec![0; 9];\n", &[]),
        ("deny", |s| rules::unsafe_refused(s, "proxy", true), "#![deny(unsafe_code)]\n#[allow(unsafe_code)]\nmod sys;\n", &[]),
        ("deny missing", |s| rules::unsafe_refused(s, "proxy", true), "mod sys;\n", &[0]),
        ("let off", |s| rules::unsafe_refused(s, "proxy", false), "#[allow(unsafe_code)]\nmod net;\n", &[1]),
        ("only denied", |s| rules::unsafe_refused(s, "core", true), "#![deny(unsafe_code)]\n", &[0]),
        ("clock", rules::purity, "use std::time::{Duration, Instant};\n", &[1]),
        ("duration", rules::purity, "use std::time::Duration;\nuse std::net::{IpAddr, SocketAddr};\n", &[]),
        ("socket", rules::purity, "let a = std::net::TcpStream::connect(b);\n", &[1, 1]),
        ("grouped", rules::purity, "use std::{\n    collections::HashMap,\n    fs::File,\n};\n", &[1]),
        ("own time", rules::purity, "use crate::time::Instant;\nlet a = Instant::from_nanos(1);\n", &[]),
        ("unfinished", rules::unfinished, concat!("// TO", "DO: more\nlet a = 1;\n"), &[1]),
        ("kept though unused", rules::unfinished, "#[allow(dead_code)]\nfn a() {}\n", &[1]),
        ("get_", rules::names, "fn get_limit() -> u8 {\n    1\n}\n", &[1]),
        ("printing", rules::purity, "println!(\"a\");\nlet print = 1;\n", &[1]),
    ];
    for (name, rule, text, expected) in rows {
        assert_eq!(&lines_found(rule, text), expected, "{name}: {text}");
    }
}

#[test]
fn use_trees_are_taken_apart() {
    let found: Vec<String> = paths("use a::{self, b::{c, d as e}, f};\nlet x = g::h(i);")
        .into_iter()
        .map(|(_, path)| path)
        .collect();
    assert_eq!(found, ["a", "a::b::c", "a::b::d", "a::f", "g::h"]);
}

#[test]
fn functions_are_measured_without_tests() {
    let text = "fn a(b: [u8; 2]) -> u8 {\n    1\n}\n\ntrait T {\n    fn c();\n}\n\n#[cfg(test)]\nmod tests {\n    fn d() {}\n}\n";
    let source = Source::new("x.rs", text);
    let functions: Vec<_> = source.functions().into_iter().map(|f| (f.name, f.line, f.lines)).collect();
    assert_eq!(functions, [("a".to_owned(), 1, 3)]);
    assert_eq!(source.lines_without_tests(), 8);
    let parts = "struct A {\n    #[cfg(test)]\n    b: Option<(u8, u8)>,\n    c: u8,\n}\nfn d() -> A {\n    A {\n        \
                 #[cfg(test)]\n        b: None,\n        c: 1 }\n}\n";
    assert_eq!(Source::new("x.rs", parts).lines_without_tests(), 7);
}

#[test]
fn test_modules_in_files_of_their_own_are_known() {
    let modules = |path: &str, text: &str| Source::new(path, text).test_modules;
    assert_eq!(
        modules("core/src/http/parse.rs", "#[cfg(test)]\nmod tests;\n"),
        ["core/src/http/parse/tests"]
    );
    assert_eq!(modules("core/src/lib.rs", "#[cfg(test)]\nmod tests;\n"), ["core/src/tests"]);
    assert_eq!(
        modules("core/src/a.rs", "#[cfg(test)]\n#[path = \"a_tests.rs\"]\nmod tests;\n"),
        ["core/src/a_tests.rs"]
    );
    assert!(modules("core/src/a.rs", "mod b;\n").is_empty());
}

#[test]
fn the_ratchet_only_turns_one_way() {
    let map = |text: &str| ratchet(text);
    let found = |listed: &str, now: &str| judge(&map(listed), &map(now)).len();
    assert_eq!(found("# why\nfile a.rs 500\n", "file a.rs 500"), 0);
    assert_eq!(found("file a.rs 500", "file a.rs 450"), 0);
    assert_eq!(found("file a.rs 500", "file a.rs 501"), 1);
    assert_eq!(found("", "function a.rs::b 71"), 1);
    assert_eq!(found("file a.rs 500", ""), 1);
}

#[test]
fn documents_are_judged() {
    let broken = |text: &str| documents::broken_links("docs/README.md", text).len();
    assert_eq!(broken("# A b\n[x](../Cargo.toml) [y](#a-b) [z](https://example.com/q)"), 0);
    assert_eq!(broken("[x](nowhere.md)\n[y](#nowhere)"), 2);
    assert_eq!(broken("```\n[x](nowhere.md)\n```\nand `[y](nowhere.md)`"), 0);
    let missing = |text: &str| documents::missing_files("a.md", text).len();
    assert_eq!(missing("`core/src/lib.rs`, `core/src/*.rs`, `other/x`"), 0);
    assert_eq!(missing("`core/src/nowhere.rs`"), 1);
    let machine = |text: &str| documents::machine_paths("a.rs", text).len();
    assert_eq!(machine(concat!("read(\"/wo", "rk/a\")\nsee /ro", "ot/.cargo")), 2);
    assert_eq!(machine(concat!("../wo", "rk/a and a/ro", "ot/b and $TMP/tm", "p/")), 0);
}
