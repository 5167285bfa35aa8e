//! The configuration in the README compiles without a remark, and decides what the text below it says.
//!
//! Not here: the files under `examples/`, and the reference under `docs/`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed helper fails its test")]

use std::path::Path;

use pinion_core::config::{Ids, Snapshot, compile};
use pinion_core::route::{Question, explain};

/// The first configuration of the README.
fn readme() -> Snapshot {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once("```toml\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    compile(block, "README.md", Path::new(""), &mut Ids::default(), 1, None)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_first_configuration_does_what_the_readme_says() {
    let snapshot = readme();
    assert!(snapshot.warnings.is_empty(), "{}", snapshot.warnings);
    let explained = |user: &str| {
        let headers = vec![("end-user".to_owned(), user.to_owned())];
        let url = "http://my-service/".to_owned();
        explain(&snapshot, &Question { method: "GET".to_owned(), url, headers, listener: None }).unwrap()
    };
    let (jason, others) = (explained("jason"), explained("anna"));
    assert_eq!(jason.route(), Some("my-service/* end-user"), "{jason}");
    assert!(!jason.to_string().contains("my-service-v1"), "{jason}");
    assert_eq!(others.route(), Some("my-service/*"), "{others}");
    assert!(others.to_string().contains("my-service-v1") && others.to_string().contains("90"), "{others}");
}
