//! What an agent is told to send: the leader's options that concern the load, as they were written.
//!
//! Every option of the generator is in one of four classes; a test sees to it that new ones are put into one.
//! Files are read by the leader and sent; the agent puts them into a folder of its own and opens nothing else.
//! So an agent can be made to send requests, which is what it is for, but not to read its machine's files or
//! to talk to its Unix sockets.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _};
use serde::{Deserialize, Serialize};

use crate::cli::{Arguments, Problem};

/// The longest file that is sent along, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What becomes of an option in a run with agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The agents get it as it is.
    Passed,
    /// They get the content of the file that it names.
    File,
    /// The same if it begins so, else as it is.
    FileAfter(&'static str),
    /// It concerns the leader alone.
    Leader,
    /// It makes no sense on several machines.
    Refused(&'static str),
}

/// The class of each option, by its name in the program.
const CLASSES: [(&str, Class); 56] = [
    ("agents", Class::Leader),
    ("agents_ca", Class::Leader),
    ("agents_cert", Class::Leader),
    ("agents_key", Class::Leader),
    ("arrivals", Class::FileAfter("recorded:")),
    ("assertions", Class::Leader),
    ("body", Class::FileAfter("@")),
    ("body_size", Class::Passed),
    ("ca", Class::File),
    ("cert", Class::File),
    ("connections", Class::Passed),
    ("count_header", Class::Passed),
    ("driver", Class::Passed),
    ("duration", Class::Passed),
    ("find_knee", Class::Refused("the search for a knee runs on one machine")),
    ("grpc_streaming", Class::Passed),
    ("headers", Class::Passed),
    ("help", Class::Leader),
    ("hgrm", Class::Leader),
    ("hlog", Class::Leader),
    ("html", Class::Leader),
    ("http", Class::Passed),
    ("idle_connections", Class::Passed),
    ("insecure", Class::Passed),
    ("json", Class::Leader),
    ("key", Class::File),
    ("method", Class::Passed),
    ("new_connections", Class::Passed),
    ("no_resumption", Class::Passed),
    ("pin", Class::Refused("agents differ in their CPUs; --threads auto pins to all of them")),
    ("proxy_protocol", Class::Passed),
    ("proxy_source", Class::Passed),
    ("quiet", Class::Leader),
    ("rate", Class::Passed),
    ("replay", Class::File),
    ("requests", Class::Passed),
    ("requests_per_connection", Class::Passed),
    ("samples", Class::Refused("each agent would have its own")),
    ("scenario", Class::File),
    ("secret_file", Class::Leader),
    ("seed", Class::Passed),
    ("server_name", Class::Passed),
    ("source", Class::Refused("agents differ in their addresses")),
    ("speed", Class::Passed),
    ("stage", Class::Passed),
    ("streams", Class::Passed),
    ("threads", Class::Passed),
    ("timeout", Class::Passed),
    ("tls_groups", Class::Passed),
    ("tls_suites", Class::Passed),
    ("tls_version", Class::Passed),
    ("unix", Class::Refused("a Unix socket is on one machine")),
    ("until_ci", Class::Leader),
    ("url", Class::Passed),
    ("version", Class::Leader),
    ("warmup", Class::Passed),
];

fn class(option: &str) -> Option<Class> {
    CLASSES.iter().find(|(name, _)| *name == option).map(|(_, class)| *class)
}

/// What an agent is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) arguments: Vec<Argument>,
    /// The number of the agent's first thread among all, how many it has, and how many there are.
    pub(super) first: u32,
    pub(super) threads: u32,
    pub(super) all: u32,
}

/// One option, or the URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Argument {
    option: String,
    value: Value,
}

/// What an option says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Value {
    /// That it is there.
    Flag,
    Text(String),
    /// A file, in base64.
    File(String),
}

/// The options that the user gave and that agents need.
///
/// # Errors
/// An option that makes no sense with agents, or a file that can't be read.
pub(super) fn arguments(given: &ArgMatches) -> Result<Vec<Argument>, Problem> {
    let mut found = Vec::new();
    for argument in Arguments::command().get_arguments() {
        let option = argument.get_id().as_str();
        if given.try_contains_id(option).is_err()
            || given.value_source(option) != Some(ValueSource::CommandLine)
        {
            continue;
        }
        let class = class(option).unwrap_or(Class::Refused("it has no class"));
        match class {
            Class::Leader => continue,
            Class::Refused(reason) => {
                let name = argument.get_long().unwrap_or(option);
                return Err(Problem::Usage(format!("--{name} can't be used with --agents: {reason}")));
            }
            Class::Passed | Class::File | Class::FileAfter(_) => {}
        }
        if !argument.get_action().takes_values() {
            found.push(Argument { option: option.to_owned(), value: Value::Flag });
            continue;
        }
        for text in given.get_raw(option).into_iter().flatten() {
            let text = text
                .to_str()
                .ok_or_else(|| Problem::Usage(format!("--{option}: agents take only text in UTF-8")))?;
            let file = match class {
                Class::File => Some(text),
                Class::FileAfter(before) => text.strip_prefix(before),
                _ => None,
            };
            let value = match file {
                Some(file) => Value::File(read(Path::new(file))?),
                None => Value::Text(text.to_owned()),
            };
            found.push(Argument { option: option.to_owned(), value });
        }
    }
    Ok(found)
}

fn read(file: &Path) -> Result<String, Problem> {
    let told =
        |e: &std::io::Error| Problem::io(format_args!("can't send {} to the agents", file.display()), e);
    let length = fs::metadata(file).map_err(|e| told(&e))?.len();
    if length > FILE_BYTES_MAX {
        let file = file.display();
        return Err(Problem::Usage(format!("{file} is too long to be sent to the agents (64 MiB at most)")));
    }
    fs::read(file).map(|content| STANDARD.encode(content)).map_err(|e| told(&e))
}

/// The command line that an order comes down to; its files are put into `folder`.
///
/// # Errors
/// An option that a leader may not give, or a file that can't be written.
pub(super) fn command_line(arguments: &[Argument], folder: &Path) -> Result<Vec<String>, String> {
    let command = Arguments::command();
    let mut options = vec!["--quiet".to_owned()];
    let mut positional = None;
    for (number, Argument { option, value }) in arguments.iter().enumerate() {
        let class = class(option);
        let known = command.get_arguments().find(|argument| argument.get_id().as_str() == option);
        let (Some(class), Some(known)) = (class, known) else {
            return Err(format!("there is no option `{option}` here"));
        };
        let file = |before: &str, content: &str| {
            write(folder, number, content).map(|path| format!("{before}{path}"))
        };
        let text = match (class, value) {
            (Class::Passed, Value::Flag) => None,
            (Class::Passed, Value::Text(text)) => Some(text.clone()),
            (Class::FileAfter(before), Value::Text(text)) if !text.starts_with(before) => Some(text.clone()),
            (Class::File, Value::File(content)) => Some(file("", content)?),
            (Class::FileAfter(before), Value::File(content)) => Some(file(before, content)?),
            _ => return Err(format!("a leader may not give `{option}` in this way")),
        };
        match (known.get_long(), text) {
            (Some(long), Some(text)) => options.push(format!("--{long}={text}")),
            (Some(long), None) => options.push(format!("--{long}")),
            (None, text) => positional = text,
        }
    }
    options.push("--".to_owned());
    options.extend(positional);
    Ok(options)
}

/// Writes a file that came with an order, for nobody else to read.
fn write(folder: &Path, number: usize, content: &str) -> Result<String, String> {
    let content = STANDARD.decode(content).map_err(|e| format!("a file is not base64: {e}"))?;
    let path = folder.join(number.to_string());
    let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    opened.and_then(|mut file| file.write_all(&content)).map_err(|e| format!("can't keep a file: {e}"))?;
    path.into_os_string().into_string().map_err(|_| "the folder for files has no name in UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_class_and_no_class_is_left_over() {
        let command = Arguments::command();
        let mut names: Vec<&str> =
            command.get_arguments().map(|argument| argument.get_id().as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let with_class: Vec<&str> = CLASSES
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !["help", "version"].contains(name))
            .collect();
        names.retain(|name| !["help", "version"].contains(name));
        assert_eq!(names, with_class, "say in CLASSES what becomes of it with --agents");
    }

    fn given(words: &[&str]) -> ArgMatches {
        Arguments::command().try_get_matches_from(["pinion-load"].iter().chain(words)).unwrap()
    }

    #[test]
    fn the_load_is_passed_on_and_files_with_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let body = folder.path().join("body");
        fs::write(&body, "content").unwrap();
        let at = format!("@{}", body.display());
        let words = [
            "--rate",
            "500",
            "-H",
            "a: b",
            "-H",
            "c: d",
            "--body",
            &at,
            "-k",
            "--json",
            "x.json",
            "http://a/",
        ];
        let found = arguments(&given(&words)).unwrap();
        let line = command_line(&found, folder.path()).unwrap();
        let kept = line.iter().find_map(|word| word.strip_prefix("--body=@")).unwrap();
        assert_eq!(fs::read_to_string(kept).unwrap(), "content");
        assert!(Path::new(kept).starts_with(folder.path()) && kept != body.to_str().unwrap());
        for word in ["--quiet", "--rate=500", "--header=a: b", "--header=c: d", "--insecure"] {
            assert!(line.iter().any(|found| found == word), "{word}: {line:?}");
        }
        assert_eq!(line.last().map(String::as_str), Some("http://a/"));
        assert!(!line.iter().any(|word| word.contains("json")), "{line:?}");
        // It is a command line that the agent can parse.
        let again = Arguments::command().no_binary_name(true).try_get_matches_from(&line).unwrap();
        assert_eq!(again.get_raw("headers").unwrap().count(), 2);
    }

    #[test]
    fn what_makes_no_sense_on_several_machines_is_refused() {
        for words in [
            &["--unix", "x", "http://a/"][..],
            &["--find-knee", "p99<1ms", "http://a/"],
            &["--pin", "0", "http://a/"],
        ] {
            let refused = arguments(&given(words)).unwrap_err().to_string();
            assert!(refused.contains("can't be used with --agents"), "{refused}");
        }
    }

    #[test]
    fn an_agent_opens_no_file_that_the_leader_names() {
        let folder = tempfile::tempdir().unwrap();
        let argument = |option: &str, value| Argument { option: option.to_owned(), value };
        let text = |text: &str| Value::Text(text.to_owned());
        for wrong in [
            argument("body", text("@/etc/passwd")),
            argument("arrivals", text("recorded:/etc/passwd")),
            argument("scenario", text("/etc/passwd")),
            argument("key", text("/etc/passwd")),
            argument("unix", text("/run/docker.sock")),
            argument("json", text("/etc/passwd")),
            argument("samples", text("/etc/passwd")),
            argument("nonsense", Value::Flag),
            argument("body", Value::File("not base64!".to_owned())),
        ] {
            assert!(command_line(std::slice::from_ref(&wrong), folder.path()).is_err(), "{wrong:?}");
        }
        // A text that looks like an option is still the value of its own.
        let line = command_line(&[argument("method", text("GET --unix=x"))], folder.path()).unwrap();
        assert!(line.contains(&"--method=GET --unix=x".to_owned()), "{line:?}");
    }
}
