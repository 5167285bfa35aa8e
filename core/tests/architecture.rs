//! The direction of dependencies, and the purity of `core`, read from manifests and sources.
//!
//! ```text
//!   proxy ──┐                      loadtest   (nothing of ours: a shared bug would hide itself)
//!   control ├──► core              bench ──► any of them
//!   tuning ─┘
//! ```
//!
//! Not here: style and size (`tidy.rs`).

use std::collections::{BTreeSet, HashMap};

use house::{Finding, none, read, rules, scan, sources};
use toml::Table;

mod house;

/// Members: folder, package, what of ours it may depend on, what of ours its tests may use besides.
const MEMBERS: [(&str, &str, &[&str], &[&str]); 6] = [
    ("core", "pinion-core", &[], &[]),
    ("proxy", "pinion-proxy", &["pinion-core"], &["pinion-load"]),
    ("control", "pinion-control", &["pinion-core"], &["pinion-load"]),
    ("tuning", "pinion-tune", &["pinion-core"], &[]),
    ("loadtest", "pinion-load", &[], &[]),
    (
        "bench",
        "pinion-bench",
        &["pinion-core", "pinion-proxy", "pinion-control", "pinion-load", "pinion-tune"],
        &[],
    ),
];

/// What `core` may depend on: parsers, hashes, matchers, and what the configuration's schema needs.
const CORE_MAY_USE: [&str; 15] = [
    "annotate-snippets",
    "bytemuck",
    "foldhash",
    "ipnet",
    "memchr",
    "regex",
    "regex-automata",
    "regex-syntax",
    "schemars",
    "serde",
    "serde_json",
    "serde_spanned",
    "smallvec",
    "toml",
    "toml_edit",
];
/// What the tests of `core` may use besides: the oracles, which are another HTTP/1 parser, another header compression
/// and another HTTP/2 with its runtime, and an allocator that counts.
const CORE_TESTS_MAY_USE: [&str; 9] =
    ["allocation-counter", "bytes", "fluke-hpack", "h2", "http", "httparse", "proptest", "tempfile", "tokio"];

/// What may not be in `core`, not even through others: runtimes, sockets, protocol stacks, randomness.
const CORE_MAY_NOT_HOLD: [&str; 12] = [
    "tokio",
    "monoio",
    "h2",
    "hyper",
    "mio",
    "socket2",
    "rustix",
    "rand",
    "rand_core",
    "getrandom",
    "crossbeam",
    "io-uring",
];

fn manifest(folder: &str) -> Table {
    let path = if folder.is_empty() { "Cargo.toml".into() } else { format!("{folder}/Cargo.toml") };
    let parsed = read(&path).parse::<Table>();
    assert!(parsed.is_ok(), "{path}: {:?}", parsed.err());
    parsed.unwrap_or_default()
}

/// The names in the given section, those of `[target.*]` included.
fn dependencies(manifest: &Table, section: &str) -> BTreeSet<String> {
    let targets = manifest.get("target").and_then(|target| target.as_table());
    let targets =
        targets.into_iter().flat_map(|targets| targets.values().filter_map(|target| target.as_table()));
    let tables = std::iter::once(manifest).chain(targets).filter_map(|table| table.get(section)?.as_table());
    tables.flat_map(|table| table.iter().map(|(name, value)| package_name(name, value))).collect()
}

/// The package behind a dependency that may have been renamed.
fn package_name(name: &str, value: &toml::Value) -> String {
    value.get("package").and_then(|package| package.as_str()).unwrap_or(name).to_owned()
}

#[test]
fn the_workspace_has_the_members_this_test_knows() {
    let workspace = manifest("");
    let listed = workspace["workspace"]["members"].as_array().into_iter().flatten();
    let listed: BTreeSet<&str> = listed.filter_map(|member| member.as_str()).collect();
    assert_eq!(listed, MEMBERS.iter().map(|member| member.0).collect(), "members are part of the design");
    for (folder, package, ..) in MEMBERS {
        assert_eq!(manifest(folder)["package"]["name"].as_str(), Some(package), "{folder}");
        assert_eq!(
            manifest(folder)["lints"]["workspace"].as_bool(),
            Some(true),
            "{folder}: the shared lint table"
        );
    }
}

#[test]
fn members_depend_in_one_direction() {
    let ours: BTreeSet<&str> = MEMBERS.iter().map(|member| member.1).collect();
    let mut found = Vec::new();
    for (folder, package, may, tests_may) in MEMBERS {
        let manifest = manifest(folder);
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            for name in dependencies(&manifest, section) {
                let allowed = may.contains(&name.as_str())
                    || section == "dev-dependencies"
                        && (tests_may.contains(&name.as_str()) || name == package);
                if ours.contains(name.as_str()) && !allowed {
                    found.push(Finding::new(
                        &format!("{folder}/Cargo.toml"),
                        0,
                        format!("{section}: {name}"),
                    ));
                }
            }
        }
    }
    none(&found, "See the picture at the top of core/tests/architecture.rs.");
}

#[test]
fn core_depends_on_its_list_only() {
    let manifest = manifest("core");
    let mut found = Vec::new();
    for name in dependencies(&manifest, "dependencies") {
        if !CORE_MAY_USE.contains(&name.as_str()) {
            found.push(Finding::new("core/Cargo.toml", 0, format!("{name} is not on core's list")));
        }
    }
    for name in dependencies(&manifest, "dev-dependencies") {
        let listed = CORE_MAY_USE.iter().chain(&CORE_TESTS_MAY_USE).any(|known| *known == name);
        if !listed && name != "pinion-core" {
            found.push(Finding::new(
                "core/Cargo.toml",
                0,
                format!("{name} is not on the list of core's tests"),
            ));
        }
    }
    for name in dependencies(&manifest, "build-dependencies") {
        found.push(Finding::new("core/Cargo.toml", 0, format!("{name}: core has no build script")));
    }
    none(
        &found,
        "Core holds decisions; a new dependency of it is a decision with a date in ARCHITECTURE.md.",
    );
}

#[test]
fn core_holds_no_runtime_or_socket_through_others() {
    let lock = read("Cargo.lock").parse::<Table>().unwrap_or_default();
    let packages = lock.get("package").and_then(|packages| packages.as_array()).cloned().unwrap_or_default();
    let mut edges: HashMap<String, Vec<String>> = HashMap::new();
    for package in packages.iter().filter_map(|package| package.as_table()) {
        let name = package["name"].as_str().unwrap_or("").to_owned();
        let needs = package.get("dependencies").and_then(|needs| needs.as_array()).into_iter().flatten();
        let needs = needs.filter_map(|need| need.as_str()?.split(' ').next().map(str::to_owned));
        edges.entry(name).or_default().extend(needs);
    }
    // The lock file lists development dependencies of members with the others: start from the manifest.
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut next: Vec<String> = dependencies(&manifest("core"), "dependencies").into_iter().collect();
    while let Some(name) = next.pop() {
        assert!(edges.contains_key(&name), "{name} is not in Cargo.lock");
        if reached.insert(name.clone()) {
            next.extend(edges[&name].iter().cloned());
        }
    }
    assert!(reached.contains("memchr"), "the walk of Cargo.lock found nothing");
    let found: Vec<Finding> = CORE_MAY_NOT_HOLD
        .iter()
        .filter(|name| reached.contains(**name))
        .map(|name| Finding::new("Cargo.lock", 0, format!("core reaches {name}")))
        .collect();
    none(&found, "Find the path with `cargo tree -p pinion-core -i NAME`.");
}

#[test]
fn core_is_pure() {
    let sources = sources();
    let core: Vec<_> = sources.iter().filter(|source| source.path.starts_with("core/src/")).collect();
    assert!(core.len() > 5, "no sources found");
    let found: Vec<Finding> = core.into_iter().flat_map(rules::purity).collect();
    none(&found, "Take it as an argument, or do it in proxy (house rule 1).");
}

/// Crates that only some folders of the proxy may name.
#[test]
fn runtimes_stay_in_their_places() {
    const PLACES: [(&str, &[&str]); 2] = [
        ("io_uring", &["proxy/src/boot/probe.rs", "proxy/src/sys/"]),
        ("axum", &["proxy/src/admin/", "proxy/src/admin.rs"]),
    ];
    const SHARD: [&str; 4] =
        ["proxy/src/net/", "proxy/src/shard/", "proxy/src/serve/", "proxy/src/upstream/"];
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("proxy/src/")) {
        for (line, path) in scan::paths(&source.code) {
            let first = path.split("::").next().unwrap_or("");
            let places = PLACES.iter().find(|(name, _)| *name == first).map(|(_, places)| places);
            let away =
                places.is_some_and(|places| !places.iter().any(|place| source.path.starts_with(place)));
            let on_shard = SHARD.iter().any(|folder| source.path.starts_with(folder));
            if !source.is_test(line) && (away || on_shard && matches!(first, "tokio" | "axum" | "notify")) {
                found.push(Finding::new(&source.path, line, format!("`{path}` does not belong here")));
            }
        }
    }
    none(&found, "Only net/, shard/ and sys/ know the shards' runtime; only the control thread knows tokio.");
}
