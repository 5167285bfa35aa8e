//! The admin port: a small HTTP API for probes, scrapers and people with curl.
//!
//! | method, path      | answers |
//! |---|---|
//! | `GET /live`       | 200 while the process runs |
//! | `GET /ready`      | 200 while new requests are welcome, else 503; how the last reload went |
//! | `GET /metrics`    | Prometheus text, OpenMetrics when `Accept` asks |
//! | `GET /config`     | what is in force, and on which shards |
//! | `GET /listeners`, `/clusters`, `/shards` | what there is, with its totals |
//! | `GET /explain`    | what a request would meet |
//! | `POST /reload`, `/drain`, `/log-level` | actions |
//!
//! Invariants:
//! - nothing here touches a shard: totals are read, actions go through the publisher;
//! - handlers never block: what waits for shards or files runs on a thread of its own;
//! - a web page in somebody's browser can't drive it: actions with an `Origin` are refused, and a port
//!   that is only reachable locally answers only to local names (DNS rebinding).
//!
//! Not here: connections and their limits (`serve`), fields of the answers (`docs/admin.md`).

mod actions;
mod explain;
mod pages;
pub(crate) mod serve;
mod tls;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::json;

use crate::boot::LogLevel;
use crate::config::control::Control;

/// The longest body of a request: actions take a word or two.
const BODY_BYTES_MAX: usize = 4 * 1024;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Admin {
    /// The control side.
    pub(crate) control: Arc<Control>,
    /// The log's level.
    pub(crate) level: LogLevel,
    /// Whether the port is a loopback TCP address, which a browser on this machine could reach.
    pub(crate) loopback: bool,
}

/// Every path of the admin port.
pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/live", get(pages::live))
        .route("/ready", get(pages::ready))
        .route("/metrics", get(pages::metrics))
        .route("/config", get(pages::config))
        .route("/listeners", get(pages::listeners))
        .route("/clusters", get(pages::clusters))
        .route("/shards", get(pages::shards))
        .route("/explain", get(explain::explain))
        .route("/reload", post(actions::reload))
        .route("/drain", post(actions::drain))
        .route("/log-level", get(actions::level).post(actions::set_level))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "not_found", "no such path") })
        .method_not_allowed_fallback(|| async {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path takes another method")
        })
        .layer(from_fn_with_state(admin.clone(), guard))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(admin)
}

/// The shape of every refusal: a word for programs and a sentence for people.
fn refusal(status: StatusCode, error: &str, detail: &str) -> Response {
    (status, Json(json!({ "error": error, "detail": detail }))).into_response()
}

/// Refuses what a browser was tricked into.
async fn guard(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    if request.method() == Method::POST && request.headers().contains_key(ORIGIN) {
        return refusal(StatusCode::FORBIDDEN, "origin", "actions are not for web pages");
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if admin.loopback && !host.is_none_or(is_local_name) {
        return refusal(
            StatusCode::FORBIDDEN,
            "host",
            "a local port answers only to IP addresses and localhost",
        );
    }
    next.run(request).await
}

/// Whether `host` is a name that DNS can't turn: an address, or `localhost`.
fn is_local_name(host: &str) -> bool {
    let Ok(uri) = host.parse::<Uri>() else {
        return false;
    };
    let Some(name) = uri.host() else {
        return false;
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_names() {
        for (host, local) in [
            ("127.0.0.1:9901", true),
            ("127.0.0.1", true),
            ("[::1]:9901", true),
            ("localhost:9901", true),
            ("LocalHost", true),
            ("evil.example:9901", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_local_name(host), local, "{host}");
        }
    }
}
