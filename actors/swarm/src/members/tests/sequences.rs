//! No sequence of events breaks a bound.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Configure(u64),
    Connect(u64, u64, bool),
    Disconnect(u64, u64),
    Failed(u64),
    Identify(u64, bool),
    Ping(u64),
    Announce(u64, u64),
    Told(u64, u64),
    Dial(usize),
    Restore(u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..40_u64;
    prop_oneof![
        1 => (0..6_u64).prop_map(Step::Configure),
        6 => (who.clone(), 0..200_u64, any::<bool>()).prop_map(|(w, c, d)| Step::Connect(w, c, d)),
        5 => (who.clone(), 0..200_u64).prop_map(|(w, c)| Step::Disconnect(w, c)),
        2 => who.clone().prop_map(Step::Failed),
        4 => (who.clone(), any::<bool>()).prop_map(|(w, ours)| Step::Identify(w, ours)),
        1 => who.clone().prop_map(Step::Ping),
        9 => (who.clone(), 0..5_u64).prop_map(|(w, t)| Step::Announce(w, t)),
        4 => (who.clone(), 0..5_u64).prop_map(|(w, t)| Step::Told(w, t)),
        1 => (0..9_usize).prop_map(Step::Dial),
        1 => who.prop_map(Step::Restore),
        4 => prop_oneof![0..100_u64, 0..400_000_u64, Just(u64::MAX)].prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn no_sequence_breaks_a_bound_or_forgets_a_connected_peer(
        limit in 1..12_usize,
        steps in proptest::collection::vec(step(), 0..250),
    ) {
        let mut members = members(limit);
        let mut now = NOW;
        let mut connected = BTreeMap::<(u64, u64), bool>::new();
        let mut configured = std::collections::BTreeSet::new();
        for step in steps {
            match step {
                Step::Configure(who) => {
                    if members.configure(peer(who), at(who)) {
                        configured.insert(who);
                    }
                }
                Step::Connect(who, id, dials) => {
                    let endpoint = if dials { dialled(&at(who)) } else { accepted("/ip4/127.0.0.1/tcp/7") };
                    if !connected.contains_key(&(who, id))
                        && members.connected(peer(who), connection(id), &endpoint, now)
                    {
                        connected.insert((who, id), dials);
                    }
                }
                Step::Disconnect(who, id) => {
                    members.disconnected(peer(who), connection(id), now);
                    connected.remove(&(who, id));
                }
                Step::Failed(who) => members.dial_failed(peer(who), [at(who)].iter(), now),
                Step::Identify(who, ours) => {
                    let protocol = if ours { INFO } else { "/other" };
                    members.identified(peer(who), "agent", [protocol].into_iter(), [at(who + 1)].iter(), now);
                }
                Step::Ping(who) => members.pinged(peer(who), Duration::from_millis(now % 7), now),
                Step::Announce(who, teller) => {
                    announce(&mut members, who, teller, now);
                }
                Step::Told(who, teller) => {
                    members.told(peer(who), [at(who)].iter(), Teller::Peer(peer(teller)), now);
                }
                Step::Dial(most) => {
                    let candidates = members.dial_candidates(now, most);
                    prop_assert!(candidates.len() <= most);
                    for candidate in candidates {
                        prop_assert!(!candidate.addresses.is_empty());
                        prop_assert_eq!(members.connection(&candidate.peer), None);
                    }
                }
                Step::Restore(who) => {
                    let remembered = RememberedPeer {
                        peer: peer(who),
                        addresses: vec![at(who)],
                        heard_ms: now,
                        first_seen_ms: now,
                        left_ms: None,
                        agent: None,
                        announced: None,
                    };
                    members.restore(vec![remembered], now);
                }
                Step::Wait(by) => now = now.saturating_add(by),
            }
            let counts = members.counts(now);
            prop_assert!(counts.known <= limit);
            let peers: std::collections::BTreeSet<u64> = connected.keys().map(|key| key.0).collect();
            prop_assert_eq!(counts.direct, peers.len());
            for who in &peers {
                prop_assert!(members.connection(&peer(*who)).is_some());
            }
            for who in &configured {
                prop_assert!(members.is_configured(&peer(*who)));
            }
            prop_assert_eq!(members.addresses(&own()).len(), 0);
            for view in members.views(now, limit) {
                prop_assert!(view.multiaddrs.len() <= ADDRESSES_LIMIT);
                prop_assert!(view.last_seen_ms <= now);
            }
        }
    }
}
