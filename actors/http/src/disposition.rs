//! `Content-Disposition` (RFC 6266): the file name a client gives, and the one it gets back.

use std::fmt::Write;

/// Longest file name that is kept, in bytes; what file systems commonly take.
const MAX_NAME_LEN: usize = 255;

/// The file name in a request's `Content-Disposition`, without any directories; `None` when there
/// is none. `filename*` (RFC 5987) wins over `filename`.
pub(crate) fn file_name(value: &str) -> Option<String> {
    let mut plain = None;
    let mut extended = None;
    for (name, value) in parameters(value) {
        if name.eq_ignore_ascii_case("filename*") {
            extended = extended.or_else(|| decode_extended(&value));
        } else if name.eq_ignore_ascii_case("filename") {
            plain = plain.or(Some(value));
        }
    }
    clean(&extended.or(plain)?)
}

/// A name without directories and control characters; `None` when nothing is left of it.
pub(crate) fn clean(name: &str) -> Option<String> {
    let base = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut clean: String = base.chars().filter(|c| !c.is_control()).collect();
    while clean.len() > MAX_NAME_LEN {
        clean.pop();
    }
    let clean = clean.trim();
    (!clean.is_empty() && clean != "." && clean != "..").then(|| clean.to_owned())
}

/// The value of an answer's `Content-Disposition`.
pub(crate) fn header(kind: &str, name: Option<&str>) -> String {
    let mut value = kind.to_owned();
    let Some(name) = name else {
        return value;
    };
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    let fallback: String = name
        .chars()
        .map(|c| match c {
            '"' | '\\' | '%' => '_',
            c if plain(c) => c,
            _ => '_',
        })
        .collect();
    value.push_str("; filename=\"");
    value.push_str(&fallback);
    value.push('"');
    if fallback != name {
        value.push_str("; filename*=UTF-8''");
        for byte in name.bytes() {
            if is_attr_char(byte) {
                value.push(char::from(byte));
            } else {
                // Writing to a String does not fail.
                let _ = write!(value, "%{byte:02X}");
            }
        }
    }
    value
}

/// Characters that RFC 5987 leaves as they are.
fn is_attr_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte)
}

/// The parameters after the disposition's type, unquoted.
fn parameters(value: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let Some((_, mut rest)) = value.split_once(';') else {
        return found;
    };
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (text, tail) = if let Some(quoted) = after.strip_prefix('"') {
            unquote(quoted)
        } else {
            let end = after.find(';').unwrap_or(after.len());
            let (text, tail) = after.split_at(end);
            (text.trim().to_owned(), tail)
        };
        found.push((name.trim().to_owned(), text));
        rest = tail.trim_start().trim_start_matches(';');
    }
    found
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, quoted.get(at + 1..).unwrap_or_default()),
            // Browsers send a backslash of the name as it is; only these two are escapes.
            '\\' => match chars.clone().next() {
                Some((_, escaped @ ('"' | '\\'))) => {
                    chars.next();
                    text.push(escaped);
                }
                _ => text.push('\\'),
            },
            c => text.push(c),
        }
    }
    (text, "")
}

fn decode_extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, encoded) = rest.split_once('\'')?;
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    String::from_utf8(percent_decode(encoded)?).ok()
}

/// Bytes of a percent-encoded text; `None` when a `%` is not followed by two hex digits.
fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = tail.split_at_checked(2)?;
            let mut byte = [0];
            hex::decode_to_slice(digits, &mut byte).ok()?;
            bytes.extend(byte);
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_clients_send() {
        for (value, name) in [
            ("attachment; filename=\"a b.txt\"", Some("a b.txt")),
            ("attachment; filename=plain.txt; x=1", Some("plain.txt")),
            ("attachment; filename=\"a\\\"b;c.txt\"", Some("a\"b;c.txt")),
            ("attachment; filename=\"C:\\dir\\x.txt\"", Some("x.txt")),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            (
                "attachment; filename=\"x\"; filename*=UTF-8''na%C3%AFve.txt",
                Some("naïve.txt"),
            ),
            ("attachment; filename*=UTF-8''%zz; filename=y", Some("y")),
            ("attachment", None),
            ("attachment; filename=\"\"", None),
            ("attachment; filename=\"..\"", None),
            ("attachment; filename=\"unterminated", Some("unterminated")),
        ] {
            assert_eq!(file_name(value).as_deref(), name, "{value}");
        }
    }

    #[test]
    fn names_that_clients_get() {
        assert_eq!(header("attachment", None), "attachment");
        assert_eq!(
            header("attachment", Some("a b.txt")),
            "attachment; filename=\"a b.txt\""
        );
        assert_eq!(
            header("attachment", Some("naïve \"x\".txt")),
            "attachment; filename=\"na_ve _x_.txt\"; filename*=UTF-8''na%C3%AFve%20%22x%22.txt"
        );
    }

    #[test]
    fn what_was_sent_comes_back() {
        for name in [
            "plain.txt",
            "mit Leerzeichen",
            "späße%20.pdf",
            "\u{1f600}.png",
            "a;b=c",
        ] {
            assert_eq!(
                file_name(&header("attachment", Some(name))).as_deref(),
                Some(name)
            );
        }
    }

    #[test]
    fn no_header_can_be_smuggled() {
        let name = clean("x\r\nSet-Cookie: a=b").unwrap_or_default();
        assert!(!header("attachment", Some(&name)).contains(['\r', '\n']));
    }
}
