//! How single values are read: switches, integers, strings, quantities, words, lists, tables of any keys.
//!
//! Not here: sections (`read`), values of one section only (`schema`).

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::DeValue;

use super::problem::Problems;
use super::read::{At, Entries, Preset, Read, text, wrong_type};
use super::units::{Size, Time};

/// Declares how a compiled choice is written. `later` names words that are refused with "not supported
/// yet".
macro_rules! words {
    ($type:ty, $expected:literal { $($word:literal => $value:expr,)* } $(later { $($later:literal: $what:literal,)* })?) => {
        impl Read for $type {
            const EXPECTED: &'static str = $expected;

            fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
                let word = text(value, Self::EXPECTED, problems)?;
                match word {
                    $($word => return Some($value),)*
                    $($($later => {
                        problems
                            .error(value.span(), format!("`{word}` is not supported yet in this version"))
                            .label(concat!($what, " will come with a later version"));
                        return None;
                    })*)?
                    _ => {}
                }
                problems
                    .error(value.span(), format!("unknown value `{word}`, expected {}", Self::EXPECTED))
                    .suggest_from(word, [$($word),*].into_iter(), "known values");
                None
            }

            fn schema() -> Json {
                json!({ "enum": [$($word),*] })
            }
        }

        impl Preset for $type {
            fn json(&self) -> Json {
                $(if *self == $value {
                    return json!($word);
                })*
                Json::Null
            }
        }
    };
}
pub(super) use words;

impl Read for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
        let read = value.get_ref().as_bool();
        if read.is_none() {
            wrong_type(value, Self::EXPECTED, problems);
        }
        read
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

impl Preset for bool {
    fn json(&self) -> Json {
        json!(self)
    }
}

/// Integers: `$type` with the bounds of the type, 0 and up where unsigned.
macro_rules! integers {
    ($($type:ty: $expected:literal, $schema:expr;)*) => { $(
        impl Read for $type {
            const EXPECTED: &'static str = $expected;

            fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
                let Some(integer) = value.get_ref().as_integer() else {
                    wrong_type(value, Self::EXPECTED, problems);
                    return None;
                };
                match <$type>::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(read) => Some(read),
                    Err(_) => {
                        problems.error(value.span(), format!("out of range, expected {}", Self::EXPECTED));
                        None
                    }
                }
            }

            fn schema() -> Json {
                $schema
            }
        }

        impl Preset for $type {
            fn json(&self) -> Json {
                json!(self)
            }
        }
    )* };
}

integers! {
    u16: "an integer from 0 to 65535", json!({ "type": "integer", "minimum": 0, "maximum": 65_535 });
    u32: "an integer from 0 to 4294967295", json!({ "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32 });
    u64: "an integer from 0", json!({ "type": "integer", "minimum": 0 });
    i64: "an integer", json!({ "type": "integer" });
}

impl Read for String {
    const EXPECTED: &'static str = "a string";

    fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
        text(value, Self::EXPECTED, problems).map(str::to_owned)
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

impl Preset for String {
    fn json(&self) -> Json {
        json!(self)
    }
}

impl<T: Read> Read for Vec<At<T>> {
    const EXPECTED: &'static str = "a list";

    fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
        let DeValue::Array(array) = value.get_ref() else {
            let suggestion = format!("write a list: `[{}]`", problems.text(&value.span()));
            let one_line = !suggestion.contains('\n') && !value.get_ref().is_table();
            let problem = wrong_type(value, &format!("a list, each item {}", T::EXPECTED), problems);
            if one_line {
                problem.suggest(suggestion);
            }
            return None;
        };
        Some(array.iter().filter_map(|item| At::read(item, problems)).collect())
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }
}

impl<T: Preset> Preset for Vec<At<T>> {
    fn json(&self) -> Json {
        self.iter().map(|item| item.value.json()).collect()
    }
}

impl<T: Read> Read for Entries<T> {
    const EXPECTED: &'static str = "a table of names";

    fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            wrong_type(value, Self::EXPECTED, problems);
            return None;
        };
        let mut entries: Entries<T> = table
            .iter()
            .filter_map(|(key, item)| {
                let name = At::new(key.span(), key.get_ref().to_string());
                Some((name, At::read(item, problems)?))
            })
            .collect();
        entries.sort_by_key(|(name, _)| name.span.start);
        Some(entries)
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }
}

/// Quantities are strings with a unit; a bare number is the common mistake.
macro_rules! quantities {
    ($($type:ty: $expected:literal, $unit:literal, $pattern:literal;)*) => { $(
        impl Read for $type {
            const EXPECTED: &'static str = $expected;

            fn read(value: &Spanned<DeValue<'_>>, problems: &mut Problems) -> Option<Self> {
                if let Some(integer) = value.get_ref().as_integer() {
                    let number = integer.as_str().to_owned();
                    wrong_type(value, Self::EXPECTED, problems)
                        .suggest(format!(concat!("add the unit: `\"{}", $unit, "\"`"), number));
                    return None;
                }
                match text(value, Self::EXPECTED, problems)?.parse() {
                    Ok(read) => Some(read),
                    Err(error) => {
                        let error: super::units::UnitError = error;
                        problems.error(value.span(), format!("{error}, expected {}", Self::EXPECTED));
                        None
                    }
                }
            }

            fn schema() -> Json {
                json!({ "type": "string", "pattern": $pattern })
            }
        }

        impl Preset for $type {
            fn json(&self) -> Json {
                json!(self.to_string())
            }
        }
    )* };
}

quantities! {
    Time: "a duration with unit (ms, s, m, h), such as \"250ms\"", "s", "^([0-9]+(ns|us|ms|s|m|h))+$";
    Size: "a size with unit (B, KiB, MiB, GiB), such as \"64KiB\"", "B", "^[0-9]+(B|KiB|MiB|GiB|kB|MB|GB)$";
}
