//! The list of all keys: their names in each layer and what there is to say about them.
//!
//! Names and types come from the sections, defaults and descriptions from `default.toml`; the table in the
//! documentation, the JSON Schema and the help of the command line are all made from this list.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value as Json, json};

use crate::sections::SECTIONS;
use crate::setting::Field;

/// The built-in defaults, commented, as they are compiled in.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// Begins every long variable name.
pub(crate) const PREFIX: &str = "BYTECAVE__";

/// The short variable names: published ones first, ours last.
const SHORT_NAMES: [(&str, &str); 17] = [
    ("PORT", "http.port"),
    ("DATA_DIR", "node.data_dir"),
    ("P2P_ENABLED", "p2p.enabled"),
    ("P2P_LISTEN_ADDRESSES", "p2p.listen_addresses"),
    ("P2P_RELAY_PEERS", "p2p.relay_peers"),
    ("P2P_BOOTSTRAP_PEERS", "p2p.bootstrap_peers"),
    ("P2P_ENABLE_RELAY", "p2p.enable_relay"),
    ("P2P_ENABLE_DHT", "p2p.enable_dht"),
    ("P2P_ENABLE_MDNS", "p2p.enable_mdns"),
    ("MAX_STORAGE_MB", "store.max_storage_mb"),
    ("SHARD_COUNT", "store.shard_count"),
    ("NODE_SHARDS", "store.node_shards"),
    ("OWNER_ADDRESS", "registry.owner_address"),
    ("VAULT_REGISTRY_ADDRESS", "registry.contract_address"),
    ("RPC_URL", "registry.rpc_url"),
    ("HOST", "http.host"),
    ("OWNER_PRIVATE_KEY_FILE", "registry.owner_private_key_file"),
];

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// `section.name`.
    pub(crate) path: String,
    pub(crate) field: &'static Field,
    /// The short variable name, if it has one.
    pub(crate) short: Option<&'static str>,
    /// `BYTECAVE__SECTION__KEY`.
    pub(crate) long: String,
}

static KEYS: LazyLock<BTreeMap<String, Key>> = LazyLock::new(|| {
    SECTIONS
        .iter()
        .flat_map(|(section, fields)| fields.iter().map(move |field| (section, field)))
        .map(|(section, field)| {
            let path = format!("{section}.{}", field.name);
            let short = SHORT_NAMES
                .into_iter()
                .find_map(|(short, of)| (of == path).then_some(short));
            let long = format!("{PREFIX}{}", path.replace('.', "__").to_ascii_uppercase());
            (
                path.clone(),
                Key {
                    path,
                    field,
                    short,
                    long,
                },
            )
        })
        .collect()
});

/// All keys by their path.
pub(crate) fn all() -> &'static BTreeMap<String, Key> {
    &KEYS
}

/// The key that a variable sets.
pub(crate) fn of_variable(name: &str) -> Option<&'static Key> {
    match SHORT_NAMES.into_iter().find(|(short, _)| *short == name) {
        Some((_, path)) => KEYS.get(path),
        None => KEYS.values().find(|key| key.long == name),
    }
}

/// Whether `path` is a table that holds keys.
pub(crate) fn is_section(path: &str) -> bool {
    SECTIONS.iter().any(|(section, _)| {
        section
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// The short name that a variable seems to be meant for, if it is no setting itself.
pub(crate) fn near_short_name(name: &str) -> Option<&'static str> {
    if of_variable(name).is_some() {
        return None;
    }
    SHORT_NAMES
        .into_iter()
        .map(|(short, _)| short)
        // Names as short as PORT and HOST have strangers for neighbours.
        .filter(|short| short.len() >= 7 && strsim::damerau_levenshtein(short, name) <= 2)
        .min_by_key(|short| strsim::damerau_levenshtein(short, name))
}

/// The key whose path is nearest to what somebody wrote.
pub(crate) fn nearest(written: &str) -> &'static str {
    if let Some(key) = of_variable(&written.to_ascii_uppercase()) {
        return &key.path;
    }
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |path: &str| {
        let whole = strsim::normalized_damerau_levenshtein(path, written);
        // The right name in the wrong section is the commoner mistake of the two.
        let name = strsim::normalized_damerau_levenshtein(&last(path), &last(written));
        whole.max(0.6 * name + 0.4 * whole)
    };
    KEYS.keys()
        .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
        .map_or("", String::as_str)
}

/// The long variable name nearest to what somebody wrote.
pub(crate) fn nearest_variable(written: &str) -> &'static str {
    let written = written.to_ascii_uppercase();
    let path = written
        .strip_prefix(PREFIX)
        .unwrap_or(&written)
        .replace("__", ".")
        .to_ascii_lowercase();
    KEYS.get(nearest(&path)).map_or("", |key| key.long.as_str())
}

/// What there is to know about a key, for documentation and help.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyInfo {
    /// `section.name`, as TOML has it.
    pub key: String,
    /// Short variable name, if it has one.
    pub short_name: Option<&'static str>,
    /// `BYTECAVE__SECTION__KEY`.
    pub long_name: String,
    /// What is accepted.
    pub expects: String,
    /// The default as `default.toml` writes it; `""` of a setting that may be left out means unset.
    pub default: String,
    /// Whether it may be left unset.
    pub optional: bool,
    /// What it does and what breaks when it is too low or too high.
    pub doc: String,
    schema: Json,
    default_json: Json,
}

/// All keys, in the order of `default.toml`.
pub fn keys() -> Vec<KeyInfo> {
    let defaults: toml::Table = DEFAULT_TOML.parse().unwrap_or_default();
    described()
        .into_iter()
        .filter_map(|described| {
            let key = KEYS.get(&described.path)?;
            let default_json = described
                .path
                .split('.')
                .try_fold(None, |table: Option<&toml::Value>, part| {
                    table
                        .map_or_else(|| defaults.get(part), |table| table.get(part))
                        .map(Some)
                })
                .flatten()
                .and_then(|value| serde_json::to_value(value).ok())
                .unwrap_or_default();
            Some(KeyInfo {
                short_name: key.short,
                long_name: key.long.clone(),
                expects: key.field.expects(),
                optional: key.field.optional,
                schema: key.field.schema(),
                key: described.path,
                default: described.default,
                doc: described.doc,
                default_json,
            })
        })
        .collect()
}

struct Described {
    path: String,
    default: String,
    doc: String,
}

/// Reads the comments of `default.toml`: those right above a key describe it.
fn described() -> Vec<Described> {
    let (mut section, mut comment) = (String::new(), Vec::new());
    let mut found = Vec::new();
    for line in DEFAULT_TOML.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            name.clone_into(&mut section);
        } else if let Some((name, value)) = line.split_once(" = ") {
            found.push(Described {
                path: format!("{section}.{name}"),
                default: value.to_owned(),
                doc: comment.join(" "),
            });
        }
        if !line.starts_with('#') {
            comment.clear();
        }
    }
    found
}

/// A table of the schema while it grows.
#[derive(Default)]
struct Table {
    keys: Map<String, Json>,
    tables: BTreeMap<String, Table>,
}

impl Table {
    fn at(&mut self, path: &str) -> &mut Self {
        path.split('.').fold(self, |table, part| {
            table.tables.entry(part.to_owned()).or_default()
        })
    }

    fn into_schema(self) -> Json {
        let tables = self
            .tables
            .into_iter()
            .map(|(name, table)| (name, table.into_schema()));
        let properties: Map<String, Json> = self.keys.into_iter().chain(tables).collect();
        json!({ "type": "object", "additionalProperties": false, "properties": properties })
    }
}

/// A JSON Schema (2020-12) of the TOML file.
pub fn json_schema() -> Json {
    let mut root = Table::default();
    for info in keys() {
        let mut property = info.schema;
        if let Some(property) = property.as_object_mut() {
            property.insert("description".into(), info.doc.into());
            property.insert("default".into(), info.default_json);
        }
        let (table, name) = info.key.rsplit_once('.').unwrap_or_default();
        root.at(table).keys.insert(name.to_owned(), property);
    }
    let mut schema = root.into_schema();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(
            "$schema".into(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        schema.insert("title".into(), "Settings of a ByteCave node".into());
    }
    schema
}

/// The table of all keys for the documentation, in Markdown.
pub fn markdown_table() -> String {
    let mut lines = Vec::new();
    let mut section = String::new();
    for info in keys() {
        let (table, name) = info.key.rsplit_once('.').unwrap_or_default();
        if table != section {
            table.clone_into(&mut section);
            lines.push(format!("\n### `[{table}]`\n"));
            lines.push("| key | default | variable | accepts | what it does |".to_owned());
            lines.push("|---|---|---|---|---|".to_owned());
        }
        let default = if info.optional && info.default == "\"\"" {
            "unset".to_owned()
        } else {
            format!("`{}`", info.default)
        };
        let variable = info.short_name.map_or_else(
            || format!("`{}`", info.long_name),
            |short| format!("`{short}` or `{}`", info.long_name),
        );
        lines.push(format!(
            "| `{name}` | {default} | {variable} | {} | {} |",
            info.expects.trim_end_matches(',').replace('|', "\\|"),
            info.doc.replace('|', "\\|"),
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    /// Both directions: a field without a key in the file, and a key without a field.
    #[test]
    fn fields_and_default_toml_agree() {
        let fields: BTreeSet<&str> = KEYS.keys().map(String::as_str).collect();
        let described = described();
        let in_file: BTreeSet<&str> = described.iter().map(|key| key.path.as_str()).collect();
        assert_eq!(fields, in_file);
        assert_eq!(described.len(), in_file.len(), "a key stands twice");
        assert_eq!(keys().len(), fields.len());
    }

    #[test]
    fn every_short_name_belongs_to_a_key_and_every_bound_reads() {
        for (short, path) in SHORT_NAMES {
            assert_eq!(of_variable(short).unwrap().path, path);
        }
        for key in KEYS.values() {
            assert_eq!(of_variable(&key.long).unwrap().path, key.path);
            if let Some((low, high)) = key.field.range {
                for bound in [low, high] {
                    let raw = crate::setting::Raw::Text(bound.to_owned());
                    key.field.read(&raw).unwrap();
                }
            }
        }
    }

    #[test]
    fn sections_are_known_by_their_whole_path() {
        for section in ["http", "actors", "actors.store"] {
            assert!(is_section(section), "{section}");
        }
        for other in ["htt", "actors.st", "http.port", ""] {
            assert!(!is_section(other), "{other}");
        }
    }
}
