//! `init`: a data directory with its keys, before the first start or instead of it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytecave_config::DEFAULT_TOML;
use clap::Args;
use serde_json::json;

use super::context::Context;
use super::error::CliError;
use super::output::{Fields, note};
use crate::data_dir::DataDir;

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bytecave init
  bytecave --data-dir /srv/bytecave init --write-config

Keys that are there already are kept. `run` makes them too; init is for those who want to back the
keys up, or write down who the node is, before it runs.")]
pub(crate) struct InitArgs {
    /// Also write a settings file with every setting, commented out
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "bytecave.toml")]
    write_config: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &InitArgs) -> Result<(), CliError> {
    let config = context.load()?.config;
    if let Some(path) = args
        .write_config
        .as_deref()
        .filter(|path| path.symlink_metadata().is_ok())
    {
        return Err(CliError::exists(
            path,
            "remove it first, or choose another with --write-config=FILE",
        ));
    }
    let private_key = config.keys_dir().join("private.key");
    let made = !private_key.exists();
    let data_dir = DataDir::open(&config.node.data_dir)?;
    let keys = data_dir.load_keys(&config)?;
    if let Some(path) = &args.write_config {
        write_new(path, &commented(context.data_dir_option()))
            .map_err(CliError::io("write", path))?;
    }
    let directory = config.node.data_dir.display().to_string();
    let (peer_id, public_key) = (keys.identity.peer_id(), keys.identity.public_key());
    let written = args
        .write_config
        .as_ref()
        .map(|path| path.display().to_string());
    let fields = Fields::default()
        .with("data directory", &directory)
        .with("keys", if made { "made" } else { "were there already" })
        .with("peer id", peer_id)
        .with("public key", public_key)
        .with_some("settings file", written.as_ref());
    let value = json!({
        "dataDir": directory, "made": made, "peerId": peer_id, "publicKey": public_key, "configFile": written,
    });
    context.out.result(&value, fields)?;
    if made {
        note(
            "Without these keys every blob here is lost: keep a copy elsewhere (bytecave keys export DIR).",
        );
    }
    Ok(())
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)?
        .write_all(text.as_bytes())
}

/// The built-in settings with each value commented out, so that the file changes nothing until
/// somebody changes it, and later defaults still come through.
fn commented(data_dir: Option<&Path>) -> String {
    let mut text = String::from(
        "# Settings of this node. What is commented out has its built-in value: remove the # to change it.\n#\n",
    );
    for line in DEFAULT_TOML.lines() {
        let is_setting = !line.starts_with('#') && line.contains(" = ");
        match data_dir {
            Some(dir) if line.starts_with("data_dir = ") => {
                // A JSON text is a TOML text.
                let value = serde_json::Value::from(dir.to_string_lossy()).to_string();
                text.extend(["data_dir = ", &value, "\n"]);
            }
            _ => text.extend([if is_setting { "#" } else { "" }, line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_config::{Config, Inputs, load};

    use super::*;

    fn loaded(text: &str) -> Config {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("bytecave.toml"), text).unwrap();
        let inputs = Inputs {
            working_dir: Some(temp.path().to_owned()),
            ..Inputs::default()
        };
        load(&inputs).unwrap().config
    }

    #[test]
    fn the_file_that_is_written_changes_nothing_by_itself() {
        assert_eq!(loaded(&commented(None)), Config::built_in().unwrap());
    }

    #[test]
    fn every_setting_can_be_uncommented() {
        let text = commented(None);
        let uncommented: String = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        assert!(uncommented.ends_with(DEFAULT_TOML), "{uncommented}");
    }

    #[test]
    fn a_data_directory_that_was_named_stays_named() {
        let config = loaded(&commented(Some(Path::new("/srv/\"x\" y"))));
        assert_eq!(config.node.data_dir, Path::new("/srv/\"x\" y"));
    }

    #[test]
    fn an_existing_settings_file_is_not_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("bytecave.toml");
        write_new(&path, "a").unwrap();
        assert!(write_new(&path, "b").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a");
    }
}
