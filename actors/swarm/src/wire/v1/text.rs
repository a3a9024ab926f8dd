//! JSON of strangers, read without being led astray: texts are borrowed from the frame, numbers may
//! be written as texts, and what is not asked for is passed over without a copy.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// Longest text with an escape in it. Reading one needs copies of it, which the memory held for a
/// frame does not cover; base64 as every JavaScript program writes it has none.
const ESCAPED_BYTES: usize = 64 * 1024;
/// Longest media type.
const MEDIA_TYPE_BYTES: usize = 255;

/// A text, borrowed from the frame unless it has an escape.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A time in milliseconds, as a number or as the digits of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Millis(pub(crate) u64);

impl Text<'_> {
    /// The text, if it is not longer than `bytes`.
    pub(crate) fn within(self, bytes: usize) -> Option<String> {
        (self.0.len() <= bytes).then(|| self.0.into_owned())
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = Millis;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("milliseconds since 1970")
            }

            fn visit_u64<E: Error>(self, millis: u64) -> Result<Millis, E> {
                Ok(Millis(millis))
            }

            fn visit_i64<E: Error>(self, millis: i64) -> Result<Millis, E> {
                u64::try_from(millis)
                    .map(Millis)
                    .map_err(|_| E::custom("a time before 1970"))
            }

            fn visit_f64<E: Error>(self, millis: f64) -> Result<Millis, E> {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "within the range where both are exact; a fraction of a millisecond is nothing"
                )]
                if (0.0..9_007_199_254_740_992.0).contains(&millis) {
                    Ok(Millis(millis as u64))
                } else {
                    Err(E::custom("no time"))
                }
            }

            fn visit_str<E: Error>(self, digits: &str) -> Result<Millis, E> {
                let digits = digits.trim();
                if digits.len() > 20 {
                    return Err(E::custom("too many digits for a time"));
                }
                digits
                    .parse()
                    .map(Millis)
                    .map_err(|_| E::custom("a text that is no number"))
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

/// Whether a text in this JSON is both long and escaped, which is not read.
pub(crate) fn has_long_escapes(json: &[u8]) -> bool {
    if json.len() <= ESCAPED_BYTES {
        return false;
    }
    let mut rest = json;
    // From the opening quote of each text to its closing one.
    while let Some(open) = rest.iter().position(|byte| *byte == b'"') {
        rest = rest.get(open + 1..).unwrap_or_default();
        let (mut length, mut escaped) = (0, false);
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
            length += at;
            let quote = rest.get(at) == Some(&b'"');
            // Of an escape, the character behind the backslash is never the end.
            rest = rest
                .get(at + if quote { 1 } else { 2 }..)
                .unwrap_or_default();
            if quote {
                break;
            }
            escaped = true;
            length += 2;
        }
        if escaped && length > ESCAPED_BYTES {
            return true;
        }
    }
    false
}

/// A stated media type, if it looks like one.
pub(crate) fn media_type(stated: Option<Text<'_>>) -> Option<String> {
    let stated = stated?.0;
    is_media_type(&stated).then(|| stated.into_owned())
}

/// Whether a text looks like a media type.
pub(crate) fn is_media_type(text: &str) -> bool {
    text.len() <= MEDIA_TYPE_BYTES
        && text.contains('/')
        && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_or_its_digits() {
        for json in [
            "1700000000000",
            "\"1700000000000\"",
            "1700000000000.0",
            "1.7e12",
            "\" 1700000000000 \"",
        ] {
            let read: Millis = serde_json::from_str(json).unwrap();
            assert_eq!(read, Millis(1_700_000_000_000), "{json}");
        }
        for json in [
            "-1",
            "\"soon\"",
            "[1]",
            "{}",
            "null",
            "1e300",
            "\"123456789012345678901\"",
        ] {
            assert!(serde_json::from_str::<Millis>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn texts_are_borrowed_unless_they_are_escaped() {
        let plain: Text<'_> = serde_json::from_str("\"plain\"").unwrap();
        assert!(matches!(plain.0, Cow::Borrowed("plain")));
        let escaped: Text<'_> = serde_json::from_str(r#""a\/b""#).unwrap();
        assert_eq!(escaped.0, "a/b");
        let optional: Option<Text<'_>> = serde_json::from_str("\"plain\"").unwrap();
        assert!(matches!(optional.unwrap().0, Cow::Borrowed("plain")));
    }

    #[test]
    fn long_escaped_texts_are_found_and_others_are_not() {
        let long = "A".repeat(100_000);
        let found = |json: String| has_long_escapes(json.as_bytes());
        assert!(!found(format!(r#"{{"ciphertext":"{long}"}}"#)));
        assert!(!found(format!(r#"{{"a":"\"\\","ciphertext":"{long}"}}"#)));
        assert!(!found(format!(r#"{{"ciphertext":"{long}","a":"x\\"}}"#)));
        assert!(found(format!(r#"{{"ciphertext":"{long}\/"}}"#)));
        assert!(found(format!(r#"{{"ciphertext":"\n{long}"}}"#)));
        assert!(found(format!(r#"{{"ciphertext":"\"{long}"}}"#)));
        assert!(found(
            r"\".repeat(70_000) + &format!("\"{}", r"\".repeat(140_000))
        ));
    }

    #[test]
    fn media_types_that_are_none_are_dropped() {
        let of = |text: &'static str| media_type(Some(Text(Cow::Borrowed(text))));
        assert_eq!(of("image/png").as_deref(), Some("image/png"));
        assert_eq!(
            of("text/plain; charset=utf-8").as_deref(),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(of("png"), None);
        assert_eq!(of("image/png\r\nX-Evil: 1"), None);
        assert_eq!(media_type(Some(Text(Cow::Owned("a/".repeat(200))))), None);
    }
}
