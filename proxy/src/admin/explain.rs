//! `GET /explain`: what a request would meet in this process, now.
//!
//! Parameters: `url` (required), `method`, `header` (`name: value`, may be repeated), `listener`, and
//! `format` (`json`, the default, or `text`).
//!
//! Not here: the explanation itself (`pinion_core::route::explain`).

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use pinion_core::route::{Question, explain as decide};

use super::actions::Parameters;
use super::{Admin, refusal};

/// Explains by the configuration in force.
pub(super) async fn explain(State(admin): State<Admin>, Query(parameters): Parameters) -> Response {
    let (question, text) = match question(parameters) {
        Ok(read) => read,
        Err(detail) => return refusal(StatusCode::BAD_REQUEST, "parameter", &detail),
    };
    let in_force = admin.control.in_force();
    // Thousands of routes take milliseconds: not on the thread that answers probes.
    let explained = tokio::task::spawn_blocking(move || {
        let explanation = decide(&in_force.snapshot, &question).map_err(|error| error.to_string())?;
        let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        Ok::<_, String>(match text {
            true => (plain, explanation.to_string()).into_response(),
            false => Json(explanation.json()).into_response(),
        })
    });
    match explained.await {
        Ok(Ok(response)) => response,
        Ok(Err(detail)) => refusal(StatusCode::BAD_REQUEST, "question", &detail),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "explain", &error.to_string()),
    }
}

/// The question, and whether it wants a text for an answer.
fn question(parameters: Vec<(String, String)>) -> Result<(Question, bool), String> {
    let (mut question, mut text) = (Question::default(), false);
    for (name, value) in parameters {
        match name.as_str() {
            "url" => question.url = value,
            "method" => question.method = value,
            "listener" => question.listener = Some(value),
            "header" => match value.split_once(':') {
                Some((name, value)) => {
                    question.headers.push((name.trim().to_owned(), value.trim().to_owned()));
                }
                None => return Err(format!("header `{value}`: expected `name: value`")),
            },
            "format" if value == "text" || value == "json" => text = value == "text",
            "format" => return Err(format!("format `{value}`: expected `json` or `text`")),
            _ => return Err(format!("there is no parameter `{name}`")),
        }
    }
    if question.url.is_empty() {
        return Err("the parameter `url` is missing".to_owned());
    }
    Ok((question, text))
}
