//! Compiles header edits and direct responses.

use super::super::problem::Problems;
use super::super::read::{At, Entries};
use super::super::schema::{self, OneOrMore};
use super::super::units::Size;
use crate::http::HeaderEdits;
use crate::http::edits::{Line, is_host, name_allowed, value_allowed};
use crate::limits::DIRECT_BODY_BYTES_MAX;
use crate::route::DirectResponse;

/// Whose head is edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Request,
    Response,
}

pub(super) fn edits(section: &schema::Edits, head: Head, problems: &mut Problems) -> HeaderEdits {
    let set = lines(&section.set, head, "set", problems);
    let add = lines(&section.add, head, "add", problems);
    let mut remove: Vec<Box<[u8]>> = Vec::new();
    for name in section.remove.iter().flat_map(|list| &list.value) {
        let Some(lower) = field_name(name, problems) else { continue };
        if is_host(&lower) {
            problems.error(name.span.clone(), "`host` can't be removed: every request must have one");
        } else if set.iter().any(|(set, _)| *set == lower) {
            problems
                .error(name.span.clone(), format!("`{}` is both set and removed", name.value))
                .suggest("`set` replaces every field of the name: leave it out of `remove`");
        } else {
            remove.push(lower);
        }
    }
    HeaderEdits { set: set.into(), add: add.into(), remove: remove.into() }
}

fn lines(
    entries: &Option<At<Entries<OneOrMore>>>,
    head: Head,
    key: &str,
    problems: &mut Problems,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, values) in entries.iter().flat_map(|entries| &entries.value) {
        let Some(lower) = field_name(name, problems) else { continue };
        if is_host(&lower) && (head == Head::Response || key == "add" || values.value.0.len() != 1) {
            problems
                .error(name.span.clone(), format!("`host` can't be edited by `{key}` here"))
                .suggest("a request has exactly one: use `set` of `request_headers` with one value");
            continue;
        }
        for value in &values.value.0 {
            if let Some(value) = field_value(value, problems) {
                lines.push((lower.clone(), value));
            }
        }
    }
    lines
}

/// The name in lower case, if an edit may name it.
fn field_name(name: &At<String>, problems: &mut Problems) -> Option<Box<[u8]>> {
    let lower = name.value.to_ascii_lowercase();
    if name_allowed(lower.as_bytes()) {
        return Some(lower.into_bytes().into());
    }
    if super::conditions::is_token(lower.as_bytes()) {
        problems
            .error(name.span.clone(), format!("`{}` can't be edited", name.value))
            .label("the proxy itself writes the fields that frame a message or belong to a connection");
    } else {
        problems.error(name.span.clone(), format!("`{}` is not a header field name", name.value));
    }
    None
}

fn field_value(value: &At<String>, problems: &mut Problems) -> Option<Box<[u8]>> {
    if value_allowed(value.value.as_bytes()) {
        return Some(value.value.as_bytes().into());
    }
    problems
        .error(value.span.clone(), "this is not a header field value")
        .label("control characters, and spaces at either end, are not allowed");
    None
}

pub(super) fn direct(section: &schema::DirectResponse, problems: &mut Problems) -> Option<DirectResponse> {
    let status = section.status.as_ref()?;
    if !(200..600).contains(&status.value) {
        problems.error(status.span.clone(), "`status` must be from 200 to 599");
        return None;
    }
    let body = &section.body;
    if matches!(status.value, 204 | 205 | 304) && !body.value.is_empty() {
        problems.error(body.span.clone(), format!("a response of status {} has no body", status.value));
    }
    if body.value.len() > DIRECT_BODY_BYTES_MAX {
        let most = Size(DIRECT_BODY_BYTES_MAX as u64);
        problems.error(body.span.clone(), format!("the body is larger than {most}"));
    }
    let mut headers: Vec<Line> = Vec::new();
    for (name, value) in section.headers.iter().flat_map(|entries| &entries.value) {
        if let (Some(name), Some(value)) = (field_name(name, problems), field_value(value, problems)) {
            headers.push((name, value));
        }
    }
    Some(DirectResponse { status: status.value, headers: headers.into(), body: body.value.as_bytes().into() })
}
