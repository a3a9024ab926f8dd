use bytecave_messages::body::{self, BodyStream};
use futures_util::io::Cursor;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::wire_tests::pipe::Pipe;

const PATIENCE: Duration = Duration::from_secs(20);

fn pair(buffer: usize) -> (Pipe, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(buffer);
    (Pipe(ours), theirs)
}

async fn collect(mut stream: BodyStream) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

/// What a reader gets of these bytes on the wire.
async fn read(wire: Vec<u8>, len: u64) -> Result<Vec<u8>, BodyError> {
    let (sender, stream) = body::stream(Some(len));
    let mut wire = Cursor::new(wire);
    let (_, read) = tokio::join!(receive(&mut wire, sender, len, PATIENCE), collect(stream));
    read
}

fn piece(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length, bytes].concat()
}

#[tokio::test]
async fn a_body_arrives_in_any_fragments_and_pieces() {
    let bytes: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    for (window, pieces) in [(1, 200_000), (3, 7), (5000, 1000), (1 << 20, 200_000)] {
        let (mut ours, theirs) = pair(window);
        let (mut producer, produced) = body::stream(Some(200_000));
        let (consumer, consumed) = body::stream(Some(200_000));
        let produce = async {
            for piece in bytes.chunks(pieces) {
                let piece = Bytes::copy_from_slice(piece);
                producer.send(piece).await.unwrap();
            }
            producer.finish();
        };
        let body = BlobBody::Stream(produced);
        let send = async {
            send(&mut ours, body, 200_000, PATIENCE).await.unwrap();
            drop(ours);
        };
        let mut theirs = Pipe(theirs);
        let receive = receive(&mut theirs, consumer, 200_000, PATIENCE);
        let ((), (), received, read) = tokio::join!(produce, send, receive, collect(consumed));
        received.unwrap();
        assert!(read.unwrap() == bytes, "window of {window}");
    }
}

#[tokio::test]
async fn long_bodies_are_cut_into_pieces() {
    let bytes = Bytes::from(vec![7; 2 * PIECE_BYTES + 1]);
    let (mut ours, mut theirs) = pair(4 * PIECE_BYTES);
    let len = bytes.len() as u64;
    send(&mut ours, BlobBody::Whole(bytes), len, PATIENCE)
        .await
        .unwrap();
    drop(ours);
    let mut wire = Vec::new();
    theirs.read_to_end(&mut wire).await.unwrap();
    let longest = piece(&vec![7; PIECE_BYTES]);
    assert!(wire == [&longest[..], &longest, &piece(&[7])].concat());
}

#[tokio::test]
async fn too_few_too_many_and_too_long_are_no_body() {
    let few = read(piece(b"abc"), 4).await;
    assert_eq!(few, Err(BodyError::Stopped { received: 3 }));
    let cut = read(piece(b"abcd")[..6].to_vec(), 4).await;
    assert_eq!(cut, Err(BodyError::Stopped { received: 2 }));
    for wire in [
        piece(b"abcde"),
        [piece(b"abcd"), piece(b"e")].concat(),
        [piece(b"abc"), piece(b"de")].concat(),
        u32::MAX.to_be_bytes().to_vec(),
    ] {
        let many = read(wire, 4).await;
        assert!(matches!(many, Err(BodyError::Malformed { .. })), "{many:?}");
    }
    let long = vec![0, 4, 0, 1];
    let long = read(long, u64::MAX).await;
    assert!(matches!(long, Err(BodyError::Malformed { .. })), "{long:?}");
    let given_up = read([piece(b"ab"), piece(b"")].concat(), 4).await;
    assert_eq!(given_up, Err(BodyError::Stopped { received: 2 }));
    assert_eq!(read(Vec::new(), 0).await, Ok(Vec::new()));
    assert_eq!(read(piece(b"abcd"), 4).await, Ok(b"abcd".to_vec()));
}

#[tokio::test]
async fn who_cannot_read_its_own_blob_says_so() {
    for (bytes, stated) in [(3, 4), (5, 4)] {
        let (mut ours, mut theirs) = pair(1000);
        let body = BlobBody::Whole(vec![7; bytes].into());
        let error = send(&mut ours, body, stated, PATIENCE).await.unwrap_err();
        assert!(matches!(error, TransferError::Body(_)), "{error}");
        drop(ours);
        let mut wire = Vec::new();
        theirs.read_to_end(&mut wire).await.unwrap();
        assert_eq!(wire[wire.len() - 4..], [0; 4], "gives up");
    }
    let (mut ours, _theirs) = pair(1000);
    let (sender, stream) = body::stream(None);
    sender.fail(BodyError::Damaged);
    let error = send(&mut ours, BlobBody::Stream(stream), 4, PATIENCE).await;
    assert!(matches!(
        error,
        Err(TransferError::Body(BodyError::Damaged))
    ));
}

#[tokio::test(start_paused = true)]
async fn who_stops_is_cut_off_however_much_has_passed() {
    // A reader that takes ten megabytes and then nothing.
    let (mut ours, mut theirs) = pair(1000);
    let body = BlobBody::Whole(vec![7; 20 << 20].into());
    let read = async {
        let mut taken = vec![0; 10 << 20];
        theirs.read_exact(&mut taken).await.unwrap();
        std::future::pending::<()>().await;
    };
    let start = Instant::now();
    let sent = tokio::select! {
        sent = send(&mut ours, body, 20 << 20, PATIENCE) => sent,
        () = read => unreachable!("it never ends"),
    };
    let error = sent.unwrap_err();
    assert!(
        matches!(error, TransferError::Frame(FrameError::TimedOut { .. })),
        "{error}"
    );
    assert_eq!(start.elapsed().as_secs(), PATIENCE.as_secs());

    // A sender that drips.
    let (mut ours, mut theirs) = pair(1000);
    let (sender, stream) = body::stream(None);
    let drip = async {
        theirs.write_all(&100_000_u32.to_be_bytes()).await.unwrap();
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if theirs.write_all(&[7; 100]).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let received = tokio::select! {
        received = receive(&mut ours, sender, 100_000, PATIENCE) => received,
        () = drip => unreachable!("it never ends"),
    };
    assert!(received.is_err());
    let ended = collect(stream).await;
    // The patience, and some 100 bytes for each of its seconds.
    assert_eq!(ended, Err(BodyError::TooSlow { received: 2000 }));
}

#[tokio::test(start_paused = true)]
async fn time_that_this_side_takes_is_not_the_peers() {
    let (mut ours, mut theirs) = pair(1000);
    let (sender, mut stream) = body::stream(None);
    let len = 6 * 100_000;
    let write = async {
        for _ in 0..6 {
            theirs.write_all(&piece(&vec![7; 100_000])).await.unwrap();
        }
        drop(theirs);
    };
    let slow = async {
        let mut read = 0;
        while let Some(piece) = stream.next().await {
            tokio::time::sleep(10 * PATIENCE).await;
            read += piece.unwrap().len() as u64;
        }
        read
    };
    let (received, (), read) = tokio::join!(receive(&mut ours, sender, len, PATIENCE), write, slow);
    received.unwrap();
    assert_eq!(read, len);
}

#[test]
fn a_buffer_is_used_again_when_nobody_holds_it() {
    let mut buffers = Buffers::of(u64::MAX);
    let mut held = VecDeque::new();
    let mut distinct = std::collections::HashSet::new();
    for number in 0..200_u8 {
        let mut room = buffers.take();
        assert_eq!(room.len(), GATHERED_BYTES, "whole, however much was given");
        room[..10].fill(number);
        distinct.insert(room.as_ptr());
        held.push_back((number, buffers.give(room, 10)));
        if held.len() > 5 {
            let (number, bytes) = held.pop_front().unwrap();
            assert_eq!(bytes, [number; 10][..], "not overwritten while it was held");
        }
    }
    assert!(distinct.len() <= 7, "{}", distinct.len());
    // One that is never given back blocks none of the others for long.
    for _ in 0..100 {
        let room = buffers.take();
        held.push_back((0, buffers.give(room, 10)));
        assert!(buffers.given.len() <= GIVEN_BUFFERS + 1);
    }
}

#[tokio::test]
async fn nobody_reads_on_for_a_body_that_was_dropped() {
    let (mut ours, _silent) = pair(1000);
    let (sender, stream) = body::stream(None);
    let receive = receive(&mut ours, sender, 100, PATIENCE);
    let receive = async {
        let (received, ()) = tokio::join!(receive, async { drop(stream) });
        received
    };
    let received = timeout(PATIENCE / 2, receive).await.unwrap();
    assert!(matches!(received, Err(TransferError::Unwanted)));
}

proptest! {
    #[test]
    fn no_wire_gives_other_bytes_than_stated(
        wire in prop::collection::vec(any::<u8>(), 0..200),
        len in 0_u64..64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        if let Ok(bytes) = runtime.block_on(read(wire, len)) {
            prop_assert_eq!(bytes.len() as u64, len);
        }
    }
}
