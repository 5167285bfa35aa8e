//! Messages as tests look at them.

/// A message head, names in lower case.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The request or status line.
    pub(crate) line: String,
    pub(crate) fields: Vec<(String, String)>,
}

/// A whole message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) head: Head,
    /// The content, without framing.
    pub(crate) body: Vec<u8>,
    /// Of a chunked body.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Head {
    /// The status of a response.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        let code = self.line.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("no status line: {:?}", self.line))
    }

    /// The only value of a field.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.all(name);
        assert!(found.len() <= 1, "{name} more than once: {self:?}");
        found.first().copied()
    }

    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = self.fields.iter().filter(|(found, _)| found == name);
        same.map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn is_chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }

    pub(super) fn length(&self) -> Option<usize> {
        self.get("content-length").map(|value| value.parse().expect("a length"))
    }
}

impl Message {
    /// The status of a response.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    /// The only value of a field.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// The content as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

/// One line of a head.
#[track_caller]
pub(super) fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}
