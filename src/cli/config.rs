//! `config`: the effective settings, what is wrong with them, and what there is to set.

use bytecave_config::json_schema;
use clap::Subcommand;
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::output::{json_document, line, note};

/// Commands about settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the effective value of each setting, and who set it
    #[command(after_help = "\
Examples:
  bytecave config show
  bytecave config show store
  bytecave --json config show http.port

Secrets are not shown; they stand in files of their own.")]
    Show {
        /// Only this setting, or this section
        key: Option<String>,
    },
    /// Check the settings and list all that is wrong; exits with 2 if anything is
    Check,
    /// Print a JSON Schema of the settings file
    Schema,
}

pub(crate) fn run(context: &Context, command: &ConfigCommand) -> Result<(), CliError> {
    match command {
        ConfigCommand::Show { key } => show(context, key.as_deref()),
        ConfigCommand::Check => check(context),
        ConfigCommand::Schema => json_document(&json_schema()),
    }
}

fn show(context: &Context, key: Option<&str>) -> Result<(), CliError> {
    let loaded = context.load()?;
    let wanted = |name: &str| key.is_none_or(|key| is_within(name, key));
    if let Some(key) = key
        && !loaded.provenance.iter().any(|(name, ..)| wanted(&name))
    {
        return Err(CliError::NoSuchKey(key.to_owned()));
    }
    if context.out.json {
        let mut all = loaded.provenance.to_json();
        if let Some(all) = all.as_object_mut() {
            all.retain(|name, _| wanted(name));
        }
        return json_document(&all);
    }
    let text = loaded.provenance.to_text();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| wanted(line.split(" = ").next().unwrap_or_default()))
        .collect();
    line(lines.join("\n"))
}

/// Whether `name` is the key or lies in the section `key`.
fn is_within(name: &str, key: &str) -> bool {
    name.strip_prefix(key)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn check(context: &Context) -> Result<(), CliError> {
    let loaded = context.load()?;
    for warning in &loaded.warnings {
        note(format_args!("warning: {warning}"));
    }
    context.out.result(
        &json!({ "ok": true, "warnings": loaded.warnings }),
        "the settings are usable",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_holds_its_keys_and_not_its_namesakes() {
        assert!(is_within("store.shard_count", "store"));
        assert!(is_within("store.shard_count", "store.shard_count"));
        assert!(!is_within("storefront.x", "store"));
        assert!(!is_within("http.port", "store"));
    }
}
