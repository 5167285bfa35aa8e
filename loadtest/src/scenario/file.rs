//! Scenario files: several weighted targets, and defaults for the command line.
//!
//! ```toml
//! rate = "500"
//! duration = "30s"
//!
//! [[targets]]
//! name = "list"
//! url = "http://127.0.0.1:8080/items"
//! weight = 9
//!
//! [[targets]]
//! name = "order"
//! url = "http://127.0.0.1:8080/orders"
//! method = "POST"
//! headers = ["content-type: application/json"]
//! body_size = "1KiB..8KiB"
//! ```

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde::Deserialize;

use super::{Item, body, body_file};
use crate::cli::{LoadOptions, Problem};
use crate::client::request::{Content, Draft, Prepared};
use crate::client::target::Target;
use crate::units;

/// The most targets of a run.
const TARGETS_MAX: usize = 100_000;

/// A file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    rate: Option<String>,
    duration: Option<String>,
    warmup: Option<String>,
    timeout: Option<String>,
    arrivals: Option<String>,
    connections: Option<u32>,
    seed: Option<u64>,
    targets: Vec<TargetEntry>,
    /// Where paths in the file begin.
    #[serde(skip)]
    folder: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetEntry {
    name: Option<String>,
    url: String,
    weight: Option<f64>,
    method: Option<String>,
    #[serde(default)]
    headers: Vec<String>,
    body: Option<String>,
    body_file: Option<PathBuf>,
    body_size: Option<String>,
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// It can't be read, or is not a scenario: with line and column.
    pub(crate) fn read(path: &Path) -> Result<Self, Problem> {
        let wrong = |e: &dyn std::fmt::Display| Problem::Usage(format!("scenario {}: {e}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
        let mut scenario: Scenario = toml::from_str(&text).map_err(|e| wrong(&e))?;
        if scenario.targets.is_empty() || scenario.targets.len() > TARGETS_MAX {
            return Err(wrong(&format_args!("there must be 1 to {TARGETS_MAX} targets")));
        }
        scenario.folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok(scenario)
    }

    /// Puts the file's values where the command line says nothing.
    ///
    /// # Errors
    /// A value that the option would not take.
    pub(crate) fn apply(&self, options: &mut LoadOptions, given: &ArgMatches) -> Result<(), Problem> {
        let free = |name: &str| given.value_source(name) != Some(ValueSource::CommandLine);
        let duration = |text: &Option<String>, key| value(text.as_deref(), key, units::duration);
        if free("rate") && options.stage.is_empty() {
            parse(self.rate.as_deref(), "rate", &mut options.rate)?;
        }
        if free("arrivals") {
            parse(self.arrivals.as_deref(), "arrivals", &mut options.arrivals)?;
        }
        if let Some(length) = duration(&self.duration, "duration")?.filter(|_| free("duration")) {
            options.duration = length;
        }
        if let Some(length) = duration(&self.warmup, "warmup")?.filter(|_| free("warmup")) {
            options.warmup = length;
        }
        if let Some(length) = duration(&self.timeout, "timeout")?.filter(|_| free("timeout")) {
            options.timeout = length;
        }
        if let Some(connections) = self.connections.filter(|_| free("connections")) {
            if !(1..=60_000).contains(&connections) {
                return Err(Problem::Usage("scenario: `connections` must be from 1 to 60000".to_owned()));
            }
            options.connections = connections;
        }
        if let Some(seed) = self.seed.filter(|_| free("seed")) {
            options.seed = seed;
        }
        Ok(())
    }

    /// Whether it names other files, which it can't do on a machine that it was sent to.
    pub(crate) fn names_files(&self) -> bool {
        let is_file = |text: &String| text.starts_with('@');
        self.arrivals.as_ref().is_some_and(|arrivals| arrivals.starts_with("recorded:"))
            || self
                .targets
                .iter()
                .any(|target| target.body_file.is_some() || target.body.as_ref().is_some_and(is_file))
    }

    /// The targets.
    ///
    /// # Errors
    /// One that can't be asked for; its name or number is in the text.
    pub(crate) fn items(&self) -> Result<Vec<Item>, Problem> {
        let mut items = Vec::with_capacity(self.targets.len());
        for (index, entry) in self.targets.iter().enumerate() {
            let name = entry.name.clone().unwrap_or_else(|| entry.url.clone());
            let wrong = |e: &dyn std::fmt::Display| {
                Problem::Usage(format!("scenario: target {} ({name}): {e}", index + 1))
            };
            let target: Target = entry.url.parse().map_err(|e: String| wrong(&e))?;
            let weight = entry.weight.unwrap_or(1.0);
            if !(weight.is_finite() && weight > 0.0) {
                return Err(wrong(&"its weight must be above zero"));
            }
            let body = self.content(entry).map_err(|e| wrong(&e))?;
            let method = entry.method.clone().unwrap_or_else(|| "GET".to_owned());
            let draft = Draft { method, headers: entry.headers.clone(), body };
            let request = Prepared::new(&target, &draft).map_err(|e| wrong(&e))?;
            items.push(Item { name, weight, request });
        }
        Ok(items)
    }

    fn content(&self, entry: &TargetEntry) -> Result<Option<Content>, Problem> {
        match (&entry.body, &entry.body_file, &entry.body_size) {
            (None, None, None) => Ok(None),
            (Some(text), None, None) => body(text).map(Some),
            (None, Some(file), None) => body_file(&self.folder.join(file)).map(Some),
            (None, None, Some(size)) => {
                size.parse().map(|sizes| Some(Content::Sized(sizes))).map_err(Problem::Usage)
            }
            _ => Err(Problem::Usage("give one of body, body_file and body_size".to_owned())),
        }
    }
}

fn value<T>(
    text: Option<&str>,
    key: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Problem> {
    text.map(parse).transpose().map_err(|e| Problem::Usage(format!("scenario: `{key}`: {e}")))
}

fn parse<T: FromStr<Err = String>>(text: Option<&str>, key: &str, into: &mut T) -> Result<(), Problem> {
    if let Some(parsed) = value(text, key, T::from_str)? {
        *into = parsed;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Arguments, Rate};
    use clap::{CommandFactory as _, FromArgMatches as _};
    use std::time::Duration;

    fn options(line: &[&str]) -> (LoadOptions, ArgMatches) {
        let line = ["pinion-load"].iter().chain(line).copied();
        let given = Arguments::command().get_matches_from(line);
        (Arguments::from_arg_matches(&given).unwrap().load, given)
    }

    fn scenario(text: &str) -> Result<Scenario, Problem> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.toml");
        std::fs::write(&path, text).unwrap();
        Scenario::read(&path)
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let scenario =
            scenario("rate = \"7\"\nduration = \"3s\"\nseed = 5\n[[targets]]\nurl = \"http://a/\"\n")
                .unwrap();
        let (mut options, given) = options(&["--scenario", "s.toml", "--duration", "9s"]);
        scenario.apply(&mut options, &given).unwrap();
        assert_eq!(
            (options.rate, options.duration, options.seed),
            (Rate::PerSecond(7.0), Duration::from_secs(9), 5)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let told = |text: &str| match scenario(text).and_then(|scenario| scenario.items()) {
            Err(Problem::Usage(text)) => text,
            _ => panic!("accepted"),
        };
        assert!(told("colour = 1\n[[targets]]\nurl = \"http://a/\"\n").contains("colour"));
        assert!(told("targets = []\n").contains("targets"));
        assert!(told("[[targets]]\nname = \"x\"\nurl = \"gopher://a/\"\n").contains("target 1 (x)"));
        assert!(told("[[targets]]\nurl = \"http://a/\"\nweight = 0\n").contains("weight"));
        assert!(
            told("[[targets]]\nurl = \"http://a/\"\nbody = \"a\"\nbody_size = \"1B\"\n").contains("one of")
        );
    }
}
