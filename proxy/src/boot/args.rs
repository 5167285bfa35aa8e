//! The command line: what may be written, and its help.
//!
//! Not here: what the commands do; every value that a configuration file can hold.

use std::path::PathBuf;

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};

const AFTER_HELP: &str = "\
Examples:
  pinion check pinion.toml                      say `ok`, or every problem with its place
  pinion run --config pinion.toml               serve until SIGTERM
  pinion explain --config pinion.toml -H 'end-user: jason' http://my-service/cart

Exit status: 0 success, 1 failed (for example: an address is in use), 2 usage or configuration.";

const AFTER_RUN: &str = "\
Signals:
  SIGTERM, SIGINT   drain: not ready, no new connections, finish requests; a second one stops at once
  SIGHUP            reload the configuration file and reopen the access log

The file is also watched: saving it reloads it. A file with problems changes nothing, and says why.

Examples:
  pinion run --config /etc/pinion/pinion.toml
  pinion run --config pinion.toml --log-format json --log-level debug";

const AFTER_EXPLAIN: &str = "\
Examples:
  pinion explain --config pinion.toml http://my-service/cart
  pinion explain --config pinion.toml -X POST -H 'end-user: jason' --json http://my-service/cart
  pinion explain --admin 127.0.0.1:9901 http://my-service/cart     ask a running proxy

Exit status: 0 whether or not a route matches, 1 when the running proxy can't be asked, 2 otherwise.";

/// A latency-focused, thread-per-core HTTP proxy.
#[derive(Debug, Parser)]
#[command(name = "pinion", version, about, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve in the foreground until told to stop
    Run(RunArgs),
    /// Check a configuration file: print `ok` or every problem
    Check(CheckArgs),
    /// Say which listener, route and cluster a request would meet, and why not others
    Explain(ExplainArgs),
    /// Print the JSON Schema of the configuration, for editors
    Schema,
}

/// Arguments of `run`.
#[derive(Debug, ClapArgs)]
#[command(after_help = AFTER_RUN)]
pub(crate) struct RunArgs {
    /// The configuration file (TOML)
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// How log lines are written, on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a filter such as `info,pinion::admin=debug`
    #[arg(long, env = "RUST_LOG", default_value = super::log::DEFAULT, value_name = "LEVEL")]
    pub(crate) log_level: String,
}

/// Arguments of `check`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CheckArgs {
    /// The configuration file (TOML)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Arguments of `explain`.
#[derive(Debug, ClapArgs)]
#[command(after_help = AFTER_EXPLAIN)]
#[command(group(ArgGroup::new("source").required(true).args(["config", "admin"])))]
pub(crate) struct ExplainArgs {
    /// Explain by this configuration file
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Ask the running proxy with this admin address (`127.0.0.1:9901` or `unix:/run/pinion/admin.sock`)
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<String>,
    /// The request's method
    #[arg(long, short = 'X', default_value = "GET", value_name = "METHOD")]
    pub(crate) method: String,
    /// A header field of the request, `name: value`; may be repeated
    #[arg(long = "header", short = 'H', value_name = "FIELD")]
    pub(crate) headers: Vec<String>,
    /// Only this listener (default: by the URL's port, else every HTTP listener)
    #[arg(long, value_name = "NAME")]
    pub(crate) listener: Option<String>,
    /// Answer as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The request's URL, `http://host[:port]/path?query`; `ws://` asks for a WebSocket
    #[arg(value_name = "URL")]
    pub(crate) url: String,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn explain_takes_exactly_one_source() {
        let parse = |args: &[&str]| Args::try_parse_from(args).is_ok();
        assert!(parse(&["pinion", "explain", "--config", "f", "http://a/"]));
        assert!(parse(&[
            "pinion",
            "explain",
            "--admin",
            "127.0.0.1:1",
            "-X",
            "PUT",
            "-H",
            "a: b",
            "http://a/"
        ]));
        assert!(!parse(&["pinion", "explain", "http://a/"]));
        assert!(!parse(&["pinion", "explain", "--config", "f", "--admin", "x", "http://a/"]));
    }
}
