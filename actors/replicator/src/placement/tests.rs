#![allow(clippy::unwrap_used)]
use bytecave_core::{NodeIdentity, ShardRange};
use proptest::prelude::*;

use super::*;

const FACTOR: usize = 3;
const GIB: u64 = 1 << 30;

fn count() -> ShardCount {
    ShardCount::new(1024).unwrap()
}

fn peer(number: u16) -> PeerId {
    let mut seed = [0x5a; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    NodeIdentity::from_seed(seed).unwrap().peer_id()
}

/// A member that keeps all shards, with a limit of so many bytes.
fn member(number: u16, capacity_bytes: u64) -> Member {
    Member {
        peer: peer(number),
        weight: Weight::of(capacity_bytes),
        shards: ShardSet::all(count()),
        accepting: true,
        on_probation: false,
        unproved: Unproved::Nowhere,
    }
}

fn members(numbers: std::ops::Range<u16>) -> Vec<Member> {
    numbers.map(|number| member(number, GIB)).collect()
}

fn placed(members: Vec<Member>) -> Placement {
    Placement::new(count(), FACTOR, members)
}

fn shards() -> impl Iterator<Item = ShardId> {
    (0..1024).map(|shard| count().shard(shard).unwrap())
}

fn peers(placement: &Placement, shard: ShardId) -> Vec<PeerId> {
    let holders = placement.holders(shard);
    holders.iter().map(|holder| holder.peer).collect()
}

/// Members of any limit, range and mood, in any order, each once.
fn any_members() -> impl Strategy<Value = Vec<Member>> {
    let one = (0_u64..1024, 0_u64..1024, 0_u32..40, any::<bool>(), 0..4);
    proptest::collection::vec(one, 1..14).prop_map(|drawn| {
        let made = drawn.into_iter().zip(0..).map(|(drawn, number)| {
            let (one, other, bits, accepting, luck) = drawn;
            let range = ShardRange {
                start: one.min(other),
                end: one.max(other),
            };
            Member {
                shards: ShardSet::from_ranges(count(), &[range]).unwrap(),
                accepting,
                on_probation: luck == 0,
                ..member(number, 1 << bits)
            }
        });
        made.collect()
    })
}

/// A formula that is changed would have every node of a network move its blobs, and nodes of two
/// versions disagree: these were worked out by another program, with 60 digits.
#[test]
fn the_formula_is_what_it_was() {
    let limits = [
        0,
        8,
        64,
        100,
        512,
        1 << 10,
        5_000,
        1 << 20,
        1 << 24,
        u64::MAX >> 20,
    ];
    let limited: Vec<_> = (0..10)
        .zip(limits)
        .map(|(number, mib)| member(number, mib << 20))
        .collect();
    let alike = members(0..10);
    let known = |members: &[Member], shards: u64, shard: u64, factor: usize| {
        let count = ShardCount::new(shards).unwrap();
        let keep_all = |member: &Member| Member {
            shards: ShardSet::all(count),
            ..member.clone()
        };
        let all = members.iter().map(keep_all).collect();
        let placement = Placement::new(count, factor, all);
        let holders = placement.holders(count.shard(shard).unwrap());
        let number = |holder: &Holder| {
            let of = members.iter().position(|member| member.peer == holder.peer);
            of.unwrap()
        };
        holders.iter().map(number).collect::<Vec<_>>()
    };
    assert_eq!(known(&limited, 1024, 0, 10), VECTORS[0]);
    assert_eq!(known(&limited, 1024, 1, 10), VECTORS[1]);
    assert_eq!(known(&limited, 1024, 1023, 10), VECTORS[2]);
    assert_eq!(known(&limited, 16, 1, 10), VECTORS[3]);
    assert_eq!(known(&limited, 1, 0, 10), VECTORS[4]);
    assert_eq!(known(&alike, 1024, 7, 10), VECTORS[5]);
    assert_eq!(known(&limited, 1024, 1, 2), VECTORS[1][..2]);
}

const VECTORS: [[usize; 10]; 6] = [
    [8, 9, 7, 5, 6, 4, 3, 2, 0, 1],
    [9, 8, 7, 6, 5, 3, 4, 2, 1, 0],
    [8, 9, 7, 4, 6, 5, 2, 3, 1, 0],
    [9, 7, 8, 6, 5, 2, 4, 3, 1, 0],
    [9, 8, 7, 5, 6, 4, 3, 2, 1, 0],
    [9, 2, 6, 4, 7, 1, 8, 0, 3, 5],
];

#[test]
fn one_node_more_takes_its_part_and_moves_nothing_else() {
    let (before, after) = (placed(members(0..10)), placed(members(0..11)));
    let new = peer(10);
    let mut taken = 0_u32;
    for shard in shards() {
        let (old, now) = (peers(&before, shard), peers(&after, shard));
        assert_eq!((old.len(), now.len()), (FACTOR, FACTOR));
        let mut stayed = now.clone();
        stayed.retain(|peer| *peer != new);
        assert_eq!(stayed, old[..stayed.len()], "the others moved");
        taken += u32::from(now.contains(&new));
    }
    // 3 × 1024 places among 11.
    assert!((223..335).contains(&taken), "{taken} of 279 were taken");
}

#[test]
fn twice_the_weight_is_twice_the_shards() {
    let mut all = members(0..10);
    all[4] = member(4, 2 * GIB);
    let placement = Placement::new(count(), 1, all);
    let mut held = [0_u32; 10];
    for shard in shards() {
        let first = peers(&placement, shard)[0];
        held[(0..10).position(|number| peer(number) == first).unwrap()] += 1;
    }
    let others = (held.iter().sum::<u32>() - held[4]) / 9;
    assert!(
        (others * 3 / 2..others * 5 / 2).contains(&held[4]),
        "{held:?}"
    );
    assert!(held.iter().all(|held| *held > 46), "{held:?}");
}

#[test]
fn weights_are_powers_of_two_and_end() {
    let mib = 1 << 20;
    for (capacity, bits) in [
        (0, 0),
        (mib - 1, 0),
        (mib, 0),
        (2 * mib - 1, 0),
        (2 * mib, 1),
        (1000 * mib, 9),
        (1 << 44, 24),
        (1 << 50, 24),
        (u64::MAX, 24),
    ] {
        assert_eq!(Weight::of(capacity), Weight(bits), "{capacity}");
    }
    // The smallest draw of the smallest weight still fits, and so does the largest.
    let drawn = |member: &Member| draw(count(), count().shard(0).unwrap(), member);
    assert!(drawn(&member(1, 0)) > drawn(&member(1, u64::MAX)));
    assert!((u128::from(log2(u64::MAX)) >> FRACTION_BITS) < 64);
}

#[test]
fn the_logarithm_is_one() {
    #[expect(clippy::cast_precision_loss, reason = "compared to nine places")]
    let agrees = |number: u64| {
        let ours = log2(number) as f64 / (1_u64 << FRACTION_BITS) as f64;
        let theirs = (number as f64).log2();
        assert!((ours - theirs).abs() < 1e-9, "{number}: {ours} {theirs}");
    };
    for bits in 0..64 {
        let power = 1_u64 << bits;
        assert_eq!(log2(power), bits << FRACTION_BITS);
        agrees(power | (power >> 1));
        agrees(power | (power - 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_logarithm_never_falls(one in 1..=u64::MAX, other in 1..=u64::MAX, step in 0_u64..1000) {
        prop_assert!(log2(one.min(other)) <= log2(one.max(other)));
        prop_assert!(log2(one) <= log2(one.saturating_add(step)));
        #[expect(clippy::cast_precision_loss, reason = "compared to nine places")]
        let (ours, theirs) = (log2(one) as f64 / (1_u64 << FRACTION_BITS) as f64, one as f64);
        prop_assert!((ours - theirs.log2()).abs() < 1e-9);
    }

    #[test]
    fn no_order_of_the_members_matters(members in any_members(), seed in any::<usize>(), shard in 0_u64..1024) {
        let shard = count().shard(shard).unwrap();
        let mut turned = members.clone();
        turned.rotate_left(seed % members.len());
        turned.reverse();
        let (one, other) = (placed(members), placed(turned));
        prop_assert_eq!(one.holders(shard), other.holders(shard));
        prop_assert_eq!(one.beyond(shard), other.beyond(shard));
    }

    /// The limit enters as a power of two, and nothing else of a member's disk does.
    #[test]
    fn what_is_used_of_a_limit_moves_nothing(members in any_members(), extra in 0_u64..1 << 20, shard in 0_u64..1024) {
        let shard = count().shard(shard).unwrap();
        let more = members.iter().map(|member| Member {
            weight: Weight::of((1 << (20 + member.weight.0)) + extra),
            ..member.clone()
        });
        let same = placed(more.collect());
        prop_assert_eq!(placed(members).holders(shard), same.holders(shard));
    }

    #[test]
    fn whoever_leaves_takes_only_its_own_place(members in any_members(), who in any::<usize>(), shard in 0_u64..1024) {
        let shard = count().shard(shard).unwrap();
        let ready = |member: &Member| Member { accepting: true, on_probation: false, ..member.clone() };
        let before: Vec<_> = members.iter().map(ready).collect();
        let mut after = before.clone();
        let gone = after.remove(who % before.len()).peer;
        let (old, new) = (placed(before), placed(after));
        let (mut stayed, now) = (peers(&old, shard), peers(&new, shard));
        let held = stayed.contains(&gone);
        stayed.retain(|peer| *peer != gone);
        prop_assert_eq!(&stayed[..], &now[..stayed.len()]);
        let stands_in = old.beyond(shard).first().copied().filter(|_| held);
        prop_assert_eq!(&now[stayed.len()..], stands_in.as_slice());
    }

    #[test]
    fn a_full_holder_keeps_its_place_and_the_next_stands_in(members in any_members(), who in any::<usize>(), shard in 0_u64..1024) {
        let shard = count().shard(shard).unwrap();
        let ready = |member: &Member| Member { accepting: true, on_probation: false, ..member.clone() };
        let before: Vec<_> = members.iter().map(ready).collect();
        let mut after = before.clone();
        let full = who % before.len();
        after[full].accepting = false;
        let full = before[full].peer;
        let (old, new) = (placed(before), placed(after));
        let mut expected: Vec<_> = old.holders(shard).to_vec();
        for holder in expected.iter_mut().filter(|holder| holder.peer == full) {
            (holder.accepting, holder.counted) = (false, false);
        }
        if old.holds(&full, shard) {
            expected.extend(old.beyond(shard).first().map(|peer| Holder {
                peer: *peer,
                accepting: true,
                counted: true,
                on_probation: false,
                unproved: false,
            }));
        }
        prop_assert_eq!(new.holders(shard).to_vec(), expected);
    }

    /// Whatever moods change, what was ranked before is ranked so still.
    #[test]
    fn ranks_that_are_kept_are_those_that_would_be_worked_out(members in any_members(), moods in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 14), shard in 0_u64..1024) {
        let shard = count().shard(shard).unwrap();
        let before = placed(members.clone());
        before.holders(shard);
        let failed = Unproved::In(Arc::new([shard].into()));
        let after: Vec<_> = members.iter().zip(moods).map(|(member, (accepting, on_probation, failing))| Member {
            accepting,
            on_probation,
            unproved: if failing { failed.clone() } else { Unproved::Nowhere },
            ..member.clone()
        }).collect();
        let followed = before.followed_by(count(), FACTOR, after.clone());
        let anew = placed(after);
        prop_assert_eq!(followed.holders(shard), anew.holders(shard));
        let next = anew.beyond(shard);
        prop_assert!(next.iter().take(FACTOR).all(|peer| followed.is_next(peer, shard)));
        prop_assert!(next.iter().skip(FACTOR).all(|peer| !followed.is_next(peer, shard)));
        prop_assert!(followed.holders(shard).iter().all(|holder| !(holder.counted && holder.unproved)));
    }

    /// More members than ranks are kept of.
    #[test]
    fn many_that_do_not_accept_are_looked_behind(full in 60_u16..90, shard in 0_u64..1024) {
        let shard = count().shard(shard).unwrap();
        let mut members = members(0..100);
        members.iter_mut().take(full.into()).for_each(|member| member.accepting = false);
        let placement = placed(members.clone());
        let ranked = rank(count(), shard, &members);
        let accepting = ranked.iter().filter(|member| member.accepting).map(|member| member.peer);
        let holders = placement.holders(shard);
        let counted = holders.iter().filter(|holder| holder.counted).map(|holder| holder.peer);
        prop_assert_eq!(counted.collect::<Vec<_>>(), accepting.take(FACTOR).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_promised_rests_on_accepting_holders_and_one_on_probation(members in any_members(), shard in 0_u64..1024) {
        let shard = count().shard(shard).unwrap();
        let keep: Vec<_> = members.iter().filter(|member| member.shards.contains(shard)).cloned().collect();
        let placement = placed(members);
        let holders = placement.holders(shard);
        let counted: Vec<_> = holders.iter().filter(|holder| holder.counted).collect();
        prop_assert!(counted.iter().all(|holder| holder.accepting));
        prop_assert!(counted.iter().filter(|holder| holder.on_probation).count() <= 1);
        prop_assert!(holders.len() <= 2 * FACTOR);
        let young = keep.iter().filter(|member| member.accepting && member.on_probation).count();
        let grown = keep.iter().filter(|member| member.accepting && !member.on_probation).count();
        prop_assert_eq!(counted.len(), FACTOR.min(grown + young.min(1)).min(FACTOR));
        // Whoever could stand in is none of them, keeps the shard, and takes blobs.
        let beyond = placement.beyond(shard);
        prop_assert!(beyond.iter().all(|peer| !placement.holds(peer, shard)));
        prop_assert_eq!(beyond.len() + holders.iter().filter(|holder| holder.accepting && !holder.on_probation).count(), grown);
    }
}
