use proptest::prelude::*;

use super::*;

fn parsed(frame: &[u8]) -> Result<Header, HeaderError> {
    Header::parse(&frame[PREFIX_BYTES..])
}

prop_compose! {
    fn any_header()(
        refused in prop::option::of((1_u8..=12, "[a-zäö ]{0,100}")),
        cid in prop::option::of(any::<[u8; 32]>()),
        numbers in any::<[Option<u64>; 4]>(),
        nonce in prop::option::of(any::<[u8; 32]>()),
        root in prop::option::of(any::<[u8; 32]>()),
        content_type in prop::option::of("[a-z]{1,20}/[a-z]{1,20}"),
        word in prop::option::of(prop::sample::select(vec![
            Word::Send, Word::AlreadyStored, Word::Stored,
        ])),
    ) -> Header {
        let [from, len, size, count] = numbers;
        Header {
            refused: refused.map(|(kind, text)| Refused {
                kind: RefusalKind::from_number(kind),
                text,
            }),
            cid: cid.map(|digest| BlobCid::from_digest(Digest::new(digest))),
            from,
            len,
            size,
            blob_root: root.map(BlobRoot::new),
            content_type,
            word,
            nonce: nonce.map(Nonce::new),
            count,
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(header in any_header()) {
        let frame = header.frame();
        prop_assert!(frame.len() <= PREFIX_BYTES + usize::try_from(HEADER_BYTES).unwrap());
        prop_assert_eq!(parsed(&frame).unwrap(), header);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Header::parse(&bytes);
    }

    #[test]
    fn no_change_of_a_header_panics(header in any_header(), at: prop::sample::Index, to: u8) {
        let mut frame = header.frame();
        let at = PREFIX_BYTES + at.index(frame.len() - PREFIX_BYTES);
        frame[at] = to;
        let _ = parsed(&frame);
    }
}

#[test]
fn later_keys_are_passed_over() {
    let mut encoder = Encoder::new(Vec::new());
    encoder.map(3).unwrap();
    encoder.u8(5).unwrap().u8(7).unwrap();
    encoder.u16(999).unwrap().array(2).unwrap().u8(1).unwrap();
    encoder.map(1).unwrap().u8(1).unwrap().str("x").unwrap();
    encoder.u8(8).unwrap().u8(3).unwrap();
    let header = Header::parse(&encoder.into_writer()).unwrap();
    assert_eq!((header.size, header.word), (Some(7), Some(Word::Stored)));
}

#[test]
fn nonsense_is_told_apart() {
    let parse = |bytes: &[u8]| Header::parse(bytes).unwrap_err().to_string();
    assert!(parse(b"").contains("no header"));
    assert!(parse(&[0xbf, 0xff]).contains("at most"), "open number");
    assert!(parse(&[0xb8, 200]).contains("at most"));
    // A claim of 2^63 keys and of a text of 2^63 bytes.
    assert!(parse(&[0xbb, 0x80, 0, 0, 0, 0, 0, 0, 0]).contains("at most"));
    assert!(parse(&[0xa1, 7, 0x7b, 0x80, 0, 0, 0, 0, 0, 0, 0]).contains("no header"));
    assert!(parse(&[0xa2, 5, 1, 5, 1]).contains("key 5 stands twice"));
    assert!(parse(&[0xa1, 2, 0x41, 0]).contains("key 2 has to be 32 bytes"));
    assert!(parse(&[0xa1, 9, 0x41, 0]).contains("key 9 has to be 32 bytes"));
    assert!(parse(&[0xa1, 8, 9]).contains("word 9"));
    assert!(parse(&[0xa0, 0]).contains("bytes follow"));
    // Nested as deep as a header can be.
    let deep = [&[0xa1, 20][..], &[0x81; 4000]].concat();
    assert!(parse(&deep).contains("no header"));
}

#[test]
fn a_refusal_keeps_its_kind_and_cleaned_words() {
    let frame = refusal(RefusalKind::Full, &format!("a\u{1b}b{}", "c".repeat(1000)));
    let refused = parsed(&frame).unwrap().refused.unwrap();
    assert_eq!(refused.kind, RefusalKind::Full);
    assert!(refused.text.starts_with("abc"));
    assert_eq!(refused.text.len(), TEXT_BYTES);
}
