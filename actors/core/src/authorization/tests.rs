#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use k256::ecdsa::SigningKey;

use super::*;

const CONTENT: &[u8] = b"hello bytecave";
const NOW: u64 = 1_700_000_000_000;
const WINDOW: u64 = 300_000;
/// A well-known key of examples; the signatures below were made with it by ethers 6.
const SENDER: &str = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23";
const SECRET: &str = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
const BY_ETHERS: &str = "0x82e75072e25c17f904a1641b82a702edc4888bc4c261f9db02b09092948a6096164a9398a43af8f8722a2b87a37b653df1a018113dbe57abdc2ab08cd98737c71c";
const BY_ETHERS_NOT_ASCII: &str = "0x4747b7fd2276dbbefbd1694da53d48a6f26872689af966e17e374fd620bd2f866e4818073aef84b97d632e6685327e79c313963c1429295acd54df065c6f29e11c";

fn content() -> Digest {
    Digest::of(CONTENT)
}

fn given() -> StoreAuthorization {
    StoreAuthorization {
        sender: SENDER.to_owned(),
        signature: BY_ETHERS.to_owned(),
        timestamp_ms: NOW,
        nonce: "5f1c9e7a-0b".to_owned(),
        content_hash: format!("0x{}", content().to_hex()),
        app_id: "photo-app".to_owned(),
    }
}

fn changed(change: impl FnOnce(&mut StoreAuthorization)) -> StoreAuthorization {
    let mut authorization = given();
    change(&mut authorization);
    authorization
}

/// Signs it as a wallet would.
fn signed(mut authorization: StoreAuthorization, secret: &str) -> StoreAuthorization {
    let key = SigningKey::from_slice(&hex::decode(secret).unwrap()).unwrap();
    let text = authorization.text(&content());
    let mut hasher = Keccak256::new();
    hasher.update(format!("\x19Ethereum Signed Message:\n{}", text.len()));
    hasher.update(&text);
    let (signature, recovery) = key.sign_digest_recoverable(hasher).unwrap();
    let v = 27 + recovery.to_byte();
    authorization.signature = format!("0x{}{v:02x}", hex::encode(signature.to_bytes()));
    authorization
}

fn refusal(authorization: &StoreAuthorization) -> AuthorizationError {
    authorization.verify(NOW, WINDOW).unwrap_err()
}

#[test]
fn what_ethers_signs_holds() {
    let verified = given().verify(NOW, WINDOW).unwrap();
    assert_eq!(verified.sender, SENDER.to_lowercase());
    assert_eq!(verified.expires_ms, NOW + WINDOW);
    let not_ascii = changed(|it| {
        it.app_id = "grün".to_owned();
        it.signature = BY_ETHERS_NOT_ASCII.to_owned();
    });
    assert!(not_ascii.verify(NOW, WINDOW).is_ok());
}

#[test]
fn the_published_example_of_personal_sign_recovers() {
    // From the documentation of web3.js, of the same key.
    let signature = "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c";
    let address = recover(signature, b"Some data").unwrap();
    assert_eq!(address_text(address), SENDER.to_lowercase());
}

#[test]
fn our_signing_makes_what_ethers_makes() {
    assert_eq!(signed(given(), SECRET).signature, BY_ETHERS);
}

#[test]
fn forms_that_mean_the_same_hold() {
    for same in [
        changed(|it| it.sender = it.sender.to_lowercase()),
        changed(|it| it.sender = format!("0x{}", it.sender[2..].to_uppercase())),
        changed(|it| it.content_hash = content().to_hex()),
        changed(|it| it.content_hash = content().to_hex().to_uppercase()),
        changed(|it| it.signature = format!("0x{}", it.signature[2..].to_uppercase())),
        changed(|it| it.signature = format!("{}01", &it.signature[..130])),
    ] {
        assert!(same.verify(NOW, WINDOW).is_ok(), "{same:?}");
    }
}

#[test]
fn any_other_field_is_another_text() {
    for other in [
        changed(|it| it.app_id = "photo-apq".to_owned()),
        changed(|it| it.nonce.push('c')),
        changed(|it| it.timestamp_ms += 1),
        changed(|it| it.sender = "0x0000000000000000000000000000000000000001".to_owned()),
        signed(given(), &"11".repeat(32)),
    ] {
        let refused = refusal(&other);
        assert!(
            matches!(refused, AuthorizationError::WrongSigner { .. }),
            "{other:?}: {refused}"
        );
    }
}

#[test]
fn it_is_for_these_bytes_only() {
    let other = Digest::of(b"other bytes");
    let verified = given().verify(NOW, WINDOW).unwrap();
    assert_eq!(verified.covers(&content()), Ok(()));
    assert_eq!(
        verified.covers(&other),
        Err(AuthorizationError::OtherContent {
            stated: content().to_hex(),
            actual: other.to_hex(),
        })
    );
    // Stating the other hash does not help: it is part of what is signed.
    let lying = changed(|it| it.content_hash = other.to_hex());
    assert!(matches!(
        lying.verify(NOW, WINDOW),
        Err(AuthorizationError::WrongSigner { .. })
    ));
    for no_hash in ["", "0x", "abc", &"g".repeat(64), &"a".repeat(100_000)] {
        let wrong = changed(|it| it.content_hash = no_hash.to_owned());
        let AuthorizationError::ContentHash { given } = refusal(&wrong) else {
            panic!("{no_hash}");
        };
        assert!(given.len() <= QUOTED_CHARS);
    }
}

#[test]
fn it_holds_for_its_time_only() {
    let at = |now| given().verify(now, WINDOW);
    assert!(at(NOW + WINDOW).is_ok());
    assert!(at(NOW - WINDOW).is_ok());
    assert_eq!(
        at(NOW + WINDOW + 1),
        Err(AuthorizationError::TooOld {
            age_ms: WINDOW + 1,
            window_ms: WINDOW
        })
    );
    assert_eq!(
        at(NOW - WINDOW - 1),
        Err(AuthorizationError::InFuture {
            ahead_ms: WINDOW + 1,
            window_ms: WINDOW
        })
    );
    let never = changed(|it| it.timestamp_ms = u64::MAX);
    assert!(matches!(
        refusal(&never),
        AuthorizationError::InFuture { .. }
    ));
}

#[test]
fn malformed_signatures_say_what_is_wrong() {
    let high_s = {
        // n - s is the other root; it recovers to the same account with the other parity.
        let bytes = hex::decode(&BY_ETHERS[2..130]).unwrap();
        let (r, s) = Signature::from_slice(&bytes).unwrap().split_scalars();
        let high = Signature::from_scalars(r, -s).unwrap();
        format!("0x{}1b", hex::encode(high.to_bytes()))
    };
    let zero = format!("0x{}1b", "0".repeat(128));
    for (signature, says) in [
        (String::new(), "130 hex digits"),
        (BY_ETHERS[2..].to_owned(), "130 hex digits"),
        (BY_ETHERS[..130].to_owned(), "130 hex digits"),
        (format!("{BY_ETHERS}00"), "130 hex digits"),
        ("0x".repeat(1 << 20), "130 hex digits"),
        (BY_ETHERS.replace('c', "z"), "130 hex digits"),
        (format!("{}1d", &BY_ETHERS[..130]), "27 or 28"),
        (format!("{}02", &BY_ETHERS[..130]), "27 or 28"),
        (zero, "order of secp256k1"),
        (format!("0x{}1b", "f".repeat(128)), "order of secp256k1"),
        (high_s, "s is high"),
    ] {
        let refused = refusal(&changed(|it| it.signature = signature.clone()));
        assert!(
            matches!(refused, AuthorizationError::Signature(why) if why.contains(says)),
            "{refused}"
        );
    }
}

#[test]
fn fields_that_could_pretend_to_be_lines_are_refused() {
    for nonce in ["", "a\nb", "a\u{7f}", &"n".repeat(NONCE_MAX_BYTES + 1)] {
        let wrong = signed(changed(|it| it.nonce = nonce.to_owned()), SECRET);
        assert_eq!(refusal(&wrong), AuthorizationError::Nonce, "{nonce:?}");
    }
    let inner = "x\nTimestamp: 1\nNonce: 2";
    for app in [inner, "\r", &"a".repeat(APP_ID_MAX_BYTES + 1)] {
        let wrong = signed(changed(|it| it.app_id = app.to_owned()), SECRET);
        assert_eq!(refusal(&wrong), AuthorizationError::AppId, "{app:?}");
    }
    let longest = changed(|it| {
        it.nonce = "n".repeat(NONCE_MAX_BYTES);
        it.app_id = "a".repeat(APP_ID_MAX_BYTES);
    });
    let longest = signed(longest, SECRET);
    assert!(longest.verify(NOW, WINDOW).is_ok());
    for sender in [
        "",
        "0x",
        &SENDER[2..],
        "0xzz7536E3605D9C16a7a3D7b1898e529396a65c23",
    ] {
        let wrong = changed(|it| it.sender = sender.to_owned());
        assert!(matches!(refusal(&wrong), AuthorizationError::Sender { .. }));
    }
}

#[test]
fn a_nonce_belongs_to_its_sender_and_no_two_meet() {
    let of = |authorization: StoreAuthorization| {
        let verified = authorization.verify(NOW, WINDOW).unwrap();
        verified.nonce_key
    };
    let lower = changed(|it| it.sender = it.sender.to_lowercase());
    assert_eq!(of(given()), of(lower));
    assert_ne!(nonce_key("a", "bc"), nonce_key("ab", "c"));
    assert_ne!(nonce_key("a", "b"), nonce_key("c", "b"));
    assert_eq!(
        of(given()),
        nonce_key(&SENDER.to_lowercase(), "5f1c9e7a-0b")
    );
}

#[test]
fn refusals_name_cause_and_remedy() {
    let text = refusal(&changed(|it| it.timestamp_ms = NOW - 600_000)).to_string();
    assert_eq!(
        text,
        "it was signed 600 s ago and holds for 300 s: sign again, or set the clock"
    );
    let text = refusal(&changed(|it| it.sender = "me".to_owned())).to_string();
    assert_eq!(
        text,
        "sender \"me\" is no address: expected 0x and 40 hex digits"
    );
}
