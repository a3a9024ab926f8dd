//! The media types that strangers state.

use mime::Mime;

/// Longest media type that is believed.
const MAX_BYTES: usize = 255;

/// The stated type if it is one; what is not cannot become a header, and the blob is then of no
/// known type.
pub(crate) fn believed(stated: Option<String>) -> Option<String> {
    stated.filter(|text| text.len() <= MAX_BYTES && text.parse::<Mime>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_media_types_are_believed() {
        let stated = |text: &str| believed(Some(text.to_owned()));
        assert_eq!(stated("image/png").as_deref(), Some("image/png"));
        assert!(stated("text/plain; charset=utf-8").is_some());
        let long = format!("text/{}", "x".repeat(MAX_BYTES));
        for wrong in ["", "png", "text/html\r\nX-Evil: 1", "a/b\0", "ä/ö", &long] {
            assert_eq!(stated(wrong), None, "{wrong:?}");
        }
        assert_eq!(believed(None), None);
    }
}
