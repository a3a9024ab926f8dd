use bytecave_core::Fingerprint;
use bytecave_messages::swarm::RefusalKind;
use bytecave_messages::sync::{
    ListedDigest, RangeAnswer, SYNC_DIGESTS_MAX, SYNC_RANGES_MAX, SYNC_SPLIT, SyncAnswer,
    SyncRequest,
};
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::header::refusal;
use super::*;

const SHARDS: u64 = 4096;

fn count() -> ShardCount {
    ShardCount::new(SHARDS).unwrap()
}

fn shards(numbers: impl IntoIterator<Item = u64>) -> Vec<ShardId> {
    let shard = |number| count().shard(number).unwrap();
    numbers.into_iter().map(shard).collect()
}

fn body(frame: &[u8]) -> &[u8] {
    let (prefix, body) = frame.split_first_chunk().unwrap();
    assert_eq!(u32::from_be_bytes(*prefix) as usize, body.len());
    body
}

fn parse(frame: &[u8]) -> Result<SyncRequest, SyncError> {
    parse_request(body(frame), count())
}

fn any_shards() -> impl Strategy<Value = Vec<ShardId>> {
    prop_oneof![
        prop::collection::btree_set(0..SHARDS, 0..40),
        (0..SHARDS, 0..100_u64).prop_map(|(from, len)| (from..(from + len).min(SHARDS)).collect()),
    ]
    .prop_map(shards)
}

fn any_digest() -> impl Strategy<Value = Digest> {
    // Bounds with and without zeros at their end.
    (any::<[u8; 32]>(), 0..=32_usize).prop_map(|(mut bytes, kept)| {
        bytes[kept..].fill(0);
        Digest::new(bytes)
    })
}

/// Ranges between ascending bounds, some of which touch; at most `most`.
fn any_sketches(most: usize) -> impl Strategy<Value = Vec<RangeSketch>> {
    let bounds = prop::collection::btree_set(any_digest(), 2..=2 * most);
    (bounds, any::<(u64, [u8; 16], bool, bool)>()).prop_map(
        move |(bounds, (count, hash, touching, open))| {
            let bounds: Vec<_> = bounds.into_iter().collect();
            let pairs: Vec<_> = if touching {
                bounds.windows(2).map(|pair| (pair[0], pair[1])).collect()
            } else {
                bounds
                    .chunks_exact(2)
                    .map(|pair| (pair[0], pair[1]))
                    .collect()
            };
            let mut sketches: Vec<_> = pairs
                .into_iter()
                .take(most)
                .map(|(from, to)| RangeSketch {
                    from,
                    to: Some(to),
                    count,
                    hash,
                })
                .collect();
            if open {
                sketches.last_mut().unwrap().to = None;
            }
            sketches
        },
    )
}

fn any_request() -> impl Strategy<Value = SyncRequest> {
    let digests = prop::collection::vec(any_digest(), 0..50);
    let shard = (0..SHARDS).prop_map(|number| count().shard(number).unwrap());
    prop_oneof![
        (any_shards(), any_digest())
            .prop_map(|(shards, hash)| SyncRequest::CompareAll { shards, hash }),
        (any_shards(), any::<[u8; 32]>()).prop_map(|(shards, bytes)| SyncRequest::Compare {
            shards: shards
                .into_iter()
                .map(|shard| (shard, Fingerprint::new(bytes)))
                .collect(),
        }),
        (any_shards(), any::<[u8; 32]>())
            .prop_map(|(shards, nonce)| SyncRequest::Keyed { nonce, shards }),
        (shard.clone(), any::<[u8; 32]>(), any_sketches(20)).prop_map(|(shard, nonce, ranges)| {
            SyncRequest::Ranges {
                shard,
                nonce,
                ranges,
            }
        }),
        (shard, digests).prop_map(|(shard, digests)| SyncRequest::Offer { shard, digests }),
    ]
}

/// A question and an answer that fits it.
fn any_answer() -> impl Strategy<Value = (SyncRequest, SyncAnswer)> {
    let picks = (any::<Vec<Index>>(), any::<bool>(), any::<u32>());
    (any_request(), picks).prop_map(|(request, (picks, flag, number))| {
        let answer = match &request {
            SyncRequest::CompareAll { .. } => SyncAnswer::Alike(flag),
            SyncRequest::Compare { shards } if shards.is_empty() => {
                SyncAnswer::Differing(Vec::new())
            }
            SyncRequest::Compare { shards } => {
                let picked: std::collections::BTreeSet<_> =
                    picks.iter().map(|pick| pick.get(shards).0).collect();
                SyncAnswer::Differing(picked.into_iter().collect())
            }
            SyncRequest::Keyed { shards, nonce } => {
                let hash = |at: usize| (!at.is_multiple_of(3)).then(|| Digest::new(*nonce));
                SyncAnswer::Hashes((0..shards.len()).map(hash).collect())
            }
            SyncRequest::Ranges { ranges, .. } => {
                let answers = ranges.iter().enumerate().map(|(at, range)| match at % 3 {
                    0 => RangeAnswer::Alike,
                    1 => RangeAnswer::Listed(vec![ListedDigest {
                        digest: range.from,
                        declined: flag,
                    }]),
                    _ => RangeAnswer::Split(vec![*range]),
                });
                SyncAnswer::Ranges(answers.collect())
            }
            SyncRequest::Offer { digests, .. } => {
                let most = u32::try_from(digests.len()).unwrap();
                SyncAnswer::Wanted(number % (most + 1))
            }
        };
        (request, answer)
    })
}

proptest! {
    #[test]
    fn a_question_is_read_as_it_was_asked(request in any_request()) {
        let frame = request_frame(&request);
        prop_assert!(fits(&frame, QUESTION_BYTES));
        prop_assert_eq!(parse(&frame).unwrap(), request);
    }

    #[test]
    fn an_answer_is_read_as_it_was_given((request, answer) in any_answer()) {
        let frame = answer_frame(&answer).unwrap();
        let read = parse_answer(body(&frame), &request).unwrap();
        prop_assert_eq!(read, Said::Answer(answer));
    }

    #[test]
    fn no_bytes_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        request in any_request(),
    ) {
        let _ = parse_request(&bytes, count());
        let _ = parse_answer(&bytes, &request);
    }

    #[test]
    fn no_change_panics_or_breaks_the_order(
        (request, answer) in any_answer(),
        at: Index,
        to: u8,
    ) {
        let mut frame = request_frame(&request);
        let place = PREFIX_BYTES + at.index(frame.len() - PREFIX_BYTES);
        frame[place] = to;
        if let Ok(SyncRequest::Ranges { ranges, .. }) = parse(&frame) {
            let apart = |pair: &[RangeSketch]| pair[0].to.is_some_and(|to| to <= pair[1].from);
            prop_assert!(ranges.windows(2).all(apart));
        }
        let mut frame = answer_frame(&answer).unwrap();
        let place = PREFIX_BYTES + at.index(frame.len() - PREFIX_BYTES);
        frame[place] = to;
        let _ = parse_answer(body(&frame), &request);
    }
}

#[test]
fn a_round_over_shards_that_are_alike_is_small() {
    let all = shards(0..1024);
    let all_alike = request_frame(&SyncRequest::CompareAll {
        shards: all.clone(),
        hash: Digest::of(b"all"),
    });
    assert!(all_alike.len() < 300, "{}", all_alike.len());
    let scattered = request_frame(&SyncRequest::Compare {
        shards: shards((0..2048).step_by(2))
            .into_iter()
            .map(|shard| (shard, Fingerprint::new([0xa5; 32])))
            .collect(),
    });
    assert!(scattered.len() <= 40 * 1024, "{}", scattered.len());
}

#[test]
fn the_largest_question_of_each_kind_fits() {
    let every = shards(0..SHARDS);
    let digest = |at: usize| {
        let mut bytes = [0xff; 32];
        bytes[..8].copy_from_slice(&(at as u64).to_be_bytes());
        Digest::new(bytes)
    };
    let ranges = (0..SYNC_RANGES_MAX).map(|at| RangeSketch {
        from: digest(2 * at),
        to: Some(digest(2 * at + 1)),
        count: u64::MAX,
        hash: [7; 16],
    });
    let shard = every[0];
    for request in [
        SyncRequest::CompareAll {
            shards: shards((0..SHARDS).step_by(2)),
            hash: digest(1),
        },
        SyncRequest::Compare {
            shards: every
                .iter()
                .map(|shard| (*shard, Fingerprint::new([7; 32])))
                .collect(),
        },
        SyncRequest::Keyed {
            nonce: [7; 32],
            shards: every.clone(),
        },
        SyncRequest::Ranges {
            shard,
            nonce: [7; 32],
            ranges: ranges.collect(),
        },
        SyncRequest::Offer {
            shard,
            digests: (0..SYNC_DIGESTS_MAX).map(digest).collect(),
        },
    ] {
        let frame = request_frame(&request);
        assert!(fits(&frame, QUESTION_BYTES));
        assert_eq!(parse(&frame).unwrap(), request);
    }
}

#[test]
fn the_largest_answer_fits_and_what_is_longer_is_refused() {
    let parts = |apart: u8| {
        let part = move |at: u8| RangeSketch {
            from: Digest::new([2 * at + 1; 32]),
            to: Some(Digest::new([2 * at + 3 - apart; 32])),
            count: u64::MAX,
            hash: [7; 16],
        };
        RangeAnswer::Split((0..16).map(part).collect())
    };
    let covering = SyncAnswer::Ranges(vec![parts(0); SYNC_RANGES_MAX]);
    assert!(answer_frame(&covering).is_ok());
    let apart = SyncAnswer::Ranges(vec![parts(1); SYNC_RANGES_MAX]);
    let refusal = answer_frame(&apart).unwrap_err();
    assert_eq!(refusal.kind(), RefusalKind::TooLarge);
}

#[test]
fn claims_beyond_the_bounds_are_refused() {
    let frame = |write: &dyn Fn(&mut Writer) -> Written| framed(|to| write(to));
    let nonsense: [(&str, Vec<u8>); 8] = [
        (
            "endless shards",
            frame(&|to| {
                to.array(3)?.u8(2)?.bytes(&[0; 32])?.array(4)?;
                to.u16(0)?.u16(4096)?.u16(0)?.u16(1)?;
                Ok(())
            }),
        ),
        (
            "a shard that is none",
            frame(&|to| {
                to.array(3)?
                    .u8(2)?
                    .bytes(&[0; 32])?
                    .array(2)?
                    .u16(4095)?
                    .u16(2)?;
                Ok(())
            }),
        ),
        (
            "empty runs",
            frame(&|to| {
                to.array(3)?
                    .u8(2)?
                    .bytes(&[0; 32])?
                    .array(2)?
                    .u16(1)?
                    .u16(0)?;
                Ok(())
            }),
        ),
        (
            "a claim of 2^63 runs",
            frame(&|to| {
                to.array(3)?.u8(2)?.bytes(&[0; 32])?.array(1 << 63)?;
                Ok(())
            }),
        ),
        (
            "fewer fingerprints than shards",
            frame(&|to| {
                to.array(3)?
                    .u8(1)?
                    .array(2)?
                    .u16(0)?
                    .u16(2)?
                    .bytes(&[0; 32])?;
                Ok(())
            }),
        ),
        (
            "too many ranges",
            frame(&|to| {
                to.array(4)?.u8(3)?.u8(0)?.bytes(&[0; 32])?;
                to.array(4 * 513)?;
                Ok(())
            }),
        ),
        (
            "too many digests",
            frame(&|to| {
                to.array(3)?.u8(4)?.u8(0)?.bytes(&vec![0; 32 * 4097])?;
                Ok(())
            }),
        ),
        (
            "another kind",
            frame(&|to| {
                to.array(1)?.u8(9)?;
                Ok(())
            }),
        ),
    ];
    for (what, frame) in nonsense {
        assert!(parse(&frame).is_err(), "{what}");
    }
    let small = ShardCount::new(16).unwrap();
    let request = SyncRequest::Keyed {
        nonce: [0; 32],
        shards: shards([15, 16]),
    };
    let error = parse_request(body(&request_frame(&request)), small).unwrap_err();
    assert!(matches!(error, SyncError::Shard(16)), "{error}");
}

#[test]
fn an_answer_to_another_question_is_none() {
    let asked = SyncRequest::Compare {
        shards: vec![(shards([3])[0], Fingerprint::EMPTY)],
    };
    let answered = |answer: &SyncAnswer, asked: &SyncRequest| {
        parse_answer(body(&answer_frame(answer).unwrap()), asked)
    };
    assert!(answered(&SyncAnswer::Alike(true), &asked).is_err());
    assert!(answered(&SyncAnswer::Differing(shards([4])), &asked).is_err());
    assert!(answered(&SyncAnswer::Differing(shards([3])), &asked).is_ok());
    let keyed = SyncRequest::Keyed {
        nonce: [0; 32],
        shards: shards([3]),
    };
    assert!(answered(&SyncAnswer::Hashes(vec![None; 2]), &keyed).is_err());
    let range = RangeSketch {
        from: Digest::new([2; 32]),
        to: Some(Digest::new([4; 32])),
        count: 1,
        hash: [0; 16],
    };
    let ranges = SyncRequest::Ranges {
        shard: shards([3])[0],
        nonce: [0; 32],
        ranges: vec![range],
    };
    let listed = |bytes: &[u8]| {
        let digests = bytes.iter().map(|byte| ListedDigest {
            digest: Digest::new([*byte; 32]),
            declined: false,
        });
        SyncAnswer::Ranges(vec![RangeAnswer::Listed(digests.collect())])
    };
    assert!(answered(&listed(&[2, 3]), &ranges).is_ok());
    for outside in [&[1][..], &[4], &[3, 2], &[2, 2]] {
        assert!(answered(&listed(outside), &ranges).is_err(), "{outside:?}");
    }
    let wider = RangeSketch { to: None, ..range };
    let split = |part| SyncAnswer::Ranges(vec![RangeAnswer::Split(part)]);
    assert!(answered(&split(vec![wider]), &ranges).is_err());
    assert!(answered(&split(vec![range]), &ranges).is_ok());
    let many = vec![range; SYNC_SPLIT + 1];
    assert!(answered(&split(many), &ranges).is_err());
    let offer = SyncRequest::Offer {
        shard: shards([3])[0],
        digests: Vec::new(),
    };
    assert!(answered(&SyncAnswer::Wanted(1), &offer).is_err());
}

#[test]
fn a_refusal_is_no_answer() {
    let frame = refusal(RefusalKind::Busy, "busy");
    let asked = SyncRequest::Keyed {
        nonce: [0; 32],
        shards: Vec::new(),
    };
    let said = parse_answer(body(&frame), &asked).unwrap();
    assert!(matches!(said, Said::Refused(why) if why.kind == RefusalKind::Busy));
    assert!(parse_answer(&[0xa0], &asked).is_err());
}
