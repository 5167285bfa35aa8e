//! `pinion explain`: by a configuration file, or by what a running proxy has in force.
//!
//! Not here: the explanation itself (`pinion_core::route::explain`).

use pinion_core::config::snapshot::Address;
use pinion_core::route::{Question, explain as decide};

use super::args::ExplainArgs;
use super::check::answer;
use super::{Failure, ask};
use crate::config::file;

/// Prints what the request would meet.
pub(super) fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    match (&args.config, &args.admin) {
        (Some(path), _) => {
            let snapshot = file::load(path).map_err(|error| Failure::Usage(error.to_string()))?;
            let question = question(args)?;
            let explanation =
                decide(&snapshot, &question).map_err(|error| Failure::Usage(error.to_string()))?;
            answer(&if args.json { format!("{:#}\n", explanation.json()) } else { explanation.to_string() })
        }
        (None, Some(admin)) => ask_running(args, admin),
        (None, None) => Err(Failure::Usage("either --config or --admin is needed".to_owned())),
    }
}

fn question(args: &ExplainArgs) -> Result<Question, Failure> {
    let headers = args.headers.iter().map(|field| match field.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(Failure::Usage(format!("header `{field}`: expected `name: value`"))),
    });
    Ok(Question {
        method: args.method.clone(),
        url: args.url.clone(),
        headers: headers.collect::<Result<_, _>>()?,
        listener: args.listener.clone(),
    })
}

fn ask_running(args: &ExplainArgs, admin: &str) -> Result<(), Failure> {
    let address: Address = admin
        .parse()
        .map_err(|error| Failure::Usage(format!("--admin {admin}: {error}, for example 127.0.0.1:9901")))?;
    let question = question(args)?;
    let fields: Vec<String> =
        question.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let mut parameters = vec![("url", &*question.url), ("method", &question.method)];
    parameters.extend(fields.iter().map(|field| ("header", field.as_str())));
    parameters.extend(question.listener.as_deref().map(|listener| ("listener", listener)));
    parameters.push(("format", if args.json { "json" } else { "text" }));
    let (status, body) =
        ask::get(&address, "/explain", &parameters).map_err(|error| Failure::failed(&address, error))?;
    match status {
        200 => answer(&body),
        400 => Err(Failure::Usage(detail(&body))),
        _ => Err(Failure::failed(&address, format!("answered {status}: {}", detail(&body)))),
    }
}

/// The sentence for people in a refusal of the admin port, or all of it.
fn detail(body: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let detail = parsed.as_ref().and_then(|parsed| parsed["detail"].as_str());
    detail.unwrap_or(body.trim_end()).to_owned()
}
