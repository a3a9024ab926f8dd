//! The plain kinds of settings: integers, switches, paths, what may be left out, lists, shards.

use std::path::PathBuf;

use bytecave_core::{ShardCount, ShardRange};
use config::ValueKind;
use serde_json::{Value as Json, json};

use crate::setting::{Mismatch, Setting, integer, kind_name, text_of};

fn decimal(text: &str) -> Result<i128, Mismatch> {
    if text.is_empty() {
        return Err(Mismatch::Empty);
    }
    text.parse()
        .map_err(|_| Mismatch::Malformed("it is not a whole number"))
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn expects() -> String {
                "an integer".into()
            }
            fn schema() -> Json {
                json!({ "type": "integer" })
            }
            fn from_text(text: &str) -> Result<Self, Mismatch> {
                decimal(text)?.try_into().map_err(|_| Mismatch::OutOfRange)
            }
            fn from_toml(value: &ValueKind) -> Result<Self, Mismatch> {
                integer(value)?.try_into().map_err(|_| Mismatch::OutOfRange)
            }
            fn is_below(&self, other: &Self) -> bool {
                self < other
            }
        }
    )*};
}

integers!(u16, u32, u64);

impl Setting for bool {
    fn expects() -> String {
        "true or false".into()
    }
    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
    fn from_text(text: &str) -> Result<Self, Mismatch> {
        match text.to_ascii_lowercase().as_str() {
            "" => Err(Mismatch::Empty),
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(Mismatch::Malformed("it is neither true nor false")),
        }
    }
    fn from_toml(value: &ValueKind) -> Result<Self, Mismatch> {
        match value {
            ValueKind::Boolean(value) => Ok(*value),
            other => Err(Mismatch::Kind(kind_name(other))),
        }
    }
}

impl Setting for PathBuf {
    fn expects() -> String {
        "a path".into()
    }
    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
    fn from_text(text: &str) -> Result<Self, Mismatch> {
        match text {
            "" => Err(Mismatch::Empty),
            text if text.contains('\0') => Err(Mismatch::Malformed("it holds a NUL character")),
            text => Ok(text.into()),
        }
    }
    fn from_toml(value: &ValueKind) -> Result<Self, Mismatch> {
        text_of(value).and_then(Self::from_text)
    }
}

impl<T: Setting> Setting for Option<T> {
    const OPTIONAL: bool = true;
    const LIST: bool = T::LIST;
    const SECRET: bool = T::SECRET;

    fn expects() -> String {
        T::expects()
    }
    fn schema() -> Json {
        T::schema()
    }
    fn from_text(text: &str) -> Result<Self, Mismatch> {
        if text.is_empty() {
            Ok(None)
        } else {
            T::from_text(text).map(Some)
        }
    }
    fn from_toml(value: &ValueKind) -> Result<Self, Mismatch> {
        match value {
            ValueKind::String(text) if text.is_empty() => Ok(None),
            value => T::from_toml(value).map(Some),
        }
    }
    fn is_below(&self, other: &Self) -> bool {
        matches!((self, other), (Some(one), Some(other)) if one.is_below(other))
    }
    fn shown(&self) -> Json {
        self.as_ref().map_or(Json::Null, T::shown)
    }
}

/// A type whose lists are written as one text with commas, or as a TOML or JSON array of texts.
pub(crate) trait ListItem: Setting {}

impl<T: ListItem> Setting for Vec<T> {
    const LIST: bool = true;
    const SECRET: bool = T::SECRET;

    fn expects() -> String {
        format!("a list, each entry {}", T::expects())
    }
    fn schema() -> Json {
        json!({ "anyOf": [{ "type": "array", "items": T::schema() }, { "type": "string" }] })
    }
    fn from_text(text: &str) -> Result<Self, Mismatch> {
        if text.starts_with('[') {
            let items: Vec<String> = serde_json::from_str(text).map_err(|_| {
                Mismatch::Malformed("it begins with [ but is no JSON array of texts")
            })?;
            return entries(items.iter().map(String::as_str));
        }
        entries(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty()),
        )
    }
    fn from_toml(value: &ValueKind) -> Result<Self, Mismatch> {
        match value {
            ValueKind::String(text) => Self::from_text(text.trim()),
            ValueKind::Array(items) => {
                let texts = items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| {
                        text_of(&item.kind).map_err(|error| entry::<T>(at, None, error))
                    })
                    .collect::<Result<Vec<_>, _>>()?;
                entries(texts.into_iter())
            }
            other => Err(Mismatch::Kind(kind_name(other))),
        }
    }
    fn shown(&self) -> Json {
        self.iter().map(T::shown).collect()
    }
}

fn entries<'a, T: ListItem>(items: impl Iterator<Item = &'a str>) -> Result<Vec<T>, Mismatch> {
    items
        .enumerate()
        .map(|(at, item)| {
            T::from_text(item.trim()).map_err(|error| entry::<T>(at, Some(item), error))
        })
        .collect()
}

fn entry<T: Setting>(at: usize, text: Option<&str>, because: Mismatch) -> Mismatch {
    Mismatch::Entry {
        number: at + 1,
        text: text
            .filter(|_| !T::SECRET)
            .map(|text| text.chars().take(80).collect()),
        because: Box::new(because),
    }
}

impl Setting for ShardCount {
    fn expects() -> String {
        format!("an integer from 1 to {}", Self::MAX)
    }
    fn schema() -> Json {
        json!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
    fn from_text(text: &str) -> Result<Self, Mismatch> {
        u64::from_text(text).and_then(|count| Self::new(count).map_err(|_| Mismatch::OutOfRange))
    }
    fn from_toml(value: &ValueKind) -> Result<Self, Mismatch> {
        u64::from_toml(value).and_then(|count| Self::new(count).map_err(|_| Mismatch::OutOfRange))
    }
}

/// `NODE_SHARDS`: a JSON array in a text, an array of tables in TOML.
impl Setting for Vec<ShardRange> {
    const LIST: bool = true;

    fn expects() -> String {
        r#"ranges with both ends inclusive: [{"start":0,"end":511}] in a variable, [{ start = 0, end = 511 }] in a file"#.into()
    }
    fn schema() -> Json {
        json!({
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "start": { "type": "integer", "minimum": 0 },
                    "end": { "type": "integer", "minimum": 0 },
                },
                "required": ["start", "end"],
                "additionalProperties": false,
            },
        })
    }
    fn from_text(text: &str) -> Result<Self, Mismatch> {
        serde_json::from_str(text)
            .map_err(|error| Mismatch::Json(format!("it does not read as JSON ranges ({error})")))
    }
    fn from_toml(value: &ValueKind) -> Result<Self, Mismatch> {
        let ValueKind::Array(items) = value else {
            return Err(Mismatch::Kind(kind_name(value)));
        };
        items
            .iter()
            .enumerate()
            .map(|(at, item)| {
                shard_range(&item.kind).map_err(|error| entry::<Self>(at, None, error))
            })
            .collect()
    }
}

fn shard_range(value: &ValueKind) -> Result<ShardRange, Mismatch> {
    let ValueKind::Table(table) = value else {
        return Err(Mismatch::Kind(kind_name(value)));
    };
    let number = |name: &str| match table.get(name) {
        Some(value) => u64::from_toml(&value.kind),
        None => Err(Mismatch::Malformed("start or end is missing")),
    };
    if table.len() > 2 {
        return Err(Mismatch::Malformed("it holds more than start and end"));
    }
    Ok(ShardRange {
        start: number("start")?,
        end: number("end")?,
    })
}
