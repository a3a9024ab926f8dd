//! Reads a `.env` file, without touching the environment of the process.
//!
//! The rules are those under which the published example was written: a value is taken as it stands, quotes
//! inside it included, so that `NODE_SHARDS=[{"start":0,"end":1023}]` is JSON afterwards. A shell's rules, which
//! strip those quotes, and the replacement of `$NAME` by other variables are left out on purpose.

/// One line `NAME=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) name: String,
    pub(crate) value: String,
    /// From 1.
    pub(crate) line: usize,
}

/// A line that is none, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) line: usize,
    pub(crate) reason: &'static str,
}

/// All lines in order; of a name that comes twice, both.
pub(crate) fn parse(text: &str) -> (Vec<Assignment>, Vec<BadLine>) {
    let (mut assignments, mut bad) = (Vec::new(), Vec::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (at, line) in text.lines().enumerate() {
        let line_number = at + 1;
        match assignment(line.trim()) {
            Ok(None) => {}
            Ok(Some((name, value))) => assignments.push(Assignment {
                name,
                value,
                line: line_number,
            }),
            Err(reason) => bad.push(BadLine {
                line: line_number,
                reason,
            }),
        }
    }
    (assignments, bad)
}

fn assignment(line: &str) -> Result<Option<(String, String)>, &'static str> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = match line.strip_prefix("export") {
        Some(rest) if rest.starts_with(char::is_whitespace) => rest.trim_start(),
        _ => line,
    };
    let (name, value) = line.split_once('=').ok_or("it has no =")?;
    let name = name.trim_end();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if name.is_empty() || !name.bytes().all(fits) {
        return Err("what stands before = is not a variable name");
    }
    value_of(value.trim_start()).map(|value| Some((name.to_owned(), value)))
}

fn value_of(text: &str) -> Result<String, &'static str> {
    let Some(quote) = text
        .chars()
        .next()
        .filter(|c| matches!(c, '"' | '\'' | '`'))
    else {
        return Ok(without_comment(text).trim_end().to_owned());
    };
    let mut value = String::new();
    let mut rest = text.chars().skip(1);
    loop {
        match rest.next() {
            None => return Err("its quote is not closed"),
            Some(c) if c == quote => break,
            Some('\\') if quote == '"' => match rest.next() {
                Some('n') => value.push('\n'),
                Some(c @ ('"' | '\\')) => value.push(c),
                Some(c) => value.extend(['\\', c]),
                None => return Err("its quote is not closed"),
            },
            Some(c) => value.push(c),
        }
    }
    let tail: String = rest.collect();
    match tail.trim_start() {
        "" => Ok(value),
        comment if comment.starts_with('#') => Ok(value),
        _ => Err("something follows its closing quote"),
    }
}

/// A `#` begins a comment at the start of the value or after white space; inside a word it is part of it.
fn without_comment(text: &str) -> &str {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        if c == '#' && before.is_whitespace() {
            return text.get(..at).unwrap_or_default();
        }
        before = c;
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> String {
        let (mut assignments, bad) = parse(line);
        assert!(bad.is_empty(), "{bad:?}");
        assignments.remove(0).value
    }

    #[test]
    fn a_value_is_taken_as_it_stands() {
        assert_eq!(
            one(r#"NODE_SHARDS=[{"start": 0, "end": 1023}]"#),
            r#"[{"start": 0, "end": 1023}]"#
        );
        assert_eq!(one("RPC_URL=https://a/b#c  # mainnet"), "https://a/b#c");
        assert_eq!(one("A=$HOME"), "$HOME");
        assert_eq!(one("A="), "");
        assert_eq!(one("A= # nothing"), "");
        assert_eq!(one("export A = b c "), "b c");
        assert_eq!(one("\u{feff}A=b\r"), "b");
    }

    #[test]
    fn quotes_around_a_value_are_taken_off() {
        assert_eq!(one("A='b # c'"), "b # c");
        assert_eq!(one(r#"A="b\n\"c\\" # d"#), "b\n\"c\\");
        assert_eq!(one(r"A=`b\n`"), r"b\n");
        assert_eq!(one(r#"A='[{"start":0}]'"#), r#"[{"start":0}]"#);
    }

    #[test]
    fn lines_that_are_no_assignment_are_named() {
        let (assignments, bad) = parse("A=1\nPORT 5002\n\n# x\nB C=1\nD='e\nF='g' h\n");
        assert_eq!(assignments.len(), 1);
        let lines: Vec<_> = bad.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [2, 5, 6, 7]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = parse(&text);
        }

        #[test]
        fn a_plain_value_survives(value in "[!-~&&[^#'\"`]]{0,40}") {
            prop_assert_eq!(one(&format!("A={value}")), value);
        }
    }
}
