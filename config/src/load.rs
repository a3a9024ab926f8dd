//! Puts the layers together: checks every value of every layer, merges, checks what belongs together, and
//! remembers who set what.
//!
//! A value that a later layer overrides is checked all the same: a mistake in a file is one also while a
//! variable hides it. A wrong value is left out of the merge, so that the checks between keys still run and
//! one start names everything that is wrong.

use std::collections::{BTreeMap, HashSet};

use config::{Map, Source, Value, ValueKind};
use serde_json::{Value as Json, json};

use crate::checks;
use crate::keys::{self, keys};
use crate::layers::{Entry, Inputs, Reading};
use crate::origin::Origin;
use crate::problem::{Problem, Problems, Setting};
use crate::sections::Config;
use crate::setting::{Mismatch, Raw};

/// A configuration, and who set what.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Who set each.
    pub provenance: Provenance,
    /// What looks like a mistake but is none for certain; to be logged at start.
    pub warnings: Vec<String>,
}

/// Each key's effective value, as it may be shown, and who set it.
#[derive(Debug, Clone, PartialEq)]
pub struct Provenance(BTreeMap<String, (Json, Origin)>);

impl Provenance {
    /// Who set `key`.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.0.get(key).map(|(_, origin)| origin)
    }

    /// Key, value without secrets, and who set it, in the order of `default.toml`. `null` is unset.
    pub fn iter(&self) -> impl Iterator<Item = (String, &Json, &Origin)> {
        keys().into_iter().filter_map(|info| {
            let (value, origin) = self.0.get(&info.key)?;
            Some((info.key, value, origin))
        })
    }

    /// One line for each key, as TOML with the origin as a comment.
    pub fn to_text(&self) -> String {
        let lines: Vec<(String, &Origin)> = self
            .iter()
            .map(|(key, value, origin)| (format!("{key} = {}", toml_of(value)), origin))
            .collect();
        // Long lists do not push the comments of all others to the right.
        let width = lines
            .iter()
            .map(|(line, _)| line.chars().count())
            .filter(|width| *width <= 60)
            .max()
            .unwrap_or_default();
        let lines: Vec<String> = lines
            .into_iter()
            .map(|(line, origin)| format!("{line:<width$}  # {origin}"))
            .collect();
        lines.join("\n")
    }

    /// An object with value and origin of each key.
    pub fn to_json(&self) -> Json {
        self.iter()
            .map(|(key, value, origin)| (key, json!({ "value": value, "source": origin })))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// A key with its value for a message.
    pub(crate) fn setting(&self, key: &str) -> Setting {
        let (value, origin) = self
            .0
            .get(key)
            .cloned()
            .unwrap_or((Json::Null, Origin::BUILT_IN));
        Setting {
            key: key.to_owned(),
            value: Some(toml_of(&value)),
            origin,
        }
    }
}

fn toml_of(value: &Json) -> String {
    match value {
        Json::Null => "\"\"".to_owned(),
        Json::Object(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .rev()
                .map(|(name, value)| format!("{name} = {}", toml_of(value)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Json::Array(items) => {
            let items: Vec<_> = items.iter().map(toml_of).collect();
            format!("[{}]", items.join(", "))
        }
        // JSON's texts and numbers are TOML's.
        other => other.to_string(),
    }
}

/// Loads the configuration, or says all that is wrong with it.
pub fn load(inputs: &Inputs) -> Result<Loaded, Problems> {
    let Reading {
        layers,
        mut problems,
        mut warnings,
    } = Reading::of(inputs);
    let mut builder = config::Config::builder();
    let mut origins = BTreeMap::new();
    for entries in layers {
        let layer = check_layer(entries, &mut origins, &mut problems);
        builder = builder.add_source(layer);
    }
    let merged = builder.build().map_err(Problem::from)?;
    let provenance = provenance(&merged, &origins);
    let config: Config = match merged.try_deserialize() {
        Ok(config) => config,
        // A default was refused, which a test rules out, or serde disagrees with the sections.
        Err(error) => {
            problems.push(error.into());
            return Err(Problems::of(problems).unwrap_or_else(|| unfit().into()));
        }
    };
    let wrong: HashSet<String> = problems
        .iter()
        .flat_map(Problem::keys)
        .map(str::to_owned)
        .collect();
    problems.extend(
        checks::between_keys(&config, &provenance)
            .into_iter()
            // With one of the two already wrong, its default stands in for it and the conflict means nothing.
            .filter(|problem| !problem.keys().iter().any(|key| wrong.contains(*key))),
    );
    if let Some(problems) = Problems::of(problems) {
        return Err(problems);
    }
    warnings.extend(checks::doubtful(&config, &provenance));
    Ok(Loaded {
        config,
        provenance,
        warnings,
    })
}

fn unfit() -> Problem {
    config::ConfigError::Message("no layer fits".into()).into()
}

/// One layer for the `config` crate. Each value carries its origin's text, and keeps it through the merge.
#[derive(Debug, Clone)]
struct LayerSource(Map<String, Value>);

impl Source for LayerSource {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

fn check_layer(
    entries: Vec<Entry>,
    origins: &mut BTreeMap<String, Origin>,
    problems: &mut Vec<Problem>,
) -> LayerSource {
    let mut taken: BTreeMap<&str, (ValueKind, Origin)> = BTreeMap::new();
    for entry in entries {
        let kind = match entry.key.field.read(&entry.raw) {
            Ok(kind) => kind,
            Err(mismatch) => {
                problems.push(refusal(&entry, mismatch));
                continue;
            }
        };
        match taken.get(entry.key.path.as_str()) {
            Some((other, first)) if *other != kind => problems.push(Problem::TwoNames {
                key: entry.key.path.clone(),
                first: first.clone(),
                second: entry.origin,
            }),
            _ => {
                taken.insert(&entry.key.path, (kind, entry.origin));
            }
        }
    }
    let values = taken
        .into_iter()
        .map(|(path, (kind, origin))| {
            let text = origin.to_string();
            origins.insert(text.clone(), origin);
            (path.to_owned(), Value::new(Some(&text), kind))
        })
        .collect();
    LayerSource(values)
}

fn refusal(entry: &Entry, because: Mismatch) -> Problem {
    let field = entry.key.field;
    let setting = Setting {
        key: entry.key.path.clone(),
        value: (!field.secret).then(|| written(&entry.raw)),
        origin: entry.origin.clone(),
    };
    if because.is_placeholder() {
        Problem::Placeholder {
            setting,
            expected: field.expects(),
            optional: field.optional || field.list,
        }
    } else {
        Problem::WrongValue {
            setting,
            because,
            expected: field.expects(),
        }
    }
}

/// A value as it was written, cut to what fits a message.
fn written(raw: &Raw) -> String {
    let text = match raw {
        Raw::Text(text) => text.clone(),
        Raw::Toml(kind) => Value::new(None, kind.clone())
            .try_deserialize::<Json>()
            .map_or_else(|_| "?".to_owned(), |value| toml_of(&value)),
    };
    if text.chars().count() > 100 {
        text.chars().take(100).chain(['…']).collect()
    } else {
        text
    }
}

fn provenance(merged: &config::Config, origins: &BTreeMap<String, Origin>) -> Provenance {
    let tree = merged.cache.clone();
    let entries = keys::all()
        .values()
        .filter_map(|key| {
            let value = key
                .path
                .split('.')
                .try_fold(&tree, |value, part| match &value.kind {
                    ValueKind::Table(table) => table.get(part),
                    _ => None,
                })?;
            let origin = origins.get(value.origin()?)?.clone();
            Some((key.path.clone(), (key.field.show(value.clone())?, origin)))
        })
        .collect();
    Provenance(entries)
}
