//! What belongs to the node itself: its keys, its port, and whether it is what answers there.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;

use bytecave_config::Config;
use bytecave_core::{NodeIdentity, PeerId};
use reqwest::Method;
use serde::Deserialize;

use super::Finding;
use crate::cli::client::{Client, Patience};
use crate::cli::context::{Context, block_on};
use crate::cli::error::CliError;
use crate::cli::output::printable;
use crate::cli::target::{Token, own_url};
use crate::data_dir::exposed_keys;

/// What is looked at in the health of whoever has the port.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    status: String,
    peer_id: PeerId,
}

pub(super) fn keys(config: &Config) -> Vec<Finding> {
    let check = "keys";
    let secret = match &config.store.passphrase_file {
        Some(file) => file.path().to_owned(),
        None => config.unlock_key_file(),
    };
    let needed = [config.keys_dir().join("private.key"), secret];
    let has_database = config.node.data_dir.join("db").join("CURRENT").exists();
    let mut findings = Vec::new();
    for path in needed.iter().filter(|path| !path.exists()) {
        let shown = path.display();
        if has_database {
            findings.push(Finding::problem(
                check,
                format_args!("{shown} is missing, and the database needs it"),
                "put it back from your backup of the keys",
            ));
        } else if config.store.passphrase_file.is_some() && *path == needed[1] {
            findings.push(Finding::problem(
                check,
                format_args!("{shown} is missing"),
                "write the passphrase into it, or unset store.passphrase_file",
            ));
        }
    }
    let all: Vec<PathBuf> = needed
        .into_iter()
        .chain([config.api_token_file()])
        .collect();
    for path in exposed_keys(&all) {
        let shown = path.display();
        findings.push(Finding::warning(
            check,
            format_args!("{shown} can be read by others"),
            format_args!("chmod 600 {shown}"),
        ));
    }
    if findings.is_empty() {
        findings.push(match identity(config) {
            Some(id) => Finding::ok(check, format_args!("private; the node is {id}")),
            None => Finding::ok(check, "none yet; the first start makes them"),
        });
    }
    findings
}

fn identity(config: &Config) -> Option<PeerId> {
    let bytes = zeroize::Zeroizing::new(std::fs::read(config.keys_dir().join("private.key")).ok()?);
    Some(NodeIdentity::from_protobuf(&bytes).ok()?.peer_id())
}

/// Who has the HTTP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// Nobody: this node does not run.
    Free,
    /// This node, and it answers.
    Ours,
    /// Somebody else.
    Taken,
    /// It cannot be told: the port is another at each start, or its holder is on its way.
    Unknown,
}

pub(super) fn http_port(context: &Context, config: &Config) -> Result<(Port, Finding), CliError> {
    let check = "HTTP port";
    let (ip, port) = (config.http.host.ip(), config.http.port);
    if port == 0 {
        return Ok((
            Port::Unknown,
            Finding::ok(check, "chosen by the system at each start (http.port = 0)"),
        ));
    }
    let Err(error) = TcpListener::bind((ip, port)) else {
        return Ok((
            Port::Free,
            Finding::ok(
                check,
                format_args!("{port} on {ip} is free; no node is running there"),
            ),
        ));
    };
    let refused = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let client = Client::new(
                own_url(&config.http)?,
                Token::NotSent,
                Patience::Brief,
                context.out,
            )?;
            let holder = block_on(async {
                client
                    .json::<Health>(client.request(Method::GET, &["health"], &[]))
                    .await
            });
            return Ok(taken(port, holder, identity(config)));
        }
        io::ErrorKind::PermissionDenied => Finding::problem(
            check,
            format_args!("this user may not listen on {port}"),
            "choose a PORT from 1024 up, and put a reverse proxy in front for others",
        ),
        io::ErrorKind::AddrNotAvailable => Finding::problem(
            check,
            format_args!("{ip} is not an address of this machine"),
            "set HOST to one that is, or to 0.0.0.0 for all",
        ),
        _ => Finding::problem(
            check,
            format_args!("{port} on {ip}: {error}"),
            "choose another HOST or PORT",
        ),
    };
    Ok((Port::Free, refused))
}

fn taken(port: u16, holder: Result<Health, CliError>, own: Option<PeerId>) -> (Port, Finding) {
    let check = "HTTP port";
    match holder {
        Ok(health) if Some(health.peer_id) == own => {
            let status = printable(&health.status);
            let finding = if status == "healthy" {
                Finding::ok(
                    check,
                    format_args!("{port} is in use by this node, which is healthy"),
                )
            } else {
                Finding::warning(
                    check,
                    format_args!("{port} is in use by this node, which is {status}"),
                    "`bytecave status` and the log say why",
                )
            };
            (Port::Ours, finding)
        }
        Ok(health) => (
            Port::Taken,
            Finding::problem(
                check,
                format_args!("{port} is in use by another node ({})", health.peer_id),
                "stop that node, choose another PORT, or name its data directory with --data-dir",
            ),
        ),
        Err(CliError::Answer { problem, .. }) if problem.code.as_deref() == Some("recovering") => (
            Port::Unknown,
            Finding::warning(
                check,
                format_args!("{port} is in use by a node that is starting"),
                "wait for it and look again",
            ),
        ),
        Err(_) => (
            Port::Taken,
            Finding::problem(
                check,
                format_args!("{port} is in use by another program"),
                format_args!(
                    "choose another PORT, or stop the program (ss -ltnp 'sport = :{port}' names it)"
                ),
            ),
        ),
    }
}

pub(super) fn chain(config: &Config) -> Finding {
    let registry = &config.registry;
    let set = registry.contract_address.is_some()
        || !registry.rpc_url.is_empty()
        || registry.owner_address.is_some();
    let text = if set {
        "this version does not look at the chain; its settings are checked and kept"
    } else {
        "this version does not look at the chain; none of its settings are set"
    };
    Finding::off("chain", text, "nothing to do: the node works without")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::super::State;
    use super::*;

    fn peer(seed: u8) -> PeerId {
        NodeIdentity::from_seed([seed; 32]).unwrap().peer_id()
    }

    #[test]
    fn the_holder_of_the_port_is_told_apart() {
        let health = |status: &str, seed| {
            Ok(Health {
                status: status.to_owned(),
                peer_id: peer(seed),
            })
        };
        let judge = |holder, own| {
            let (port, finding) = taken(1, holder, own);
            (port, finding.state)
        };
        let own = Some(peer(1));
        assert_eq!(judge(health("healthy", 1), own), (Port::Ours, State::Ok));
        assert_eq!(
            judge(health("degraded", 1), own),
            (Port::Ours, State::Warning)
        );
        assert_eq!(
            judge(health("healthy", 2), own),
            (Port::Taken, State::Problem)
        );
        assert_eq!(
            judge(health("healthy", 2), None),
            (Port::Taken, State::Problem)
        );
        assert_eq!(
            judge(Err(CliError::UnknownPort), own),
            (Port::Taken, State::Problem)
        );
    }

    #[test]
    fn missing_and_exposed_keys_are_found() {
        let temp = tempfile::tempdir().unwrap();
        let mut config = Config::built_in().unwrap();
        config.node.data_dir = temp.path().to_owned();
        assert_eq!(keys(&config)[0].state, State::Ok);
        fs::create_dir_all(temp.path().join("db")).unwrap();
        fs::write(temp.path().join("db/CURRENT"), "").unwrap();
        assert_eq!(keys(&config).len(), 2);
        fs::create_dir(config.keys_dir()).unwrap();
        for name in ["private.key", "unlock.key"] {
            let path = config.keys_dir().join(name);
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let found = keys(&config);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|finding| finding.state == State::Warning));
    }
}
