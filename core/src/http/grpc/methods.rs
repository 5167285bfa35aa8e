//! Which service and method a path names, and the list of those that are counted one by one.
//!
//! Invariants: what is counted is bounded by the configuration, never by what clients ask for.

/// Service and method of a path `/package.Service/Method`; `None` for every other form.
pub fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = path.strip_prefix(b"/")?;
    let slash = memchr::memchr(b'/', rest)?;
    let (service, method) = (&rest[..slash], &rest[slash + 1..]);
    (is_name(service) && is_name(method)).then_some((service, method))
}

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
    fn paths() {
        for (path, expected) in [
            ("/shop.Cart/Add", Some(("shop.Cart", "Add"))),
            ("/grpc.health.v1.Health/Check", Some(("grpc.health.v1.Health", "Check"))),
            ("/Cart/Add_2", Some(("Cart", "Add_2"))),
            ("/shop.Cart/", None),
            ("//Add", None),
            ("/shop.Cart", None),
            ("/a/b/c", None),
            ("/.a/b", None),
            ("/a./b", None),
            ("/a%20/b", None),
            ("shop.Cart/Add", None),
            ("", None),
        ] {
            let expected = expected.map(|(service, method)| (service.as_bytes(), method.as_bytes()));
            assert_eq!(split(path.as_bytes()), expected, "{path}");
        }
    }

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
        assert!(!Methods::check("a.S/*") && !Methods::check("a/b/c"));
    }
}
