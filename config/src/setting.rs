//! What it means to be the value of a setting: how it is read from a text (environment, `.env`, flag) and
//! from TOML, how it is described to a person and to a JSON Schema, and how it is shown.
//!
//! One rule for both forms: a text from the environment is parsed by the setting's type; in TOML an integer
//! is an integer and not a quoted one, so that a wrong type is noticed where it stands.

use config::{Value, ValueKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use thiserror::Error;

/// Why a value is refused; what would be right is the type's to say.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Mismatch {
    /// Nothing where something is needed.
    #[error("it is empty")]
    Empty,
    /// Another TOML or JSON type.
    #[error("it is {0}")]
    Kind(&'static str),
    /// A text that breaks this rule of its form.
    #[error("{0}")]
    Malformed(&'static str),
    /// Above or below what makes sense.
    #[error("it is out of range")]
    OutOfRange,
    /// Copied from an example and never filled in.
    #[error("it is still the placeholder of an example")]
    Placeholder,
    /// JSON that does not parse, or not to what is needed.
    #[error("{0}")]
    Json(String),
    /// One entry of a list.
    #[error("entry {number}{}: {because}", text.as_ref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Entry {
        /// Position, from 1.
        number: usize,
        /// The entry, unless it may hold a secret.
        text: Option<String>,
        /// What is wrong with it.
        because: Box<Mismatch>,
    },
}

impl Mismatch {
    /// Whether the value, or an entry of it, was left as an example has it.
    pub(crate) fn is_placeholder(&self) -> bool {
        match self {
            Self::Placeholder => true,
            Self::Entry { because, .. } => because.is_placeholder(),
            _ => false,
        }
    }
}

/// A value as a layer holds it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Raw {
    /// From the environment, `.env` or a flag.
    Text(String),
    /// From a TOML file.
    Toml(ValueKind),
}

/// The type of a setting.
pub(crate) trait Setting: Sized + Serialize + DeserializeOwned {
    /// Whether it may be left unset.
    const OPTIONAL: bool = false;
    /// Whether it is a list, for which an empty variable counts as not set.
    const LIST: bool = false;
    /// Whether a wrong value must not be repeated in a message, since a secret may have been put there.
    const SECRET: bool = false;

    /// What would be right, to follow the word "expected".
    fn expects() -> String;
    /// The same for machines.
    fn schema() -> Json;
    /// Reads a text.
    fn from_text(text: &str) -> Result<Self, Mismatch>;
    /// Reads a TOML value.
    fn from_toml(value: &ValueKind) -> Result<Self, Mismatch>;
    /// Order on the setting's scale, where it has one.
    fn is_below(&self, _other: &Self) -> bool {
        false
    }
    /// The value as `config show` prints it.
    fn shown(&self) -> Json {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Lower and upper bound, both inclusive, in the text form of the setting.
pub(crate) type Range = Option<(&'static str, &'static str)>;

/// One field of a section, its type erased.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) range: Range,
    pub(crate) optional: bool,
    pub(crate) list: bool,
    pub(crate) secret: bool,
    expects: fn() -> String,
    schema: fn() -> Json,
    read: fn(&Raw, Range) -> Result<ValueKind, Mismatch>,
    show: fn(Value) -> Option<Json>,
}

impl Field {
    pub(crate) const fn new<T: Setting>(name: &'static str, range: Range) -> Self {
        Self {
            name,
            range,
            optional: T::OPTIONAL,
            list: T::LIST,
            secret: T::SECRET,
            expects: T::expects,
            schema: T::schema,
            read: read::<T>,
            show: show::<T>,
        }
    }

    /// What would be right, bounds included.
    pub(crate) fn expects(&self) -> String {
        let what = (self.expects)();
        match self.range {
            Some((low, high)) => format!("{what} from {low} to {high}"),
            None => what,
        }
    }

    pub(crate) fn schema(&self) -> Json {
        let mut schema = (self.schema)();
        if let (Some((low, high)), Some(object)) = (self.range, schema.as_object_mut())
            && let (Ok(Json::Number(low)), Ok(Json::Number(high))) = (low.parse(), high.parse())
        {
            object.insert("minimum".into(), low.into());
            object.insert("maximum".into(), high.into());
        }
        if self.optional {
            json!({ "anyOf": [schema, { "const": "" }] })
        } else {
            schema
        }
    }

    /// Reads and checks a value; the answer is in the one form in which equal values are equal.
    pub(crate) fn read(&self, raw: &Raw) -> Result<ValueKind, Mismatch> {
        (self.read)(raw, self.range)
    }

    /// A value that [`Field::read`] gave, for people.
    pub(crate) fn show(&self, value: Value) -> Option<Json> {
        (self.show)(value)
    }
}

fn read<T: Setting>(raw: &Raw, range: Range) -> Result<ValueKind, Mismatch> {
    let value = match raw {
        Raw::Text(text) => T::from_text(text.trim())?,
        Raw::Toml(value) => T::from_toml(value)?,
    };
    if let Some((low, high)) = range
        && (value.is_below(&T::from_text(low)?) || T::from_text(high)?.is_below(&value))
    {
        return Err(Mismatch::OutOfRange);
    }
    let json = serde_json::to_value(&value).map_err(|error| Mismatch::Json(error.to_string()))?;
    Ok(kind_of(json))
}

fn show<T: Setting>(value: Value) -> Option<Json> {
    value.try_deserialize::<T>().ok().map(|value| value.shown())
}

fn kind_of(json: Json) -> ValueKind {
    match json {
        Json::Null => ValueKind::Nil,
        Json::Bool(value) => ValueKind::Boolean(value),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => ValueKind::U64(value),
            (None, Some(value)) => ValueKind::I64(value),
            (None, None) => ValueKind::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => ValueKind::String(text),
        Json::Array(items) => ValueKind::Array(
            items
                .into_iter()
                .map(|item| Value::new(None, kind_of(item)))
                .collect(),
        ),
        Json::Object(fields) => ValueKind::Table(
            fields
                .into_iter()
                .map(|(name, value)| (name, Value::new(None, kind_of(value))))
                .collect(),
        ),
    }
}

/// Names a TOML type in a message.
pub(crate) fn kind_name(value: &ValueKind) -> &'static str {
    match value {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "a boolean",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
            "an integer"
        }
        ValueKind::Float(_) => "a number with a fraction",
        ValueKind::String(_) => "a text",
        ValueKind::Table(_) => "a table",
        ValueKind::Array(_) => "a list",
    }
}

/// The integer that a TOML value holds.
pub(crate) fn integer(value: &ValueKind) -> Result<i128, Mismatch> {
    match value {
        ValueKind::I64(value) => Ok((*value).into()),
        ValueKind::U64(value) => Ok((*value).into()),
        ValueKind::I128(value) => Ok(*value),
        ValueKind::U128(value) => i128::try_from(*value).map_err(|_| Mismatch::OutOfRange),
        other => Err(Mismatch::Kind(kind_name(other))),
    }
}

/// The text that a TOML value holds.
pub(crate) fn text_of(value: &ValueKind) -> Result<&str, Mismatch> {
    match value {
        ValueKind::String(text) => Ok(text),
        other => Err(Mismatch::Kind(kind_name(other))),
    }
}
