//! Sizes, times and shares, as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use config::ValueKind;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value as Json, json};

use crate::setting::{Mismatch, Setting, integer, kind_name, text_of};

/// A number of bytes: `256MiB`, `16 GiB`, or a plain integer.
///
/// Only binary units are known. `MB` means 10⁶ to some and 2²⁰ to others, so it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

const SIZE_UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl ByteSize {
    /// This many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// This many MiB, at most [`u64::MAX`] bytes.
    pub const fn mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// This many GiB, at most [`u64::MAX`] bytes.
    pub const fn gib(gib: u64) -> Self {
        Self(gib.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = SIZE_UNITS
            .into_iter()
            .find(|(_, unit)| self.0 != 0 && self.0.is_multiple_of(*unit))
            .unwrap_or(("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

impl FromStr for ByteSize {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<Self, Mismatch> {
        let (number, unit) = number_and_unit(text)?;
        let unit = match unit {
            "" => 1,
            unit => SIZE_UNITS
                .into_iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|(_, size)| size)
                .ok_or(Mismatch::Malformed(
                    "its unit is none of B, KiB, MiB, GiB and TiB",
                ))?,
        };
        number
            .checked_mul(unit)
            .map(Self)
            .ok_or(Mismatch::OutOfRange)
    }
}

/// A length of time: `50ms`, `30s`, `5m`, `1h`, `30d`. A number without a unit is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimeSpan {
    milliseconds: u64,
}

const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl TimeSpan {
    /// This many milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self { milliseconds }
    }

    /// The same for the clock.
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.milliseconds)
    }
}

impl From<TimeSpan> for Duration {
    fn from(span: TimeSpan) -> Self {
        span.as_duration()
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = TIME_UNITS
            .into_iter()
            .find(|(_, unit)| self.milliseconds != 0 && self.milliseconds.is_multiple_of(*unit))
            .unwrap_or(("ms", 1));
        write!(f, "{}{name}", self.milliseconds / unit)
    }
}

impl FromStr for TimeSpan {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<Self, Mismatch> {
        let (number, unit) = number_and_unit(text)?;
        let unit = match unit {
            "" => return Err(Mismatch::Malformed("it has no unit")),
            unit => TIME_UNITS
                .into_iter()
                .find(|(name, _)| *name == unit)
                .map(|(_, length)| length)
                .ok_or(Mismatch::Malformed("its unit is none of ms, s, m, h and d"))?,
        };
        number
            .checked_mul(unit)
            .map(Self::from_millis)
            .ok_or(Mismatch::OutOfRange)
    }
}

fn number_and_unit(text: &str) -> Result<(u64, &str), Mismatch> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Mismatch::Empty);
    }
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if number.is_empty() || unit.starts_with(['.', ',']) {
        return Err(Mismatch::Malformed("it does not begin with a whole number"));
    }
    let number = number.parse().map_err(|_| Mismatch::OutOfRange)?;
    Ok((number, unit.trim()))
}

/// A share of a whole, between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ratio(f64);

impl Ratio {
    /// The share.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Setting for Ratio {
    fn expects() -> String {
        "a number".into()
    }
    fn schema() -> Json {
        json!({ "type": "number" })
    }
    fn from_text(text: &str) -> Result<Self, Mismatch> {
        if text.is_empty() {
            return Err(Mismatch::Empty);
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Self(value)),
            _ => Err(Mismatch::Malformed("it is not a number")),
        }
    }
    fn from_toml(value: &ValueKind) -> Result<Self, Mismatch> {
        match value {
            ValueKind::Float(value) if value.is_finite() => Ok(Self(*value)),
            ValueKind::Float(_) => Err(Mismatch::Malformed("it is not a finite number")),
            ValueKind::I64(value) => Self::from_text(&value.to_string()),
            other => Err(Mismatch::Kind(kind_name(other))),
        }
    }
    fn is_below(&self, other: &Self) -> bool {
        self < other
    }
}

impl Setting for ByteSize {
    fn expects() -> String {
        "a size such as 256MiB or a number of bytes,".into()
    }
    fn schema() -> Json {
        json!({
            "anyOf": [
                { "type": "string", "pattern": "^[0-9]+ *([KkMmGgTt][Ii])?[Bb]?$" },
                { "type": "integer", "minimum": 0 },
            ],
        })
    }
    fn from_text(text: &str) -> Result<Self, Mismatch> {
        text.parse()
    }
    fn from_toml(value: &ValueKind) -> Result<Self, Mismatch> {
        match value {
            ValueKind::String(text) => text.parse(),
            value => u64::try_from(integer(value)?)
                .map(Self)
                .map_err(|_| Mismatch::OutOfRange),
        }
    }
    fn is_below(&self, other: &Self) -> bool {
        self < other
    }
}

impl Setting for TimeSpan {
    fn expects() -> String {
        "a time such as 50ms, 30s, 5m, 1h or 30d,".into()
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9]+ *(ms|s|m|h|d)$" })
    }
    fn from_text(text: &str) -> Result<Self, Mismatch> {
        text.parse()
    }
    fn from_toml(value: &ValueKind) -> Result<Self, Mismatch> {
        match value {
            ValueKind::I64(_) => Err(Mismatch::Malformed("it has no unit")),
            value => text_of(value)?.parse(),
        }
    }
    fn is_below(&self, other: &Self) -> bool {
        self < other
    }
}

macro_rules! serde_by_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_by_text!(ByteSize, TimeSpan);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_read_with_and_without_units_and_spaces() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17 B", 17),
            ("64KiB", 65_536),
            ("16 GiB", 17_179_869_184),
            ("2tib", 2 << 40),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap().bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn ambiguous_fractional_negative_and_huge_sizes_are_refused() {
        for text in [
            "",
            "MiB",
            "1.5GiB",
            "-1",
            "10MB",
            "10K",
            "17 18",
            "99999999999999999999",
            "18014398509481985KiB",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_need_a_unit() {
        assert_eq!(
            "5".parse::<TimeSpan>(),
            Err(Mismatch::Malformed("it has no unit"))
        );
        assert_eq!(
            TimeSpan::from_toml(&ValueKind::I64(5)),
            Err(Mismatch::Malformed("it has no unit"))
        );
        for text in ["", "s", "1.5s", "-3s", "5 min", "3M", "300000000000000d"] {
            assert!(text.parse::<TimeSpan>().is_err(), "{text}");
        }
        assert_eq!(
            "30d".parse::<TimeSpan>().unwrap().as_duration(),
            Duration::from_hours(30 * 24)
        );
    }

    #[test]
    fn the_largest_unit_that_divides_is_printed() {
        assert_eq!(ByteSize::new(1536).to_string(), "1536B");
        assert_eq!(ByteSize::mib(1024).to_string(), "1GiB");
        assert_eq!(ByteSize::default().to_string(), "0B");
        assert_eq!(TimeSpan::from_millis(90_000).to_string(), "90s");
        assert_eq!(TimeSpan::from_millis(7_200_000).to_string(), "2h");
        assert_eq!(TimeSpan::default().to_string(), "0ms");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes: u64, shift in 0u32..44) {
            let size = ByteSize::new(bytes >> shift << shift);
            prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
            let span = TimeSpan::from_millis(bytes);
            prop_assert_eq!(span.to_string().parse::<TimeSpan>().unwrap(), span);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<ByteSize>();
            let _ = text.parse::<TimeSpan>();
        }
    }
}
