//! `shards`: which shards the running node keeps, what is in them and who holds them, and how shards that it keeps no
//! longer are handed over or dropped.

use bytecave_core::{ShardRange, ShardSet};
use bytecave_store::offline::{DropReport, drop_shards};
use clap::Subcommand;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::Patience;
use super::context::{Context, block_on};
use super::error::CliError;
use super::moves::{self, ApplyArgs};
use super::network::range_in_short;
use super::offline::{Offline, Watcher};
use super::output::{Fields, json_line, line, short_size, size};
use super::replication::{Holder, holders_in_short};

/// Commands about shards.
#[derive(Debug, Subcommand)]
pub(crate) enum ShardsCommand {
    /// Show the running node's shards, what is in them, and who holds them
    Show {
        /// Also those that hold nothing
        #[arg(long)]
        all: bool,
    },
    /// Show what the running node has of shards that other nodes hold, and how far its handing over is
    Plan,
    /// Hand shards of the plan over to those who hold them, and let go of what they have proved
    Apply(ApplyArgs),
    /// Delete shards that are no longer among `NODE_SHARDS`, with every blob in them
    #[command(after_help = "\
Example: bytecave shards drop 512-767 1000 --yes

Needs the node stopped, and the shards taken out of NODE_SHARDS before. Until it is done they stay
readable. `bytecave shards apply` gives shards up without losing what nobody else has.")]
    Drop {
        /// Shards: 7, or 7-12 with both ends inclusive
        #[arg(required = true, value_name = "RANGE")]
        ranges: Vec<ShardRange>,
        /// Really delete them
        #[arg(long)]
        yes: bool,
    },
}

/// What is looked at in a node's shards.
#[derive(Debug, Deserialize)]
struct Shards {
    #[serde(rename = "shardCount")]
    count: u64,
    owned: Vec<ShardRange>,
    #[serde(rename = "shards")]
    each: Vec<Shard>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shard {
    #[serde(rename = "shard")]
    number: u64,
    owned: bool,
    blobs: u64,
    bytes: u64,
    #[serde(default)]
    dead_bytes: u64,
    #[serde(default)]
    holders: Vec<Holder>,
}

pub(crate) fn run(context: &Context, command: &ShardsCommand) -> Result<(), CliError> {
    match command {
        ShardsCommand::Show { all } => show(context, *all),
        ShardsCommand::Plan => moves::plan(context),
        ShardsCommand::Apply(args) => moves::apply(context, args),
        ShardsCommand::Drop { ranges, yes } => give_up(context, ranges, *yes),
    }
}

fn show(context: &Context, all: bool) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    block_on(async {
        let value: Value = client
            .json(client.request(Method::GET, &["shards"], &[]))
            .await?;
        if context.out.json {
            return json_line(&value);
        }
        let shards = Shards::deserialize(&value).map_err(|error| CliError::Strange {
            url: client.base().to_string(),
            reason: error.to_string(),
        })?;
        line(text(&shards, all))
    })
}

fn give_up(context: &Context, ranges: &[ShardRange], confirmed: bool) -> Result<(), CliError> {
    let config = context.load()?.config;
    let shards = ShardSet::from_ranges(config.store.shard_count, ranges)?;
    if !confirmed {
        return Err(CliError::NotConfirmed {
            ranges: listed(&shards.ranges()),
        });
    }
    let offline = Offline::lock(&config)?;
    let watcher = Watcher::new(context);
    let report = drop_shards(&offline.options, &shards, &mut |progress| {
        watcher.hear(progress);
    });
    drop(watcher);
    let report = report?;
    context.out.result(&report, dropped(&report))
}

fn dropped(report: &DropReport) -> String {
    let blobs: u64 = report.dropped.iter().filter_map(|shard| shard.blobs).sum();
    let sealed: u64 = report
        .dropped
        .iter()
        .filter_map(|shard| shard.sealed_bytes)
        .sum();
    let unknown = report
        .dropped
        .iter()
        .filter(|shard| shard.blobs.is_none())
        .count();
    let mut text = format!(
        "{} shards dropped with {blobs} blobs; {} of disk come back",
        report.dropped.len(),
        size(sealed)
    );
    if unknown > 0 {
        text.push_str("; what was in ");
        text.push_str(&unknown.to_string());
        text.push_str(" of them could not be read");
    }
    if !report.absent.is_empty() {
        text.push_str("; ");
        text.push_str(&report.absent.len().to_string());
        text.push_str(" had nothing here");
    }
    text
}

fn text(shards: &Shards, all: bool) -> String {
    let blobs: u64 = shards.each.iter().map(|shard| shard.blobs).sum();
    let bytes: u64 = shards.each.iter().map(|shard| shard.bytes).sum();
    let strangers = shards.each.iter().filter(|shard| !shard.owned).count();
    let strangers = (strangers > 0)
        .then(|| format!("{strangers} (only read; `bytecave shards plan` says who holds them)"));
    let head = Fields::default()
        .with("shards", shards.count)
        .with("ours", listed(&shards.owned))
        .with_some("no longer ours", strangers)
        .with("blobs", blobs)
        .with("content", size(bytes));
    let rows: Vec<String> = shards
        .each
        .iter()
        .filter(|shard| all || shard.blobs > 0 || shard.dead_bytes > 0 || !shard.owned)
        .map(row)
        .collect();
    if rows.is_empty() {
        return head.to_string();
    }
    let columns = format!(
        "{:>6}  {:>10}  {:>11}  {:>11}  holders",
        "shard", "blobs", "content", "dead"
    );
    format!("{head}\n\n{columns}\n{}", rows.join("\n"))
}

fn row(shard: &Shard) -> String {
    format!(
        "{:>6}  {:>10}  {:>11}  {:>11}  {}{}",
        shard.number,
        shard.blobs,
        short_size(shard.bytes),
        short_size(shard.dead_bytes),
        holders_in_short(&shard.holders),
        if shard.owned { "" } else { "  not ours" }
    )
}

fn listed(ranges: &[ShardRange]) -> String {
    ranges
        .iter()
        .map(range_in_short)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_store::offline::DroppedShard;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_drop_tells_what_went_and_what_was_not_there() {
        let count = bytecave_core::ShardCount::new(16).unwrap();
        let shard = |number| count.shard(number).unwrap();
        let gone = |number, blobs| DroppedShard {
            shard: shard(number),
            blobs,
            bytes: blobs,
            sealed_bytes: blobs.map(|blobs| blobs * 100),
        };
        let report = DropReport {
            dropped: vec![gone(8, Some(2)), gone(9, None)],
            absent: vec![shard(10)],
        };
        assert_eq!(
            dropped(&report),
            "2 shards dropped with 2 blobs; 200 B of disk come back; what was in 1 of them could not be read; 1 had nothing here"
        );
    }

    #[test]
    fn empty_shards_are_left_out_and_lost_ones_are_not() {
        let shards: Shards = serde_json::from_value(json!({
            "shardCount": 16,
            "owned": [{ "start": 0, "end": 3 }, { "start": 7, "end": 7 }],
            "shards": [
                { "shard": 0, "owned": true, "blobs": 0, "bytes": 0, "deadBytes": 0 },
                { "shard": 1, "owned": true, "blobs": 2, "bytes": 2048, "deadBytes": 0, "holders": [
                    { "peerId": "12D3KooWabcdefgh", "here": false, "accepting": true, "live": true },
                    { "peerId": "12D3KooWme", "here": true, "accepting": true, "live": true },
                ] },
                { "shard": 9, "owned": false, "blobs": 0, "bytes": 0, "deadBytes": 0 },
            ],
        }))
        .unwrap();
        let text = text(&shards, false);
        assert!(text.contains("0-3, 7\n"), "{text}");
        let rows: Vec<&str> = text
            .lines()
            .skip_while(|line| !line.contains("dead"))
            .skip(1)
            .collect();
        assert_eq!(rows.len(), 2, "{text}");
        assert!(rows[0].ends_with("  …abcdefgh, here"), "{text}");
        assert!(rows[1].ends_with("  -  not ours"), "{text}");
        assert_eq!(
            super::text(&shards, true).lines().count(),
            text.lines().count() + 1
        );
    }
}
