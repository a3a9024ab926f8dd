//! `replication`: where the copies of the running node's shards are, and why some are wanting.

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::Patience;
use super::context::{Context, block_on};
use super::error::CliError;
use super::output::{Fields, json_line, line, printable};

/// What is printed when there is no other node to speak of.
const OFF: &str = "networking is off (P2P_ENABLED=false): each blob has this node's copy alone";
/// Characters of a peer id that tell it from others: all begin alike.
const PEER_TAIL: usize = 8;

/// Arguments of `replication`.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  bytecave replication
  bytecave --json replication --all | jq '.shards[] | select(.live < 2)'

A copy counts when its holder was last found to have the same blobs of the shard as this node. Holders
are listed by rank, by the end of their peer ids; `here` is this node, `silent` one that was not heard
of lately, `full` one that takes no new blobs.")]
pub(crate) struct ReplicationArgs {
    /// Also the shards that want no copies
    #[arg(long)]
    all: bool,
}

/// What is looked at in the copies.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Replication {
    #[serde(default = "on")]
    enabled: bool,
    factor: u64,
    outbox: u64,
    repairs_waiting: u64,
    repairs_running: u64,
    total: u64,
    missing: u64,
    #[serde(default)]
    shards: Vec<Shard>,
    #[serde(default)]
    peers: Vec<Conduct>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shard {
    #[serde(rename = "shard")]
    number: u64,
    blobs: u64,
    #[serde(default)]
    holders: Vec<Holder>,
    live: u64,
    missing: u64,
    reason: Option<String>,
}

/// A node that holds a shard.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Holder {
    peer_id: String,
    #[serde(default)]
    here: bool,
    #[serde(default = "on")]
    accepting: bool,
    #[serde(default = "on")]
    live: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conduct {
    peer_id: String,
    score: f64,
    #[serde(default)]
    blocked: bool,
}

fn on() -> bool {
    true
}

pub(crate) fn run(context: &Context, args: &ReplicationArgs) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    let query: &[_] = if args.all {
        &[]
    } else {
        &[("missing", "1".to_owned())]
    };
    let value: Value = block_on(async {
        client
            .json(client.request(Method::GET, &["replication"], query))
            .await
    })?;
    if context.out.json {
        return json_line(&value);
    }
    let replication = Replication::deserialize(&value).map_err(|error| CliError::Strange {
        url: client.base().to_string(),
        reason: error.to_string(),
    })?;
    if replication.enabled {
        line(text(&replication))
    } else {
        line(OFF)
    }
}

fn text(replication: &Replication) -> String {
    let shards = match replication.missing {
        0 => format!("{}, none of which wants copies", replication.total),
        missing => format!("{}, of which {missing} want copies", replication.total),
    };
    let mut head = Fields::default()
        .with(
            "copies",
            format_args!("{} of each blob", replication.factor),
        )
        .with("shards here", shards)
        .with("to be copied", format_args!("{} blobs", replication.outbox))
        .with(
            "repairs",
            format_args!(
                "{} waiting, {} running",
                replication.repairs_waiting, replication.repairs_running
            ),
        );
    for peer in replication.peers.iter().filter(|peer| peer.blocked) {
        head = head.with(
            "not asked",
            format_args!("{}  score {:.1}", printable(&peer.peer_id), peer.score),
        );
    }
    if replication.shards.is_empty() {
        return head.to_string();
    }
    let columns = format!(
        "{:>6}  {:>10}  {:>6}  {:>7}  holders",
        "shard", "blobs", "copies", "missing"
    );
    let rows: Vec<String> = replication.shards.iter().map(row).collect();
    format!("{head}\n\n{columns}\n{}", rows.join("\n"))
}

fn row(shard: &Shard) -> String {
    let why = shard
        .reason
        .as_ref()
        .map(|why| format!("  ({})", printable(why)));
    format!(
        "{:>6}  {:>10}  {:>6}  {:>7}  {}{}",
        shard.number,
        shard.blobs,
        shard.live,
        shard.missing,
        holders_in_short(&shard.holders),
        why.unwrap_or_default()
    )
}

/// The end of a peer id, by which it is told from others.
pub(crate) fn short_peer(peer_id: &str) -> String {
    let from = peer_id.chars().count().saturating_sub(PEER_TAIL);
    let tail: String = peer_id.chars().skip(from).collect();
    format!("…{}", printable(&tail))
}

/// Holders by rank, short enough for a column; `-` when none is known.
pub(crate) fn holders_in_short(holders: &[Holder]) -> String {
    if holders.is_empty() {
        return "-".to_owned();
    }
    let short = |holder: &Holder| {
        let name = if holder.here {
            "here".to_owned()
        } else {
            short_peer(&holder.peer_id)
        };
        match (holder.live, holder.accepting) {
            (false, _) => format!("{name} silent"),
            (true, false) => format!("{name} full"),
            (true, true) => name,
        }
    };
    let short: Vec<String> = holders.iter().map(short).collect();
    short.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn answer() -> Replication {
        serde_json::from_value(json!({
            "enabled": true, "factor": 3, "outbox": 4, "repairsWaiting": 5, "repairsRunning": 2,
            "total": 10, "missing": 1, "next": null,
            "shards": [{
                "shard": 7, "blobs": 12, "live": 2, "missing": 1, "reason": "1 of 3 holders is silent",
                "holders": [
                    { "peerId": "12D3KooWme", "here": true, "accepting": true, "live": true },
                    { "peerId": "12D3KooWabcdefgh", "here": false, "accepting": false, "live": true },
                    { "peerId": "12D3KooW\u{1b}zyxwvu", "here": false, "accepting": true, "live": false },
                ],
            }],
            "peers": [
                { "peerId": "12D3KooWgood", "score": 3.0, "blocked": false },
                { "peerId": "12D3KooWbad", "score": -60.25, "blocked": true },
            ],
        }))
        .unwrap()
    }

    #[test]
    fn what_is_missing_is_told_with_the_reason() {
        let text = text(&answer());
        for line in [
            "copies        3 of each blob",
            "shards here   10, of which 1 want copies",
            "to be copied  4 blobs",
            "repairs       5 waiting, 2 running",
            "not asked     12D3KooWbad  score -60.2",
            "     7          12       2        1  here, …abcdefgh full, …W\u{fffd}zyxwvu silent  (1 of 3 holders is silent)",
        ] {
            assert!(text.lines().any(|of| of == line), "no {line:?} in {text}");
        }
        assert!(!text.contains("12D3KooWgood"), "{text}");
    }

    #[test]
    fn when_nothing_is_missing_there_is_no_table() {
        let mut replication = answer();
        replication.missing = 0;
        replication.shards.clear();
        replication.peers.clear();
        let text = text(&replication);
        assert!(text.contains("10, none of which wants copies"), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}
