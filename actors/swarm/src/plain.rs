//! Texts of strangers, fit for a log, a terminal and a page.

/// The characters of a text without those that control a terminal, change the direction of a line, or
/// hide in it.
pub(crate) fn plain(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().filter(|c| !c.is_control() && !is_format(*c))
}

/// The first `bytes` of it at most.
pub(crate) fn cleaned(text: &str, bytes: usize) -> String {
    let mut cleaned = String::new();
    for letter in plain(text) {
        if cleaned.len() + letter.len_utf8() > bytes {
            break;
        }
        cleaned.push(letter);
    }
    cleaned
}

fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_texts_are_cut_between_letters() {
        assert_eq!(cleaned("a\u{7}b\u{202e}c", 2), "ab");
        assert_eq!(cleaned("éé", 3), "é");
    }
}
