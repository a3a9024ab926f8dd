//! What can be wrong with a configuration, and the one message that lists all of it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::origin::Origin;
use crate::setting::Mismatch;

/// A key with its value, as a message names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `section.name`.
    pub key: String,
    /// The value, unless a secret may stand in it.
    pub value: Option<String>,
    /// Who set it.
    pub origin: Origin,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value} ({})", self.key, self.origin),
            None => write!(f, "{} ({}; value not shown)", self.key, self.origin),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Error)]
pub enum Problem {
    /// A key that no section has.
    #[error("unknown key {written} ({origin}): did you mean {nearest}?")]
    UnknownKey {
        /// As it was written.
        written: String,
        /// Where.
        origin: Origin,
        /// The nearest key there is.
        nearest: &'static str,
    },
    /// A variable with our prefix that no key has.
    #[error("unknown variable {written} ({origin}): did you mean {nearest}?")]
    UnknownVariable {
        /// As it was written.
        written: String,
        /// Where.
        origin: Origin,
        /// The nearest variable there is.
        nearest: &'static str,
    },
    /// A section's name with a value that is no table.
    #[error("{section} is a section ({origin}): expected a table [{section}] with its keys")]
    NotATable {
        /// The section.
        section: String,
        /// Where.
        origin: Origin,
    },
    /// A value that its key does not take.
    #[error("{setting}: {because}; expected {expected}")]
    WrongValue {
        /// Key and value.
        setting: Setting,
        /// What is wrong.
        because: Mismatch,
        /// What would be right.
        expected: String,
    },
    /// A value copied from an example.
    #[error("{setting} is still the placeholder of an example; what belongs there: {expected}{}", if *.optional { "; or take it out to start without it" } else { "" })]
    Placeholder {
        /// Key and value.
        setting: Setting,
        /// What belongs there.
        expected: String,
        /// Whether the node starts without it.
        optional: bool,
    },
    /// Two names of one key with different values in the same layer.
    #[error(
        "{first} and {second} set the same key {key} to different values: take one of them out"
    )]
    TwoNames {
        /// The key.
        key: String,
        /// One name.
        first: Origin,
        /// The other.
        second: Origin,
    },
    /// Two settings that cannot both hold.
    #[error("{first} conflicts with {second}: {reason}")]
    Conflict {
        /// One.
        first: Setting,
        /// The other.
        second: Setting,
        /// Why, and what would be right.
        reason: String,
    },
    /// A value that is wrong only in itself, seen after merging.
    #[error("{setting}: {reason}")]
    Senseless {
        /// Key and value.
        setting: Setting,
        /// Why, and what would be right.
        reason: String,
    },
    /// A variable whose value is not UTF-8.
    #[error("{origin} is not valid UTF-8: expected a text")]
    NotText {
        /// The variable.
        origin: Origin,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of `.env` that is no assignment.
    #[error("{origin}: the line is not NAME=value: {reason}")]
    DotEnvLine {
        /// The line.
        origin: Origin,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file that is not TOML.
    #[error("{origin}: not valid TOML: {reason}")]
    Syntax {
        /// The line.
        origin: Origin,
        /// What the parser says.
        reason: String,
    },
    /// The layers could not be put together.
    #[error("cannot put the layers together: {0}")]
    Merge(#[from] config::ConfigError),
}

impl Problem {
    /// The keys that it is about.
    pub(crate) fn keys(&self) -> Vec<&str> {
        match self {
            Self::WrongValue { setting, .. }
            | Self::Placeholder { setting, .. }
            | Self::Senseless { setting, .. } => vec![&setting.key],
            Self::Conflict { first, second, .. } => vec![&first.key, &second.key],
            Self::TwoNames { key, .. } => vec![key],
            _ => Vec::new(),
        }
    }
}

/// All that is wrong, at least one thing.
#[derive(Debug, Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `None` when nothing is wrong.
    pub(crate) fn of(problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then_some(Self(problems))
    }

    /// Each, in the order of the layers.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "the configuration is not usable: {only}"),
            several => {
                write!(f, "the configuration has {} problems:", several.len())?;
                for problem in several {
                    write!(f, "\n  - {problem}")?;
                }
                Ok(())
            }
        }
    }
}
