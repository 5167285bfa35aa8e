//! Scenarios: the loads under which base and candidate are compared, read from TOML.
//!
//! Those of `bench/scenarios/` are built in; `--scenario FILE` adds others of the same form.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

use super::measure::Measure;
use super::statistics::ROUNDS_MAX;
use crate::{Problem, units};

/// The scenarios that are built in.
const BUILT_IN: [(&str, &str); 6] = [
    ("http1-small", include_str!("../../scenarios/http1-small.toml")),
    ("http1-saturated", include_str!("../../scenarios/http1-saturated.toml")),
    ("http1-10k", include_str!("../../scenarios/http1-10k.toml")),
    ("http1-1m", include_str!("../../scenarios/http1-1m.toml")),
    ("http1-many-connections", include_str!("../../scenarios/http1-many-connections.toml")),
    ("reload-under-load", include_str!("../../scenarios/reload-under-load.toml")),
];

/// Pinion's configuration where a scenario has no own.
const CONFIG: &str = include_str!("../../scenarios/pinion.toml");

/// One load and what is judged under it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Its name in tables and records.
    pub(crate) name: String,
    /// One sentence: what it is there to find.
    pub(crate) about: String,
    /// Pairs of runs, one of each side; even, so that each side is first as often as the other.
    pub(crate) rounds: u32,
    /// Content bytes of each answer; the path is `/bytes/N` where `path` does not say another.
    pub(crate) bytes: Option<usize>,
    path: Option<String>,
    /// What is sent.
    pub(crate) load: Load,
    /// What disturbs the run.
    pub(crate) reload: Option<Reload>,
    /// How the counted measures are counted.
    pub(crate) count: Option<Count>,
    /// The measures, and the change of each below which nobody cares.
    pub(crate) judge: BTreeMap<Measure, Share>,
    /// Pinion's configuration with `@LISTEN@`, `@UPSTREAM@`, `@ADMIN@`, `@DRIVER@` and `@TURN@`, which
    /// changes with every reload.
    config: Option<String>,
}

/// The load of one run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    /// Requests a second, open loop.
    pub(crate) rate: Option<f64>,
    /// Requests in flight, in step: see `peers/lockstep.rs`.
    pub(crate) lockstep: Option<u32>,
    /// Connections of the open loop.
    #[serde(default = "connections")]
    pub(crate) connections: u32,
    /// Before the measurement.
    #[serde(deserialize_with = "duration")]
    pub(crate) warmup: Duration,
    /// The measurement.
    #[serde(deserialize_with = "duration")]
    pub(crate) measure: Duration,
}

fn connections() -> u32 {
    64
}

/// A signal again and again while the load runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reload {
    /// Time from one SIGHUP to the next.
    #[serde(deserialize_with = "duration")]
    pub(crate) every: Duration,
}

/// The counted measures: the cost of so many requests, one at a time, less that of fewer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Count {
    /// Requests of the smaller and of the larger run. The difference of the two costs has neither the
    /// program's start nor the connections' in it.
    pub(crate) requests: [u64; 2],
    /// How often it is counted.
    pub(crate) repeats: u32,
}

/// A change, as a share: `"3%"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share(pub(crate) f64);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match number {
            Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(Share(percent / 100.0)),
            _ => Err(D::Error::custom(format!("`{text}` is not a change such as \"3%\""))),
        }
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    units::duration(&text).map_err(D::Error::custom)
}

impl Scenario {
    /// Reads one from TOML.
    ///
    /// # Errors
    /// What is wrong, with the place.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let scenario: Scenario = toml::from_str(text).map_err(|e| e.to_string())?;
        match scenario.complaint() {
            None => Ok(scenario),
            Some(complaint) => Err(complaint),
        }
    }

    fn complaint(&self) -> Option<Problem> {
        let complaint = |text: &str| Some(text.to_owned());
        if !(2..=ROUNDS_MAX as u32).contains(&self.rounds) || !self.rounds.is_multiple_of(2) {
            return Some(format!("rounds must be even and between 2 and {ROUNDS_MAX}"));
        }
        if self.judge.is_empty() {
            return complaint("[judge] names no measure");
        }
        if self.judge.keys().any(|measure| measure.is_counted()) != self.count.is_some() {
            return complaint("[count] and the counted measures, system_calls and instructions, go together");
        }
        if let Some(Count { requests: [fewer, more], repeats }) = self.count
            && (fewer == 0 || more <= fewer || repeats == 0)
        {
            return complaint("[count] wants rising numbers of requests and at least one repeat");
        }
        match (self.load.rate, self.load.lockstep) {
            (Some(rate), None) if rate > 0.0 => {}
            (None, Some(1..=10_000)) => {
                if self.bytes.is_none() {
                    return complaint("a lockstep load needs `bytes`: every answer is checked");
                }
                let open = [Measure::P99, Measure::P999];
                if self.reload.is_some() || open.iter().any(|measure| self.judge.contains_key(measure)) {
                    return complaint("reloads, p99 and p999 need an open loop, not lockstep");
                }
            }
            _ => return complaint("[load] wants either rate or lockstep"),
        }
        if self.path.is_none() && self.bytes.is_none() {
            return complaint("neither path nor bytes");
        }
        None
    }

    /// What is asked for.
    pub(crate) fn path(&self) -> String {
        match (&self.path, self.bytes) {
            (Some(path), _) => path.clone(),
            (None, bytes) => format!("/bytes/{}", bytes.unwrap_or(0)),
        }
    }

    /// Pinion's configuration, with its placeholders.
    pub(crate) fn config(&self) -> &str {
        self.config.as_deref().unwrap_or(CONFIG)
    }
}

/// The built-in scenarios and those of `files`, of which `names` are wanted (all, if empty).
///
/// # Errors
/// A file can't be read, two scenarios have one name, or a name is unknown.
pub(crate) fn choose(names: &[String], files: &[impl AsRef<Path>]) -> Result<Vec<Scenario>, Problem> {
    let mut all = Vec::new();
    for (name, text) in BUILT_IN {
        all.push(Scenario::parse(text).map_err(|e| format!("built-in scenario {name}: {e}"))?);
    }
    let built_in = all.len();
    for file in files {
        let shown = file.as_ref().display();
        let text = std::fs::read_to_string(file).map_err(|e| format!("can't read {shown}: {e}"))?;
        let scenario = Scenario::parse(&text).map_err(|e| format!("{shown}: {e}"))?;
        if all.iter().any(|other| other.name == scenario.name) {
            return Err(format!("{shown}: there is a scenario {} already", scenario.name));
        }
        all.push(scenario);
    }
    if names.is_empty() {
        // Who brings own scenarios wants those.
        return Ok(if files.is_empty() { all } else { all.split_off(built_in) });
    }
    let known: Vec<String> = all.iter().map(|scenario| scenario.name.clone()).collect();
    let find = |name: &String| {
        let found = all.iter().find(|scenario| &scenario.name == name).cloned();
        found.ok_or_else(|| format!("there is no scenario {name}, only {}", known.join(", ")))
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_scenarios_are_sound_and_carry_their_file_names() {
        let none: [&str; 0] = [];
        let all = choose(&[], &none).unwrap();
        for (scenario, (name, _)) in all.iter().zip(BUILT_IN) {
            assert_eq!(scenario.name, name);
            assert!(scenario.config().contains("@LISTEN@") && scenario.config().contains("@UPSTREAM@"));
            assert!(scenario.reload.is_none() || scenario.config().contains("@TURN@"));
        }
        assert_eq!(all.len(), BUILT_IN.len());
        let two = choose(&["http1-1m".to_owned(), "http1-small".to_owned()], &none).unwrap();
        assert_eq!((two[0].path(), two[1].path()), ("/bytes/1048576".to_owned(), "/bytes/100".to_owned()));
        assert!(choose(&["http3".to_owned()], &none).unwrap_err().contains("http1-small"));
    }

    #[test]
    fn files_add_scenarios_under_new_names() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.toml");
        let text = include_str!("../../scenarios/http1-small.toml");
        std::fs::write(&file, text).unwrap();
        assert!(choose(&[], &[&file]).unwrap_err().contains("already"));
        std::fs::write(&file, text.replace("\"http1-small\"", "\"own\"")).unwrap();
        let chosen = choose(&[], &[&file]).unwrap();
        assert_eq!(chosen.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["own"]);
    }

    #[test]
    fn what_can_not_be_measured_is_refused() {
        let good = "name = \"a\"\nabout = \"b\"\nrounds = 6\nbytes = 1\n\
                    [load]\nrate = 10\nwarmup = \"1s\"\nmeasure = \"1s\"\n[judge]\ncpu = \"3%\"\n";
        assert!(Scenario::parse(good).is_ok());
        for (what, with) in [
            ("rounds = 6", "rounds = 5"),
            ("rounds = 6", "rounds = 1000"),
            ("rate = 10", "lockstep = 4\nrate = 10"),
            ("rate = 10\n", ""),
            ("rate = 10", "rate = -1"),
            ("bytes = 1\n", ""),
            ("cpu = \"3%\"", ""),
            ("cpu = \"3%\"", "cpu = \"3\""),
            ("cpu = \"3%\"", "cpus = \"3%\""),
            ("cpu = \"3%\"", "instructions = \"1%\""),
            ("cpu = \"3%\"", "instructions = \"1%\"\n[count]\nrequests = [9, 9]\nrepeats = 1"),
            ("rate = 10", "lockstep = 4\n[reload]\nevery = \"1s\""),
            ("measure = \"1s\"", "measure = \"1\""),
        ] {
            let text = good.replace(what, with);
            assert!(text != good && Scenario::parse(&text).is_err(), "{text}");
        }
    }
}
