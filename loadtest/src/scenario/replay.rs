//! Recorded traffic: the requests of an access log with their timing.
//!
//! Two formats: JSON lines as Pinion and Envoy write them (`start_time`, `method`, `path`, `authority`), and
//! the combined format of nginx and Apache, whose times are whole seconds: its requests are spread evenly
//! over their second.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::Item;
use crate::cli::Problem;
use crate::client::request::{Draft, Prepared};
use crate::client::target::Target;
use crate::schedule::recorded::Due;
use crate::timestamp;

/// The most different requests that are told apart.
const REQUESTS_MAX: usize = 100_000;

/// What is known of a logged request.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// Nanoseconds since 1970.
    at: i128,
    /// Whether the time is that of the whole second.
    is_coarse: bool,
    method: String,
    path: String,
    authority: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    start_time: String,
    method: String,
    path: String,
    authority: Option<String>,
}

/// Reads a log; its requests go to the host of `url`, with the headers of `draft`.
///
/// # Errors
/// The file can't be read, or a line is in neither format.
pub(crate) fn read(
    path: &Path,
    url: &Target,
    draft: &Draft,
    speed: f64,
) -> Result<(Vec<Item>, Vec<Due>), Problem> {
    if !(speed.is_finite() && speed > 0.0) {
        return Err(Problem::Usage("--speed must be above zero".to_owned()));
    }
    let wrong = |e: &dyn std::fmt::Display| Problem::Usage(format!("replay {}: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| wrong(&e))?;
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let entry = if line.starts_with('{') { json(line) } else { combined(line) };
        entries.push(entry.map_err(|e| wrong(&format_args!("line {}: {e}", index + 1)))?);
    }
    // Lines stand in the order in which requests ended.
    entries.sort_by_key(|entry| entry.at);
    let Some(first) = entries.first().map(|entry| entry.at) else { return Err(wrong(&"it is empty")) };
    let times = spread(&entries);
    let mut items: Vec<Item> = Vec::new();
    let mut known: HashMap<(&str, &str, Option<&str>), u32> = HashMap::new();
    let mut due = Vec::with_capacity(entries.len());
    for (entry, at) in entries.iter().zip(times) {
        let key = (entry.method.as_str(), entry.path.as_str(), entry.authority.as_deref());
        let number = match known.get(&key) {
            Some(&number) => number,
            None => {
                if items.len() == REQUESTS_MAX {
                    return Err(wrong(&format_args!("more than {REQUESTS_MAX} different requests")));
                }
                let number = items.len() as u32;
                items.push(item(entry, url, draft).map_err(|e| wrong(&e))?);
                known.insert(key, number);
                number
            }
        };
        let at = ((at - first) as f64 / speed) as u64;
        due.push(Due { at, target: Some(number) });
    }
    Ok((items, due))
}

fn item(entry: &Entry, url: &Target, draft: &Draft) -> Result<Item, Problem> {
    let target = Target { path: entry.path.clone(), ..url.clone() };
    let mut draft = Draft { method: entry.method.clone(), ..draft.clone() };
    let has_host = draft.headers.iter().any(|line| line.to_ascii_lowercase().starts_with("host:"));
    if let Some(authority) = entry.authority.as_deref().filter(|_| !has_host) {
        draft.headers.push(format!("host: {authority}"));
    }
    let request = Prepared::new(&target, &draft)?;
    Ok(Item { name: format!("{} {}", entry.method, entry.path), weight: 1.0, request })
}

/// The times, those of whole seconds spread over their second.
fn spread(entries: &[Entry]) -> Vec<i128> {
    let mut times = Vec::with_capacity(entries.len());
    for group in entries.chunk_by(|a, b| a.at == b.at && a.is_coarse && b.is_coarse) {
        let step = if group[0].is_coarse { 1_000_000_000 / group.len() as i128 } else { 0 };
        times.extend(group.iter().enumerate().map(|(index, entry)| entry.at + index as i128 * step));
    }
    times
}

fn json(line: &str) -> Result<Entry, String> {
    let line: Line = serde_json::from_str(line).map_err(|e| e.to_string())?;
    Ok(Entry {
        at: timestamp::parse_rfc3339(&line.start_time).ok_or("`start_time` is not RFC 3339")?,
        is_coarse: false,
        method: line.method,
        path: line.path,
        authority: line.authority,
    })
}

/// `ADDRESS - USER [10/Oct/2000:13:55:36 -0700] "GET /path HTTP/1.1" 200 2326 …`
fn combined(line: &str) -> Result<Entry, String> {
    let inside = |open: char, close: char| {
        let (_, rest) = line.split_once(open)?;
        rest.split_once(close).map(|(inside, _)| inside)
    };
    let time = inside('[', ']').ok_or("neither JSON nor the combined format")?;
    let request = inside('"', '"').ok_or("no request in quotes")?;
    let mut words = request.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next().filter(|path| path.starts_with('/'))) else {
        return Err(format!("`{request}` is not a request"));
    };
    Ok(Entry {
        at: timestamp::parse_common(time).ok_or_else(|| format!("`{time}` is not a time"))?,
        is_coarse: true,
        method: method.to_owned(),
        path: path.to_owned(),
        authority: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, speed: f64) -> Result<(Vec<Item>, Vec<Due>), Problem> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, text).unwrap();
        read(&path, &"http://h:1/ignored".parse().unwrap(), &Draft::default(), speed)
    }

    #[test]
    fn json_lines_keep_their_timing_and_share_requests() {
        let line = |time: &str, path: &str| {
            format!(
                "{{\"start_time\":\"2026-11-20T10:00:{time}Z\",\"method\":\"GET\",\"path\":\"{path}\",\"authority\":\"a\",\"x\":1}}\n"
            )
        };
        // In the order of their ends, which is not that of their beginnings.
        let text = [line("01.500000", "/b"), line("01.000000", "/a"), line("02.000000", "/a")].concat();
        let (items, due) = read_text(&text, 2.0).unwrap();
        let names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["GET /a", "GET /b"]);
        let expected = [(0, 0), (250_000_000, 1), (500_000_000, 0)];
        assert_eq!(due, expected.map(|(at, target)| Due { at, target: Some(target) }));
    }

    #[test]
    fn combined_lines_are_spread_over_their_second() {
        let line = |second: &str| {
            format!(
                "1.2.3.4 - - [20/Nov/2026:10:00:{second} +0100] \"POST /x?y HTTP/1.1\" 200 5 \"-\" \"curl\"\n"
            )
        };
        let (items, due) = read_text(&[line("01"), line("01"), line("02")].concat(), 1.0).unwrap();
        assert_eq!((items.len(), items[0].name.as_str()), (1, "POST /x?y"));
        let times: Vec<u64> = due.iter().map(|due| due.at).collect();
        assert_eq!(times, [0, 500_000_000, 1_000_000_000]);
    }

    #[test]
    fn what_is_no_log_is_named_with_its_line() {
        for (text, part) in [("{}\n", "line 1"), ("\nhello\n", "line 2"), ("", "empty")] {
            let Err(Problem::Usage(told)) = read_text(text, 1.0) else { panic!("accepted {text:?}") };
            assert!(told.contains(part), "{told}");
        }
    }
}
