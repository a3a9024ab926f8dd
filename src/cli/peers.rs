//! `peers`: whom the running node knows, how they are connected, and whether others can reach it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::client::Patience;
use super::context::{Context, block_on};
use super::error::CliError;
use super::network::{Network, Peer, Snapshot, shards_in_short};
use super::output::{Fields, json_line, line, printable, shortened};

/// Longest program name that is shown whole.
const AGENT_WIDTH: usize = 20;
/// Longest shard list that is shown whole.
const SHARDS_WIDTH: usize = 16;
/// What is printed when there is no network to speak of.
const OFF: &str = "networking is off (P2P_ENABLED=false): this node stores and serves alone";

/// Arguments of `peers`.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  bytecave peers --connected
  bytecave peers -q --live
  bytecave --json peers | jq '.reachability'

How a peer is there: `direct` and `relayed` are connected; `live` was heard of lately without being
connected; `silent` is only remembered. Shards are those that the peer itself named; `?` did not say.")]
pub(crate) struct PeersArgs {
    /// Only those connected now
    #[arg(long)]
    connected: bool,
    /// Only those heard of recently enough to count as live
    #[arg(long)]
    live: bool,
    /// Only those that say they keep this shard
    #[arg(long, value_name = "N")]
    shard: Option<u64>,
    /// Print only the peer ids
    #[arg(short, long)]
    quiet: bool,
}

impl PeersArgs {
    /// What the node leaves out by itself: it gives only so many at once.
    fn query(&self) -> Vec<(&'static str, String)> {
        let state = match (self.connected, self.live) {
            (true, _) => Some("connected"),
            (false, true) => Some("live"),
            (false, false) => None,
        };
        state
            .map(|state| ("state", state.to_owned()))
            .into_iter()
            .collect()
    }

    fn want(&self, peer: &Peer) -> bool {
        let keeps = |shard| {
            let info = peer.info.as_ref();
            let ranges = info.and_then(|info| info.shards.as_ref());
            ranges.is_some_and(|ranges| {
                ranges
                    .iter()
                    .any(|range| (range.start..=range.end).contains(&shard))
            })
        };
        (!self.connected || peer.connection.is_some())
            && (!self.live || peer.live)
            && self.shard.is_none_or(keeps)
    }
}

pub(crate) fn run(context: &Context, args: &PeersArgs) -> Result<(), CliError> {
    let client = context.client(Patience::WhileBytesCome)?;
    let mut value: Value = block_on(async {
        client
            .json(client.request(Method::GET, &["peers"], &args.query()))
            .await
    })?;
    let network = Network::read(&value).map_err(|error| CliError::Strange {
        url: client.base().to_string(),
        reason: error.to_string(),
    })?;
    if context.out.json {
        leave_out(&mut value, args);
        return json_line(&value);
    }
    match network {
        Network::Off if args.quiet => Ok(()),
        Network::Off => line(OFF),
        Network::On(snapshot) if args.quiet => snapshot
            .peers
            .iter()
            .filter(|peer| args.want(peer))
            .try_for_each(|peer| line(printable(&peer.id))),
        Network::On(snapshot) => line(text(&snapshot, args, SystemTime::now())),
    }
}

/// The same peers for machines as for people, with everything the node said of each.
fn leave_out(value: &mut Value, args: &PeersArgs) {
    if let Some(peers) = value.get_mut("peers").and_then(Value::as_array_mut) {
        peers.retain(|peer| Peer::deserialize(peer).is_ok_and(|peer| args.want(&peer)));
    }
}

fn text(snapshot: &Snapshot, args: &PeersArgs, now: SystemTime) -> String {
    let rows: Vec<[String; 7]> = snapshot
        .peers
        .iter()
        .filter(|peer| args.want(peer))
        .map(|peer| row(peer, now))
        .collect();
    let beneath = beneath(snapshot, args);
    if rows.is_empty() {
        return beneath.to_string();
    }
    let head = [
        "peer id", "how", "rtt", "heard", "agent", "shards", "address",
    ]
    .map(str::to_owned);
    format!("{}\n\n{beneath}", table(&head, &rows))
}

/// Columns as wide as their widest entry; the last has no end to reach.
fn table<const N: usize>(head: &[String; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        std::iter::once(head)
            .chain(rows)
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let lines: Vec<String> = std::iter::once(head)
        .chain(rows)
        .map(|row| {
            let cells: Vec<String> = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

fn row(peer: &Peer, now: SystemTime) -> [String; 7] {
    let how = match (&peer.connection, peer.live) {
        (Some(connection), _) => printable(connection),
        (None, true) => "live".to_owned(),
        (None, false) => "silent".to_owned(),
    };
    let rtt = peer
        .rtt_ms
        .map_or_else(|| "-".to_owned(), |rtt| format!("{rtt} ms"));
    let own_end = format!("/p2p/{}", peer.id);
    let address = peer.multiaddrs.first().map_or("-", |address| {
        address.strip_suffix(&own_end).unwrap_or(address)
    });
    [
        printable(&peer.id),
        how,
        rtt,
        ago(peer.last_seen_ms, now),
        shortened(peer.agent.as_deref().unwrap_or("?"), AGENT_WIDTH),
        shortened(&shards_in_short(peer.info.as_ref()), SHARDS_WIDTH),
        printable(address),
    ]
}

/// How long ago a moment was, in one unit.
fn ago(milliseconds: u64, now: SystemTime) -> String {
    if milliseconds == 0 {
        return "-".to_owned();
    }
    let then = UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds));
    // Clocks of other machines may be ahead of this one.
    let passed = then
        .and_then(|then| now.duration_since(then).ok())
        .unwrap_or_default();
    match passed.as_secs() {
        seconds @ 0..60 => format!("{seconds} s ago"),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

/// What stands below the table: how many, relays, links, addresses, reachability.
fn beneath(snapshot: &Snapshot, args: &PeersArgs) -> Fields {
    let given = u64::try_from(snapshot.peers.len()).unwrap_or(u64::MAX);
    let more = snapshot.total().saturating_sub(given);
    let more = (more > 0).then(|| format!("{more}, which the node did not list"));
    let connected = if args.query().is_empty() {
        format!("{} of {} known", snapshot.connected, snapshot.total())
    } else {
        snapshot.connected.to_string()
    };
    let mut fields = Fields::default()
        .with("connected", connected)
        .with_some("more", more);
    for relay in &snapshot.relays {
        let why = relay.reason.as_ref();
        let why = why.map(|why| format!(": {}", printable(why)));
        fields = fields.with(
            "relay",
            format_args!(
                "{}  {}{}",
                printable(&relay.multiaddr),
                printable(&relay.state),
                why.unwrap_or_default()
            ),
        );
    }
    for link in &snapshot.links {
        let state = match (&link.problem, link.registered) {
            (_, true) => "registered".to_owned(),
            (Some(problem), false) => format!("not registered: {}", printable(problem)),
            (None, false) => "not registered yet".to_owned(),
        };
        fields = fields.with(
            "storage link",
            format_args!("{}  {state}", printable(&link.url)),
        );
    }
    for address in &snapshot.multiaddrs {
        fields = fields.with("address", printable(address));
    }
    fields.with("reachable", snapshot.reachability.in_words())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    const NOW: Duration = Duration::from_hours(500_000);

    fn answer() -> Value {
        let ago = |seconds: u64| (NOW.as_secs() - seconds) * 1000;
        json!({
            "multiaddrs": ["/ip4/203.0.113.7/tcp/5011/p2p/me"],
            "connected": 2,
            "peers": [
                { "peerId": "A", "connection": "direct", "multiaddrs": ["/ip4/1.2.3.4/tcp/5011/p2p/A"],
                  "agent": "bytecave/0.1.0", "rttMs": 12, "lastSeenMs": ago(5), "live": true,
                  "info": { "version": "1", "shards": [{ "start": 0, "end": 511 }], "shardCount": 1024, "protocols": [] } },
                { "peerId": "B", "connection": "relayed", "multiaddrs": [], "lastSeenMs": ago(120), "live": true },
                { "peerId": "C\u{1b}[2J", "multiaddrs": ["/ip4/1.2.3.5/tcp/1"], "lastSeenMs": ago(200_000), "live": false },
            ],
            "relays": [{ "multiaddr": "/ip4/9.9.9.9/tcp/4001/p2p/R", "state": "failed", "reason": "refused" }],
            "links": [{ "url": "ws://9.9.9.9:4003", "registered": true }],
            "reachability": { "verdict": "relayed", "holePunching": "works" },
        })
    }

    fn shown(args: &PeersArgs) -> String {
        let Ok(Network::On(snapshot)) = Network::read(&answer()) else {
            panic!("the answer is one");
        };
        text(&snapshot, args, UNIX_EPOCH + NOW)
    }

    #[test]
    fn each_peer_has_its_line_and_the_rest_stands_beneath() {
        let text = shown(&PeersArgs::default());
        let rows: Vec<Vec<&str>> = text
            .lines()
            .take(4)
            .map(|row| {
                row.split("  ")
                    .map(str::trim)
                    .filter(|c| !c.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(
            rows[1],
            [
                "A",
                "direct",
                "12 ms",
                "5 s ago",
                "bytecave/0.1.0",
                "0-511",
                "/ip4/1.2.3.4/tcp/5011"
            ]
        );
        assert_eq!(rows[2], ["B", "relayed", "-", "2 min ago", "?", "?", "-"]);
        assert_eq!(rows[3][1..4], ["silent", "-", "2 d ago"]);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        for line in [
            "connected     2 of 3 known",
            "relay         /ip4/9.9.9.9/tcp/4001/p2p/R  failed: refused",
            "storage link  ws://9.9.9.9:4003  registered",
            "address       /ip4/203.0.113.7/tcp/5011/p2p/me",
            "reachable     through a relay, and directly by hole punching",
        ] {
            assert!(text.lines().any(|of| of == line), "no {line:?} in {text}");
        }
    }

    #[test]
    fn filters_hold_for_people_and_machines() {
        let ids = |args: &PeersArgs| {
            let mut value = answer();
            leave_out(&mut value, args);
            let peers = value["peers"].as_array().unwrap();
            let ids: Vec<String> = peers
                .iter()
                .map(|peer| peer["peerId"].as_str().unwrap()[..1].to_owned())
                .collect();
            let lines = shown(args)
                .lines()
                .take_while(|line| !line.is_empty())
                .count();
            assert_eq!(lines, ids.len() + 1, "the head and one line each");
            ids
        };
        let args = PeersArgs::default;
        assert_eq!(ids(&args()), ["A", "B", "C"]);
        assert_eq!(
            ids(&PeersArgs {
                connected: true,
                ..args()
            }),
            ["A", "B"]
        );
        assert_eq!(
            ids(&PeersArgs {
                live: true,
                ..args()
            }),
            ["A", "B"]
        );
        assert_eq!(
            ids(&PeersArgs {
                shard: Some(511),
                ..args()
            }),
            ["A"]
        );
        let none = shown(&PeersArgs {
            shard: Some(512),
            ..args()
        });
        assert!(none.starts_with("connected"), "{none}");
    }

    #[test]
    fn peers_that_were_not_listed_are_counted() {
        let mut value = answer();
        value["total"] = json!(1500);
        let Ok(Network::On(snapshot)) = Network::read(&value) else {
            panic!("the answer is one");
        };
        let text = text(&snapshot, &PeersArgs::default(), UNIX_EPOCH + NOW);
        assert!(text.contains("2 of 1500 known"), "{text}");
        assert!(text.contains("1497, which the node did not list"), "{text}");
    }

    #[test]
    fn a_clock_that_is_ahead_is_no_reason_to_fail() {
        let now = UNIX_EPOCH + NOW;
        let ms = |seconds: u64| seconds * 1000;
        assert_eq!(ago(ms(NOW.as_secs() + 50), now), "0 s ago");
        assert_eq!(ago(u64::MAX, now), "0 s ago");
        assert_eq!(ago(0, now), "-");
        assert_eq!(ago(ms(NOW.as_secs() - 7200), now), "2 h ago");
    }
}
