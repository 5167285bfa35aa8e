//! `POST /reload`, `POST /drain`, `/log-level`: what changes the process.
//!
//! Not here: how it is done.

use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::json;

use super::{Admin, refusal};
use crate::config::control::Phase;
use crate::config::reload::{self, Cause, Failed};

/// Query parameters in the order they were written.
pub(super) type Parameters = Query<Vec<(String, String)>>;

/// Reloads; answers when every shard serves from the new configuration.
pub(super) async fn reload(State(admin): State<Admin>) -> Response {
    match reload::reload(&admin.control, Cause::Admin).await {
        Ok(done) => Json(json!({
            "generation": done.generation,
            "digest": format!("{:016x}", done.digest),
            "changed": done.changed,
        }))
        .into_response(),
        Err(failed) => {
            let (status, error) = match &failed {
                Failed::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid"),
                Failed::Files(_) => (StatusCode::BAD_REQUEST, "files"),
                Failed::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
                Failed::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
                Failed::Unconfirmed(_) => (StatusCode::GATEWAY_TIMEOUT, "unconfirmed"),
            };
            let in_force = admin.control.in_force();
            let answer = json!({
                "error": error,
                "detail": failed.text().trim_end(),
                "generation": in_force.snapshot.generation,
                "digest": format!("{:016x}", in_force.snapshot.digest),
            });
            (status, Json(answer)).into_response()
        }
    }
}

/// Begins to drain. `accept_for=5s` keeps listeners open for that long, while `/ready` says 503 already.
pub(super) async fn drain(State(admin): State<Admin>, Query(parameters): Parameters) -> Response {
    let mut accept_for = Duration::ZERO;
    for (name, value) in &parameters {
        match (name.as_str(), seconds(value)) {
            ("accept_for", Some(time)) => accept_for = time,
            ("accept_for", None) => {
                return refusal(
                    StatusCode::BAD_REQUEST,
                    "parameter",
                    "accept_for is a duration such as 5s or 500ms",
                );
            }
            _ => return refusal(StatusCode::BAD_REQUEST, "parameter", "the one parameter is accept_for"),
        }
    }
    let began = admin.control.drain(accept_for);
    match admin.control.phase() {
        Phase::Draining { closes, deadline } => {
            let left = |until: Instant| until.saturating_duration_since(Instant::now()).as_secs_f64();
            let answer = json!({
                "draining": true, "began": began,
                "accepts_seconds": left(closes), "deadline_seconds": left(deadline),
            });
            (StatusCode::ACCEPTED, Json(answer)).into_response()
        }
        _ => refusal(StatusCode::CONFLICT, "stopping", "the process is starting or stopping"),
    }
}

/// A duration of whole milliseconds or seconds, at most an hour: `500ms`, `5s`.
fn seconds(text: &str) -> Option<Duration> {
    let time = match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.parse().ok()?),
        None => Duration::from_secs(text.strip_suffix('s')?.parse().ok()?),
    };
    (time <= Duration::from_secs(3_600)).then_some(time)
}

/// The level in force.
pub(super) async fn level(State(admin): State<Admin>) -> Response {
    Json(json!({ "level": admin.level.text() })).into_response()
}

/// Changes the level: `level=` in the query, or the body.
pub(super) async fn set_level(
    State(admin): State<Admin>,
    Query(parameters): Parameters,
    body: String,
) -> Response {
    let asked = parameters.iter().find(|(name, _)| name == "level").map_or(body.trim(), |(_, level)| level);
    match admin.level.set(asked) {
        Ok(()) => {
            tracing::info!(level = asked, "log level changed");
            level(State(admin)).await
        }
        Err(error) => refusal(StatusCode::BAD_REQUEST, "level", &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("5s", Some(5_000)),
            ("250ms", Some(250)),
            ("0s", Some(0)),
            ("5", None),
            ("-1s", None),
            ("1h", None),
            ("999999s", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
