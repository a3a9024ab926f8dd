#![allow(clippy::unwrap_used)]
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytecave_core::{ShardCount, ShardId};
use bytecave_messages::sync::SyncRequest;
use proptest::prelude::*;

use super::*;

const NONCE: [u8; 32] = [7; 32];

fn count_of_one() -> ShardCount {
    ShardCount::new(1).unwrap()
}

fn shard() -> ShardId {
    count_of_one().shard(0).unwrap()
}

fn digest(number: u32) -> Digest {
    Digest::of(&number.to_be_bytes())
}

fn list(numbers: impl IntoIterator<Item = u32>) -> Arc<[ListedDigest]> {
    listed(numbers.into_iter().map(|number| (number, false)))
}

fn listed(numbers: impl IntoIterator<Item = (u32, bool)>) -> Arc<[ListedDigest]> {
    let mut all: Vec<_> = numbers
        .into_iter()
        .map(|(number, declined)| ListedDigest {
            digest: digest(number),
            declined,
        })
        .collect();
    all.sort_unstable();
    all.into()
}

/// What travelled: sketches and digests, both ways.
#[derive(Debug, Default)]
struct Cost {
    sketches: usize,
    digests: usize,
    questions: usize,
}

/// Asks an honest peer until all is known.
fn find(ours: &Arc<[ListedDigest]>, theirs: &Arc<[ListedDigest]>) -> (Found, Cost) {
    let mut differ = Differ::new(shard(), count_of_one(), NONCE, Arc::clone(ours));
    let mut cost = Cost::default();
    while let Some(SyncRequest::Ranges { nonce, ranges, .. }) = differ.next_question() {
        assert!(ranges.len() <= SYNC_RANGES_MAX);
        cost.sketches += ranges.len();
        let answers = answer(theirs, &nonce, &ranges).unwrap();
        let mut digests = 0;
        for answer in &answers {
            match answer {
                RangeAnswer::Alike => {}
                RangeAnswer::Listed(list) => digests += list.len(),
                RangeAnswer::Split(parts) => cost.sketches += parts.len(),
            }
        }
        assert!(digests <= SYNC_DIGESTS_MAX);
        cost.digests += digests;
        differ.take(answers).unwrap();
    }
    cost.questions = differ.questions();
    (differ.into_found(), cost)
}

fn sorted(mut digests: Vec<Digest>) -> Vec<Digest> {
    digests.sort_unstable();
    digests
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exactly_the_differences_are_found(
        common in 0_u32..6000,
        only_ours in proptest::collection::vec((6000_u32..9000, any::<bool>()), 0..200),
        only_theirs in proptest::collection::vec((9000_u32..12_000, any::<bool>()), 0..200),
        deleted in proptest::collection::vec((0_u32..6000, any::<bool>()), 0..20),
    ) {
        let mut ours: BTreeMap<u32, bool> = (0..common).map(|number| (number, false)).collect();
        let mut theirs = ours.clone();
        for (number, here) in deleted.into_iter().filter(|(number, _)| *number < common) {
            let side = if here { &mut ours } else { &mut theirs };
            side.insert(number, true);
        }
        ours.extend(only_ours);
        theirs.extend(only_theirs);
        let (our_list, their_list) = (listed(ours.clone()), listed(theirs.clone()));
        let (found, _) = find(&our_list, &their_list);

        let of = |side: &BTreeMap<u32, bool>, other: &BTreeMap<u32, bool>, declined: bool| {
            sorted(side.iter()
                .filter(|(number, is)| **is == declined && !other.contains_key(number))
                .map(|(number, _)| digest(*number))
                .collect())
        };
        prop_assert!(found.whole);
        prop_assert_eq!(sorted(found.missing_here), of(&theirs, &ours, false));
        prop_assert_eq!(sorted(found.declined_there), of(&theirs, &ours, true));
        prop_assert_eq!(sorted(found.missing_there), of(&ours, &theirs, false));
        let tombstones: BTreeSet<Digest> = ours.iter()
            .filter(|(number, declined)| **declined && theirs.get(number) == Some(&false))
            .map(|(number, _)| digest(*number))
            .collect();
        // What stands in ranges that are alike is not looked at.
        prop_assert!(found.deleted_here.iter().all(|digest| tombstones.contains(digest)));
    }

    #[test]
    fn no_question_makes_an_answer_too_long(
        len in 0_u32..4000,
        cuts in proptest::collection::btree_set(any::<u32>(), 0..=SYNC_RANGES_MAX),
    ) {
        let ours = list(0..len);
        let cuts: Vec<u32> = cuts.into_iter().collect();
        let at = |number: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            Digest::new(bytes)
        };
        let asked: Vec<_> = cuts.iter().enumerate().map(|(place, from)| RangeSketch {
            from: at(*from),
            to: cuts.get(place + 1).map(|to| at(*to)),
            count: 1,
            hash: [0; 16],
        }).collect();
        let answers = answer(&ours, &NONCE, &asked).unwrap();
        prop_assert_eq!(answers.len(), asked.len());
        let mut digests = 0;
        for (range, answer) in asked.iter().zip(answers) {
            match answer {
                RangeAnswer::Alike => prop_assert!(false, "the hashes are of nothing"),
                RangeAnswer::Listed(list) => {
                    prop_assert_eq!(&list[..], within(&ours, &range.from, range.to.as_ref()));
                    digests += list.len();
                }
                RangeAnswer::Split(parts) => {
                    prop_assert!((2..=SYNC_SPLIT).contains(&parts.len()));
                    prop_assert_eq!(parts[0].from, range.from);
                    prop_assert_eq!(parts.last().unwrap().to, range.to);
                    prop_assert!(parts.iter().all(|part| part.count > 0));
                }
            }
        }
        prop_assert!(digests <= SYNC_DIGESTS_MAX);
    }
}

#[test]
fn the_cost_follows_the_difference() {
    const BLOBS: u32 = 100_000;
    // 16^3 leaves hold 100,000 digests: three splits above a leaf, each asked about and answered.
    const PER_DIFFERENCE: usize = 4 * (SYNC_SPLIT + 1) + SYNC_LEAF;
    let ours = list(0..BLOBS);
    for differences in [1_u32, 100] {
        let theirs = list(differences..BLOBS + differences);
        let (found, cost) = find(&ours, &theirs);
        let found_both = (found.missing_here.len(), found.missing_there.len());
        let each = usize::try_from(differences).unwrap();
        assert_eq!(found_both, (each, each));
        let travelled = cost.sketches + cost.digests;
        assert!(travelled <= 2 * each * PER_DIFFERENCE, "{cost:?}");
        assert!(cost.questions <= 5, "{cost:?}");
    }
    let (found, cost) = find(&ours, &ours);
    let nothing = Found {
        whole: true,
        ..Found::default()
    };
    assert_eq!(found, nothing);
    assert_eq!((cost.sketches, cost.digests, cost.questions), (1, 0, 1));
}

#[test]
fn all_of_a_large_set_is_found_by_whoever_has_nothing() {
    let theirs = list(0..50_000);
    let (found, cost) = find(&list([]), &theirs);
    assert_eq!(found.missing_here.len(), 50_000);
    assert!(found.whole);
    assert!(cost.questions < 40, "{cost:?}");
    let (found, cost) = find(&theirs, &list([]));
    assert_eq!(found.missing_there.len(), 50_000);
    assert_eq!(cost.questions, 1);
}

#[test]
fn more_than_enough_is_left_for_the_next_round() {
    let theirs = list(0..200_000);
    let (found, _) = find(&list([]), &theirs);
    assert!(!found.whole);
    assert!((1 << 17..1 << 18).contains(&found.missing_here.len()));
}

/// The first answer, as a liar would give it.
fn first_answer(lie: impl Fn(RangeSketch) -> Vec<RangeAnswer>) -> Result<(), Nonsense> {
    let ours = list(0..1000);
    let mut differ = Differ::new(shard(), count_of_one(), NONCE, ours);
    let Some(SyncRequest::Ranges { ranges, .. }) = differ.next_question() else {
        panic!("no first question");
    };
    differ.take(lie(ranges[0]))
}

fn part(from: u8, to: Option<u8>) -> RangeSketch {
    RangeSketch {
        from: Digest::new([from; 32]),
        to: to.map(|to| Digest::new([to; 32])),
        count: 1,
        hash: [1; 16],
    }
}

#[test]
fn lies_are_seen() {
    let split = |parts: Vec<RangeSketch>| first_answer(|_| vec![RangeAnswer::Split(parts.clone())]);
    assert_eq!(split(vec![part(0, Some(9)), part(9, None)]), Ok(()));
    assert_eq!(split(vec![]), Err(Nonsense::WrongParts(0)));
    assert_eq!(split(vec![part(0, None)]), Err(Nonsense::WrongParts(1)));
    let many = (0..17).map(|at| part(at, Some(at + 1))).collect();
    assert_eq!(split(many), Err(Nonsense::WrongParts(17)));
    for bad in [
        [part(0, Some(9)), part(9, Some(200))],
        [part(1, Some(9)), part(9, None)],
        [part(0, Some(9)), part(10, None)],
        [part(0, Some(9)), part(8, None)],
        [part(0, None), part(9, None)],
        [part(0, Some(0)), part(0, None)],
    ] {
        assert_eq!(split(bad.to_vec()), Err(Nonsense::NotCovering), "{bad:?}");
    }
    let lists = |digests: Vec<Digest>| {
        let list = digests.into_iter().map(|digest| ListedDigest {
            digest,
            declined: false,
        });
        let list: Vec<_> = list.collect();
        first_answer(|_| vec![RangeAnswer::Listed(list.clone())])
    };
    let [low, high] = [Digest::new([1; 32]), Digest::new([2; 32])];
    assert_eq!(lists(vec![low, high]), Ok(()));
    assert_eq!(lists(vec![high, low]), Err(Nonsense::Unsorted));
    assert_eq!(lists(vec![low, low]), Err(Nonsense::Unsorted));
    let too_many = (0..5000).map(digest).collect();
    assert_eq!(lists(sorted(too_many)), Err(Nonsense::TooManyDigests));
    let wrong = Nonsense::WrongNumber { asked: 1, got: 2 };
    assert_eq!(first_answer(|_| vec![RangeAnswer::Alike; 2]), Err(wrong));
}

#[test]
fn a_list_of_another_shard_or_range_is_a_lie() {
    let count = ShardCount::new(2).unwrap();
    let shard = count.shard(1).unwrap();
    let mut differ = Differ::new(shard, count, NONCE, list([]));
    differ.next_question().unwrap();
    let even = Digest::new([2; 32]);
    let listed = |digest| ListedDigest {
        digest,
        declined: false,
    };
    let lie = differ.take(vec![RangeAnswer::Listed(vec![listed(even)])]);
    assert_eq!(lie, Err(Nonsense::OtherShard));

    let mut differ = Differ::new(shard, count, NONCE, list([]));
    differ.next_question().unwrap();
    differ
        .take(vec![RangeAnswer::Split(vec![
            part(0, Some(9)),
            part(9, None),
        ])])
        .unwrap();
    differ.next_question().unwrap();
    let outside = Digest::new([9; 32]);
    let lie = differ.take(vec![
        RangeAnswer::Listed(vec![listed(outside)]),
        RangeAnswer::Alike,
    ]);
    assert_eq!(lie, Err(Nonsense::OutsideRange));
}

#[test]
fn splitting_comes_to_an_end() {
    let mut differ = Differ::new(shard(), count_of_one(), NONCE, list(0..1000));
    let mut most_open = 0;
    loop {
        let Some(SyncRequest::Ranges { ranges, .. }) = differ.next_question() else {
            panic!("a liar is not believed to have an end");
        };
        // Each range is cut into the thinnest slices and a rest.
        let lies = ranges.iter().map(|range| {
            let mut parts = Vec::new();
            let mut from = range.from;
            for _ in 1..SYNC_SPLIT {
                let to = successor(&from);
                if to.is_none() || to == range.to {
                    return RangeAnswer::Alike;
                }
                let [count, hash] = [u64::MAX, 0];
                let hash = [u8::try_from(hash).unwrap(); 16];
                parts.push(RangeSketch {
                    from,
                    to,
                    count,
                    hash,
                });
                from = to.unwrap();
            }
            parts.push(RangeSketch {
                from,
                to: range.to,
                count: u64::MAX,
                hash: [0; 16],
            });
            RangeAnswer::Split(parts)
        });
        let taken = differ.take(lies.collect());
        most_open = most_open.max(differ.open());
        if let Err(lie) = taken {
            assert_eq!(lie, Nonsense::Endless);
            break;
        }
    }
    assert!(most_open < 200_000, "{most_open}");
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let ask = |asked: &[RangeSketch]| answer(&list(0..10), &NONCE, asked).map(|_| ());
    assert_eq!(ask(&[part(0, Some(1)), part(1, None)]), Ok(()));
    assert_eq!(ask(&[]), Ok(()));
    for bad in [
        vec![part(5, Some(5))],
        vec![part(5, Some(4))],
        vec![part(0, None), part(1, None)],
        vec![part(0, Some(3)), part(2, None)],
        vec![part(3, Some(4)), part(1, Some(2))],
    ] {
        assert_eq!(ask(&bad), Err(Nonsense::Disorder), "{bad:?}");
    }
    let many = vec![part(0, Some(1)); SYNC_RANGES_MAX + 1];
    assert_eq!(ask(&many), Err(Nonsense::TooManyRanges(513)));
}

#[test]
fn what_is_asked_one_by_one_is_listed_one_by_one() {
    let theirs = listed([(1, false), (2, true), (3, false)]);
    let asked = sorted(vec![digest(1), digest(2), digest(4)]);
    let ranges = one_by_one(&NONCE, &asked).unwrap();
    let answers = answer(&theirs, &NONCE, &ranges).unwrap();
    for (asked, answer) in asked.iter().zip(answers) {
        let expected = match *asked {
            asked if asked == digest(4) => RangeAnswer::Alike,
            asked => RangeAnswer::Listed(vec![ListedDigest {
                digest: asked,
                declined: asked == digest(2),
            }]),
        };
        assert_eq!(answer, expected);
    }
    assert_eq!(one_by_one(&NONCE, &vec![digest(1); 513]), None);
    assert_eq!(successor(&Digest::new([255; 32])), None);
    let mut carried = [0; 32];
    carried[30] = 1;
    let mut before = [0; 32];
    before[31] = 255;
    assert_eq!(successor(&Digest::new(before)), Some(Digest::new(carried)));
}

#[test]
fn the_bounds_of_parts_are_short() {
    let ours = list(0..1000);
    let asked = [part(0, None)];
    let answers = answer(&ours, &NONCE, &asked).unwrap();
    let [RangeAnswer::Split(parts)] = &answers[..] else {
        panic!("a thousand digests are split");
    };
    for pair in parts.windows(2) {
        let bound = pair[1].from;
        assert_eq!(pair[0].to, Some(bound));
        assert_eq!(
            bound.as_bytes()[4..],
            [0; 28],
            "a thousand digests differ in the first bytes"
        );
    }
    assert!(parts.iter().all(|part| part.count >= 55));
    let [low, high] = [[1; 32], [2; 32]].map(Digest::new);
    let mut short = [0; 32];
    short[0] = 2;
    assert_eq!(boundary(&low, &high), Digest::new(short));
    let next = successor(&low).unwrap();
    assert_eq!(boundary(&low, &next), next);
}
