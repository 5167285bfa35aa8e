//! Records that grow, and records that do not.

use super::*;
use crate::gate::report::{self, Described};
use crate::gate::repository::tests::repository;
use crate::gate::verdict::Verdict;
use crate::machine::Machine;

fn report(commit: &str) -> Report {
    Report {
        format: report::FORMAT,
        started: "2026-01-01T00:00:00Z".to_owned(),
        machine: Machine::here(),
        base: Described { label: "base".to_owned(), commit: None },
        candidate: Described { label: "candidate".to_owned(), commit: Some(commit.to_owned()) },
        alpha: 0.01,
        counter: "callgrind".to_owned(),
        note: None,
        verdict: Verdict::CantTell,
        scenarios: Vec::new(),
    }
}

#[test]
fn lines_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("runs/a.jsonl");
    append(&file, &report("1")).unwrap();
    append(&file, &report("2")).unwrap();
    assert_eq!(read(&file).unwrap(), [report("1"), report("2")]);
    let text = fs::read_to_string(&file).unwrap();
    assert!(parse(text.trim_end()).unwrap_err().contains("no end"));
    assert!(parse(&text.replace("\"alpha\"", "\"beta\"")).unwrap_err().contains("line 1"));
    assert!(parse(&text.replace("\"format\":1", "\"format\":9")).unwrap_err().contains("format 9"));
    assert!(parse(&text.replace("cant_tell", "same")).unwrap_err().contains("verdict"));
}

#[test]
fn a_record_may_grow_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (report("1").line() + "\n", report("2").line() + "\n");
    let repository = repository(folder.path(), "runs/a.jsonl", &[&one]);
    let check = |text: Option<&str>| {
        let file = folder.path().join("runs/a.jsonl");
        match text {
            Some(text) => fs::write(file, text).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
        check(&repository, "runs", Some("HEAD")).unwrap()
    };
    assert_eq!(check(Some(&(one.clone() + &two))), Vec::<String>::new());
    assert!(check(Some(&(two.clone() + &one)))[0].contains("only grow"));
    assert!(check(Some(&two))[0].contains("only grow"));
    assert!(check(Some(&(one.clone() + "nonsense\n")))[0].contains("line 2"));
    assert!(check(None)[0].contains("gone"));
    fs::remove_dir(folder.path().join("runs")).unwrap();
    assert_eq!(super::check(&repository, "runs", None), Ok(Vec::new()));
}

#[test]
fn the_newest_recorded_ancestor_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let repository = repository(folder.path(), "a.txt", &["1", "2"]);
    let (first, head) = (repository.commit("HEAD~1").unwrap(), repository.commit("HEAD").unwrap());
    let file = folder.path().join("runs/gate.jsonl");
    assert!(newest(&repository, "runs", "gate").is_err());
    append(&file, &report(&first)).unwrap();
    append(&file, &report(&head)).unwrap();
    assert_eq!(newest(&repository, "runs", "gate"), Ok(head));
    // One of another branch, and one whose change is not committed yet, are passed over.
    append(&file, &report("0123456789abcdef0123456789abcdef01234567")).unwrap();
    append(&file, &report(&format!("{first}+"))).unwrap();
    assert_eq!(newest(&repository, "runs", "gate"), repository.commit("HEAD"));
    fs::write(&file, "").unwrap();
    append(&file, &report("0123456789abcdef0123456789abcdef01234567")).unwrap();
    assert!(newest(&repository, "runs", "gate").unwrap_err().contains("no ancestor"));
}

/// The records that are kept beside the program are read by it.
#[test]
fn kept_records_are_whole() {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    let root = Path::new(&here).join("..");
    for folder in ["bench/runs", "bench/tests/data"] {
        let records: Vec<_> = fs::read_dir(root.join(folder)).unwrap().flatten().collect();
        assert!(!records.is_empty(), "{folder}");
        for record in records.iter().filter(|entry| entry.file_name().to_string_lossy().ends_with(SUFFIX)) {
            assert!(!read(&record.path()).unwrap().is_empty(), "{:?}", record.path());
        }
    }
}
