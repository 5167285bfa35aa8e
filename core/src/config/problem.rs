//! What is wrong with a configuration, for people: where, what, and what to do about it.
//!
//! Not here: finding problems.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::suggest::nearest;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is taken; this part probably does not do what was meant.
    Warning,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The bytes of the source that it is about.
    pub span: Range<usize>,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// What stands beside the caret.
    pub label: Option<String>,
    /// Another place that belongs to it, with what it is.
    pub other: Option<(Range<usize>, String)>,
    /// What to do about it.
    pub suggestion: Option<String>,
    /// It says that something is not there, which a syntax error elsewhere may explain.
    absence: bool,
}

impl Problem {
    /// With these words beside the caret.
    pub(super) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = Some(label.into());
        self
    }

    /// With another place that belongs to it.
    pub(super) fn other(&mut self, span: &Range<usize>, label: impl Into<String>) -> &mut Self {
        self.other = Some((span.clone(), label.into()));
        self
    }

    /// With what to do about it.
    pub(super) fn suggest(&mut self, suggestion: impl Into<String>) -> &mut Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    /// With "did you mean", when one of `known` is close to `word`; else with the list of them.
    pub(super) fn suggest_from<'a>(
        &mut self,
        word: &str,
        known: impl Iterator<Item = &'a str> + Clone,
        what: &str,
    ) -> &mut Self {
        if let Some(nearest) = nearest(word, known.clone()) {
            return self.suggest(format!("did you mean `{nearest}`?"));
        }
        let list: Vec<&str> = known.take(SUGGESTIONS_MAX).collect();
        if list.is_empty() { self } else { self.suggest(format!("{what}: {}", list.join(", "))) }
    }

    /// Marks it as something that is not there.
    pub(super) fn absence(&mut self) -> &mut Self {
        self.absence = true;
        self
    }
}

/// How many problems the text form shows: nobody reads more at once.
const SHOWN_MAX: usize = 200;

/// How many known words a suggestion lists at most.
const SUGGESTIONS_MAX: usize = 24;

/// Problems of one source, in the order of their place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    file: String,
    source: String,
    /// Where each line starts.
    lines: Vec<usize>,
    list: Vec<Problem>,
}

impl Problems {
    /// No problems yet, of the source `source` that is called `file`.
    pub fn new(file: &str, source: &str) -> Self {
        let newlines = source.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        let lines = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        Problems { file: file.to_owned(), source: source.to_owned(), lines, list: Vec::new() }
    }

    /// The problems, in the order of their place.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether one of them refuses the configuration.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// The name of the source.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Adds a problem about `span` that was found outside the text, in a file that it names.
    pub fn report(
        &mut self,
        severity: Severity,
        span: Range<usize>,
        message: String,
        suggestion: Option<String>,
    ) {
        self.push(severity, span, message).suggestion = suggestion;
        self.sort();
    }

    /// Adds an error about `span`.
    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Error, span, message.into())
    }

    /// Adds a warning about `span`.
    pub(super) fn warning(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Problem {
        self.push(Severity::Warning, span, message.into())
    }

    fn push(&mut self, severity: Severity, span: Range<usize>, message: String) -> &mut Problem {
        let span = self.clamp(span);
        let (line, column) = self.place(span.start);
        let problem = Problem {
            severity,
            line,
            column,
            span,
            message,
            label: None,
            other: None,
            suggestion: None,
            absence: false,
        };
        let place = self.list.len();
        self.list.push(problem);
        &mut self.list[place]
    }

    /// The source's text at `span`.
    pub(super) fn text(&self, span: &Range<usize>) -> &str {
        &self.source[self.clamp(span.clone())]
    }

    /// After syntax errors, which stand at the front of the list up to `syntax`: drops what only follows
    /// from them, that is problems on the same line, keys said to be missing from a table that has an
    /// unreadable line, and all about a table whose header is unreadable.
    pub(super) fn drop_consequences(&mut self, syntax: usize) {
        let Problems { source, list, .. } = self;
        let broken: Vec<_> = list[..syntax]
            .iter()
            .map(|problem| {
                let line_start = source[..problem.span.start].rfind('\n').map_or(0, |at| at + 1);
                let line_end = source[line_start..].find('\n').map_or(source.len(), |at| line_start + at);
                let header = source[line_start..].trim_start().starts_with('[');
                let table_start = match (header, source[..line_start].rfind("\n[")) {
                    (true, _) => line_start,
                    (false, start) => start.map_or(0, |at| at + 1),
                };
                let table_end = source[line_end..].find("\n[").map_or(source.len(), |at| line_end + at);
                (line_start..=line_end, table_start..=table_end, header)
            })
            .collect();
        let mut place = 0;
        list.retain(|problem| {
            place += 1;
            let at = &problem.span.start;
            place <= syntax
                || !broken.iter().any(|(line, table, header)| {
                    line.contains(at) || (table.contains(at) && (*header || problem.absence))
                })
        });
    }

    /// Brings problems into the order of their place and drops repetitions.
    pub(super) fn sort(&mut self) {
        self.list.sort_by(|a, b| {
            (a.span.start, a.severity, &a.message).cmp(&(b.span.start, b.severity, &b.message))
        });
        self.list.dedup_by(|a, b| a.span == b.span && a.message == b.message);
    }

    /// `span` within the source and at the ends of characters, since renderers slice by it.
    fn clamp(&self, span: Range<usize>) -> Range<usize> {
        let floor = |mut at: usize| {
            at = at.min(self.source.len());
            while !self.source.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(span.start);
        start..floor(span.end.max(start)).max(start)
    }

    /// Line and column of the byte at `at`, from 1; columns count characters.
    fn place(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|&start| start <= at);
        let start = line.checked_sub(1).and_then(|line| self.lines.get(line)).copied().unwrap_or(0);
        (line.max(1), self.source[start..at].chars().count() + 1)
    }

    /// The lines that `span` touches: their bytes and the number of the first.
    fn window(&self, span: &Range<usize>) -> (Range<usize>, usize) {
        let (first, _) = self.place(span.start);
        let start = self.lines.get(first - 1).copied().unwrap_or(0);
        let end = self.source[span.end..].find('\n').map_or(self.source.len(), |at| span.end + at);
        (start..end, first)
    }

    fn render(&self, problem: &Problem) -> String {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let other = problem.other.as_ref().map(|(span, label)| (self.clamp(span.clone()), label));
        let around = other.iter().fold(problem.span.clone(), |around, (span, _)| {
            around.start.min(span.start)..around.end.max(span.end)
        });
        // Only the lines in question: a renderer takes time by the length of what it is given.
        let (window, first) = self.window(&around);
        let inside = |span: &Range<usize>| span.start - window.start..span.end - window.start;
        let caret = AnnotationKind::Primary.span(inside(&problem.span));
        let caret = match &problem.label {
            Some(label) => caret.label(label.as_str()),
            None => caret,
        };
        let mut snippet = Snippet::source(&self.source[window.clone()])
            .line_start(first)
            .path(self.file.as_str())
            .annotation(caret);
        if let Some((span, label)) = &other {
            snippet = snippet.annotation(AnnotationKind::Context.span(inside(span)).label(label.as_str()));
        }
        let mut group = level.primary_title(problem.message.as_str()).element(snippet);
        if let Some(suggestion) = &problem.suggestion {
            group = group.element(Level::HELP.message(suggestion.as_str()));
        }
        Renderer::plain().render(&[group]).to_string()
    }
}

impl fmt::Display for Problems {
    /// Every problem (of very many the first 200) with `file:line:column`, the line with a caret
    /// under the place, and the suggestion.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.list.iter().take(SHOWN_MAX).enumerate() {
            if place > 0 {
                f.write_str("\n\n")?;
            }
            f.write_str(&self.render(problem))?;
        }
        if self.list.len() > SHOWN_MAX {
            write!(f, "\n\nand {} more problems", self.list.len() - SHOWN_MAX)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
