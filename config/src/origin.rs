//! Who set a value.

use std::fmt;

use serde::Serialize;

/// The layers; later ones win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// The built-in `default.toml`.
    Default,
    /// A TOML file.
    File,
    /// The `.env` file.
    #[serde(rename = ".env")]
    DotEnv,
    /// The environment of the process.
    Environment,
    /// The command line.
    Flag,
}

/// A layer, and the file, variable or flag in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Origin {
    /// The layer.
    pub layer: Layer,
    /// File, variable or flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Line in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl Origin {
    pub(crate) fn new(layer: Layer, name: impl Into<String>, line: Option<usize>) -> Self {
        Self {
            layer,
            name: Some(name.into()),
            line,
        }
    }

    pub(crate) const BUILT_IN: Self = Self {
        layer: Layer::Default,
        name: None,
        line: None,
    };
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or_default();
        match (self.layer, self.line) {
            (Layer::Default, _) => f.write_str("built-in default"),
            (Layer::File, Some(line)) => write!(f, "{name} line {line}"),
            (Layer::File, None) => f.write_str(name),
            (Layer::DotEnv, Some(line)) => write!(f, "{name} in .env line {line}"),
            (Layer::DotEnv, None) => write!(f, "{name} in .env"),
            (Layer::Environment, _) => write!(f, "environment variable {name}"),
            (Layer::Flag, _) => write!(f, "flag {name}"),
        }
    }
}
