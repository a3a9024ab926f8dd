//! Members under any sequence of events, and the rules of `members.rs` one by one.

mod ages;
mod sequences;

use std::time::Duration;

use bytecave_core::{PeerId, PublicKey};
use bytecave_messages::swarm::{Announced, ConnectionKind, PeerInfo};
use libp2p::Multiaddr;
use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::ConnectionId;

use super::*;

const NOW: u64 = 1_800_000_000_000;
const MINUTE: u64 = 60_000;
const INFO: &str = "/bytecave/info/1.0.0";

fn peer(number: u64) -> PeerId {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    PublicKey::new(key).peer_id()
}

fn own() -> PeerId {
    peer(0)
}

fn members(limit: usize) -> Members {
    let limits = Limits {
        members: limit,
        connections: 1,
        timeout: Duration::from_mins(3),
    };
    Members::new(own(), limits)
}

fn at(number: u64) -> Multiaddr {
    let [.., high, low] = number.to_be_bytes();
    format!("/ip4/8.8.{high}.{low}/tcp/5011").parse().unwrap()
}

fn dialled(address: &Multiaddr) -> ConnectedPoint {
    ConnectedPoint::Dialer {
        address: address.clone(),
        role_override: Endpoint::Dialer,
        port_use: PortUse::Reuse,
    }
}

fn accepted(from: &str) -> ConnectedPoint {
    ConnectedPoint::Listener {
        local_addr: "/ip4/0.0.0.0/tcp/5011".parse().unwrap(),
        send_back_addr: from.parse().unwrap(),
    }
}

fn connection(number: u64) -> ConnectionId {
    ConnectionId::new_unchecked(usize::try_from(number).unwrap())
}

fn identify(members: &mut Members, number: u64, addresses: &[Multiaddr], now: u64) {
    let (agent, protocols) = ("bytecave/1", [INFO].into_iter());
    members.identified(peer(number), agent, protocols, addresses.iter(), now);
}

/// Connects, identifies and disconnects after more than a minute.
fn prove(members: &mut Members, number: u64, now: u64) {
    let id = connection(number);
    assert!(members.connected(peer(number), id, &dialled(&at(number)), now));
    identify(members, number, &[], now);
    members.disconnected(peer(number), id, now + 2 * MINUTE);
}

fn announcement(number: u64, said_ms: u64) -> Announcement {
    Announcement {
        peer: peer(number),
        announced: Announced {
            node_id: format!("node-{number}"),
            available_storage: 1,
            blob_count: 2,
            is_registered: false,
            timestamp_ms: said_ms,
        },
        addresses: vec![at(number)],
        leaving: false,
    }
}

fn announce(members: &mut Members, number: u64, teller: u64, now: u64) -> bool {
    members.announced(announcement(number, now), peer(teller), now)
}

#[test]
fn what_a_peer_says_of_itself_is_told() {
    let mut members = members(10);
    let info = PeerInfo {
        version: "1.2.3\u{1b}[31m".to_owned(),
        owner_address: None,
        shards: None,
        shard_count: None,
        capacity: Some(5),
        accepting: Some(true),
        protocols: vec![INFO.to_owned()],
    };
    members.info_received(peer(1), info.clone(), NOW);
    assert_eq!(
        members.views(NOW, 10),
        [],
        "only over a connection of its own"
    );

    members.connected(peer(1), connection(1), &dialled(&at(1)), NOW);
    identify(&mut members, 1, &[at(2), at(1)], NOW);
    members.pinged(peer(1), Duration::from_millis(7), NOW);
    members.info_received(peer(1), info, NOW);
    assert!(announce(&mut members, 1, 1, NOW));
    let [view] = &members.views(NOW, 10)[..] else {
        panic!("one peer is known");
    };
    assert_eq!(view.connection, Some(ConnectionKind::Direct));
    assert_eq!(view.agent.as_deref(), Some("bytecave/1"));
    assert_eq!(view.rtt_ms, Some(7));
    assert_eq!(view.info.as_ref().unwrap().version, "1.2.3[31m");
    assert_eq!(view.announced.as_ref().unwrap().node_id, "node-1");
    assert_eq!((view.live, view.last_seen_ms), (true, NOW));
    let used = format!("{}/p2p/{}", at(1), peer(1));
    assert!(view.multiaddrs.contains(&used), "{:?}", view.multiaddrs);
    assert_eq!(members.speaks(&peer(1), INFO), Some(true));
    assert_eq!(members.speaks(&peer(1), "/other"), Some(false));

    // The programs of the first network name no protocols in their info.
    let mut info = view.info.clone().unwrap();
    info.protocols.clear();
    members.info_received(peer(1), info, NOW);
    let completed = members.views(NOW, 10).remove(0).info.unwrap();
    assert_eq!(completed.protocols, [INFO]);
    assert_eq!(members.speaks(&peer(2), INFO), None);
}

#[test]
fn a_peer_is_live_for_as_long_as_it_is_heard() {
    let mut members = members(10);
    prove(&mut members, 1, NOW);
    let gone = NOW + 2 * MINUTE;
    let live = |members: &Members, now| members.views(now, 10)[0].live;
    assert!(live(&members, gone + 3 * MINUTE - 1));
    assert!(!live(&members, gone + 3 * MINUTE));
    assert!(announce(&mut members, 1, 9, gone + 10 * MINUTE));
    assert!(live(&members, gone + 12 * MINUTE));
    members.connected(peer(1), connection(2), &dialled(&at(1)), NOW);
    assert!(live(&members, gone + 100 * MINUTE), "it is connected");
}

#[test]
fn an_older_announcement_changes_nothing() {
    let mut members = members(10);
    assert!(members.announced(announcement(1, NOW), peer(9), NOW));
    assert!(!members.announced(announcement(1, NOW - 1), peer(9), NOW + MINUTE));
    let view = &members.views(NOW, 10)[0];
    assert_eq!(view.announced.as_ref().unwrap().timestamp_ms, NOW);
    assert_eq!(view.last_seen_ms, NOW);
}

#[test]
fn connected_peers_are_told_first_then_by_id() {
    let mut members = members(80);
    for number in [5, 3, 4, 1, 2] {
        assert!(announce(&mut members, number, 9, NOW));
    }
    members.connected(peer(4), connection(4), &dialled(&at(4)), NOW);
    members.connected(peer(2), connection(2), &dialled(&at(2)), NOW);
    let order = |limit| -> Vec<PeerId> {
        let views = members.views(NOW, limit).into_iter();
        views.map(|view| view.peer_id).collect()
    };
    assert_eq!(order(10), [2, 4, 1, 3, 5].map(peer));
    assert_eq!(order(3), [2, 4, 1].map(peer));
}

#[test]
fn a_relayed_connection_gives_way_to_a_direct_one() {
    let mut members = members(10);
    let relay = crate::ids::to_wire(&peer(8));
    let circuit: Multiaddr = format!("/ip4/8.8.8.8/tcp/1/p2p/{relay}/p2p-circuit")
        .parse()
        .unwrap();
    members.connected(peer(1), connection(1), &dialled(&circuit), NOW);
    assert_eq!(members.connection(&peer(1)), Some(ConnectionKind::Relayed));
    members.connected(peer(1), connection(2), &dialled(&at(1)), NOW + 1);
    assert_eq!(members.connection(&peer(1)), Some(ConnectionKind::Direct));
    let counts = members.counts(NOW);
    assert_eq!((counts.direct, counts.relayed), (1, 0));
    assert_eq!(members.addresses(&peer(1)).len(), 2);
    assert_eq!(members.direct_addresses(&peer(1)).len(), 1);
    members.disconnected(peer(1), connection(1), NOW);
    members.disconnected(peer(1), connection(1), NOW);
    assert_eq!(members.connection(&peer(1)), Some(ConnectionKind::Direct));
    members.disconnected(peer(1), connection(2), NOW);
    assert_eq!(members.connection(&peer(1)), None);
}

#[test]
fn inward_addresses_are_kept_only_of_peers_that_are_near() {
    let addresses: Vec<Multiaddr> = [
        "/ip4/127.0.0.1/tcp/5011",
        "/ip4/192.168.0.9/tcp/5011",
        "/ip4/8.8.8.8/tcp/5011",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    let kept = |listening: &[&str], from: &str| {
        let mut members = members(10);
        let listening: Vec<Multiaddr> = listening.iter().map(|a| a.parse().unwrap()).collect();
        members.listening(listening.iter());
        members.connected(peer(1), connection(1), &accepted(from), NOW);
        identify(&mut members, 1, &addresses, NOW);
        members.addresses(&peer(1)).len()
    };
    let public = &["/ip4/8.8.4.4/tcp/5011", "/ip4/127.0.0.1/tcp/5011"][..];
    assert_eq!(kept(public, "/ip4/9.9.9.9/tcp/40000"), 1);
    assert_eq!(kept(public, "/ip4/10.0.0.1/tcp/40000"), 2);
    assert_eq!(kept(public, "/ip4/127.0.0.1/tcp/40000"), 3);
    let home = &["/ip4/192.168.0.2/tcp/5011", "/ip4/127.0.0.1/tcp/5011"][..];
    assert_eq!(kept(home, "/ip4/9.9.9.9/tcp/40000"), 2);
    let alone = &["/ip4/127.0.0.1/tcp/5011"][..];
    assert_eq!(kept(alone, "/ip4/9.9.9.9/tcp/40000"), 3);
    assert_eq!(kept(&[], "/ip4/9.9.9.9/tcp/40000"), 1);
}

#[test]
fn a_circuit_is_as_near_as_the_connection_with_its_relay() {
    let mut members = members(10);
    let relay: Multiaddr = "/ip4/127.0.0.1/tcp/4001".parse().unwrap();
    let circuit = {
        let id = crate::ids::to_wire(&peer(8));
        format!("{relay}/p2p/{id}/p2p-circuit").parse().unwrap()
    };
    let told = |members: &mut Members| {
        members.told(peer(1), [&circuit].into_iter(), Teller::HashTable, NOW);
        members.addresses(&peer(1)).len()
    };
    assert_eq!(told(&mut members), 0);
    members.connected(peer(8), connection(8), &dialled(&relay), NOW);
    assert_eq!(told(&mut members), 1);

    let id = crate::ids::to_wire(&own());
    let through_us: Multiaddr = format!("/ip4/8.8.8.8/tcp/1/p2p/{id}/p2p-circuit")
        .parse()
        .unwrap();
    members.told(peer(2), [&through_us].into_iter(), Teller::HashTable, NOW);
    assert!(members.addresses(&peer(2)).is_empty());
}

#[test]
fn addresses_are_bounded_and_the_one_that_works_stays() {
    let mut members = members(10);
    members.connected(peer(1), connection(1), &dialled(&at(1)), NOW);
    for number in 2..100 {
        identify(&mut members, 1, &[at(number)], NOW + number);
        assert!(members.addresses(&peer(1)).len() <= ADDRESSES_LIMIT);
    }
    let works = format!("{}/p2p/{}", at(1), peer(1));
    let addresses = members.addresses(&peer(1));
    assert_eq!(addresses[0].to_string(), works, "what works comes first");
    let newest = format!("{}/p2p/{}", at(99), peer(1));
    assert!(
        addresses
            .iter()
            .any(|address| address.to_string() == newest)
    );
}

#[test]
fn pauses_double_up_to_their_longest_and_a_stable_connection_ends_them() {
    let mut members = members(10);
    assert!(announce(&mut members, 1, 9, NOW));
    members.configure(peer(2), at(2));
    let mut now = NOW;
    let mut pauses = Vec::new();
    for _ in 0..20 {
        let begun = now;
        while members.dial_candidates(now, 1).first().map(|c| c.peer) != Some(peer(1)) {
            now += 500;
        }
        members.dial_failed(peer(1), [at(1)].iter(), now);
        pauses.push(now - begun);
    }
    assert!(pauses[1] >= 2000 && pauses[1] < 6000, "{pauses:?}");
    let longest = millis(BACKOFF_MAX) * 5 / 4;
    assert!(pauses.windows(2).all(|two| two[0] <= two[1]), "{pauses:?}");
    assert!(*pauses.last().unwrap() >= millis(BACKOFF_MAX));
    assert!(pauses.iter().all(|pause| *pause <= longest + 500));

    // A clock that was set back does not put it off until it has caught up.
    assert!(!members.dial_candidates(NOW - 1, 10).is_empty());

    members.connected(peer(1), connection(1), &dialled(&at(1)), now);
    members.disconnected(peer(1), connection(1), now + 2 * MINUTE);
    let soon = now + 2 * MINUTE + 3000;
    let due = members.dial_candidates(soon, 10);
    assert!(due.iter().any(|candidate| candidate.peer == peer(1)));
}

#[test]
fn a_peer_that_hangs_up_at_once_is_dialled_ever_more_seldom() {
    let mut members = members(10);
    prove(&mut members, 1, NOW - 10 * MINUTE);
    let (mut now, mut dials) = (NOW, 0);
    while now < NOW + 60 * MINUTE {
        for candidate in members.dial_candidates(now, 10) {
            dials += 1;
            members.connected(candidate.peer, connection(dials), &dialled(&at(1)), now);
            members.disconnected(candidate.peer, connection(dials), now + 100);
        }
        now += 1000;
    }
    assert!((5..20).contains(&dials), "{dials}");
}

#[test]
fn configured_peers_are_dialled_first_and_soon_again_and_stay() {
    let mut members = members(4);
    assert!(members.configure(peer(50), at(50)));
    prove(&mut members, 1, NOW);
    assert!(announce(&mut members, 2, 9, NOW));
    let now = NOW + 10 * MINUTE;
    let order: Vec<PeerId> = members
        .dial_candidates(now, 10)
        .iter()
        .map(|c| c.peer)
        .collect();
    assert_eq!(order, [50, 1, 2].map(peer));
    assert_eq!(
        members.dial_candidates(now, 10),
        [],
        "each is put off by it"
    );
    for _ in 0..30 {
        members.dial_failed(peer(50), [at(50)].iter(), now);
    }
    let later = now + millis(BACKOFF_CONFIGURED_MAX) * 5 / 4;
    let due = members.dial_candidates(later, 10);
    assert!(due.iter().any(|c| c.peer == peer(50) && c.configured));
    for number in 100..200 {
        prove(&mut members, number, NOW + number);
    }
    assert!(members.is_configured(&peer(50)));
}

#[test]
fn a_thousand_fake_announcements_displace_no_proven_member() {
    let mut members = members(100);
    for number in 1..=60 {
        prove(&mut members, number, NOW);
    }
    let mut taken = 0;
    for number in 1000..3000 {
        // Over many minutes, so that the rate is not what stops them.
        let now = NOW + 10 * MINUTE + number * 10_000;
        taken += u32::from(announce(&mut members, number, number % 7 + 1, now));
    }
    assert!(taken >= 40, "{taken}");
    assert!((1..=60).all(|number| members.is_proven(&peer(number))));
    assert_eq!(members.counts(NOW).known, 100);
}

#[test]
fn one_teller_fills_an_eighth_all_tellers_a_half_and_none_displaces_the_live() {
    let mut members = members(80);
    for number in 1000..1100 {
        announce(&mut members, number, 1, NOW);
    }
    assert_eq!(members.counts(NOW).known, 10);
    for number in 2000..2100 {
        announce(&mut members, number, number % 50 + 2, NOW + MINUTE);
    }
    assert_eq!(members.counts(NOW).known, 40);
    assert!((1000..1010).all(|number| members.addresses(&peer(number)).len() == 1));
    // Once they fell silent others take their places.
    let later = NOW + 30 * MINUTE;
    for number in 3000..3040 {
        assert!(announce(&mut members, number, number % 20 + 2, later));
    }
    assert_eq!(members.counts(later).known, 40);
    assert!(members.addresses(&peer(1000)).is_empty());
}

#[test]
fn newcomers_in_a_minute_are_bounded() {
    let mut members = members(100_000);
    let of_one = (1000..2000)
        .filter(|number| announce(&mut members, *number, 1, NOW))
        .count();
    assert_eq!(of_one, 64);
    let of_all = (2000..4000)
        .filter(|number| announce(&mut members, *number, *number, NOW))
        .count();
    assert_eq!(of_one + of_all, 256);
    assert!(announce(&mut members, 9000, 1, NOW + MINUTE));
}

#[test]
fn whom_nobody_vouches_for_is_forgotten_when_it_goes() {
    let mut members = members(10);
    members.connected(peer(1), connection(1), &accepted("/ip4/9.9.9.9/tcp/9"), NOW);
    let others = ["/ipfs/kad/1.0.0"].into_iter();
    members.identified(peer(1), "kubo", others, [at(1)].iter(), NOW);
    assert!(!members.is_proven(&peer(1)));
    assert_eq!(members.remembered(), []);
    members.disconnected(peer(1), connection(1), NOW + 5 * MINUTE);
    assert_eq!(members.counts(NOW).known, 0);
}

#[test]
fn hearsay_makes_nobody_a_peer() {
    let mut members = members(16);
    assert!(members.told(peer(1), [at(1)].iter(), Teller::HashTable, NOW));
    assert!(members.told(peer(2), [at(2)].iter(), Teller::LocalNetwork, NOW));
    assert!(!members.told(own(), [at(3)].iter(), Teller::LocalNetwork, NOW));
    assert_eq!(members.views(NOW, 10), []);
    assert_eq!(members.remembered(), []);
    assert_eq!(members.counts(NOW).live, 0);
    assert_eq!(members.dial_candidates(NOW, 10).len(), 2);
}

#[test]
fn what_is_restored_is_judged_anew() {
    let mut before = members(10);
    prove(&mut before, 1, NOW);
    prove(&mut before, 2, NOW + MINUTE);
    let mut remembered = before.remembered();
    assert_eq!(remembered[0].peer, peer(2), "the last heard first");
    remembered[0].heard_ms = u64::MAX;
    remembered[1].addresses.push("/unix/x".parse().unwrap());
    remembered.push(RememberedPeer {
        peer: own(),
        ..remembered[0].clone()
    });
    let mut after = members(10);
    after.configure(peer(1), at(7));
    after.restore(remembered, NOW + 5 * MINUTE);
    assert!(after.is_configured(&peer(1)));
    assert_eq!(after.addresses(&peer(1)).len(), 2);
    assert_eq!(after.addresses(&own()).len(), 0);
    let views = after.views(NOW + 5 * MINUTE, 10);
    assert!(
        views
            .iter()
            .all(|view| view.last_seen_ms <= NOW + 5 * MINUTE)
    );
    assert_eq!(after.remembered().len(), 2);

    let many: Vec<_> = (1..100)
        .map(|number| RememberedPeer {
            peer: peer(number),
            addresses: vec![at(number)],
            heard_ms: NOW,
            first_seen_ms: NOW,
            left_ms: None,
            agent: None,
            announced: None,
        })
        .collect();
    let mut small = members(10);
    small.restore(many, NOW);
    assert_eq!(small.counts(NOW).known, 10);
}
