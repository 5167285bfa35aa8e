//! Compiles the conditions of a route: hosts, path, methods, header fields, query parameters.
//!
//! Requests are compared in their one form (`http::normalize`), so a condition that is not in that form
//! could never hold: it is an error that names the right form.

use std::ops::Range;

use super::super::problem::Problems;
use super::super::read::{At, Entries};
use super::super::schema::{PathCondition, PathKinds, ValueCondition, ValueKinds};
use crate::http::{Normalised, normalize_host, normalize_path};
use crate::route::{HostMatch, NamedMatch, PathMatch, Pattern, ValueMatch};

/// `None` when one could not be compiled; `HostMatch::Any` without the `key`.
pub(super) fn hosts(
    list: Option<&At<Vec<At<String>>>>,
    key: &str,
    problems: &mut Problems,
) -> Option<Box<[HostMatch]>> {
    let Some(list) = list else { return Some([HostMatch::Any].into()) };
    not_empty(list, key, "every host", problems)?;
    let mut hosts: Vec<HostMatch> = Vec::with_capacity(list.value.len());
    let mut whole = true;
    for written in &list.value {
        let Some(host) = host(written, problems) else {
            whole = false;
            continue;
        };
        if hosts.contains(&host) {
            problems.warning(written.span.clone(), format!("the host `{host}` is listed twice"));
        } else {
            hosts.push(host);
        }
    }
    whole.then(|| hosts.into())
}

fn host(written: &At<String>, problems: &mut Problems) -> Option<HostMatch> {
    if written.value == "*" {
        return Some(HostMatch::Any);
    }
    let (wildcard, name) = match written.value.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, written.value.as_str()),
    };
    let mut room = [0; 256];
    let normal = normalize_host(name.as_bytes(), &mut room).and_then(|length| room.get(..length));
    let Some(normal) = normal.filter(|_| !name.contains('*')) else {
        let problem =
            problems.error(written.span.clone(), format!("`{}` is not a host pattern", written.value));
        if written.value.contains("://") {
            problem.suggest("write the host alone, without scheme and path");
        } else if !written.value.is_ascii() {
            problem.suggest("write international names in their ASCII form (`xn--…`)");
        } else {
            problem.suggest("expected a host such as `a.example`, a wildcard `*.example`, or `*`");
        }
        return None;
    };
    let shown = String::from_utf8_lossy(normal).into_owned();
    // Only a port makes the normal form shorter by more than the final dot.
    if name.trim_end_matches('.').len() != normal.len() {
        let form = if wildcard { format!("*.{shown}") } else { shown };
        problems
            .error(written.span.clone(), "a host pattern has no port")
            .label("the port of a request's host is ignored")
            .suggest(format!("write `{form}`"));
        return None;
    }
    Some(if wildcard {
        HostMatch::Suffix([b".", normal].concat().into())
    } else {
        HostMatch::Exact(normal.into())
    })
}

/// `None` when it could not be compiled; every path without the key.
pub(super) fn path(condition: Option<&At<PathCondition>>, problems: &mut Problems) -> Option<PathMatch> {
    let Some(condition) = condition else { return Some(PathMatch::prefix(b"/")) };
    let kinds = match &condition.value {
        PathCondition::Exact(exact) => {
            let path = normal_path(&condition.span, exact, problems)?;
            return Some(PathMatch::Exact(path));
        }
        PathCondition::Kinds(kinds) => kinds,
    };
    let PathKinds { exact, prefix, regex } = &**kinds;
    if condition.damaged {
        return None;
    }
    match (exact, prefix, regex) {
        (Some(exact), None, None) => {
            Some(PathMatch::Exact(normal_path(&exact.span, &exact.value, problems)?))
        }
        (None, Some(prefix), None) => {
            Some(PathMatch::prefix(&normal_path(&prefix.span, &prefix.value, problems)?))
        }
        (None, None, Some(regex)) => Some(PathMatch::Regex(pattern(regex, problems)?)),
        _ => one_kind(&condition.span, "a path condition", "exact, prefix, regex", problems),
    }
}

/// The path, if it is in the form that requests are compared in.
fn normal_path(span: &Range<usize>, written: &str, problems: &mut Problems) -> Option<Box<[u8]>> {
    if written == "*" {
        return Some(written.as_bytes().into());
    }
    if !written.starts_with('/') {
        problems
            .error(span.clone(), format!("the path `{written}` can't match: paths start with `/`"))
            .suggest(format!("write `/{written}`"));
        return None;
    }
    if let Some((path, _)) = written.split_once(['?', '#']) {
        problems
            .error(span.clone(), format!("the path `{written}` can't match: paths end before `?` and `#`"))
            .suggest(format!("write `{path}`, and conditions on the query as `query = {{ … }}`"));
        return None;
    }
    let mut normal = Vec::new();
    match normalize_path(written.as_bytes(), &mut normal) {
        Ok(Normalised::Same) => Some(written.as_bytes().into()),
        Ok(Normalised::Changed) => {
            problems
                .error(span.clone(), format!("the path `{written}` can't match"))
                .label("paths are compared in their normal form")
                .suggest(format!("write `{}`", String::from_utf8_lossy(&normal)));
            None
        }
        Err(_) => {
            problems
                .error(span.clone(), format!("the path `{written}` can't match"))
                .label("requests with such a path are refused with 400");
            None
        }
    }
}

fn pattern(regex: &At<String>, problems: &mut Problems) -> Option<Pattern> {
    match Pattern::new(&regex.value) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let text = error.to_string();
            // The parser draws the pattern with a caret of its own; its last line says what is wrong.
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            problems.error(regex.span.clone(), format!("bad regular expression: {reason}"));
            None
        }
    }
}

/// Methods as written; a usual one in lower case is surely a mistake.
pub(super) fn methods(
    list: Option<&At<Vec<At<String>>>>,
    problems: &mut Problems,
) -> Option<Box<[Box<[u8]>]>> {
    const USUAL: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    let Some(list) = list else { return Some(Box::new([])) };
    not_empty(list, "methods", "every method", problems)?;
    let mut methods: Vec<Box<[u8]>> = Vec::with_capacity(list.value.len());
    let mut whole = true;
    for written in &list.value {
        let upper = written.value.to_ascii_uppercase();
        if USUAL.contains(&upper.as_str()) && upper != written.value {
            problems
                .error(
                    written.span.clone(),
                    format!("the method `{}` can't match: methods are compared with case", written.value),
                )
                .suggest(format!("write `{upper}`"));
            whole = false;
        } else if !is_token(written.value.as_bytes()) {
            problems.error(written.span.clone(), format!("`{}` is not a method", written.value));
            whole = false;
        } else if methods.iter().any(|method| **method == *written.value.as_bytes()) {
            problems.warning(written.span.clone(), format!("the method `{}` is listed twice", written.value));
        } else {
            methods.push(written.value.as_bytes().into());
        }
    }
    whole.then(|| methods.into())
}

/// What the names of conditions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Header,
    Query,
}

/// Conditions on header fields or query parameters, sorted by name; `None` when one could not be compiled.
pub(super) fn named(
    entries: Option<&At<Entries<ValueCondition>>>,
    what: Named,
    problems: &mut Problems,
) -> Option<Box<[NamedMatch]>> {
    let mut conditions: Vec<NamedMatch> = Vec::new();
    let mut whole = true;
    for (name, condition) in entries.iter().flat_map(|entries| &entries.value) {
        let key = match what {
            Named::Header => header_name(name, problems),
            Named::Query => Some(name.value.as_bytes().into()),
        };
        let value = value(condition, problems);
        let (Some(key), Some(value)) = (key, value) else {
            whole = false;
            continue;
        };
        if conditions.iter().any(|earlier| earlier.name == key) {
            problems
                .error(name.span.clone(), format!("two conditions on `{}`", name.value))
                .label("names of header fields are compared without case");
            whole = false;
            continue;
        }
        conditions.push(NamedMatch::new(key, value));
    }
    conditions.sort_by(|a, b| a.name.cmp(&b.name));
    whole.then(|| conditions.into())
}

fn header_name(name: &At<String>, problems: &mut Problems) -> Option<Box<[u8]>> {
    let lower = name.value.to_ascii_lowercase();
    if lower == "host" {
        problems
            .error(name.span.clone(), "conditions on the host are written as `hosts`")
            .suggest("write `hosts = [\"…\"]`");
        return None;
    }
    if !is_token(lower.as_bytes()) {
        problems.error(name.span.clone(), format!("`{}` is not a header field name", name.value));
        return None;
    }
    Some(lower.into_bytes().into())
}

fn value(condition: &At<ValueCondition>, problems: &mut Problems) -> Option<ValueMatch> {
    let kinds = match &condition.value {
        ValueCondition::Exact(exact) => return Some(ValueMatch::Exact(exact.as_bytes().into())),
        ValueCondition::Kinds(kinds) => kinds,
    };
    let ValueKinds { exact, prefix, suffix, contains, regex, present, absent, range } = &**kinds;
    let presence = |present: bool| if present { ValueMatch::Present } else { ValueMatch::Absent };
    let written = [
        exact.is_some(),
        prefix.is_some(),
        suffix.is_some(),
        contains.is_some(),
        regex.is_some(),
        present.is_some(),
        absent.is_some(),
        range.is_some(),
    ];
    if condition.damaged {
        return None;
    }
    if written.iter().filter(|written| **written).count() != 1 {
        const KINDS: &str = "exact, prefix, suffix, contains, regex, present, absent, range";
        return one_kind(&condition.span, "a condition", KINDS, problems);
    }
    let bytes = |text: &At<String>| Box::<[u8]>::from(text.value.as_bytes());
    exact
        .as_ref()
        .map(|text| ValueMatch::Exact(bytes(text)))
        .or_else(|| prefix.as_ref().map(|text| ValueMatch::Prefix(bytes(text))))
        .or_else(|| suffix.as_ref().map(|text| ValueMatch::Suffix(bytes(text))))
        .or_else(|| contains.as_ref().map(|text| ValueMatch::contains(text.value.as_bytes())))
        .or_else(|| present.as_ref().map(|present| presence(present.value)))
        .or_else(|| absent.as_ref().map(|absent| presence(!absent.value)))
        .or_else(|| Some(ValueMatch::Regex(pattern(regex.as_ref()?, problems)?)))
        .or_else(|| {
            let range = range.as_ref()?;
            let start = range.value.start.as_ref().map_or(i64::MIN, |start| start.value);
            let end = range.value.end.as_ref().map_or(i64::MAX, |end| end.value);
            if start < end && (range.value.start.is_some() || range.value.end.is_some()) {
                return Some(ValueMatch::Range { start, end });
            }
            problems
                .error(range.span.clone(), "no integer is in this range")
                .suggest("`start` is the lowest that matches, `end` the lowest above those that match");
            None
        })
}

/// Reports a table that must have exactly one of its keys.
fn one_kind<T>(span: &Range<usize>, what: &str, kinds: &str, problems: &mut Problems) -> Option<T> {
    problems
        .error(span.clone(), format!("{what} has exactly one kind"))
        .suggest(format!("one of: {kinds}"))
        .absence();
    None
}

/// An empty list of alternatives could never hold; one that lost items to problems is not judged.
pub(super) fn not_empty<T>(list: &At<Vec<T>>, key: &str, all: &str, problems: &mut Problems) -> Option<()> {
    if !list.value.is_empty() {
        return Some(());
    }
    if list.damaged {
        return None;
    }
    problems
        .error(list.span.clone(), format!("`{key}` is empty: the route could never match"))
        .suggest(format!("leave `{key}` out to match {all}"));
    None
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}
