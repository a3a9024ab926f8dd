#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::tree::{LEAF_BYTES, PATH_MAX, blob_root, leaf_count};
use crate::{BlobCid, Commitment, Digest, NodeIdentity};

const NOW: u64 = 1_760_000_000_000;

fn identity() -> NodeIdentity {
    NodeIdentity::from_seed([1; 32]).unwrap()
}

fn content(size: usize, seed: u8) -> Vec<u8> {
    (0..size.div_ceil(32))
        .flat_map(|block| *Digest::of(&[&[seed][..], &block.to_be_bytes()].concat()).as_bytes())
        .take(size)
        .collect()
}

fn challenge(content: &[u8], nonce: [u8; 32], count: u64) -> Challenge {
    Challenge {
        cid: BlobCid::of(content),
        nonce: Nonce::new(nonce),
        count: ChallengeCount::new(count).unwrap(),
    }
}

fn anchor(content: &[u8]) -> Anchor {
    Anchor::Commitment(Commitment::of(content.len() as u64, &blob_root(content)))
}

fn answer(challenge: &Challenge, content: &[u8]) -> Proof {
    let statement = Statement::from_content(challenge, content).unwrap();
    Proof::sign(&identity(), "node-test", NOW, statement).unwrap()
}

fn signed_again(mut proof: Proof) -> Proof {
    proof.signature = identity().sign(&proof.signed_bytes());
    proof
}

fn largest() -> Proof {
    let leaf = LeafProof {
        index: u64::MAX,
        data: vec![255; LEAF_BYTES],
        path: vec![[255; 32]; PATH_MAX],
    };
    let statement = Statement {
        cid: BlobCid::of(b""),
        size: u64::MAX,
        blob_root: blob_root(b""),
        nonce: Nonce::new([255; 32]),
        leaves: vec![leaf; ChallengeCount::MAX.get().into()],
    };
    let name = "n".repeat(NODE_ID_MAX_BYTES);
    Proof::sign(&identity(), &name, u64::MAX, statement).unwrap()
}

#[test]
fn a_count_outside_its_bounds_is_named() {
    assert_eq!(ChallengeCount::default().get(), 4);
    for count in [1, 4, 32] {
        assert_eq!(u64::from(ChallengeCount::new(count).unwrap()), count);
    }
    for count in [0, 33, 256, 260, u64::MAX] {
        let error = ChallengeCount::new(count).unwrap_err().to_string();
        assert!(error.contains(&count.to_string()), "{error}");
        assert!(serde_json::from_str::<ChallengeCount>(&count.to_string()).is_err());
    }
}

#[test]
fn leaves_follow_from_nonce_cid_and_number_of_the_leaf() {
    let content = content(10_000, 0);
    let challenge = challenge(&content, [9; 32], 32);
    let by_hand = (0..32u32).map(|i| {
        let asked = [
            b"bytecave-challenge-v1",
            &[9; 32][..],
            &challenge.cid.to_bytes(),
            &i.to_be_bytes(),
        ]
        .concat();
        let head = Digest::of(&asked).as_bytes()[..8].try_into().unwrap();
        u64::from_be_bytes(head) % 10
    });
    let indexes = challenge.leaf_indexes(10_000);
    assert_eq!(indexes, by_hand.collect::<Vec<u64>>());
    assert_eq!(indexes.iter().collect::<BTreeSet<_>>().len(), 10);
    assert_eq!(challenge.leaf_indexes(0), vec![0; 32]);
}

#[test]
fn bounds_hold_when_a_proof_is_signed_and_the_largest_is_read_again() {
    let proof = largest();
    let bytes = proof.to_bytes();
    assert_eq!(bytes.len(), PROOF_MAX_BYTES);
    assert_eq!(Proof::from_bytes(&bytes).unwrap(), proof);
    assert_eq!(
        Proof::from_bytes(&[&bytes[..], &[0]].concat()).unwrap_err(),
        FormError::Size(PROOF_MAX_BYTES as u64 + 1)
    );

    let sign = |change: fn(&mut Statement), name: &str| {
        let mut statement = Statement {
            cid: proof.cid,
            size: 0,
            blob_root: proof.blob_root,
            nonce: proof.nonce,
            leaves: proof.leaves.clone(),
        };
        change(&mut statement);
        Proof::sign(&identity(), name, NOW, statement)
    };
    let more = sign(|s| s.leaves.extend_from_within(..1), "n");
    assert_eq!(more.unwrap_err(), FormError::Leaves(33));
    let longer = sign(|s| s.leaves[3].data.push(0), "n");
    assert_eq!(longer.unwrap_err(), FormError::Data(1025));
    let higher = sign(|s| s.leaves[3].path.push([0; 32]), "n");
    assert_eq!(higher.unwrap_err(), FormError::Path(55));
    let named = sign(|_| (), &"n".repeat(129));
    assert_eq!(named.unwrap_err(), FormError::NodeId(129));
}

#[test]
fn the_encoding_is_the_one_that_is_documented() {
    let content = b"x";
    let challenge = challenge(content, [5; 32], 1);
    let proof = answer(&challenge, content);
    let field = |bytes: &[u8]| {
        let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&len[..], bytes].concat()
    };
    let expected = [
        b"bytecave-proof-v1".to_vec(),
        field(&[0, 0, 0, 1]),
        field(&challenge.cid.to_bytes()),
        field(&[0, 0, 0, 0, 0, 0, 0, 1]),
        field(&[0, 0, 4, 0]),
        field(blob_root(content).as_bytes()),
        field(&[5; 32]),
        field(&[0, 0, 0, 1]),
        field(&[0; 8]),
        field(b"x"),
        field(&[]),
        field(b"node-test"),
        field(&identity().peer_id().to_bytes()),
        field(identity().public_key().as_bytes()),
        field(&NOW.to_be_bytes()),
    ]
    .concat();
    assert_eq!(proof.signed_bytes(), expected);
    assert!(
        identity()
            .public_key()
            .verifies(&expected, &proof.signature)
    );
    let whole = [expected, field(&proof.signature)].concat();
    assert_eq!(proof.to_bytes(), whole);
}

#[test]
fn a_length_that_promises_too_much_is_refused_before_it_is_read() {
    let bytes = largest().to_bytes();
    let tag = b"bytecave-proof-v1".len();
    let leaves = tag + 8 + 40 + 12 + 8 + 36 + 36 + 4;
    let with = |at: usize, value: u32| {
        let mut changed = bytes.clone();
        changed[at..at + 4].copy_from_slice(&value.to_be_bytes());
        Proof::from_bytes(&changed).unwrap_err()
    };
    assert_eq!(with(leaves, 33), FormError::Leaves(33));
    assert_eq!(with(leaves, u32::MAX), FormError::Leaves(u32::MAX.into()));
    let data = leaves + 4 + 12;
    assert_eq!(with(data, 1025), FormError::Data(1025));
    assert_eq!(with(data, u32::MAX), FormError::Data(u32::MAX.into()));
    let path = data + 4 + LEAF_BYTES;
    assert_eq!(with(path, 55 * 32), FormError::Path(55));
    assert_eq!(with(path, 31), FormError::Value("path"));
    assert_eq!(
        with(tag, 5).to_string(),
        "field version has 5 bytes: expected 4"
    );
    assert_eq!(Proof::from_bytes(b"bytecave-proof-v2"), Err(FormError::Tag));
}

#[test]
fn debug_shows_no_content() {
    let content = b"a secret that nobody should read in a log";
    let proof = answer(&challenge(content, [5; 32], 1), content);
    let shown = format!("{proof:?}");
    assert!(shown.contains("data_bytes: 41"), "{shown}");
    assert!(!shown.contains("[97, "), "{shown}");
}

#[test]
fn a_receipt_is_its_signers_word_alone() {
    let stored = StoredBlob {
        cid: BlobCid::of(b"x"),
        size: 1,
        commitment: Commitment::of(1, &blob_root(b"x")),
        stored_at_ms: NOW,
    };
    let receipt = Receipt::sign(&identity(), "node-test", stored).unwrap();
    assert!(receipt.verify().is_valid());
    let json = serde_json::to_string(&receipt).unwrap();
    assert_eq!(serde_json::from_str::<Receipt>(&json).unwrap(), receipt);

    let changes: [fn(&mut Receipt); 6] = [
        |r| r.cid = BlobCid::of(b"y"),
        |r| r.size += 1,
        |r| r.commitment = Commitment::new([0; 32]),
        |r| r.stored_at_ms -= 1,
        |r| r.node_id.push('x'),
        |r| r.signature[0] ^= 1,
    ];
    for change in changes {
        let mut changed = receipt.clone();
        change(&mut changed);
        assert_eq!(changed.verify().reason(), Some(Reason::BadSignature));
    }
    let other = NodeIdentity::from_seed([2; 32]).unwrap();
    let mut borrowed = receipt.clone();
    borrowed.public_key = other.public_key();
    borrowed.signature = other.sign(&borrowed.signed_bytes());
    assert_eq!(borrowed.verify().reason(), Some(Reason::IdentityMismatch));
    let mut later = receipt;
    later.version = 2;
    assert_eq!(later.verify().reason(), Some(Reason::WrongVersion));
    let long = Receipt::sign(&identity(), &"n".repeat(129), stored);
    assert_eq!(long.unwrap_err(), FormError::NodeId(129));
}

/// A proof as it came, and one whose byte at `at` of the binary form is another. `None` when that
/// is no proof at all.
fn with_another_byte(proof: &Proof, at: Index, change: u8) -> Option<Proof> {
    let mut bytes = proof.to_bytes();
    let at = at.index(bytes.len());
    bytes[at] ^= change;
    let changed = Proof::from_bytes(&bytes).ok()?;
    assert_eq!(changed.to_bytes(), bytes, "two encodings of one proof");
    Some(changed)
}

proptest! {
    #[test]
    fn a_proof_of_any_blob_answers_any_challenge(
        size in 0usize..40_000, seed in any::<u8>(), nonce in any::<[u8; 32]>(), count in 1u64..=32,
    ) {
        let content = content(size, seed);
        let challenge = challenge(&content, nonce, count);
        let proof = answer(&challenge, &content);
        for anchor in [
            anchor(&content),
            Anchor::Root { blob_root: blob_root(&content), size: size as u64 },
        ] {
            let question = Question {
                peer_id: Some(identity().peer_id()),
                freshness: Some(Freshness { now_ms: NOW + 5, max_age_ms: 5 }),
                ..Question::of(&challenge, anchor)
            };
            prop_assert_eq!(verify(&proof, &question), Verdict::Valid);
            prop_assert_eq!(possession(&proof, &question), Verdict::Valid);
        }
        prop_assert_eq!(&Proof::from_bytes(&proof.to_bytes()).unwrap(), &proof);
        let json = serde_json::to_string(&proof).unwrap();
        prop_assert_eq!(serde_json::from_str::<Proof>(&json).unwrap(), proof);
    }

    #[test]
    fn no_byte_of_a_proof_can_be_changed(
        size in 0usize..6_000, nonce in any::<[u8; 32]>(), count in 1u64..=6,
        at in any::<Index>(), change in 1u8..,
    ) {
        let content = content(size, 1);
        let challenge = challenge(&content, nonce, count);
        let proof = answer(&challenge, &content);
        if let Some(changed) = with_another_byte(&proof, at, change) {
            let unnamed = Question { cid: None, nonce: None, ..Question::of(&challenge, anchor(&content)) };
            for question in [Question::of(&challenge, anchor(&content)), unnamed] {
                let verdict = verify(&changed, &question);
                // Without a known version nobody can say what is signed.
                let version = changed.version == PROOF_VERSION;
                let expected = if version { Reason::BadSignature } else { Reason::WrongVersion };
                prop_assert_eq!(verdict.reason(), Some(expected));
            }
        }
    }

    #[test]
    fn whoever_signs_again_can_change_only_what_it_says_of_itself(
        size in 0usize..6_000, nonce in any::<[u8; 32]>(), count in 1u64..=6,
        at in any::<Index>(), change in 1u8..,
    ) {
        let content = content(size, 2);
        let challenge = challenge(&content, nonce, count);
        let proof = answer(&challenge, &content);
        if let Some(changed) = with_another_byte(&proof, at, change) {
            let changed = signed_again(changed);
            let question = Question::of(&challenge, anchor(&content));
            if verify(&changed, &question).is_valid() {
                let back = Proof {
                    node_id: proof.node_id.clone(), timestamp_ms: proof.timestamp_ms, signature: proof.signature,
                    ..changed.clone()
                };
                prop_assert_eq!(&back, &proof);
            }
            if possession(&changed, &question).is_valid() {
                prop_assert_eq!(&changed.leaves, &proof.leaves);
                prop_assert_eq!(
                    (changed.cid, changed.size, changed.blob_root, changed.nonce),
                    (proof.cid, proof.size, proof.blob_root, proof.nonce)
                );
            }
        }
    }

    #[test]
    fn a_binary_form_cut_or_continued_is_refused(size in 0usize..3_000, cut in any::<Index>(), more in 1usize..9) {
        let content = content(size, 3);
        let bytes = answer(&challenge(&content, [3; 32], 2), &content).to_bytes();
        prop_assert!(Proof::from_bytes(&bytes[..cut.index(bytes.len())]).is_err());
        let continued = [bytes, vec![0; more]].concat();
        prop_assert_eq!(Proof::from_bytes(&continued), Err(FormError::Behind(more as u64)));
    }

    #[test]
    fn no_bytes_make_the_decoders_fail(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let tagged = [b"bytecave-proof-v1", &bytes[..]].concat();
        for bytes in [bytes, tagged] {
            if let Ok(proof) = Proof::from_bytes(&bytes) {
                prop_assert_eq!(proof.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn a_tree_without_the_bytes_answers_only_for_the_leaves_that_are_left(
        size in 2_000usize..40_000, nonce in any::<[u8; 32]>(), count in 1u64..=8,
    ) {
        let content = content(size, 4);
        let challenge = challenge(&content, nonce, count);
        let mut statement = Statement::from_content(&challenge, &content).unwrap();
        let lost = leaf_count(size as u64) / 2..;
        let mut asked = false;
        for leaf in statement.leaves.iter_mut().filter(|leaf| lost.contains(&leaf.index)) {
            asked = true;
            leaf.data.fill(0);
        }
        let proof = Proof::sign(&identity(), "node-test", NOW, statement).unwrap();
        let verdict = verify(&proof, &Question::of(&challenge, anchor(&content)));
        prop_assert_eq!(verdict.reason(), asked.then_some(Reason::PathDoesNotReachRoot));
    }
}
