//! `Range` (RFC 9110, section 14): one range of bytes.

use bytecave_messages::store::ByteRange;

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The whole: no range, one of another unit, or several at once, which may be answered so.
    Whole,
    /// One range.
    Part(ByteRange),
    /// A range that cannot be right, whatever the blob.
    Never(&'static str),
}

/// Reads the value of a `Range` header.
pub(crate) fn parse(value: &str) -> Asked {
    let Some((unit, set)) = value.split_once('=') else {
        return Asked::Never("expected bytes=FIRST-LAST, bytes=FIRST- or bytes=-LENGTH");
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Asked::Whole;
    }
    let set = set.trim();
    if set.contains(',') {
        return Asked::Whole;
    }
    let Some((first, last)) = set.split_once('-') else {
        return Asked::Never("expected bytes=FIRST-LAST, bytes=FIRST- or bytes=-LENGTH");
    };
    match (number(first), number(last)) {
        (Number::Is(first), Number::Is(last)) if first <= last => {
            Asked::Part(ByteRange::FromTo(first, last))
        }
        (Number::Is(_), Number::Is(_)) => {
            Asked::Never("the first byte lies behind the last: expected FIRST ≤ LAST")
        }
        (Number::Is(first), Number::Absent) => Asked::Part(ByteRange::From(first)),
        (Number::Absent, Number::Is(0)) => Asked::Never("the last 0 bytes are none"),
        (Number::Absent, Number::Is(length)) => Asked::Part(ByteRange::Last(length)),
        _ => Asked::Never("expected bytes=FIRST-LAST, bytes=FIRST- or bytes=-LENGTH"),
    }
}

enum Number {
    Absent,
    Is(u64),
    Malformed,
}

fn number(text: &str) -> Number {
    match text.trim() {
        "" => Number::Absent,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            // More digits than 64 bits hold name a byte behind every end.
            Number::Is(digits.parse().unwrap_or(u64::MAX))
        }
        _ => Number::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range() {
        for (value, range) in [
            ("bytes=0-0", ByteRange::FromTo(0, 0)),
            ("bytes=5-9", ByteRange::FromTo(5, 9)),
            ("Bytes = 5 - 9", ByteRange::FromTo(5, 9)),
            ("bytes=7-", ByteRange::From(7)),
            ("bytes=-3", ByteRange::Last(3)),
            (
                "bytes=0-99999999999999999999999",
                ByteRange::FromTo(0, u64::MAX),
            ),
        ] {
            assert_eq!(parse(value), Asked::Part(range), "{value}");
        }
    }

    #[test]
    fn what_is_not_one_range() {
        for whole in ["items=0-5", "bytes=0-1,3-4", "bytes=0-1, 3-4"] {
            assert_eq!(parse(whole), Asked::Whole, "{whole}");
        }
        for never in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5",
            "bytes=9-5",
            "bytes=-0",
            "bytes=1-2-3",
            "bytes=--1",
            "bytes=+1-2",
            "bytes=0x1-2",
        ] {
            assert!(matches!(parse(never), Asked::Never(_)), "{never}");
        }
    }
}
