//! Every operation works at every size; routing's steps do not grow; growth is judged.

use std::collections::BTreeSet;

use pinion_core::id::ListenerIndex;
use pinion_core::route::MatchScratch;

use super::growth::judge;
use super::work::GROUPS;
use super::work::route::{Kind, requests, table};
use super::*;

#[test]
fn every_operation_works_and_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = GROUPS.iter().map(|group| group.name).collect();
    assert_eq!(names.len(), GROUPS.len());
    for group in &GROUPS {
        assert!(group.sizes.is_sorted() && !group.flat || group.sizes.len() > 1, "{}", group.name);
        // The largest tables have a test of their own.
        for &size in group.sizes.iter().filter(|&&size| size <= 1_000) {
            (group.make)(size)(100);
        }
    }
}

/// Steps of finding the routes of the same number of requests in a table, on average.
fn steps(kind: Kind, size: usize) -> f64 {
    let table = table(kind, size);
    let mut scratch = MatchScratch::new();
    let requests = requests(kind, size);
    for request in &requests {
        let found = table.find(ListenerIndex(0), request, &mut scratch);
        assert!(found.is_some(), "{kind:?} {size}: {request:?}");
    }
    scratch.steps() as f64 / requests.len() as f64
}

#[test]
fn a_hundred_thousand_routes_take_as_many_steps_as_ten() {
    for kind in Kind::ALL {
        let (few, many) = (steps(kind, 10), steps(kind, 100_000));
        assert!(few > 0.0 && (few - many).abs() < f64::EPSILON, "{kind:?}: {few} steps, {many} steps");
    }
}

#[test]
fn only_what_may_not_grow_is_judged() {
    let finding = |name: &str, size, instructions| {
        let group = GROUPS.iter().find(|group| group.name == name).unwrap();
        Finding { group, size, nanos: vec![10.0, 12.0], instructions }
    };
    let findings = [
        finding("parse-request", 4, Some(100.0)),
        finding("parse-request", 48, Some(900.0)),
        finding("route-hosts", 10, Some(100.0)),
        finding("route-hosts", 1_000, Some(500.0)),
        finding("route-hosts", 100_000, Some(125.0)),
        finding("route-prefixes", 10, Some(100.0)),
        finding("route-prefixes", 100_000, Some(126.0)),
        finding("route-wildcards", 10, None),
    ];
    let verdicts = judge(&findings);
    let judged: Vec<(&str, bool)> = verdicts.iter().map(|v| (v.name, v.holds())).collect();
    assert_eq!(judged, [("route-hosts", true), ("route-prefixes", false)]);
    assert!(verdicts[1].to_string().contains("100 instructions at 10, 126 at 100000"), "{}", verdicts[1]);

    let machine = Machine::here();
    let text = report::markdown(&findings, &verdicts, &machine);
    assert!(text.contains("| parse-request | read a request's head | 4 field lines | 10.5 |"), "{text}");
    assert!(text.contains("- GROWS: route-prefixes"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&report::json(&findings, &verdicts, &machine)).unwrap();
    assert_eq!(json["growth"][1]["holds"], false);
    let page = report::page(&findings, &verdicts, &machine);
    assert!(page.contains("<svg") && page.contains("route-prefixes"));
}

#[test]
fn names_choose_by_their_beginning() {
    let names = |only: &[&str]| -> Result<Vec<&str>, Problem> {
        let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
        Ok(chosen(&only)?.iter().map(|group| group.name).collect())
    };
    assert_eq!(names(&["parse"]), Ok(vec!["parse-request", "parse-response"]));
    assert_eq!(names(&[]).unwrap().len(), GROUPS.len());
    assert!(names(&["nothing"]).unwrap_err().contains("histogram"));
}
