//! Who is audited about which shard: by lot, pure.

use bytecave_core::{PeerId, ShardId};
use bytecave_messages::replicator::ShardReplication;
use bytecave_messages::store::ShardCounters;

use crate::chance::{Chance, NoChance};

/// One of the shards that this node holds together with others, by the bytes that are here of it, and one of
/// those others. `counters` ascend; shards without a blob here are never drawn.
pub(super) fn draw(
    shards: &[ShardReplication],
    counters: &[ShardCounters],
    chance: &dyn Chance,
) -> Result<Option<(ShardId, PeerId)>, NoChance> {
    let weights = || {
        let shared = shards.iter().filter(|shard| is_shared(shard));
        shared.map(|shard| (shard, weight(counters, shard.shard)))
    };
    let total = weights().fold(0_u64, |sum, (_, weight)| sum.saturating_add(weight));
    let mut lot = chance.below(total)?;
    for (shard, weight) in weights() {
        if lot < weight {
            let peer = draw_holder(shard, chance)?;
            return Ok(peer.map(|peer| (shard.shard, peer)));
        }
        lot -= weight;
    }
    Ok(None)
}

/// Whether `peer` holds `shard` together with this node.
pub(super) fn is_holder(shards: &[ShardReplication], shard: ShardId, peer: &PeerId) -> bool {
    let shards = shards.iter().filter(|one| one.shard == shard);
    shards
        .filter(|one| is_shared(one))
        .any(|one| others(one).any(|other| other == *peer))
}

/// Whether this node is among the holders and not alone.
fn is_shared(shard: &ShardReplication) -> bool {
    shard.holders.iter().any(|holder| holder.here) && others(shard).next().is_some()
}

/// The other holders that once had all that this node has: whoever has just become one, or has no room, cannot be
/// expected to have it.
fn others(shard: &ShardReplication) -> impl Iterator<Item = PeerId> {
    let others = shard.holders.iter().filter(|holder| !holder.here);
    let others = others.filter(|holder| holder.alike_ms.is_some());
    others.map(|holder| holder.peer_id)
}

/// When `peer` last had all that this node has of `shard`, milliseconds since 1970.
pub(super) fn alike_ms(shards: &[ShardReplication], shard: ShardId, peer: &PeerId) -> Option<u64> {
    let shard = shards.iter().find(|one| one.shard == shard)?;
    let holder = shard.holders.iter().find(|one| one.peer_id == *peer)?;
    holder.alike_ms
}

/// Content bytes, and one for each blob, so that empty ones have their turn.
fn weight(counters: &[ShardCounters], shard: ShardId) -> u64 {
    let at = counters.binary_search_by_key(&shard, |counters| counters.shard);
    let counters = at.ok().and_then(|at| counters.get(at));
    counters.map_or(0, |counters| counters.bytes.saturating_add(counters.blobs))
}

fn draw_holder(shard: &ShardReplication, chance: &dyn Chance) -> Result<Option<PeerId>, NoChance> {
    let many = others(shard).count();
    let lot = chance.below(u64::try_from(many).unwrap_or(u64::MAX))?;
    Ok(others(shard).nth(usize::try_from(lot).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::chance::tests::Seeded;
    use crate::fakes::{ME, counters, peer, shard, shard_id};

    fn many(
        shards: &[ShardReplication],
        counters: &[ShardCounters],
        turns: u32,
    ) -> BTreeMap<(u16, PeerId), u32> {
        let mut drawn = BTreeMap::new();
        let seeded = Seeded::new(7);
        for _ in 0..turns {
            let (shard, peer) = draw(shards, counters, &seeded).unwrap().unwrap();
            *drawn.entry((shard.get(), peer)).or_default() += 1;
        }
        drawn
    }

    #[test]
    fn shards_are_drawn_by_their_bytes_and_holders_alike() {
        let shards = [
            shard(1, &[ME, 1, 2]),
            shard(2, &[1, ME]),
            shard(5, &[1, 2, 3]),
            shard(6, &[ME]),
            shard(7, &[2, ME]),
        ];
        let counters = [
            counters(1, 10, 3000),
            counters(2, 10, 1000),
            counters(5, 10, 1 << 40),
            counters(6, 10, 1 << 40),
        ];
        let drawn = many(&shards, &counters, 8000);
        let of = |shard: u16, number: u8| drawn.get(&(shard, peer(number))).copied().unwrap_or(0);
        assert!((2800..=3200).contains(&of(1, 1)), "{drawn:?}");
        assert!((2800..=3200).contains(&of(1, 2)), "{drawn:?}");
        assert!((1800..=2200).contains(&of(2, 1)), "{drawn:?}");
        assert_eq!(
            drawn.len(),
            3,
            "neither others' shards, nor this node's alone, nor empty ones: {drawn:?}"
        );
    }

    #[test]
    fn blobs_without_bytes_have_their_turn_and_nothing_is_drawn_of_nothing() {
        let shards = [shard(1, &[ME, 1])];
        let drawn = draw(&shards, &[counters(1, 3, 0)], &Seeded::new(1)).unwrap();
        assert_eq!(drawn, Some((shard_id(1), peer(1))));
        for counters in [&[][..], &[counters(1, 0, 0)]] {
            assert_eq!(draw(&shards, counters, &Seeded::new(1)).unwrap(), None);
        }
        assert_eq!(draw(&[], &[counters(1, 3, 0)], &Seeded::new(1)), Ok(None));
    }

    proptest! {
        #[test]
        fn whoever_is_drawn_holds_it_with_this_node(
            holders in prop::collection::vec(prop::collection::vec(0_u8..6, 0..4), 0..8),
            bytes in prop::collection::vec(prop::sample::select(vec![0, 1, 1000, u64::MAX]), 8),
            seed: u64,
        ) {
            let numbers = |holders: &[u8]| -> Vec<u8> {
                holders.iter().map(|one| if *one == 0 { ME } else { *one }).collect()
            };
            let shards: Vec<_> = (0..)
                .zip(&holders)
                .map(|(at, holders)| shard(at, &numbers(holders)))
                .collect();
            let counters: Vec<_> = (0..).zip(&bytes).map(|(at, bytes)| counters(at, 0, *bytes)).collect();
            let drawn = draw(&shards, &counters, &Seeded::new(seed)).unwrap();
            if let Some((shard, peer)) = drawn {
                prop_assert!(is_holder(&shards, shard, &peer));
                prop_assert!(weight(&counters, shard) > 0);
                prop_assert!(peer != crate::fakes::peer(ME));
            }
        }
    }
}
