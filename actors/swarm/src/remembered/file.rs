//! The file itself.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use bytecave_core::PeerId;
use bytecave_messages::state_file;
use bytecave_messages::swarm::Announced;
use serde::{Deserialize, Serialize};

use crate::members::{ADDRESSES_LIMIT, RememberedPeer, clean_text, parse_address};

/// Name of the file. Not safe to rename: peers would be forgotten.
const NAME: &str = "members.json";
/// What stands in it.
const WHAT: &str = "remembered peers";
/// The form that is written and read.
const VERSION: u32 = 1;
/// Longest file that is read or written.
const LIMIT_BYTES: usize = 8 << 20;

/// The document. Entries are read one by one, so that a bad one spoils no other.
#[derive(Debug, Deserialize)]
struct Document {
    version: u32,
    members: Vec<serde_json::Value>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    peer_id: PeerId,
    multiaddrs: Vec<String>,
    last_heard_ms: u64,
    #[serde(default)]
    first_seen_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    announced: Option<Announced>,
}

/// What is remembered, in the order of the file; nothing when there is none, or none that can be
/// read, which is set aside and said once.
pub(super) fn load(directory: &Path) -> Vec<RememberedPeer> {
    let path = directory.join(NAME);
    let bytes = match state_file::read(&path, LIMIT_BYTES) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Vec::new(),
        Err(problem) => {
            state_file::set_aside(&path, WHAT, &problem.to_string());
            return Vec::new();
        }
    };
    match parse(&bytes) {
        Ok((peers, 0)) => peers,
        Ok((peers, bad)) => {
            let path = path.display();
            tracing::warn!(%path, bad, "entries that make no sense were left out");
            peers
        }
        Err(problem) => {
            state_file::set_aside(&path, WHAT, &problem);
            Vec::new()
        }
    }
}

/// The peers, and how many entries make no sense.
fn parse(bytes: &[u8]) -> Result<(Vec<RememberedPeer>, usize), String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if document.version != VERSION {
        let version = document.version;
        return Err(format!("it is of version {version}, not {VERSION}"));
    }
    let all = document.members.len();
    let mut seen = BTreeSet::new();
    let peers: Vec<RememberedPeer> = document
        .members
        .into_iter()
        .filter_map(|entry| remembered(serde_json::from_value(entry).ok()?))
        .filter(|peer| seen.insert(peer.peer))
        .collect();
    let bad = all - peers.len();
    Ok((peers, bad))
}

/// An entry as far as it makes sense.
fn remembered(entry: Entry) -> Option<RememberedPeer> {
    let wire_id = crate::ids::to_wire(&entry.peer_id);
    let addresses: Vec<_> = entry
        .multiaddrs
        .iter()
        .take(ADDRESSES_LIMIT)
        .filter_map(|text| Some(parse_address(text, &wire_id)?.address))
        .collect();
    let announced = entry.announced.map(|announced| Announced {
        node_id: clean_text(&announced.node_id),
        ..announced
    });
    (!addresses.is_empty()).then_some(RememberedPeer {
        peer: entry.peer_id,
        addresses,
        heard_ms: entry.last_heard_ms,
        first_seen_ms: entry.first_seen_ms,
        left_ms: entry.left_ms,
        agent: entry.agent.as_deref().map(clean_text),
        announced,
    })
}

/// Replaces the file.
pub(super) fn write(directory: &Path, peers: &[RememberedPeer]) -> io::Result<()> {
    state_file::write(&directory.join(NAME), LIMIT_BYTES, &document(peers)?)
}

/// The document, one entry a line; the entries that would make it too long to be read are left out.
fn document(peers: &[RememberedPeer]) -> io::Result<Vec<u8>> {
    const END: &[u8] = b"\n]}\n";
    let mut bytes = format!("{{\"version\":{VERSION},\"members\":[").into_bytes();
    let mut separator: &[u8] = b"\n";
    for peer in peers.iter().filter(|peer| !peer.addresses.is_empty()) {
        let entry = serde_json::to_vec(&Entry {
            peer_id: peer.peer,
            multiaddrs: peer.addresses.iter().map(ToString::to_string).collect(),
            last_heard_ms: peer.heard_ms,
            first_seen_ms: peer.first_seen_ms,
            left_ms: peer.left_ms,
            agent: peer.agent.clone(),
            announced: peer.announced.clone(),
        })?;
        if bytes.len() + separator.len() + entry.len() + END.len() > LIMIT_BYTES {
            break;
        }
        bytes.extend_from_slice(separator);
        bytes.extend_from_slice(&entry);
        separator = b",\n";
    }
    bytes.extend_from_slice(END);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use bytecave_core::PublicKey;
    use proptest::prelude::*;

    use super::*;

    const TEMPORARY: &str = "members.json.tmp";
    const DAMAGED: &str = "members.json.damaged";

    fn peer(number: u32, addresses: usize) -> RememberedPeer {
        let mut key = [7; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let peer = PublicKey::new(key).peer_id();
        let wire = crate::ids::to_wire(&peer);
        RememberedPeer {
            peer,
            addresses: (1..=addresses)
                .map(|port| {
                    format!("/ip4/192.0.2.1/tcp/{port}/p2p/{wire}")
                        .parse()
                        .unwrap()
                })
                .collect(),
            heard_ms: u64::from(number),
            first_seen_ms: u64::from(number / 2),
            left_ms: (number % 2 == 1).then_some(u64::from(number)),
            agent: Some(format!("bytecave/{number}")),
            announced: Some(Announced {
                node_id: format!("node-{number}"),
                available_storage: 1,
                blob_count: 2,
                is_registered: true,
                timestamp_ms: 3,
            }),
        }
    }

    #[test]
    fn what_is_written_is_read_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let peers: Vec<_> = (0..5).map(|number| peer(number, 3)).collect();
        for written in [&peers[..2], &peers[..], &peers[..0], &peers[1..4]] {
            write(dir.path(), written).unwrap();
            assert_eq!(load(dir.path()), written);
            let mode = fs::metadata(dir.path().join(NAME)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600);
            assert!(!dir.path().join(TEMPORARY).exists());
            assert!(!dir.path().join(DAMAGED).exists());
        }
    }

    #[test]
    fn a_file_of_a_version_that_knew_less_is_read() {
        let bytes = document(&[peer(3, 1)]).unwrap();
        let mut document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let entry = document["members"][0].as_object_mut().unwrap();
        assert!(entry.remove("firstSeenMs").is_some() && entry.remove("leftMs").is_some());
        let (peers, bad) = parse(document.to_string().as_bytes()).unwrap();
        assert_eq!(bad, 0);
        let (first_seen_ms, left_ms) = (0, None);
        let expected = RememberedPeer {
            first_seen_ms,
            left_ms,
            ..peer(3, 1)
        };
        assert_eq!(peers, [expected]);
    }

    #[test]
    fn a_crash_while_writing_leaves_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[peer(1, 1)]).unwrap();
        fs::write(dir.path().join(TEMPORARY), "{\"version\":1,\"mem").unwrap();
        assert_eq!(load(dir.path()), [peer(1, 1)]);
        write(dir.path(), &[peer(2, 1)]).unwrap();
        assert_eq!(load(dir.path()), [peer(2, 1)]);
    }

    #[test]
    fn what_is_not_ours_is_set_aside_whole() {
        let mut long = b"{\"version\":1,\"members\":[]}".to_vec();
        long.resize(LIMIT_BYTES + 1, b' ');
        let foreign: [&[u8]; 7] = [
            b"",
            b"{",
            b"null",
            b"\xff\xfe",
            b"{\"version\":2,\"members\":[]}",
            b"{\"version\":1}",
            &long,
        ];
        for bytes in foreign {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(NAME), bytes).unwrap();
            assert_eq!(load(dir.path()), []);
            assert!(!dir.path().join(NAME).exists());
            assert_eq!(fs::read(dir.path().join(DAMAGED)).unwrap(), bytes);
            write(dir.path(), &[peer(1, 1)]).unwrap();
            assert_eq!(load(dir.path()), [peer(1, 1)]);
        }
        let mut longest = b"{\"version\":1,\"members\":[]}".to_vec();
        longest.resize(LIMIT_BYTES, b' ');
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), longest).unwrap();
        assert_eq!(load(dir.path()), []);
        assert!(!dir.path().join(DAMAGED).exists());
    }

    #[test]
    fn a_directory_in_its_place_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(NAME)).unwrap();
        assert_eq!(load(dir.path()), []);
        write(dir.path(), &[peer(1, 1)]).unwrap();
        assert_eq!(load(dir.path()), [peer(1, 1)]);
    }

    #[test]
    fn a_bad_entry_spoils_no_other() {
        let good = |number| {
            let bytes = document(&[peer(number, 1)]).unwrap();
            let document: Document = serde_json::from_slice(&bytes).unwrap();
            document.members[0].clone()
        };
        let with = |key: &str, value: serde_json::Value| {
            let mut entry = good(9);
            entry[key] = value;
            entry
        };
        let other = "/ip4/192.0.2.1/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
        let members = serde_json::json!([
            good(1),
            7,
            null,
            {},
            with("peerId", "12D3".into()),
            with("multiaddrs", "x".into()),
            with("multiaddrs", [other].as_slice().into()),
            with("multiaddrs", ["/unix/etc%2Fpasswd"].as_slice().into()),
            with("lastHeardMs", (-1).into()),
            good(1),
            good(2),
        ]);
        let text = serde_json::json!({ "version": 1, "members": members }).to_string();
        let (peers, bad) = parse(text.as_bytes()).unwrap();
        assert_eq!(peers, [peer(1, 1), peer(2, 1)]);
        assert_eq!(bad, 9);
    }

    #[test]
    fn no_number_of_peers_makes_a_file_that_cannot_be_read() {
        let peers: Vec<_> = (0..6000).map(|number| peer(number, 16)).collect();
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &peers).unwrap();
        let read = load(dir.path());
        assert!(read.len() > 3000, "{}", read.len());
        assert_eq!(read, peers[..read.len()], "the first are kept");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_single_changed_byte_panics(at in 0_usize..700, byte: u8) {
            let mut bytes = document(&[peer(1, 2), peer(2, 1)]).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok((peers, _)) = parse(&bytes) {
                prop_assert!(peers.len() <= 2);
                prop_assert!(peers.iter().all(|peer| peer.addresses.len() <= 2));
            }
        }
    }
}
