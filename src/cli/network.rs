//! The network as the running node sees it (`GET /peers`), and what its verdict means to a person.
//!
//! Words that this program does not know, a newer node's, are shown as they are.

use bytecave_core::ShardRange;
use serde::Deserialize;
use serde_json::Value;

use super::output::printable;

/// An answer to `GET /peers`.
#[derive(Debug)]
pub(crate) enum Network {
    /// Networking is switched off.
    Off,
    /// It is on.
    On(Box<Snapshot>),
}

impl Network {
    /// Reads an answer.
    pub(crate) fn read(value: &Value) -> Result<Self, serde_json::Error> {
        if value.get("enabled") == Some(&Value::Bool(false)) {
            return Ok(Self::Off);
        }
        Snapshot::deserialize(value).map(|snapshot| Self::On(Box::new(snapshot)))
    }
}

/// What is looked at in the network.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Snapshot {
    /// Where others can reach the node.
    #[serde(default)]
    pub(crate) multiaddrs: Vec<String>,
    /// Peers connected now.
    pub(crate) connected: u64,
    /// Connected and remembered peers, as many as the node gives at once.
    pub(crate) peers: Vec<Peer>,
    /// All that there are of those asked for.
    total: Option<u64>,
    /// The configured relays.
    #[serde(default)]
    pub(crate) relays: Vec<Relay>,
    /// The storage links.
    #[serde(default)]
    pub(crate) links: Vec<Link>,
    /// Whether others can reach the node.
    pub(crate) reachability: Reachability,
}

impl Snapshot {
    /// How many peers there are of those asked for, also those that were not given.
    pub(crate) fn total(&self) -> u64 {
        let given = u64::try_from(self.peers.len()).unwrap_or(u64::MAX);
        self.total.unwrap_or(given).max(given)
    }
}

/// What is looked at in a peer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    /// Its id.
    #[serde(rename = "peerId")]
    pub(crate) id: String,
    /// `direct` or `relayed` while it is connected.
    pub(crate) connection: Option<String>,
    /// Where it is reached.
    #[serde(default)]
    pub(crate) multiaddrs: Vec<String>,
    /// Its program.
    pub(crate) agent: Option<String>,
    /// Round trip in milliseconds.
    pub(crate) rtt_ms: Option<u64>,
    /// When it was last heard, milliseconds since 1970.
    #[serde(default)]
    pub(crate) last_seen_ms: u64,
    /// Whether it counts as a live member.
    #[serde(default)]
    pub(crate) live: bool,
    /// What it said over a connection of its own.
    pub(crate) info: Option<PeerInfo>,
}

/// What is looked at in what a peer says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeerInfo {
    /// The ranges it keeps.
    pub(crate) shards: Option<Vec<ShardRange>>,
    /// Shards in its network.
    pub(crate) shard_count: Option<u64>,
}

/// A configured relay.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Relay {
    /// Its address.
    pub(crate) multiaddr: String,
    /// `connecting`, `reserved`, `failed` or `off`.
    pub(crate) state: String,
    /// Why it failed.
    pub(crate) reason: Option<String>,
}

/// A storage link.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Link {
    /// Its address.
    pub(crate) url: String,
    /// Whether the node is registered there.
    pub(crate) registered: bool,
    /// What went wrong last.
    pub(crate) problem: Option<String>,
}

/// Whether others can reach the node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reachability {
    /// `unknown`, `direct`, `relayed` or `unreachable`.
    pub(crate) verdict: String,
    /// `untried`, `works` or `fails`, for `relayed`.
    pub(crate) hole_punching: Option<String>,
}

impl Reachability {
    /// The verdict in a sentence.
    pub(crate) fn in_words(&self) -> String {
        match (self.verdict.as_str(), self.hole_punching.as_deref()) {
            ("direct", _) => "directly",
            ("relayed", Some("works")) => "through a relay, and directly by hole punching",
            ("relayed", Some("fails")) => {
                "through a relay only: hole punching was tried and never worked"
            }
            ("relayed", _) => "through a relay; hole punching was not tried yet",
            ("unreachable", _) => "not at all: peers tried and failed, and there is no relay",
            ("unknown", _) => "not known yet: nobody has tried",
            (other, _) => return printable(other),
        }
        .to_owned()
    }
}

/// Shard ranges for a column: `all`, or as many as fit.
pub(crate) fn shards_in_short(info: Option<&PeerInfo>) -> String {
    /// Ranges that are named before the rest is only counted.
    const NAMED: usize = 2;
    let Some((ranges, count)) =
        info.and_then(|info| Some((info.shards.as_ref()?, info.shard_count)))
    else {
        return "?".to_owned();
    };
    match (ranges.as_slice(), count) {
        ([], _) => "none".to_owned(),
        ([all], Some(count)) if all.start == 0 && all.end.checked_add(1) == Some(count) => {
            format!("all {count}")
        }
        (ranges, _) => {
            let named: Vec<String> = ranges.iter().take(NAMED).map(range_in_short).collect();
            let more = ranges.len().saturating_sub(NAMED);
            let named = named.join(",");
            if more > 0 {
                format!("{named} +{more}")
            } else {
                named
            }
        }
    }
}

/// A range as a person writes it.
pub(crate) fn range_in_short(range: &ShardRange) -> String {
    if range.start == range.end {
        range.start.to_string()
    } else {
        format!("{}-{}", range.start, range.end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_messages::swarm::{
        Announced, ConnectionKind, HolePunching, LinkView, PeerInfo as Said, PeerView, RelayState,
        RelayView, SwarmSnapshot,
    };
    use serde_json::json;

    use super::*;

    /// What the node's own types write is what is read here.
    #[test]
    fn the_nodes_own_answer_is_understood() {
        use bytecave_messages::swarm::Reachability as Verdict;
        let peer_id = bytecave_core::NodeIdentity::from_seed([1; 32])
            .unwrap()
            .peer_id();
        let count = bytecave_core::ShardCount::new(16).unwrap();
        let snapshot = |verdict| SwarmSnapshot {
            multiaddrs: vec!["/ip4/1.2.3.4/tcp/5011".to_owned()],
            connected: 1,
            peers: vec![PeerView {
                peer_id,
                connection: Some(ConnectionKind::Relayed),
                multiaddrs: Vec::new(),
                agent: Some("bytecave/0.1.0".to_owned()),
                rtt_ms: Some(12),
                last_seen_ms: 5,
                first_seen_ms: 1,
                left_ms: None,
                live: true,
                announced: Some(Announced {
                    node_id: "n".to_owned(),
                    available_storage: 1,
                    blob_count: 2,
                    is_registered: false,
                    timestamp_ms: 3,
                }),
                info: Some(Said {
                    version: "0.1.0".to_owned(),
                    owner_address: None,
                    shards: Some(vec![ShardRange { start: 0, end: 15 }]),
                    shard_count: Some(count),
                    capacity: None,
                    accepting: None,
                    protocols: Vec::new(),
                }),
            }],
            relays: vec![
                RelayView {
                    multiaddr: "/a".to_owned(),
                    state: RelayState::Reserved,
                },
                RelayView {
                    multiaddr: "/b".to_owned(),
                    state: RelayState::Failed {
                        reason: "refused".to_owned(),
                    },
                },
            ],
            links: vec![LinkView {
                url: "ws://relay:4003".to_owned(),
                registered: false,
                problem: Some("refused".to_owned()),
            }],
            reachability: verdict,
        };
        let read = |verdict| {
            let value = serde_json::to_value(snapshot(verdict)).unwrap();
            match Network::read(&value).unwrap() {
                Network::On(snapshot) => snapshot,
                Network::Off => panic!("{value} is on"),
            }
        };
        let seen = read(Verdict::Relayed {
            hole_punching: HolePunching::Fails,
        });
        assert_eq!(seen.connected, 1);
        assert_eq!(seen.peers[0].connection.as_deref(), Some("relayed"));
        assert_eq!(seen.peers[0].rtt_ms, Some(12));
        assert_eq!(shards_in_short(seen.peers[0].info.as_ref()), "all 16");
        assert_eq!(seen.relays[0].state, "reserved");
        assert_eq!(seen.relays[1].state, "failed");
        assert_eq!(seen.relays[1].reason.as_deref(), Some("refused"));
        assert_eq!(seen.links[0].problem.as_deref(), Some("refused"));
        assert!(seen.reachability.in_words().contains("never worked"));
        for (verdict, words) in [
            (Verdict::Unknown, "not known yet"),
            (Verdict::Direct, "directly"),
            (Verdict::Unreachable, "not at all"),
        ] {
            let words_seen = read(verdict).reachability.in_words();
            assert!(words_seen.starts_with(words), "{words_seen}");
        }
    }

    #[test]
    fn a_network_that_is_off_is_told_from_one_that_is_not_understood() {
        assert!(matches!(
            Network::read(&json!({ "enabled": false, "peers": [] })),
            Ok(Network::Off)
        ));
        for strange in [json!({}), json!([]), json!({ "peers": 5 })] {
            assert!(Network::read(&strange).is_err(), "{strange}");
        }
    }

    #[test]
    fn a_verdict_of_a_newer_node_is_shown_as_it_is() {
        let newer = Reachability {
            verdict: "by pigeon\u{1b}".to_owned(),
            hole_punching: None,
        };
        assert_eq!(newer.in_words(), "by pigeon\u{fffd}");
    }

    #[test]
    fn shards_fit_a_column() {
        let info = |ranges: &[(u64, u64)], count| PeerInfo {
            shards: Some(
                ranges
                    .iter()
                    .map(|&(start, end)| ShardRange { start, end })
                    .collect(),
            ),
            shard_count: count,
        };
        for (ranges, count, text) in [
            (&[(0, 1023)][..], Some(1024), "all 1024"),
            (&[(0, 1023)], None, "0-1023"),
            (&[(0, 511)], Some(1024), "0-511"),
            (&[(0, 3), (7, 7)], Some(16), "0-3,7"),
            (&[(0, 3), (7, 7), (9, 10), (12, 12)], Some(16), "0-3,7 +2"),
            (&[], Some(16), "none"),
            (&[(0, u64::MAX)], Some(0), &format!("0-{}", u64::MAX)),
        ] {
            assert_eq!(shards_in_short(Some(&info(ranges, count))), text);
        }
        assert_eq!(shards_in_short(None), "?");
    }
}
