use bytecave_core::proof::{LEAF_SIZE, LeafProof, Nonce, PROOF_VERSION};
use bytecave_core::{BlobCid, BlobRoot, Digest, PublicKey};
use bytecave_messages::swarm::RefusalKind;
use proptest::prelude::*;

use super::super::header::{HEADER_BYTES, refusal};
use super::*;

prop_compose! {
    fn any_challenge()(digest: [u8; 32], nonce: [u8; 32], count in 1..=32_u64) -> Challenge {
        Challenge {
            cid: BlobCid::from_digest(Digest::new(digest)),
            nonce: Nonce::new(nonce),
            count: ChallengeCount::new(count).unwrap(),
        }
    }
}

prop_compose! {
    fn any_leaf()(
        index: u64,
        data in prop::collection::vec(any::<u8>(), 0..=1024),
        path in prop::collection::vec(any::<[u8; 32]>(), 0..=54),
    ) -> LeafProof {
        LeafProof { index, data, path }
    }
}

prop_compose! {
    fn any_proof()(
        asked in any_challenge(),
        size: u64,
        root: [u8; 32],
        key: [u8; 32],
        leaves in prop::collection::vec(any_leaf(), 0..=32),
        node_id in "[a-zä]{0,50}",
        timestamp_ms: u64,
    ) -> Proof {
        let public_key = PublicKey::new(key);
        Proof {
            version: PROOF_VERSION,
            cid: asked.cid,
            size,
            leaf_size: LEAF_SIZE,
            blob_root: BlobRoot::new(root),
            nonce: asked.nonce,
            leaves,
            node_id,
            peer_id: public_key.peer_id(),
            public_key,
            timestamp_ms,
            signature: [7; 64],
        }
    }
}

fn body(frame: &[u8]) -> &[u8] {
    let (prefix, body) = frame.split_first_chunk().unwrap();
    assert_eq!(u32::from_be_bytes(*prefix) as usize, body.len());
    body
}

proptest! {
    #[test]
    fn a_challenge_is_read_as_it_was_asked(challenge in any_challenge()) {
        let frame = question_frame(&challenge);
        prop_assert!(frame.len() as u64 <= HEADER_BYTES);
        let header = Header::parse(body(&frame)).unwrap();
        prop_assert_eq!(asked(&header).unwrap(), challenge);
    }

    #[test]
    fn a_proof_is_read_as_it_was_given(proof in any_proof()) {
        let frame = answer_frame(&proof);
        prop_assert!(body(&frame).len() as u64 <= ANSWER_BYTES);
        let said = parse_answer(body(&frame)).unwrap();
        prop_assert_eq!(said, Said::Proof(Box::new(proof)));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_answer(&bytes);
    }
}

#[test]
fn a_refusal_is_no_proof() {
    let said = parse_answer(body(&refusal(RefusalKind::Damaged, "damaged"))).unwrap();
    assert!(matches!(said, Said::Refused(why) if why.kind == RefusalKind::Damaged));
    let nothing = parse_answer(&[0xa0]).unwrap_err().to_string();
    assert!(nothing.contains("the kind of the refusal"), "{nothing}");
    assert!(parse_answer(&[]).is_err());
}
