//! Which blobs are here.

use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::budget::Share;
use bytecave_messages::ports::hand_on;
use bytecave_messages::swarm::{
    Answer, HAVE_LIST_LIMIT, HaveList, HaveListAsk, InboundHaveList, Refusal,
};
use libp2p::Stream;
use serde::Serialize;
use serde_json::Value;

use super::hex;
use super::server::{Reply, Server};
use crate::wire::frame::{self, FrameError, LIST_FRAME_BYTES};

/// Entries when the asker does not say how many.
const DEFAULT_LIMIT: usize = 100;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    cids: Vec<String>,
    total: u64,
    has_more: bool,
}

impl Server {
    pub(super) async fn have_list(
        &self,
        stream: &mut Stream,
        peer: PeerId,
    ) -> Result<Reply, FrameError> {
        let request = frame::read(stream, LIST_FRAME_BYTES, self.service.request_timeout()).await?;
        Ok(match self.list(peer, &request).await {
            Ok(list) => Reply::served(frame::encode(&Listed {
                cids: list.cids.iter().map(hex).collect(),
                total: list.total,
                has_more: list.has_more,
            })),
            Err(refusal) => Reply::refused(super::Kind::HaveList, &refusal),
        })
    }

    async fn list(&self, peer: PeerId, request: &[u8]) -> Result<HaveList, Refusal> {
        let ask = parse(request)?;
        if let HaveListAsk::Page { limit, offset } = &ask
            && !self.service.may_have_page(&peer, *offset, *limit as u64)
        {
            return Err(Refusal::Busy);
        }
        let permit = self.service.permit(Share::Peer, "have_list")?;
        let (answer, answered) = Answer::new();
        let event = InboundHaveList {
            from: peer,
            ask,
            answer,
            permit,
        };
        hand_on(&self.service.events().have_list, event);
        let mut list = self.service.answered(answered).await?;
        list.cids.truncate(HAVE_LIST_LIMIT);
        Ok(list)
    }
}

/// What is asked for. Nothing in particular is the first page, and CIDs that are none are not here.
fn parse(request: &[u8]) -> Result<HaveListAsk, Refusal> {
    let invalid = |reason: String| Refusal::Invalid(reason);
    let request: Value = if request.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(request).map_err(|error| invalid(error.to_string()))?
    };
    if let Some(cids) = request.get("cids").and_then(Value::as_array) {
        if cids.len() > HAVE_LIST_LIMIT {
            let given = cids.len();
            return Err(invalid(format!(
                "{given} cids were given, at most {HAVE_LIST_LIMIT} are allowed"
            )));
        }
        let cids = cids.iter().filter_map(Value::as_str);
        let cids: Vec<BlobCid> = cids.filter_map(|text| text.trim().parse().ok()).collect();
        return Ok(HaveListAsk::Which(cids));
    }
    let number = |name| request.get(name).and_then(Value::as_u64);
    let limit = number("limit").map_or(DEFAULT_LIMIT, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    Ok(HaveListAsk::Page {
        limit: limit.min(HAVE_LIST_LIMIT),
        offset: number("offset").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: usize, offset: u64) -> HaveListAsk {
        HaveListAsk::Page { limit, offset }
    }

    #[test]
    fn a_page_has_the_published_defaults_and_a_bound() {
        for (json, expected) in [
            ("", page(100, 0)),
            ("{}", page(100, 0)),
            ("null", page(100, 0)),
            ("[]", page(100, 0)),
            (r#"{"limit":7,"offset":9}"#, page(7, 9)),
            (r#"{"limit":1000000}"#, page(1000, 0)),
            (r#"{"limit":-1,"offset":"x"}"#, page(100, 0)),
        ] {
            assert_eq!(parse(json.as_bytes()).unwrap(), expected, "{json}");
        }
        assert!(matches!(parse(b"{nonsense"), Err(Refusal::Invalid(_))));
    }

    #[test]
    fn cids_are_read_in_every_form_and_nonsense_among_them_is_not_here() {
        let cid = BlobCid::of(b"x");
        let json = serde_json::json!({"cids": [
            cid.digest().to_hex(), cid.digest().to_hex().to_uppercase(), cid.to_string(), "no", 7,
        ]});
        let ask = parse(json.to_string().as_bytes()).unwrap();
        assert_eq!(ask, HaveListAsk::Which(vec![cid; 3]));
        let many = serde_json::json!({"cids": vec!["x"; 1001]});
        assert!(matches!(
            parse(many.to_string().as_bytes()),
            Err(Refusal::Invalid(_))
        ));
    }
}
