//! What must hold of any document: compiling and showing the problems does not panic, a refusal has an error, and
//! every problem has a place inside the document. Shared by `tests/fuzz_config.rs` and the fuzz target.

use std::path::Path;

use pinion_core::config::{Ids, Problems, compile};

/// Compiles `text`; true if it is taken.
pub(crate) fn check(text: &str) -> bool {
    match compile(text, "fuzz.toml", Path::new("/"), &mut Ids::default(), 1, None) {
        Ok(snapshot) => {
            assert!(!snapshot.warnings.has_errors(), "taken with errors:\n{text}");
            check_problems(text, &snapshot.warnings);
            true
        }
        Err(problems) => {
            assert!(problems.has_errors(), "refused without an error:\n{text}");
            check_problems(text, &problems);
            false
        }
    }
}

fn check_problems(text: &str, problems: &Problems) {
    let shown = problems.to_string();
    assert!(problems.is_empty() || shown.contains("fuzz.toml:"), "no place in\n{shown}");
    let lines = text.matches('\n').count() + 1;
    for problem in problems.iter() {
        assert!(text.get(problem.span.clone()).is_some(), "{problem:?} is outside of\n{text}");
        assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "{problem:?} in\n{text}");
        assert!(!problem.message.trim().is_empty(), "{problem:?} in\n{text}");
    }
}
