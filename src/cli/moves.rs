//! `shards plan` and `shards apply`: what stands on the running node that others hold, and the word to let
//! it go.

use std::time::Duration;

use bytecave_core::ShardRange;
use clap::Args;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{Client, Patience};
use super::context::{Context, block_on};
use super::error::CliError;
use super::output::{Fields, printable, short_size};
use super::replication::short_peer;

/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Arguments of `shards apply`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bytecave shards apply 512-767 1000
  bytecave shards apply --all --wait

Take the shards out of NODE_SHARDS and start the node again before; `bytecave shards plan` then lists them.
A blob is let go once as many other nodes as there shall be copies have proved that they hold it, twice. It
stays on disk for replication.hold, and is still given to who asks. The work goes on after a restart.")]
pub(crate) struct ApplyArgs {
    /// Shards of the plan: 7, or 7-12 with both ends inclusive
    #[arg(
        value_name = "RANGE",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    ranges: Vec<ShardRange>,
    /// All shards of the plan that are no longer among `NODE_SHARDS`
    #[arg(long)]
    all: bool,
    /// Wait until nothing of them is left but what is pinned
    #[arg(long)]
    wait: bool,
}

/// What stands on the node that others hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    factor: u64,
    hold: u64,
    shards: Vec<Move>,
}

/// A shard, and how far its handing over is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Move {
    shard: u64,
    owned: bool,
    applied: bool,
    blobs: u64,
    bytes: u64,
    holders: Vec<Holder>,
    live: u64,
    given: u64,
    proved: u64,
    retired: u64,
    pinned: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waiting: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Holder {
    peer_id: String,
    live: bool,
    accepting: bool,
    given: bool,
}

pub(super) fn plan(context: &Context) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    let plan = block_on(async { ask(&client).await })?;
    context.out.result(&plan, text(&plan))
}

pub(super) fn apply(context: &Context, args: &ApplyArgs) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    let plan = block_on(async {
        let ranges = if args.all {
            let plan = ask(&client).await?;
            let gone = plan.shards.iter().filter(|shard| !shard.owned);
            gone.map(|it| ShardRange {
                start: it.shard,
                end: it.shard,
            })
            .collect()
        } else {
            args.ranges.clone()
        };
        let request = client.request(Method::POST, &["admin", "shards", "apply"], &[]);
        let mut plan: Plan = client
            .json(request.json(&json!({ "shards": ranges })))
            .await?;
        while args.wait && plan.shards.iter().any(|shard| is_under_way(shard, &ranges)) {
            tokio::time::sleep(LOOK_EVERY).await;
            plan = ask(&client).await?;
        }
        Ok(plan)
    })?;
    context.out.result(&plan, text(&plan))
}

async fn ask(client: &Client) -> Result<Plan, CliError> {
    let request = client.request(Method::GET, &["admin", "shards", "plan"], &[]);
    client.json(request).await
}

/// Whether a shard is among these and has blobs that are still to go.
fn is_under_way(shard: &Move, ranges: &[ShardRange]) -> bool {
    let among = |range: &ShardRange| (range.start..=range.end).contains(&shard.shard);
    ranges.iter().any(among) && shard.blobs > shard.pinned
}

fn text(plan: &Plan) -> String {
    if plan.shards.is_empty() {
        return "nothing here belongs elsewhere: every blob is of a shard that this node holds"
            .to_owned();
    }
    let (blobs, bytes) = plan.shards.iter().fold((0, 0), |(blobs, bytes), it| {
        (blobs + it.blobs, bytes + it.bytes)
    });
    let head = Fields::default()
        .with("shards", plan.shards.len())
        .with("blobs", format_args!("{blobs}, {}", short_size(bytes)))
        .with(
            "copies elsewhere",
            format_args!("{} before one is let go here", plan.factor),
        )
        .with(
            "kept after that",
            format_args!("{} s (replication.hold)", plan.hold),
        );
    let columns = format!(
        "{:>6}  {:>10}  {:>11}  {:>8}  {:>8}  state",
        "shard", "blobs", "content", "proved", "let go"
    );
    let rows: Vec<String> = plan.shards.iter().map(row).collect();
    format!("{head}\n\n{columns}\n{}", rows.join("\n"))
}

fn row(shard: &Move) -> String {
    let state = match (shard.owned, shard.applied) {
        (true, _) => "extra copies",
        (false, true) => "handed over",
        (false, false) => "not ordered",
    };
    let holders: Vec<String> = shard.holders.iter().map(holder).collect();
    let waiting = shard.waiting.as_deref().map(printable);
    format!(
        "{:>6}  {:>10}  {:>11}  {:>8}  {:>8}  {state}: {}{}",
        shard.shard,
        shard.blobs,
        short_size(shard.bytes),
        shard.proved,
        shard.retired,
        if holders.is_empty() {
            "nobody holds it".to_owned()
        } else {
            holders.join(", ")
        },
        waiting.map_or_else(String::new, |waiting| format!("  ({waiting})"))
    )
}

fn holder(holder: &Holder) -> String {
    let name = short_peer(&holder.peer_id);
    match (holder.live, holder.given, holder.accepting) {
        (false, ..) => format!("{name} silent"),
        (true, true, _) => format!("{name} has all"),
        (true, false, false) => format!("{name} full"),
        (true, false, true) => name,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn plan() -> Plan {
        serde_json::from_value(json!({
            "factor": 3,
            "hold": 86400,
            "shards": [
                {
                    "shard": 3, "owned": false, "applied": false, "blobs": 7, "bytes": 7168, "holders": [
                        { "peerId": "12D3KooWabcdefgh", "live": true, "accepting": true, "given": true },
                        { "peerId": "12D3KooWijklmnop", "live": false, "accepting": true, "given": false },
                    ],
                    "live": 1, "given": 1, "proved": 5, "retired": 4, "pinned": 1, "waiting": "1 of 3 holders",
                },
                {
                    "shard": 9, "owned": true, "applied": false, "blobs": 1, "bytes": 1, "holders": [],
                    "live": 0, "given": 0, "proved": 0, "retired": 0, "pinned": 1,
                },
            ],
        }))
        .unwrap()
    }

    #[test]
    fn a_plan_says_what_goes_where_and_what_is_wanting() {
        let text = text(&plan());
        assert!(
            text.contains("not ordered: …abcdefgh has all, …ijklmnop silent  (1 of 3 holders)"),
            "{text}"
        );
        assert!(text.contains("extra copies: nobody holds it"), "{text}");
        let nothing = Plan {
            shards: Vec::new(),
            ..plan()
        };
        assert!(super::text(&nothing).starts_with("nothing here belongs elsewhere"));
    }

    #[test]
    fn it_is_waited_for_what_was_ordered_and_is_not_pinned() {
        let plan = plan();
        let range = |start, end| ShardRange { start, end };
        assert!(is_under_way(&plan.shards[0], &[range(0, 3)]));
        assert!(!is_under_way(&plan.shards[0], &[range(4, 9)]));
        assert!(!is_under_way(&plan.shards[1], &[range(9, 9)]));
    }
}
