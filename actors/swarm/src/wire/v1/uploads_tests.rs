use crate::memory::BodyMemory;

use super::*;

fn parsed(json: &str) -> Result<Received, Refusal> {
    let memory = BodyMemory::new(64 * 1024 * 1024);
    parse(
        json.as_bytes(),
        memory.for_frame(json.len() as u64).unwrap(),
    )
}

#[test]
fn the_form_of_the_existing_network_is_read() {
    let cid = BlobCid::of(b"hello");
    let json = format!(
        r#"{{"cid":"{}","mimeType":"text/plain","ciphertext":"aGVsbG8=","appId":"app","contentType":"blob","sender":"0xs","timestamp":"5","metadata":{{"deep":[1,{{"x":"y\n"}}]}},"authorization":{{"signature":"0xb","nonce":"n","contentHash":"c"}}}}"#,
        cid.digest().to_hex().to_uppercase()
    );
    let received = parsed(&json).unwrap();
    assert_eq!(received.cid, Some(cid));
    assert_eq!(received.body, "hello");
    assert_eq!(received.content_type.as_deref(), Some("text/plain"));
    assert_eq!(received.app_id.as_deref(), Some("app"));
    let authorization = received.authorization.unwrap();
    assert_eq!(authorization.sender, "0xs");
    assert_eq!(
        (authorization.app_id.as_str(), authorization.timestamp_ms),
        ("app", 5)
    );
}

#[test]
fn nonsense_is_invalid_and_says_so_with_the_published_words() {
    for json in [
        "",
        "null",
        "[]",
        "{}",
        "\u{0}",
        r#"{"ciphertext":7}"#,
        r#"{"ciphertext":"a"}"#,
        r#"{"ciphertext":"aGVsbG8"}"#,
        r#"{"ciphertext":"aGVsbG8=","cid":"no"}"#,
        r#"{"ciphertext":"aGVsbG8=","timestamp":[1]}"#,
        r#"{"ciphertext":"aGVsbG8=","authorization":{}}"#,
        r#"{"ciphertext":"aGVsbG8=","authorization":"yes"}"#,
    ] {
        let refusal = parsed(json).map(|_| ()).unwrap_err().to_string();
        assert!(refusal.starts_with("Invalid request"), "{json}: {refusal}");
    }
}

#[test]
fn memory_goes_with_the_bytes() {
    let memory = BodyMemory::new(3600);
    let json = r#"{"ciphertext":"aGVsbG8="}"#;
    let received = parse(json.as_bytes(), memory.for_frame(2000).unwrap()).unwrap();
    let part = received.body.slice(1..2);
    drop(received);
    assert!(
        memory.for_frame(2000).is_none(),
        "a part of the bytes is still there"
    );
    drop(part);
    assert!(memory.for_frame(2000).is_some());
}

#[test]
fn long_escaped_base64_is_refused_and_short_is_read() {
    let short = parsed(r#"{"ciphertext":"\u0061GVsbG8="}"#).unwrap();
    assert_eq!(short.body, "hello");
    let long = format!(r#"{{"ciphertext":"{}\/AA="}}"#, "A".repeat(70_000));
    assert!(matches!(parsed(&long), Err(Refusal::Invalid(_))));
}
