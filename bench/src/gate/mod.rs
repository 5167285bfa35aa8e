//! The gate: whether a candidate is slower than its base, and how sure that is.
//!
//! ```text
//! base, candidate ──build──▶ for each scenario: A B  B A  A B  B A …   fresh programs for each run
//!                                  │ latency histograms, CPU time, memory; counts in runs of their own
//!                                  ▼
//!                            paired test, interval, threshold, same-against-same
//!                                  ▼
//!                            better / same / worse / can't tell ──▶ exit status, table, JSON, record
//! ```
//!
//! Load generator and origin are this build's for both sides: the instrument never differs.
//!
//! Not here: comparisons with other proxies (`peers`).

mod calibrate;
mod count;
mod history;
mod markdown;
mod measure;
mod options;
mod record;
mod report;
mod repository;
mod run;
mod sample;
mod scenario;
mod side;
mod stage;
mod statistics;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(crate) use options::Options;

use self::measure::Measure;
use crate::machine::Machine;
use crate::signals::Stop;
use crate::{Problem, cpu, programs};
use count::Counter;
use report::{Described, Report};
use repository::Repository;
use run::Gate;
use scenario::Scenario;
use side::{Builder, Given, Side};
use stage::Setting;
use verdict::Verdict;

/// Gates that are drawn from a calibration's rounds.
const DRAWN_GATES: u32 = 1000;

/// Why there is no verdict.
enum Failure {
    /// The command line asks for something that can't be: exit status 2.
    Usage(Problem),
    /// It failed on the way: exit status 1.
    Failed(Problem),
}

/// Runs the gate. Exit status 0: nothing is worse; 1: something is, or it failed; 2: a wrong command line.
pub(crate) fn run(options: &Options) -> ExitCode {
    let outcome = match &options.history {
        Some(file) => history(options, file),
        None if options.check_runs => check_runs(options),
        None => gate(options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Usage(problem)) => {
            eprintln!("pinion-bench: {problem}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(problem)) => {
            eprintln!("pinion-bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// The repository around the current folder.
fn repository() -> Result<Repository, Problem> {
    let here = std::env::current_dir().map_err(|e| format!("no current folder: {e}"))?;
    Repository::around(&here)
}

/// Writes the page of a record's plots.
fn history(options: &Options, file: &Path) -> Result<bool, Failure> {
    let repository = repository().map_err(Failure::Usage)?;
    let name = options.record_name();
    let reports = record::read(&repository.root().join(record::path(&options.runs, name)));
    let page = history::render(name, &reports.map_err(Failure::Usage)?);
    write(file, &page).map_err(Failure::Failed)?;
    Ok(true)
}

/// Says what is wrong with the records.
fn check_runs(options: &Options) -> Result<bool, Failure> {
    let repository = repository().map_err(Failure::Usage)?;
    let since = match &options.since {
        Some(revision) => Some(repository.commit(revision).map_err(Failure::Usage)?),
        // The first commit of all has none before it.
        None => repository.landed().ok(),
    };
    let complaints = record::check(&repository, &options.runs, since.as_deref()).map_err(Failure::Failed)?;
    complaints.iter().for_each(|complaint| eprintln!("{complaint}"));
    if complaints.is_empty() {
        println!("the records in {} are whole", options.runs);
    }
    Ok(complaints.is_empty())
}

fn gate(options: &Options) -> Result<bool, Failure> {
    let began = Instant::now();
    let scenarios = scenario::choose(&options.scenarios, &options.scenario).map_err(Failure::Usage)?;
    let calibration = options.calibration.as_deref().map(calibrate::read).transpose();
    let calibration = calibration.map_err(Failure::Usage)?.unwrap_or_default();
    // Two binaries or commands need none.
    let repository = repository().ok();
    let (base, candidate) = given(options, repository.as_ref()).map_err(Failure::Usage)?;
    let fail = Failure::Failed;
    let load = programs::load(options.build).map_err(fail)?;
    let bench = programs::own().map_err(fail)?;
    if let Some(folder) = &options.keep {
        std::fs::create_dir_all(folder).map_err(|e| fail(format!("can't make {}: {e}", folder.display())))?;
    }
    let folder = tempfile::tempdir().map_err(|e| fail(format!("no temporary folder: {e}")))?;
    let target = programs::target_folder(&bench).map_err(fail)?;
    let builder = Builder { repository: repository.as_ref(), target: &target, folder: folder.path() };
    let sides = builder.both(&base, &candidate).map_err(fail)?;
    let (cpus, other_cpus) = options.cpus(&cpu::allowed());
    let setting = Setting {
        load: &load,
        bench: &bench,
        folder: folder.path(),
        cpus,
        other_cpus,
        ready: options.ready.clone(),
        patience: options.patience,
        driver: options.driver.clone(),
        nice: options.nice,
    };
    if options.nice != 0 {
        // The kernel may weigh sessions against each other before it looks at niceness. Where it has no such
        // groups, or we may not, niceness is what there is.
        let _ = std::fs::write("/proc/self/autogroup", options.nice.to_string());
    }
    let stop = Stop::watch().map_err(fail)?;
    let gate = Gate {
        setting: &setting,
        sides: &sides,
        counter: Counter::detect(),
        stop: &stop,
        keep: options.keep.as_deref(),
        deadline: began + options.time_limit,
        timed: !options.only_counted(),
        counted: !options.only_timed(),
    };
    let report = measure(options, &gate, scenarios, &calibration).map_err(fail)?;
    finish(options, repository.as_ref(), &report, began.elapsed()).map_err(fail)
}

/// What the two sides are to be.
fn given(options: &Options, repository: Option<&Repository>) -> Result<(Given, Given), Problem> {
    let revision = |name: &str| -> Result<Given, Problem> {
        let repository = repository.ok_or("revisions need a git repository, and this is none")?;
        Ok(Given::Revision(match name {
            "worktree" => return Ok(Given::Worktree),
            "landed" => repository.landed()?,
            "recorded" => record::newest(repository, &options.runs, options.record_name())?,
            name => repository.commit(name).map(|_| name.to_owned())?,
        }))
    };
    let side = |revision_name: &Option<String>, binary: &Option<PathBuf>, command: &Option<String>| {
        if let Some(binary) = binary {
            return if binary.is_file() {
                Ok(Some(Given::Binary(binary.clone())))
            } else {
                Err(format!("{} is not there", binary.display()))
            };
        }
        if let Some(command) = command {
            return Ok(Some(Given::Command(command.clone())));
        }
        revision_name.as_deref().map(revision).transpose()
    };
    let base = side(&options.base, &options.base_bin, &options.base_cmd)?;
    let base = base.ok_or("what is the base? --base REVISION, --base-bin FILE or --base-cmd COMMAND")?;
    if options.calibrate {
        return Ok((base.clone(), base));
    }
    let candidate = side(&options.candidate, &options.candidate_bin, &options.candidate_cmd)?;
    Ok((base, candidate.unwrap_or(Given::Worktree)))
}

/// Runs all scenarios and judges them together.
fn measure(
    options: &Options,
    gate: &Gate<'_>,
    scenarios: Vec<Scenario>,
    calibration: &report::Calibration,
) -> Result<Report, Problem> {
    let started = crate::units::timestamp(std::time::SystemTime::now());
    let mut runs = Vec::new();
    for scenario in scenarios {
        eprintln!("{}: {}", scenario.name, scenario.about);
        let found = gate.run(&scenario, options.rounds.unwrap_or(scenario.rounds))?;
        runs.push((scenario, found));
    }
    let is_judged =
        |measure: Measure| !options.accept.contains(&measure) && (measure.is_counted() || !options.advisory);
    let scenarios = report::judge(runs, options.alpha, is_judged, calibration);
    let described = |side: &Side| Described { label: side.label.clone(), commit: side.commit.clone() };
    Ok(Report {
        format: report::FORMAT,
        started,
        machine: Machine::here(),
        base: described(&gate.sides[0]),
        candidate: described(&gate.sides[1]),
        alpha: options.alpha,
        counter: gate.counter.label().to_owned(),
        note: options.note.clone(),
        verdict: report::overall(&scenarios),
        scenarios,
    })
}

/// Tells the result everywhere it is wanted. Whether it is good.
fn finish(
    options: &Options,
    repository: Option<&Repository>,
    report: &Report,
    took: Duration,
) -> Result<bool, Problem> {
    let text = markdown::render(report);
    print!("{text}");
    eprintln!("took {:.0} s", took.as_secs_f64());
    if options.calibrate {
        let alarms = calibrate::false_alarms(&report.scenarios, options.alpha, DRAWN_GATES, 1);
        println!(
            "\nOf {DRAWN_GATES} gates drawn from these rounds, which hold no difference, {:.1} % say worse of \
             anything; at most {:.1} % is stated.",
            alarms * 100.0,
            options.alpha * 100.0
        );
    }
    if let Some(file) = &options.markdown {
        write(file, &text)?;
    }
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(report).map_err(|e| format!("no JSON: {e}"))?;
        write(file, &(json + "\n"))?;
    }
    if let Some(name) = &options.record {
        let root = repository.map_or(Path::new("."), Repository::root);
        record::append(&root.join(record::path(&options.runs, name)), report)?;
    }
    Ok(match report.verdict {
        Verdict::Better | Verdict::Same => true,
        Verdict::CantTell => !options.strict,
        // A program is not worse than itself: that would be a false alarm.
        Verdict::Worse => false,
    })
}

fn write(file: &Path, text: &str) -> Result<(), Problem> {
    std::fs::write(file, text).map_err(|e| format!("can't write {}: {e}", file.display()))
}
