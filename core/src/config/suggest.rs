//! Finds the word that was probably meant.

/// The closest of `known` to `word`, if one is close enough to be meant: at most a third of the letters
/// differ (one in words of two and three letters), a swap of neighbours counting once; else one that has
/// the whole word in it.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let letters = word.chars().count();
    let limit = (letters / 3).max(1);
    known
        .clone()
        .map(|candidate| (distance(&fold(word), &fold(candidate)), candidate))
        .filter(|&(distance, candidate)| distance <= limit && distance < candidate.chars().count())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
        .or_else(|| {
            known.filter(|candidate| letters >= 4 && candidate.contains(word)).min_by_key(|known| known.len())
        })
}

/// Case and the kind of dash do not matter.
fn fold(word: &str) -> Vec<char> {
    // Names of any length may be written: a bound keeps the comparison (quadratic) cheap.
    word.chars().take(64).flat_map(char::to_lowercase).map(|c| if c == '-' { '_' } else { c }).collect()
}

/// Edits (insert, delete, replace, swap neighbours) that turn `a` into `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant() {
        let known = ["timeout", "timeouts", "retry", "hosts", "header_bytes"];
        for (word, expected) in [
            ("timout", Some("timeout")),
            ("Timeout", Some("timeout")),
            ("header-bytes", Some("header_bytes")),
            ("hsots", Some("hosts")),
            ("host", Some("hosts")),
            ("weights", None),
            ("bytes", Some("header_bytes")),
            ("", None),
            ("xy", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), expected, "{word}");
        }
    }

    #[test]
    fn distances() {
        let check =
            |a: &str, b: &str, expected| assert_eq!(distance(&fold(a), &fold(b)), expected, "{a} {b}");
        check("", "", 0);
        check("", "abc", 3);
        check("abc", "acb", 1);
        check("kitten", "sitting", 3);
    }
}
