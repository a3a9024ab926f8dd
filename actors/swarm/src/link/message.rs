//! The messages of a link: JSON objects with a `type`, binary as standard padded base64.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytecave_core::{BlobCid, StoreAuthorization};
use bytecave_messages::swarm::{Kept, Refusal};
use serde::{Deserialize, Serialize};

use crate::plain::plain;
use crate::wire::frame::MAX_BLOB_BYTES;
use crate::wire::v1::authorization::Authorization;
use crate::wire::v1::blobs::DEFAULT_MEDIA_TYPE;
use crate::wire::v1::parse_cid;
use crate::wire::v1::text::{Text, has_long_escapes, media_type};

/// Longest request id that is answered, in bytes; those of the browsers have some 40.
const MAX_ID_BYTES: usize = 128;
/// Longest `retrieve-request`, in bytes: a request id, a CID, and room for more.
const MAX_RETRIEVE_BYTES: usize = 4 * 1024;
/// Most characters of a relay's words that are shown or logged.
const MAX_SHOWN_CHARS: usize = 200;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Store,
    Retrieve,
}

impl Kind {
    fn answer(self) -> &'static str {
        match self {
            Self::Store => "storage-response",
            Self::Retrieve => "retrieve-response",
        }
    }
}

/// What came, told by its outermost fields; nothing is copied that a relay could make long.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    Registered,
    /// To be answered under this id.
    Request(Kind, String),
    /// The relay reports an error.
    Error(String),
    /// Nothing that can be acted on, and why.
    Ignored(&'static str),
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(rename = "requestId", borrow)]
    id: Option<&'a str>,
}

#[derive(Deserialize)]
struct ErrorWords<'a> {
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
}

/// Looks at a message without decoding what it carries.
pub(super) fn look(text: &str) -> Incoming {
    let Ok(head) = serde_json::from_str::<Head<'_>>(text) else {
        return Incoming::Ignored("it is no JSON object with a type");
    };
    let kind = match head.kind {
        "registered" => return Incoming::Registered,
        "error" => return Incoming::Error(words(text)),
        "storage-request" => Kind::Store,
        "retrieve-request" => Kind::Retrieve,
        _ => return Incoming::Ignored("its type is not known here"),
    };
    match head.id {
        Some(id) if (1..=MAX_ID_BYTES).contains(&id.len()) => {
            Incoming::Request(kind, id.to_owned())
        }
        Some(_) => Incoming::Ignored("its requestId is empty or longer than 128 bytes"),
        None => Incoming::Ignored("it has no requestId"),
    }
}

fn words(text: &str) -> String {
    let said = serde_json::from_str::<ErrorWords<'_>>(text).ok();
    let said = said.and_then(|said| said.error.or(said.message));
    said.map_or_else(|| "no reason given".to_owned(), |said| printable(&said))
}

/// Text of a relay, fit for a log: one line, not long.
pub(super) fn printable(text: &str) -> String {
    let spaced: String = text
        .chars()
        .take(MAX_SHOWN_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    plain(&spaced).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Register<'a> {
    r#type: &'static str,
    peer_id: &'a str,
    node_id: &'a str,
    is_registered: bool,
}

/// The message that registers this node.
pub(super) fn register(peer_id: &str, node_id: &str, is_registered: bool) -> String {
    to_json(&Register {
        r#type: "register",
        peer_id,
        node_id,
        is_registered,
    })
}

/// A decoded `storage-request`.
#[derive(Debug)]
pub(super) struct StoreRequest {
    pub(super) body: Vec<u8>,
    pub(super) content_type: Option<String>,
    pub(super) authorization: Option<StoreAuthorization>,
}

/// As it comes. Its `hashIdToken` is of no use here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStore<'a> {
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow)]
    content_type: Option<Text<'a>>,
    #[serde(borrow)]
    authorization: Option<Authorization<'a>>,
}

impl StoreRequest {
    /// Memory for `text` and what comes of it must be held by then.
    pub(super) fn decode(text: &str) -> Result<Self, Refusal> {
        if has_long_escapes(text.as_bytes()) {
            return Err(invalid("data holds escapes: expected plain base64"));
        }
        let raw: RawStore<'_> = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        let data = raw.data.ok_or_else(|| invalid("data is missing"))?;
        let authorization = raw
            .authorization
            .map(|stated| stated.bounded(None, None, None));
        let authorization = authorization.transpose()?;
        let body = STANDARD
            .decode(data.0.as_ref())
            .map_err(|error| invalid(&format!("data is not padded standard base64: {error}")))?;
        if body.len() as u64 > MAX_BLOB_BYTES {
            return Err(too_large(body.len() as u64));
        }
        Ok(Self {
            body,
            content_type: media_type(raw.content_type),
            authorization,
        })
    }
}

#[derive(Deserialize)]
struct RawRetrieve<'a> {
    #[serde(borrow)]
    cid: Option<Text<'a>>,
}

/// The blob that a `retrieve-request` asks for.
pub(super) fn wanted(text: &str) -> Result<BlobCid, Refusal> {
    if text.len() > MAX_RETRIEVE_BYTES {
        let len = text.len();
        let why = format!("a retrieve-request of {len} bytes, at most {MAX_RETRIEVE_BYTES}");
        return Err(invalid(&why));
    }
    let raw: RawRetrieve<'_> = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    let cid = raw.cid.ok_or_else(|| invalid("cid is missing"))?;
    parse_cid(&cid.0)
}

fn malformed(error: &serde_json::Error) -> Refusal {
    // What serde says may quote the message, at any length.
    invalid(&printable(&error.to_string()))
}

fn invalid(why: &str) -> Refusal {
    Refusal::Invalid(why.to_owned())
}

pub(super) fn too_large(size: u64) -> Refusal {
    Refusal::TooLarge {
        size,
        limit_bytes: MAX_BLOB_BYTES,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    r#type: &'static str,
    request_id: &'a str,
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The answer to a store that went well.
pub(super) fn stored(id: &str, kept: &Kept) -> String {
    to_json(&Response {
        r#type: Kind::Store.answer(),
        request_id: id,
        success: true,
        cid: Some(kept.cid.digest().to_hex()),
        error: None,
    })
}

/// The answer to a request that did not.
pub(super) fn refused(kind: Kind, id: &str, refusal: &Refusal) -> String {
    to_json(&Response {
        r#type: kind.answer(),
        request_id: id,
        success: false,
        cid: None,
        error: Some(refusal.to_string()),
    })
}

/// What stands before and behind the base64 in the answer with a blob in it.
pub(super) fn retrieved(id: &str, content_type: Option<&str>) -> (String, &'static str) {
    let mut head = to_json(&Retrieved {
        r#type: Kind::Retrieve.answer(),
        request_id: id,
        success: true,
        mime_type: content_type.unwrap_or(DEFAULT_MEDIA_TYPE),
    });
    head.truncate(head.len().saturating_sub(1));
    head.push_str(",\"data\":\"");
    (head, "\"}")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Retrieved<'a> {
    r#type: &'static str,
    request_id: &'a str,
    success: bool,
    mime_type: &'a str,
}

/// Strings and booleans always have a JSON form.
fn to_json(message: &impl Serialize) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_comes_is_told_by_its_type() {
        for (text, incoming) in [
            (
                r#"{"type":"registered","peerId":"x"}"#,
                Incoming::Registered,
            ),
            (
                r#"{"data":"AA==","requestId":"r1","type":"storage-request"}"#,
                Incoming::Request(Kind::Store, "r1".to_owned()),
            ),
            (
                r#"{"type":"retrieve-request","requestId":"r2","cid":7}"#,
                Incoming::Request(Kind::Retrieve, "r2".to_owned()),
            ),
            (
                r#"{"type":"error","error":"no\nnode"}"#,
                Incoming::Error("no node".to_owned()),
            ),
            (
                r#"{"type":"error","message":"full"}"#,
                Incoming::Error("full".to_owned()),
            ),
            (
                r#"{"type":"error","error":1}"#,
                Incoming::Error("no reason given".to_owned()),
            ),
        ] {
            assert_eq!(look(text), incoming, "{text}");
        }
        let long = format!(
            r#"{{"type":"storage-request","requestId":"{}"}}"#,
            "r".repeat(129)
        );
        for ignored in [
            "",
            "7",
            "[]",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"storage-request"}"#,
            r#"{"type":"storage-request","requestId":7}"#,
            r#"{"type":"storage-request","requestId":""}"#,
            r#"{"type":"stats"}"#,
            &long,
        ] {
            assert!(matches!(look(ignored), Incoming::Ignored(_)), "{ignored}");
        }
    }

    fn authorized(who: &str) -> Value {
        json!({"data": STANDARD.encode(b"abc"), "contentType": "text/plain; charset=\"utf-8\"",
            "hashIdToken": "ignored",
            "authorization": {who: "0xabc", "signature": "0xdef", "timestamp": 7, "nonce": "n",
                "contentHash": "0x00", "appId": "app", "more": []}})
    }

    #[test]
    fn a_store_request_names_its_account_either_way() {
        for who in ["address", "sender"] {
            let request = StoreRequest::decode(&authorized(who).to_string()).unwrap();
            assert_eq!(&request.body[..], b"abc");
            let content_type = request.content_type.as_deref();
            assert_eq!(content_type, Some("text/plain; charset=\"utf-8\""));
            let authorization = request.authorization.unwrap();
            assert_eq!(authorization.sender, "0xabc");
            assert_eq!(authorization.timestamp_ms, 7);
        }
        let odd = json!({"data": "", "contentType": "a\nb"}).to_string();
        let odd = StoreRequest::decode(&odd).unwrap();
        assert_eq!(odd.content_type, None, "as over a stream");
        let bare = StoreRequest::decode(r#"{"data":"","authorization":null}"#).unwrap();
        assert!(bare.body.is_empty() && bare.authorization.is_none());
    }

    #[test]
    fn a_store_request_that_makes_no_sense_is_refused_with_a_reason() {
        let mut no_address = authorized("who");
        let mut long_nonce = authorized("address");
        long_nonce["authorization"]["nonce"] = "n".repeat(513).into();
        no_address["data"] = "".into();
        for (request, word) in [
            (json!({}), "data is missing"),
            (json!({"data": 7}), "invalid type"),
            (json!({"data": "A"}), "base64"),
            (json!({"data": "AA"}), "base64"),
            (json!({"data": "_-=="}), "base64"),
            (no_address, "lacks sender"),
            (long_nonce, "authorization.nonce is longer"),
        ] {
            let refusal = StoreRequest::decode(&request.to_string()).unwrap_err();
            let text = refusal.to_string();
            assert!(
                text.starts_with("Invalid request") && text.contains(word),
                "{text}"
            );
        }
    }

    #[test]
    fn a_blob_of_the_limit_passes_and_one_byte_more_does_not() {
        let limit = usize::try_from(MAX_BLOB_BYTES).unwrap();
        for (size, fits) in [(limit, true), (limit + 1, false), (limit + 3, false)] {
            let text = format!(r#"{{"data":"{}"}}"#, STANDARD.encode(vec![7; size]));
            assert!(text.len() < crate::link::MAX_MESSAGE_BYTES);
            let decoded = StoreRequest::decode(&text);
            assert_eq!(decoded.is_ok(), fits, "{size}");
        }
    }

    #[test]
    fn a_retrieve_request_names_a_blob_in_any_form() {
        let cid = BlobCid::of(b"abc");
        for text in [
            cid.to_string(),
            cid.digest().to_hex(),
            cid.digest().to_hex().to_uppercase(),
        ] {
            assert_eq!(wanted(&json!({"cid": text}).to_string()), Ok(cid));
        }
        let long = json!({"cid": cid.to_string(), "more": "m".repeat(MAX_RETRIEVE_BYTES)});
        for wrong in [json!({}), json!({"cid": ""}), json!({"cid": {}}), long] {
            assert!(matches!(
                wanted(&wrong.to_string()),
                Err(Refusal::Invalid(_))
            ));
        }
    }

    #[test]
    fn answers_have_the_published_form() {
        let kept = Kept {
            cid: BlobCid::of(b"abc"),
            already_stored: false,
        };
        let parse = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        assert_eq!(
            parse(stored("r\"1", &kept)),
            json!({"type": "storage-response", "requestId": "r\"1", "success": true,
                "cid": kept.cid.digest().to_hex()})
        );
        assert_eq!(
            parse(refused(Kind::Retrieve, "r", &Refusal::NotFound)),
            json!({"type": "retrieve-response", "requestId": "r", "success": false,
                "error": "Blob not found"})
        );
        assert_eq!(
            parse(
                ["abcd"]
                    .map(|data| {
                        let (head, tail) = retrieved("r", None);
                        format!("{head}{data}{tail}")
                    })
                    .concat()
            ),
            json!({"type": "retrieve-response", "requestId": "r", "success": true,
                "data": "abcd", "mimeType": DEFAULT_MEDIA_TYPE})
        );
        assert_eq!(
            parse(register("p", "n", false)),
            json!({"type": "register", "peerId": "p", "nodeId": "n", "isRegistered": false})
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,60}", id in "\\PC{0,10}") {
            let _ = (look(&text), StoreRequest::decode(&text), wanted(&text));
            let request = json!({"type": text, "requestId": id, "data": id, "cid": text}).to_string();
            let _ = (look(&request), StoreRequest::decode(&request), wanted(&request));
        }
    }
}
