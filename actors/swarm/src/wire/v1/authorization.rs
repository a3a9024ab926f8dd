//! The store authorization, as the existing programs send it.

use bytecave_core::StoreAuthorization;
use bytecave_messages::swarm::Refusal;
use serde::Deserialize;

use super::text::{Millis, Text};

/// Longest field of it. The signature, with 132 characters, is the longest that makes sense.
const FIELD_BYTES: usize = 512;

/// A store authorization; nothing of it is checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Authorization<'a> {
    /// Who signed.
    #[serde(borrow, default)]
    sender: Option<Text<'a>>,
    /// The same, over a storage link.
    #[serde(borrow, default)]
    address: Option<Text<'a>>,
    #[serde(borrow, default)]
    signature: Option<Text<'a>>,
    #[serde(default)]
    timestamp: Option<Millis>,
    #[serde(borrow, default)]
    nonce: Option<Text<'a>>,
    #[serde(borrow, default)]
    content_hash: Option<Text<'a>>,
    #[serde(borrow, default)]
    app_id: Option<Text<'a>>,
}

impl<'a> Authorization<'a> {
    /// Its bounded form. What it lacks of sender, application and time is taken from the request
    /// that it came with.
    pub(crate) fn bounded(
        self,
        sender: Option<&Text<'a>>,
        app_id: Option<&Text<'a>>,
        timestamp: Option<Millis>,
    ) -> Result<StoreAuthorization, Refusal> {
        let timestamp = self.timestamp.or(timestamp);
        Ok(StoreAuthorization {
            sender: field(
                "sender",
                self.sender.or(self.address).or_else(|| sender.cloned()),
            )?,
            signature: field("signature", self.signature)?,
            timestamp_ms: timestamp.ok_or_else(|| lacks("timestamp"))?.0,
            nonce: field("nonce", self.nonce)?,
            content_hash: field("contentHash", self.content_hash)?,
            app_id: field("appId", self.app_id.or_else(|| app_id.cloned()))?,
        })
    }
}

fn field(name: &'static str, text: Option<Text<'_>>) -> Result<String, Refusal> {
    let text = text.ok_or_else(|| lacks(name))?;
    text.within(FIELD_BYTES).ok_or_else(|| {
        Refusal::Invalid(format!(
            "authorization.{name} is longer than {FIELD_BYTES} bytes"
        ))
    })
}

fn lacks(name: &'static str) -> Refusal {
    Refusal::Invalid(format!("the authorization lacks {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_peers_and_that_of_links_are_read() {
        for (name, timestamp) in [("sender", "7"), ("address", "\"7\"")] {
            let json = format!(
                r#"{{"{name}":"0xa","signature":"0xb","timestamp":{timestamp},"nonce":"n","contentHash":"c","appId":"app","more":[1]}}"#
            );
            let read: Authorization<'_> = serde_json::from_str(&json).unwrap();
            let read = read.bounded(None, None, None).unwrap();
            assert_eq!(
                read,
                StoreAuthorization {
                    sender: "0xa".to_owned(),
                    signature: "0xb".to_owned(),
                    timestamp_ms: 7,
                    nonce: "n".to_owned(),
                    content_hash: "c".to_owned(),
                    app_id: "app".to_owned(),
                }
            );
        }
    }

    #[test]
    fn what_is_missing_or_too_long_is_named() {
        let refused = |json: &str| {
            let read: Authorization<'_> = serde_json::from_str(json).unwrap();
            read.bounded(None, None, Some(Millis(1)))
                .unwrap_err()
                .to_string()
        };
        assert!(refused("{}").contains("lacks sender"));
        assert!(refused(r#"{"sender":"a"}"#).contains("lacks signature"));
        let long = format!(r#"{{"sender":"{}"}}"#, "a".repeat(600));
        assert!(refused(&long).contains("authorization.sender is longer"));
    }
}
