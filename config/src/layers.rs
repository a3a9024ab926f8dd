//! Reads each layer into entries: which key, which raw value, set by whom. What is no key is a problem, and
//! nothing here knows what a value means.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};
use toml::de::{DeTable, DeValue};

use crate::dotenv;
use crate::keys::{self, Key, PREFIX};
use crate::origin::{Layer, Origin};
use crate::problem::Problem;
use crate::setting::Raw;

/// A flag of the command line that sets a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// As the user wrote it: `--port`.
    pub name: String,
    /// The key it sets: `http.port`.
    pub key: String,
    /// The value, in the form that the environment has.
    pub value: String,
}

/// All that a configuration is made from. Nothing else is looked at, so tests are free of the machine they
/// run on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inputs {
    /// Where `bytecave.toml`, `config/local.toml` and `.env` are looked for; with `None` they are not.
    pub working_dir: Option<PathBuf>,
    /// `--config`: read instead of `bytecave.toml` and `config/local.toml`, and must exist.
    pub config_file: Option<PathBuf>,
    /// The environment of the process.
    pub environment: BTreeMap<String, OsString>,
    /// Flags that set keys.
    pub flags: Vec<Flag>,
}

impl Inputs {
    /// The working directory and environment of this process.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the environment is read"
    )]
    pub fn from_process(config_file: Option<PathBuf>, flags: Vec<Flag>) -> io::Result<Self> {
        Ok(Self {
            working_dir: Some(std::env::current_dir()?),
            config_file,
            // A name that is not UTF-8 is none of ours.
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .collect(),
            flags,
        })
    }
}

/// One value of one key in one layer.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: &'static Key,
    pub(crate) raw: Raw,
    pub(crate) origin: Origin,
}

/// What the layers hold and what is wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// In the order in which later ones win.
    pub(crate) layers: Vec<Vec<Entry>>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<String>,
}

impl Reading {
    /// Reads all layers.
    pub(crate) fn of(inputs: &Inputs) -> Self {
        let mut reading = Self::default();
        reading.toml(keys::DEFAULT_TOML, |_| Origin::BUILT_IN);
        let dir = inputs.working_dir.as_deref();
        match (&inputs.config_file, dir) {
            (Some(file), dir) => reading.toml_file(dir.unwrap_or(Path::new("")), file, true),
            (None, Some(dir)) => {
                reading.toml_file(dir, Path::new("bytecave.toml"), false);
                reading.toml_file(dir, Path::new("config/local.toml"), false);
            }
            (None, None) => {}
        }
        if let Some(dir) = dir {
            reading.dotenv(&dir.join(".env"));
        }
        reading.environment(&inputs.environment);
        reading.flags(&inputs.flags);
        reading
    }

    /// The text of a file; nothing when it does not exist and need not.
    fn text(&mut self, path: &Path, must_exist: bool) -> Option<String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => None,
            Err(source) => {
                self.problems.push(Problem::Unreadable {
                    path: path.to_owned(),
                    source,
                });
                None
            }
        }
    }

    fn toml_file(&mut self, dir: &Path, file: &Path, must_exist: bool) {
        if let Some(text) = self.text(&dir.join(file), must_exist) {
            let name = file.display().to_string();
            self.toml(&text, |line| {
                Origin::new(Layer::File, name.clone(), Some(line))
            });
        }
    }

    fn toml(&mut self, text: &str, origin: impl Fn(usize) -> Origin) {
        let line_of = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut last = 0;
        for error in &errors {
            let line = line_of(error.span().map_or(0, |span| span.start));
            // One slip makes the parser stumble several times over the same line.
            if line > last {
                self.problems.push(Problem::Syntax {
                    origin: origin(line),
                    reason: error.message().to_owned(),
                });
                last = line;
            }
        }
        if !errors.is_empty() {
            // What the parser guessed of the rest would only add false alarms.
            return;
        }
        let mut entries = Vec::new();
        self.table("", table.get_ref(), &|at| origin(line_of(at)), &mut entries);
        // Problems are then named in the order of the file.
        entries.sort_by_key(|entry| entry.origin.line);
        self.layers.push(entries);
    }

    fn table(
        &mut self,
        path: &str,
        table: &DeTable<'_>,
        origin: &impl Fn(usize) -> Origin,
        entries: &mut Vec<Entry>,
    ) {
        for (name, value) in table {
            let at = name.span().start;
            // A quoted name with a dot in it is one name, and no key has such a one.
            let name = match name.get_ref() {
                name if name.contains('.') => format!("\"{name}\""),
                name => name.to_string(),
            };
            let path = match path {
                "" => name,
                path => format!("{path}.{name}"),
            };
            let value = value.get_ref();
            match (keys::all().get(&path), value) {
                (Some(key), value) => entries.push(Entry {
                    key,
                    raw: Raw::Toml(kind_of(value)),
                    origin: origin(at),
                }),
                (None, DeValue::Table(table)) if keys::is_section(&path) || !table.is_empty() => {
                    self.table(&path, table, origin, entries);
                }
                (None, _) if keys::is_section(&path) => self.problems.push(Problem::NotATable {
                    section: path,
                    origin: origin(at),
                }),
                (None, _) => self.problems.push(Problem::UnknownKey {
                    nearest: keys::nearest(&path.replace('"', "")),
                    written: path,
                    origin: origin(at),
                }),
            }
        }
    }

    fn dotenv(&mut self, path: &Path) {
        let Some(text) = self.text(path, false) else {
            return;
        };
        let (assignments, bad) = dotenv::parse(&text);
        for bad in bad {
            self.problems.push(Problem::DotEnvLine {
                origin: Origin::new(Layer::File, ".env", Some(bad.line)),
                reason: bad.reason,
            });
        }
        // Of a name that comes twice the last one holds, as everywhere.
        let mut last = BTreeMap::new();
        for assignment in assignments {
            let (name, line) = (assignment.name.clone(), assignment.line);
            if let Some(before) = last.insert(name.clone(), assignment)
                && keys::of_variable(&name).is_some()
            {
                self.warnings.push(format!(
                    "{name} stands twice in .env, in lines {} and {line}: the last one holds",
                    before.line
                ));
            }
        }
        let mut entries = Vec::new();
        let mut last: Vec<_> = last.into_iter().collect();
        last.sort_by_key(|(_, assignment)| assignment.line);
        for (name, assignment) in last {
            let origin = Origin::new(Layer::DotEnv, name.clone(), Some(assignment.line));
            self.variable(&name, Some(&assignment.value), origin, &mut entries);
        }
        self.layers.push(entries);
    }

    fn environment(&mut self, environment: &BTreeMap<String, OsString>) {
        let mut entries = Vec::new();
        for (name, value) in environment {
            let origin = Origin::new(Layer::Environment, name.clone(), None);
            self.variable(name, value.to_str(), origin, &mut entries);
        }
        self.layers.push(entries);
    }

    /// Takes a variable if it is one of ours; `None` is a value that is not UTF-8.
    fn variable(
        &mut self,
        name: &str,
        value: Option<&str>,
        origin: Origin,
        entries: &mut Vec<Entry>,
    ) {
        let Some(key) = keys::of_variable(name) else {
            if name.to_ascii_uppercase().starts_with(PREFIX) {
                self.problems.push(Problem::UnknownVariable {
                    written: name.to_owned(),
                    nearest: keys::nearest_variable(name),
                    origin,
                });
            } else if let Some(near) = keys::near_short_name(name) {
                self.warnings.push(format!(
                    "{origin} is not a setting and is ignored: did you mean {near}?"
                ));
            }
            return;
        };
        match value {
            None => self.problems.push(Problem::NotText { origin }),
            Some(value) if value.trim().is_empty() && (key.field.optional || key.field.list) => {}
            Some(value) => entries.push(Entry {
                key,
                raw: Raw::Text(value.to_owned()),
                origin,
            }),
        }
    }

    fn flags(&mut self, flags: &[Flag]) {
        let mut entries = Vec::new();
        for flag in flags {
            let origin = Origin::new(Layer::Flag, flag.name.clone(), None);
            match keys::all().get(&flag.key) {
                Some(key) => entries.push(Entry {
                    key,
                    raw: Raw::Text(flag.value.clone()),
                    origin,
                }),
                None => self.problems.push(Problem::UnknownKey {
                    written: flag.key.clone(),
                    nearest: keys::nearest(&flag.key),
                    origin,
                }),
            }
        }
        self.layers.push(entries);
    }
}

fn kind_of(value: &DeValue<'_>) -> ValueKind {
    match value {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Integer(number) => {
            match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(value) => i64::try_from(value).map_or(ValueKind::I128(value), ValueKind::I64),
                // Beyond 128 bits, hence beyond every bound.
                Err(_) => ValueKind::I128(i128::MAX),
            }
        }
        DeValue::Float(number) => ValueKind::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => ValueKind::Boolean(*value),
        DeValue::Datetime(time) => ValueKind::String(time.to_string()),
        DeValue::Array(items) => ValueKind::Array(
            items
                .iter()
                .map(|item| Value::new(None, kind_of(item.get_ref())))
                .collect(),
        ),
        DeValue::Table(table) => ValueKind::Table(
            table
                .iter()
                .map(|(name, value)| {
                    (
                        name.get_ref().to_string(),
                        Value::new(None, kind_of(value.get_ref())),
                    )
                })
                .collect(),
        ),
    }
}
