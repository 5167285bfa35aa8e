//! Reads a TOML document with places into sections, reporting every problem instead of the first.
//!
//! A section is declared once, by [`section!`]: its keys with type, default and meaning. From that come
//! the struct, the reader (which knows the keys, so an unknown one is an error with a suggestion) and the
//! JSON Schema, so that they can't differ.
//!
//! Invariants: reading never stops early; a value that can't be read is reported once and then stands as
//! absent or as its default, so that checks after it see as much as possible.
//!
//! Not here: which sections there are (`schema`), what the values mean together (`compile`).

use std::ops::Range;

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problems;

/// A value with its place in the source.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    /// The bytes of the source; those of the table's header for a default.
    pub(super) span: Range<usize>,
    /// The value.
    pub(super) value: T,
    /// Some part of it was reported, so that it may not be what was meant.
    pub(super) damaged: bool,
}

impl<T> At<T> {
    /// A value that could be read.
    pub(super) fn new(span: Range<usize>, value: T) -> Self {
        At { span, value, damaged: false }
    }

    /// A default inside a default: it has no place of its own.
    pub(super) fn preset(value: T) -> Self {
        At::new(0..0, value)
    }

    /// Reads `value`, watching whether something of it is reported.
    pub(super) fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self>
    where
        T: Read,
    {
        let before = problems.len();
        let read = T::read(value, problems)?;
        Some(At { span: value.span(), value: read, damaged: problems.len() > before })
    }
}

/// A table of any keys, in their order in the source.
pub(super) type Entries<T> = Vec<(At<String>, At<T>)>;

/// Something that can be read from one TOML value.
pub(super) trait Read: Sized {
    /// What a value looks like, for "expected …".
    const EXPECTED: &'static str;

    /// Reads `value`; `None` when it can't be read, which is then reported.
    fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self>;

    /// The JSON Schema of a value.
    fn schema() -> Json;
}

/// A default that the JSON Schema shows.
pub(super) trait Preset {
    /// As it would be written.
    fn json(&self) -> Json;
}

/// A table with known keys; implemented by [`section!`].
pub(super) trait Section: Sized {
    /// The table's name, for messages.
    const PLACE: &'static str;
    /// The keys.
    const KEYS: &'static [&'static str];
    /// Keys of the published format that this version does not do, with what they are for.
    const LATER: &'static [(&'static str, &'static str)];

    /// Takes the keys from `fields`.
    fn from_fields(fields: &mut Fields<'_, '_>) -> Self;

    /// The keys for the JSON Schema.
    fn properties() -> Vec<Property>;
}

/// One key of a section.
pub(super) struct Property {
    pub(super) key: &'static str,
    pub(super) meaning: &'static str,
    pub(super) required: bool,
    pub(super) schema: Json,
    pub(super) default: Option<Json>,
}

/// A section being read.
pub(super) struct Fields<'a, 'p> {
    /// `None` for a section that is not written: all defaults, nothing is missing.
    table: Option<&'a DeTable<'a>>,
    span: Range<usize>,
    problems: &'p mut Problems,
}

impl Fields<'_, '_> {
    /// A key that must be there.
    pub(super) fn need<T: Read>(&mut self, key: &str) -> Option<At<T>> {
        if let Some(table) = self.table
            && !table.contains_key(key)
        {
            self.problems
                .error(self.span.clone(), format!("missing key `{key}`"))
                .suggest(format!("add `{key} = …`, {}", T::EXPECTED))
                .absence();
        }
        self.may(key)
    }

    /// A key that may be there.
    pub(super) fn may<T: Read>(&mut self, key: &str) -> Option<At<T>> {
        At::read(self.table?.get(key)?, self.problems)
    }

    /// A key with a default.
    pub(super) fn has<T: Read>(&mut self, key: &str, preset: T) -> At<T> {
        self.may(key).unwrap_or_else(|| At::new(self.span.clone(), preset))
    }

    /// A table whose absence means its defaults.
    pub(super) fn sub<T: Section + Read>(&mut self, key: &str) -> T {
        match self.may::<T>(key) {
            Some(read) => read.value,
            None => {
                T::from_fields(&mut Fields { table: None, span: self.span.clone(), problems: self.problems })
            }
        }
    }

    /// A list whose absence means an empty one.
    pub(super) fn many<T: Read>(&mut self, key: &str) -> Vec<At<T>> {
        self.may::<Vec<At<T>>>(key).map_or_else(Vec::new, |read| read.value)
    }
}

/// Reads a table as the section `T`: unknown keys are reported, then the known ones are read.
pub(super) fn read_section<T: Section>(
    table: &DeTable<'_>,
    span: Range<usize>,
    problems: &mut Problems,
) -> T {
    for key in table.keys() {
        let name: &str = key.get_ref();
        if T::KEYS.contains(&name) {
            continue;
        }
        if let Some((_, what)) = T::LATER.iter().find(|(later, _)| *later == name) {
            problems
                .error(key.span(), format!("`{name}` is not supported yet in this version"))
                .label(format!("{what} will come with a later version"));
            continue;
        }
        problems.error(key.span(), format!("unknown key `{name}` in {}", T::PLACE)).suggest_from(
            name,
            T::KEYS.iter().copied(),
            "known keys",
        );
    }
    T::from_fields(&mut Fields { table: Some(table), span, problems })
}

/// Reports a value of the wrong type.
pub(super) fn wrong_type<'p>(
    value: &Spanned<DeValue<'_>>,
    expected: &str,
    problems: &'p mut Problems,
) -> &'p mut super::Problem {
    problems
        .error(value.span(), format!("expected {expected}, found {}", article(value.get_ref().type_str())))
}

fn article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// The text of a string value; another type is reported.
pub(super) fn text<'a>(
    value: &'a Spanned<DeValue<'_>>,
    expected: &str,
    problems: &mut Problems,
) -> Option<&'a str> {
    let text = value.get_ref().as_str();
    if text.is_none() {
        wrong_type(value, expected, problems);
    }
    text
}

/// The JSON Schema of a section, as an object.
pub(super) fn section_schema<T: Section>() -> Json {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for property in T::properties() {
        let mut schema = property.schema;
        if let Some(object) = schema.as_object_mut() {
            object.insert("description".to_owned(), json!(property.meaning.trim()));
            if let Some(default) = property.default {
                object.insert("default".to_owned(), default);
            }
        }
        if property.required {
            required.push(property.key);
        }
        properties.insert(property.key.to_owned(), schema);
    }
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

/// Declares a section. Kinds of keys: `need` (must be there), `may` (optional), `has … = default`, `sub`
/// (a table of defaults), `many` (a list, empty by default). `later` names keys that are refused with
/// "not supported yet".
macro_rules! section {
    (@type need $type:ty) => { Option<At<$type>> };
    (@type may $type:ty) => { Option<At<$type>> };
    (@type has $type:ty) => { At<$type> };
    (@type sub $type:ty) => { $type };
    (@type many $type:ty) => { Vec<At<$type>> };
    (@read has $fields:ident $key:ident $preset:expr) => { $fields.has(stringify!($key), $preset) };
    (@read $kind:ident $fields:ident $key:ident) => { $fields.$kind(stringify!($key)) };
    (@schema many $type:ty) => { <Vec<At<$type>> as Read>::schema() };
    (@schema $kind:ident $type:ty) => { <$type as Read>::schema() };
    (@required need) => { true };
    (@required $kind:ident) => { false };
    (@default $type:ty) => { None };
    (@default $type:ty, $preset:expr) => {{
        let preset: $type = $preset;
        Some(preset.json())
    }};
    (
        $(#[doc = $doc:literal])*
        $name:ident = $place:literal {
            $($(#[doc = $meaning:literal])* $kind:ident $key:ident: $type:ty $(= $preset:expr)?;)*
        }
        $(later { $($later:literal: $what:literal,)* })?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug)]
        pub(in crate::config) struct $name {
            $($(#[doc = $meaning])* pub(in crate::config) $key: section!(@type $kind $type),)*
        }

        impl Section for $name {
            const PLACE: &'static str = $place;
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),*];
            const LATER: &'static [(&'static str, &'static str)] = &[$($(($later, $what)),*)?];

            fn from_fields(fields: &mut Fields<'_, '_>) -> Self {
                $name { $($key: section!(@read $kind fields $key $($preset)?),)* }
            }

            fn properties() -> Vec<Property> {
                vec![$(Property {
                    key: stringify!($key),
                    meaning: concat!($($meaning),*),
                    required: section!(@required $kind),
                    schema: section!(@schema $kind $type),
                    default: section!(@default $type $(, $preset)?),
                }),*]
            }
        }

        impl Read for $name {
            const EXPECTED: &'static str = concat!("a table (", $place, ")");

            fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
                match value.get_ref() {
                    DeValue::Table(table) => Some(read_section(table, value.span(), problems)),
                    _ => {
                        wrong_type(value, Self::EXPECTED, problems);
                        None
                    }
                }
            }

            fn schema() -> Json {
                section_schema::<Self>()
            }
        }
    };
}
pub(super) use section;
