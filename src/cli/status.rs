//! `status`: how the running node is, in one line and one exit code.

use std::time::Duration;

use indicatif::HumanDuration;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Patience;
use super::context::{Context, block_on};
use super::error::CliError;
use super::exit::Exit;
use super::network::Reachability;
use super::output::{Fields, json_line, printable, size};

/// The text of `--help`.
pub(crate) const LONG_ABOUT: &str = "\
Say how the running node is

Exits with 0 when it is healthy, 1 when it is degraded (read-only, damaged blobs, storage limit or
disk reserve reached), and 2 when it is unhealthy, still starting, or does not answer within 4 s.
The address is found from the same settings that the node has, so that the command serves as a
container's health check without any argument.";

/// What is looked at in a node's health.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    status: String,
    uptime: u64,
    stored_blobs: u64,
    total_size: u64,
    peer_id: String,
    peers: u64,
    /// Whether others can reach it.
    #[serde(default)]
    reachability: Option<Reachability>,
    /// What makes it degraded or unhealthy.
    #[serde(default)]
    reasons: Vec<String>,
}

pub(crate) fn run(context: &Context) -> Result<Exit, CliError> {
    let client = context.anonymous_client(Patience::Brief)?;
    let request = client.request(Method::GET, &["health"], &[]);
    let asked = block_on(client.json::<Value>(request));
    match asked {
        Ok(value) => {
            let url = client.base().to_string();
            let health = Health::deserialize(&value).map_err(|error| CliError::Strange {
                url: url.clone(),
                reason: error.to_string(),
            });
            match health {
                Ok(health) => {
                    context.out.result(&value, fields(&health, &url))?;
                    Ok(exit_of(&health.status))
                }
                Err(error) => unhealthy(context, &error),
            }
        }
        Err(error @ (CliError::Interrupted | CliError::Start(_))) => Err(error),
        Err(error) => unhealthy(context, &error),
    }
}

/// Whatever keeps the answer away, a script that asks for the status gets the one code for it.
fn unhealthy(context: &Context, error: &CliError) -> Result<Exit, CliError> {
    if context.out.json {
        json_line(&json!({ "status": "unhealthy", "error": error.to_string() }))?;
    } else {
        context.out.error(error);
    }
    Ok(Exit::Usage)
}

fn exit_of(status: &str) -> Exit {
    match status {
        "healthy" => Exit::Done,
        "degraded" => Exit::Failed,
        _ => Exit::Usage,
    }
}

fn fields(health: &Health, url: &str) -> Fields {
    let reasons = (!health.reasons.is_empty()).then(|| printable(&health.reasons.join("; ")));
    Fields::default()
        .with("status", printable(&health.status))
        .with_some("because", reasons)
        .with("url", url)
        .with("peer id", printable(&health.peer_id))
        .with("up for", HumanDuration(Duration::from_secs(health.uptime)))
        .with("blobs", health.stored_blobs)
        .with("content", size(health.total_size))
        .with("peers", health.peers)
        .with_some(
            "reachable",
            health.reachability.as_ref().map(Reachability::in_words),
        )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_status_has_its_code() {
        assert_eq!(exit_of("healthy").code(), 0);
        assert_eq!(exit_of("degraded").code(), 1);
        assert_eq!(exit_of("unhealthy").code(), 2);
        assert_eq!(exit_of("whatever").code(), 2);
    }

    #[test]
    fn the_published_answer_is_understood() {
        let published = json!({
            "status": "healthy", "uptime": 3600, "storedBlobs": 42, "totalSize": 1_048_576,
            "peerId": "12D3KooW", "multiaddrs": ["/ip4/1.2.3.4"], "publicKey": "0x00", "peers": 5,
        });
        let health: Health = serde_json::from_value(published).unwrap();
        let text = fields(&health, "http://127.0.0.1:5001/").to_string();
        assert!(text.contains("blobs    42"), "{text}");
        assert!(!text.contains("because"), "{text}");
        assert!(!text.contains("reachable"), "{text}");
    }

    #[test]
    fn a_node_that_knows_tells_whether_it_is_reached() {
        let health = json!({
            "status": "healthy", "uptime": 1, "storedBlobs": 0, "totalSize": 0, "peerId": "x", "peers": 2,
            "reachability": { "verdict": "relayed", "holePunching": "untried" },
        });
        let health: Health = serde_json::from_value(health).unwrap();
        let text = fields(&health, "http://127.0.0.1:5001/").to_string();
        assert!(text.contains("peers      2\n"), "{text}");
        assert!(
            text.ends_with("reachable  through a relay; hole punching was not tried yet"),
            "{text}"
        );
    }
}
