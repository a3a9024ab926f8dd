//! Whatever bytes come as a proof: they are refused, or they are the one encoding of a proof.

#![no_main]

use bytecave_core::proof::{PROOF_MAX_BYTES, Proof, Question, Receipt, verify};
use libfuzzer_sys::fuzz_target;

const TAG: &[u8] = b"bytecave-proof-v1";

fn binary(bytes: &[u8]) {
    let Ok(proof) = Proof::from_bytes(bytes) else {
        return;
    };
    assert!(bytes.len() <= PROOF_MAX_BYTES);
    assert_eq!(proof.to_bytes(), bytes, "two encodings of one proof");
    also_as_json(&proof);
}

fn json(bytes: &[u8]) {
    if let Ok(proof) = serde_json::from_slice::<Proof>(bytes) {
        let again = Proof::from_bytes(&proof.to_bytes());
        assert_eq!(
            again.as_ref(),
            Ok(&proof),
            "JSON says what the binary form cannot"
        );
        also_as_json(&proof);
    }
    if let Ok(receipt) = serde_json::from_slice::<Receipt>(bytes) {
        let text = serde_json::to_string(&receipt).expect("a receipt is JSON");
        assert_eq!(serde_json::from_str::<Receipt>(&text).ok(), Some(receipt));
    }
}

fn also_as_json(proof: &Proof) {
    let text = serde_json::to_string(proof).expect("a proof is JSON");
    assert_eq!(
        serde_json::from_str::<Proof>(&text).ok().as_ref(),
        Some(proof)
    );
    let verdict = verify(proof, &Question::default());
    assert_eq!(verdict.code(), "unanchored");
}

fuzz_target!(|bytes: &[u8]| {
    binary(bytes);
    binary(&[TAG, bytes].concat());
    json(bytes);
});
