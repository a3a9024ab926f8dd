//! `keys`: who the node is, where its keys lie, a copy of them, and a new key for what is stored.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytecave_config::Config;
use bytecave_core::NodeIdentity;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::client::Patience;
use super::context::{Context, block_on};
use super::error::CliError;
use super::output::{Fields, json_line, line, note};

/// No key file is longer.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// Commands about keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Show who the node is and where its keys lie; no secret is shown
    Show,
    /// Seal everything stored under a new key; needs the running node
    #[command(after_help = "\
Adds a key to the keyring and seals all metadata under it; contents are not rewritten. Goes on after
a restart if it is interrupted. The unlock key and its backup stay what they are.")]
    Rotate,
    /// Copy the keys into a new directory, readable by its owner only
    Export(ExportArgs),
}

/// Arguments of `keys export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: bytecave keys export /media/usb/bytecave-keys

Keep the copy where the data is not. With the data directory it opens everything stored; without
it nothing stored can be read again. To restore, put the files back into keys/ of the data directory.")]
pub(crate) struct ExportArgs {
    /// The directory; it must be new or empty
    #[arg(value_name = "DIR")]
    target: PathBuf,
}

/// A key file: what it is, where it lies, what the copy is called.
struct KeyFile {
    what: &'static str,
    path: PathBuf,
    copy: &'static str,
}

/// What a rotation did.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rotated {
    key_id: u64,
    resealed: u64,
}

pub(crate) fn run(context: &Context, command: &KeysCommand) -> Result<(), CliError> {
    match command {
        KeysCommand::Show => show(context),
        KeysCommand::Rotate => rotate(context),
        KeysCommand::Export(args) => export(context, args),
    }
}

/// The secret files of a node with these settings.
fn secret_files(config: &Config) -> Vec<KeyFile> {
    let mut files = vec![KeyFile {
        what: "who the node is (Ed25519, libp2p protobuf)",
        path: private_key(config),
        copy: "private.key",
    }];
    if config.store.passphrase_file.is_none() {
        files.push(KeyFile {
            what: "opens everything stored",
            path: config.unlock_key_file(),
            copy: "unlock.key",
        });
    }
    files.push(KeyFile {
        what: "lets a client change, list and administrate",
        path: config.api_token_file(),
        copy: "api-token",
    });
    files
}

fn private_key(config: &Config) -> PathBuf {
    config.keys_dir().join("private.key")
}

fn identity(config: &Config) -> Result<NodeIdentity, CliError> {
    let path = private_key(config);
    let bytes = read(&path).map_err(CliError::io("read", &path))?;
    NodeIdentity::from_protobuf(&bytes).map_err(|source| CliError::Key { path, source })
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    File::open(path)?
        .take(MAX_KEY_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn show(context: &Context) -> Result<(), CliError> {
    let config = context.load()?.config;
    let identity = identity(&config)?;
    let files: Vec<(KeyFile, String)> = secret_files(&config)
        .into_iter()
        .map(|file| {
            let state = state(&file.path);
            (file, state)
        })
        .collect();
    if context.out.json {
        let files: Vec<Value> = files
            .iter()
            .map(|(file, state)| json!({ "path": file.path, "what": file.what, "state": state }))
            .collect();
        return json_line(&json!({
            "peerId": identity.peer_id(), "publicKey": identity.public_key(),
            "passphrase": config.store.passphrase_file.is_some(), "files": files,
        }));
    }
    let passphrase = config
        .store
        .passphrase_file
        .as_ref()
        .map(|file| format!("read from {file}"));
    line(
        Fields::default()
            .with("peer id", identity.peer_id())
            .with("public key", identity.public_key())
            .with_some("passphrase", passphrase),
    )?;
    for (file, state) in files {
        line(format_args!(
            "\n{} ({state})\n  {}",
            file.path.display(),
            file.what
        ))?;
    }
    Ok(())
}

/// Whether a file is there, and for whom.
fn state(path: &Path) -> String {
    match fs::metadata(path) {
        Ok(meta) => {
            let mode = meta.permissions().mode() & 0o777;
            let advice = if is_exposed(mode) {
                ": others can read it, run chmod 600 on it"
            } else {
                ""
            };
            format!("mode {mode:04o}{advice}")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => "not there".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Whether others than the owner may do anything with it.
fn is_exposed(mode: u32) -> bool {
    mode & 0o077 != 0
}

fn rotate(context: &Context) -> Result<(), CliError> {
    let client = context.client(Patience::Endless)?;
    block_on(async {
        let request = client.request(Method::POST, &["admin", "keys", "rotate"], &[]);
        let done: Rotated = client.json(request).await?;
        let text = format!(
            "key {} is in use; {} records sealed again",
            done.key_id, done.resealed
        );
        context.out.result(&done, text)
    })
}

fn export(context: &Context, args: &ExportArgs) -> Result<(), CliError> {
    if args.target == Path::new("-") {
        return Err(CliError::KeysToStdout);
    }
    let config = context.load()?.config;
    let identity = identity(&config)?;
    let secrets = secret_files(&config);
    // All are read before the first is written: half a copy looks like a copy.
    let mut copies = Vec::new();
    for file in &secrets {
        copies.push((
            file.copy,
            read(&file.path).map_err(CliError::io("read", &file.path))?,
        ));
    }
    let about = about(&config, &identity, &secrets);
    copies.push(("README.txt", Zeroizing::new(about.into_bytes())));
    make_empty_dir(&args.target)?;
    for (name, bytes) in &copies {
        let path = args.target.join(name);
        write_private(&path, bytes).map_err(CliError::io("write", &path))?;
    }
    let synced = File::open(&args.target).and_then(|dir| dir.sync_all());
    synced.map_err(CliError::io("write", &args.target))?;
    let names: Vec<&str> = copies.iter().map(|(name, _)| *name).collect();
    let target = args.target.display();
    let value = json!({ "directory": args.target, "files": names, "peerId": identity.peer_id() });
    context
        .out
        .result(&value, format_args!("{target}: {}", names.join(", ")))?;
    note("These are secrets. Keep them where the data is not.");
    if config.store.passphrase_file.is_some() {
        note("The passphrase is not among them: write it down elsewhere.");
    }
    if is_within(&args.target, &config.node.data_dir) {
        note("warning: this is inside the data directory, and would be lost with it");
    }
    Ok(())
}

fn make_empty_dir(path: &Path) -> Result<(), CliError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut entries = fs::read_dir(path).map_err(CliError::io("read", path))?;
            if entries.next().is_some() {
                return Err(CliError::NotEmpty {
                    path: path.to_owned(),
                });
            }
            Ok(())
        }
        Err(error) => Err(CliError::io("make the directory", path)(error)),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn is_within(path: &Path, directory: &Path) -> bool {
    match (path.canonicalize(), directory.canonicalize()) {
        (Ok(path), Ok(directory)) => path.starts_with(directory),
        _ => false,
    }
}

/// What the copy says of itself to whoever finds it in some years.
fn about(config: &Config, identity: &NodeIdentity, files: &[KeyFile]) -> String {
    let mut text = format!(
        "Keys of the ByteCave node {}\npublic key {}\n\nSECRET: whoever has these files and the data directory can read everything stored.\n\n",
        identity.peer_id(),
        identity.public_key()
    );
    text.extend(files.iter().map(|file| {
        format!(
            "{:<12}  {}; lay in {}\n",
            file.copy,
            file.what,
            std::path::absolute(&file.path)
                .unwrap_or_default()
                .display()
        )
    }));
    if config.store.passphrase_file.is_some() {
        text.push_str("\nEverything stored is opened by a passphrase, which is not here.\n");
    }
    text.push_str(
        "\nTo restore: stop the node, put each file back where it lay (keys/ of the data directory, unless\nthe settings say otherwise) with mode 0600, start the node.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_export_goes_only_into_an_empty_directory_of_its_owner() {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("keys");
        make_empty_dir(&target).unwrap();
        assert_eq!(
            fs::metadata(&target).unwrap().permissions().mode() & 0o777,
            0o700
        );
        make_empty_dir(&target).unwrap();
        write_private(&target.join("private.key"), b"secret").unwrap();
        assert_eq!(state(&target.join("private.key")), "mode 0600");
        assert!(matches!(
            make_empty_dir(&target),
            Err(CliError::NotEmpty { .. })
        ));
    }

    #[test]
    fn a_passphrase_takes_the_place_of_the_unlock_key() {
        let mut config = Config::built_in().unwrap();
        let names = |config: &Config| {
            secret_files(config)
                .iter()
                .map(|file| file.copy)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&config), ["private.key", "unlock.key", "api-token"]);
        config.store.passphrase_file = Some("/run/secrets/passphrase".parse().unwrap());
        assert_eq!(names(&config), ["private.key", "api-token"]);
    }

    #[test]
    fn an_exposed_key_is_pointed_out() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("key");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(state(&path).contains("chmod 600"));
        assert_eq!(state(&temp.path().join("none")), "not there");
    }
}
