//! Changes to a head's fields, applied when it is written.

/// One field: name in lower case, value.
type Line = (Box<[u8]>, Box<[u8]>);

/// Fields to set, add and remove. Names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Replaces every field of the name, or adds it.
    pub set: Box<[Line]>,
    /// Adds a field beside those of the name.
    pub add: Box<[Line]>,
    /// Removes every field of the name.
    pub remove: Box<[Box<[u8]>]>,
}
