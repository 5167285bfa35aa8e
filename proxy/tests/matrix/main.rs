//! The protocol matrix: every feature over every pair of protocols, on both drivers, with the metrics asserted.
//!
//! ```text
//!   client ── http1, h2c, http1-tls, h2-tls ──▶ pinion ── http1, h2c, http1-tls, h2-tls ──▶ origin
//!             a listener each                             a cluster each, chosen by the field x-upstream
//! ```
//!
//! A cell is a function in `cells`. All cells of all pairs run, whatever fails; then the table is printed and the test
//! fails with every reason. The ends are the `h2` crate, rustls, and an HTTP/1.1 of the test's own: nothing of the
//! program.
//!
//! | variable | |
//! |---|---|
//! | `PINION_MATRIX="epoll h2c to http1, head"` | only the cells whose name has that in it, or one of several with a bar in between |
//! | `PINION_MATRIX_KTLS=on` | the kernel takes over the records of every TLS connection on both sides, if it can (`ci/ktls`) |
//!
//! Not here: real clients (`clients`), malformed traffic (`wire`).

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "what a test helper can't do fails the test; helpers are shared by test programs"
)]

#[path = "../support/peers/mod.rs"]
mod peers;
#[path = "../support/mod.rs"]
mod support;

mod cells;
mod client;
mod http1;
mod message;
mod origin;
mod pair;
mod scene;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::{Duration, Instant};

use cells::{Outcome, Pair};
use pair::Kind;
use scene::Scene;
use support::Driver;

/// How long one cell may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

type Run = fn(Pair) -> Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A cell: its name, what it does, and whether a pair has it.
struct Cell {
    name: &'static str,
    run: Run,
    has: fn(Kind, Kind) -> bool,
}

fn always(_: Kind, _: Kind) -> bool {
    true
}

/// gRPC is HTTP/2 on both sides.
fn both_http2(down: Kind, up: Kind) -> bool {
    down.is_http2() && up.is_http2()
}

macro_rules! cells {
    ($($name:ident $has:ident;)*) => {
        const CELLS: &[Cell] = &[$(Cell {
            name: stringify!($name),
            run: |pair| Box::pin(cells::$name(pair)),
            has: $has,
        },)*];
    };
}

cells! {
    get_sizes always;
    get_without_length always;
    response_trailers always;
    post_known_length always;
    post_unknown_length always;
    request_trailers always;
    head always;
    no_content always;
    interim_answers always;
    expected_continue always;
    early_answer always;
    upstream_reset_before_head always;
    upstream_reset_in_body always;
    timeout always;
    client_gives_up always;
    retried_connect always;
    kept_connections always;
    large_headers always;
    cookies always;
    translated_fields always;
    parts_come_at_once always;
    websocket always;
    grpc_unary both_http2;
    grpc_stream both_http2;
    grpc_trailers_only both_http2;
}

/// What became of one cell.
struct Tried {
    cell: &'static str,
    column: String,
    /// `None`: this pair does not have it.
    outcome: Option<Result<(), String>>,
    took: Duration,
}

#[test]
fn every_feature_works_over_every_pair() {
    let start = Instant::now();
    let drivers = support::drivers();
    let tried: Vec<Tried> = std::thread::scope(|scope| {
        let running: Vec<_> = drivers.iter().map(|&driver| scope.spawn(move || all_pairs(driver))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    println!("{}\n{:.1} s, the longest: {}", table(&tried), start.elapsed().as_secs_f64(), longest(&tried));
    let failures: Vec<String> = tried
        .iter()
        .filter_map(|tried| match &tried.outcome {
            Some(Err(reason)) => Some(format!("{}, {}: {reason}", tried.column, tried.cell)),
            _ => None,
        })
        .collect();
    assert!(failures.is_empty(), "{} cells failed:\n{}", failures.len(), failures.join("\n"));
}

/// Whether `PINION_MATRIX`, if it is set, wants this cell.
fn is_wanted(name: &str) -> bool {
    std::env::var("PINION_MATRIX").map_or(true, |wanted| wanted.split('|').any(|part| name.contains(part)))
}

/// Runs every cell of every pair on one driver.
fn all_pairs(driver: Driver) -> Vec<Tried> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut tried = Vec::new();
    let mut scene = Scene::start(driver, &runtime);
    for down in Kind::ALL {
        for up in Kind::ALL {
            for cell in CELLS {
                let column = format!("{} {} to {}", driver.label(), down.name(), up.name());
                if !is_wanted(&format!("{column}, {}", cell.name)) {
                    continue;
                }
                let start = Instant::now();
                let outcome = (cell.has)(down, up).then(|| one(cell, &scene, down, up, &runtime));
                if let Some(said) = scene.has_ended() {
                    println!("the program ended in {column}, {}:\n{said}", cell.name);
                    scene = Scene::start(driver, &runtime);
                }
                tried.push(Tried { cell: cell.name, column, outcome, took: start.elapsed() });
            }
        }
    }
    tried
}

/// Runs one cell and compares the metrics with what it says.
fn one(
    cell: &Cell,
    scene: &Scene,
    down: Kind,
    up: Kind,
    runtime: &tokio::runtime::Runtime,
) -> Result<(), String> {
    let before = scene.counts(down, up)?;
    let outcome =
        runtime.block_on(async { tokio::time::timeout(PATIENCE, (cell.run)(scene.pair(down, up))).await });
    let counted = outcome.map_err(|_| format!("not within {PATIENCE:?}"))?.map_err(|broken| broken.0)?;
    scene.compare(&before, &counted, down, up)
}

/// What took longest, for whoever finds the test slow.
fn longest(tried: &[Tried]) -> String {
    let mut all: Vec<&Tried> = tried.iter().collect();
    all.sort_by_key(|tried| std::cmp::Reverse(tried.took));
    let told = |tried: &&Tried| format!("{} {} {} ms", tried.column, tried.cell, tried.took.as_millis());
    all.iter().take(5).map(told).collect::<Vec<_>>().join(", ")
}

/// Cells as lines, pairs as columns: `ok`, `FAIL`, or `-` where the pair does not have it.
fn table(tried: &[Tried]) -> String {
    let mut columns: Vec<&str> = tried.iter().map(|tried| tried.column.as_str()).collect();
    columns.dedup();
    let mark = |tried: &Tried| match &tried.outcome {
        None => "-",
        Some(Ok(())) => "ok",
        Some(Err(_)) => "FAIL",
    };
    let marks: BTreeMap<(&str, &str), &str> =
        tried.iter().map(|tried| ((tried.cell, tried.column.as_str()), mark(tried))).collect();
    let legend: Vec<_> =
        columns.iter().enumerate().map(|(at, name)| format!("{:>3} {name}", at + 1)).collect();
    let numbers: String = (1..=columns.len()).map(|number| format!("{number:>5}")).collect();
    let row = |cell: &Cell| {
        let of = |column: &&str| marks.get(&(cell.name, *column)).copied().unwrap_or_default();
        let line: String = columns.iter().map(|column| format!("{:>5}", of(column))).collect();
        (!line.trim().is_empty()).then(|| format!("{:<28}{line}\n", cell.name))
    };
    format!(
        "{}\n\n{:<28}{numbers}\n{}",
        legend.join("\n"),
        "",
        CELLS.iter().filter_map(row).collect::<String>()
    )
}
