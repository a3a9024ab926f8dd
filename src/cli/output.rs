//! Where results and remarks go: results to standard output, as text or as JSON; remarks,
//! progress and errors to standard error.

use std::fmt::{self, Display, Write as _};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::error::CliError;

/// Below this a transfer is over before a bar could be read.
const BAR_FROM_BYTES: u64 = 4 << 20;

/// How a command speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// JSON instead of text.
    pub(crate) json: bool,
    /// 0 to say nothing of the requests made.
    pub(crate) verbose: u8,
}

impl Output {
    /// The one or the other, as the user asked.
    pub(crate) fn result(self, value: &impl Serialize, text: impl Display) -> Result<(), CliError> {
        if self.json {
            json_line(value)
        } else {
            line(text)
        }
    }

    /// A remark for those who asked with `-v`.
    pub(crate) fn trace(self, text: impl FnOnce() -> String) {
        if self.verbose > 0 {
            note(text());
        }
    }

    /// Reports an error in the form the user asked for.
    pub(crate) fn error(self, error: &CliError) {
        if self.json {
            note(error.to_json());
            return;
        }
        note(format_args!("bytecave: {error}"));
        if let Some(hint) = error.hint() {
            note(format_args!("  {hint}"));
        }
    }

    /// A bar for work in steps; invisible unless a person watches.
    pub(crate) fn steps(self) -> ProgressBar {
        if self.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        ProgressBar::new(0)
    }

    /// A bar for `bytes` to be moved; invisible unless the way is long and a person watches.
    pub(crate) fn bar(self, bytes: Option<u64>, label: &str) -> ProgressBar {
        let long = bytes.is_none_or(|bytes| bytes >= BAR_FROM_BYTES);
        if self.json || !long || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let template = match bytes {
            Some(_) => "{msg}  {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta}",
            None => "{msg}  {spinner} {bytes}  {bytes_per_sec}",
        };
        let bar = bytes.map_or_else(ProgressBar::no_length, ProgressBar::new);
        bar.set_message(shortened(label, 30));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// A line of text.
pub(crate) fn line(text: impl Display) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .map_err(CliError::Stdout)
}

/// A value as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string(value).map_err(|error| CliError::Stdout(error.into()))?;
    line(text)
}

/// A value as JSON in many lines, for documents that people read too.
pub(crate) fn json_document(value: &impl Serialize) -> Result<(), CliError> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| CliError::Stdout(error.into()))?;
    line(text)
}

/// A remark for people.
pub(crate) fn note(text: impl Display) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Names and values under each other, one line each.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// With one more line.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.0.push((name, value.to_string()));
        self
    }

    /// With one more line, if there is something to say.
    #[must_use]
    pub(crate) fn with_some(self, name: &'static str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

impl Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .0
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or_default();
        for (at, (name, value)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_char('\n')?;
            }
            write!(f, "{name:<width$}  {value}")?;
        }
        Ok(())
    }
}

/// Bytes for people, with the exact number.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        format!("{bytes} B")
    } else {
        format!("{} ({bytes} bytes)", HumanBytes(bytes))
    }
}

/// Bytes for a column.
pub(crate) fn short_size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// Milliseconds since 1970 as UTC, to the second: `2026-01-02T03:04:05Z`.
pub(crate) fn utc(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Years are counted from March, so that the leap day is the last of a year, and in eras of 400
    // years, which all have the same number of days.
    let since_march = days + 719_468;
    let (era, day) = (since_march / 146_097, since_march % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + next;
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Text that came from elsewhere, without anything that a terminal would obey.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { '\u{fffd}' } else { char })
        .collect()
}

/// The first `most` characters, printable.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let text = printable(text);
    if text.chars().count() <= most {
        return text;
    }
    text.chars()
        .take(most.saturating_sub(1))
        .chain(['…'])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_under_each_other() {
        let fields = Fields::default()
            .with("a", 1)
            .with_some("longer", Some("x"))
            .with_some("none", None::<u8>);
        assert_eq!(fields.to_string(), "a       1\nlonger  x");
    }

    #[test]
    fn a_name_cannot_command_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[2Jb\r\n"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}"
        );
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("äöü", 3), "äöü");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        // As `date -u -d @SECONDS` prints them.
        let known = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (951_868_799_999, "2000-02-29T23:59:59Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ];
        for (milliseconds, text) in known {
            assert_eq!(utc(milliseconds), text);
        }
    }

    #[test]
    fn sizes_are_exact_and_readable() {
        assert_eq!(size(7), "7 B");
        assert_eq!(size(1 << 20), "1.00 MiB (1048576 bytes)");
    }
}
