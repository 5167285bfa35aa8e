//! An upstream that is killed and started again under load: requests fail in the documented ways while it
//! is down, and in no way before and after.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what a test helper can't do fails the test"
)]

mod support;

use std::io::Result;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use support::load::{Load, Origin, Reply, Script, get, settled};
use support::{Driver, Pinion, drivers, eventually, free_address};

/// Steps: the upstream is up in even ones and down, or on its way down or up, in odd ones.
const STEPS: usize = 6;

struct Judge {
    step: AtomicUsize,
    over: AtomicBool,
    /// Answers by step and status.
    answers: Mutex<Vec<[usize; 2]>>,
}

/// Ends the load, by panic too.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Script for Judge {
    type Note = usize;

    fn request(&self, _: usize) -> (Vec<u8>, usize) {
        (get("/bytes/50"), self.step.load(Ordering::SeqCst))
    }

    fn judge(&self, _: usize, sent: usize, reply: Result<Reply>) -> std::result::Result<(), String> {
        let now = self.step.load(Ordering::SeqCst);
        let disturbed = sent != now || sent % 2 == 1;
        let answered = |column: usize| self.answers.lock().expect("no panic")[now][column] += 1;
        match reply {
            Ok(reply) if reply.status == 200 && reply.body.len() == 50 => answered(0),
            Ok(reply) if reply.status == 503 && disturbed && !reply.closes() => answered(1),
            other => return Err(format!("in step {sent} to {now}: {other:?}")),
        }
        Ok(())
    }
}

fn killed_and_started_again(driver: Driver) {
    let upstream = free_address();
    let address = free_address();
    let text = format!(
        "[proxy.access_log]\npath = \"access.log\"\n\
         [[listeners]]\nname = \"web\"\naddress = \"{address}\"\n[[routes]]\ncluster = \"app\"\n\
         [[clusters]]\nname = \"app\"\nendpoints = [\"{upstream}\"]\n"
    );
    let pinion = Pinion::with(driver).proxy("shards = 2").config(&text).start();
    let judge = Judge {
        step: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        answers: Mutex::new(vec![[0; 2]; STEPS + 1]),
    };
    let mut origin = Some(Origin::at(upstream));
    let mut load = Load::to(address).connect();
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let lasts = |step: usize| {
                sleep(Duration::from_millis(200));
                let enough = || judge.answers.lock().expect("no panic")[step][step % 2] > 100;
                eventually("enough answers of the expected kind", enough);
            };
            let _over = SetOnDrop(&judge.over);
            for step in 1..=STEPS {
                lasts(step - 1);
                if step % 2 == 1 {
                    judge.step.store(step, Ordering::SeqCst);
                    origin.take().expect("up").kill();
                } else {
                    origin = Some(Origin::at(upstream));
                    judge.step.store(step, Ordering::SeqCst);
                }
            }
            lasts(STEPS);
        });
        while !judge.over.load(Ordering::SeqCst) {
            failures.extend(load.run(512, &judge));
        }
    });
    let shown: Vec<_> = failures.iter().take(5).collect();
    assert!(failures.is_empty(), "{} on {}: {shown:#?}", failures.len(), driver.label());
    let answers = judge.answers.into_inner().expect("no panic");
    let metrics = settled(&pinion);
    let refused: usize = answers.iter().map(|of| of[1]).sum();
    let faults = |reason| metrics.value("pinion_faults_total", &[("reason", reason)]);
    let known = ["connect_failed", "upstream_closed", "stale_connection"].map(faults);
    assert_eq!(known.iter().sum::<f64>(), refused as f64, "{known:?}");
    assert_eq!(metrics.value("pinion_faults_total", &[]), refused as f64);
    let log = std::fs::read_to_string(pinion.folder().join("access.log")).expect("a log");
    let flagged = ["\"response_flags\":\"-\"", "\"response_flags\":\"UF\"", "\"response_flags\":\"UC\""];
    assert!(log.lines().all(|line| flagged.iter().any(|flag| line.contains(flag))));
    // The client's connections survived all of it.
    let total = metrics.value("pinion_listener_connections_total", &[]);
    assert_eq!(total, load.connections() as f64);
    // Nothing is left on the books of connections that are gone.
    assert_eq!(metrics.value("pinion_cluster_requests_active", &[]), 0.0);
    assert_eq!(metrics.value("pinion_cluster_requests_pending", &[]), 0.0);
    assert!(metrics.value("pinion_cluster_connections_active", &[]) <= load.connections() as f64);
}

#[test]
fn killed_and_started_again_on_io_uring() {
    if drivers().contains(&Driver::IoUring) {
        killed_and_started_again(Driver::IoUring);
    }
}

#[test]
fn killed_and_started_again_on_epoll() {
    killed_and_started_again(Driver::Epoll);
}
