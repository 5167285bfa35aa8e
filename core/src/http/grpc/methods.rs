//! The methods, `/package.Service/Method` as a path, that are counted one by one.
//!
//! Invariants: what is counted is bounded by the configuration, never by what clients ask for.

/// Letters, digits, `_` and inner dots, as names of services and methods have them.
fn is_name(name: &[u8]) -> bool {
    let fits = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
    !name.is_empty() && name.iter().all(fits) && name.first() != Some(&b'.') && name.last() != Some(&b'.')
}

/// A list of methods, `package.Service/Method`, each at a place of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    sorted: Box<[Box<str>]>,
}

impl Methods {
    /// A list of names that [`Methods::check`] takes, each once.
    pub fn new(names: impl IntoIterator<Item = Box<str>>) -> Self {
        let mut names: Vec<Box<str>> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        Methods { sorted: names.into() }
    }

    /// Whether `name` is `package.Service/Method`.
    pub fn check(name: &str) -> bool {
        name.split_once('/')
            .is_some_and(|(service, method)| is_name(service.as_bytes()) && is_name(method.as_bytes()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The place of the method that `path` names; [`Methods::len`] for all others.
    pub fn place(&self, path: &[u8]) -> usize {
        let name = path.strip_prefix(b"/").unwrap_or(path);
        self.sorted.binary_search_by(|have| have.as_bytes().cmp(name)).unwrap_or(self.len())
    }

    /// Service and method at each place.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sorted.iter().filter_map(|name| name.split_once('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let names = ["b.S/M", "a.S/Z", "a.S/M", "b.S/M"].map(Box::from);
        let methods = Methods::new(names);
        assert_eq!(methods.iter().collect::<Vec<_>>(), [("a.S", "M"), ("a.S", "Z"), ("b.S", "M")]);
        assert_eq!((methods.len(), methods.is_empty()), (3, false));
        assert_eq!(methods.place(b"/a.S/Z"), 1);
        assert_eq!(methods.place(b"/a.S/z"), 3);
        assert_eq!(methods.place(b"/"), 3);
        assert!(Methods::check("a.S/M") && !Methods::check("a.S") && !Methods::check("/a/b"));
        for name in ["a.S/*", "a/b/c", "/M", "a.S/", ".a/M", "a./M", "a%20/M", ""] {
            assert!(!Methods::check(name), "{name}");
        }
        assert!(Methods::check("Cart/Add_2") && Methods::check("grpc.health.v1.Health/Check"));
    }
}
