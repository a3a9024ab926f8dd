use futures_util::io::Cursor;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::wire_tests::pipe::Pipe;

const GRACE: Duration = Duration::from_secs(20);

fn pair(buffer: usize) -> (Pipe, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(buffer);
    (Pipe(ours), theirs)
}

fn framed(body: &[u8]) -> Vec<u8> {
    seal([&[0; PREFIX_BYTES], body].concat())
}

#[tokio::test]
async fn a_frame_arrives_in_any_fragments() {
    let body: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    for fragment in [1, 3, 4, 5, 65_536, 300_000] {
        let (mut ours, mut theirs) = pair(fragment);
        let frame = framed(&body);
        let write = async {
            for piece in frame.chunks(fragment) {
                theirs.write_all(piece).await.unwrap();
            }
        };
        let (read, ()) = tokio::join!(read(&mut ours, 200_000, GRACE), write);
        assert_eq!(read.unwrap(), body, "fragments of {fragment}");
    }
}

#[tokio::test]
async fn a_claim_above_the_bound_is_refused_unread() {
    let mut stream = Cursor::new(u32::MAX.to_be_bytes().to_vec());
    let error = read(&mut stream, SMALL_FRAME_BYTES, GRACE)
        .await
        .unwrap_err();
    assert!(
        matches!(error, FrameError::TooLong { length, limit_bytes: SMALL_FRAME_BYTES } if length == u64::from(u32::MAX)),
        "{error}"
    );
}

#[tokio::test]
async fn memory_grows_with_what_came_and_not_with_the_claim() {
    let body = vec![7; 300_000];
    let mut stream = Cursor::new(body.clone());
    let read = read_body(&mut stream, 300_000, &mut Pace::new(GRACE))
        .await
        .unwrap();
    assert_eq!(read.capacity(), 300_000);
    // A large claim and few bytes: the stream ends, and no more than a piece was ever held.
    let mut stream = Cursor::new(vec![7; 10]);
    let error = read_body(&mut stream, BLOB_FRAME_BYTES, &mut Pace::new(GRACE)).await;
    assert!(matches!(error, Err(FrameError::Ended { moved: 10 })));
}

#[tokio::test]
async fn an_empty_frame_is_a_frame() {
    let mut stream = Cursor::new(vec![0; 4]);
    assert!(read(&mut stream, 10, GRACE).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_early_end_is_no_frame() {
    for cut in 0..8 {
        let mut frame = framed(b"{\"a\"");
        frame.truncate(cut);
        let mut stream = Cursor::new(frame);
        let end = read(&mut stream, 10, GRACE).await;
        if cut < 8 {
            assert!(matches!(end, Err(FrameError::Ended { moved }) if moved == cut as u64));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_cut_off_after_the_grace() {
    let (mut ours, _theirs) = pair(64);
    let start = Instant::now();
    let error = read(&mut ours, 10, GRACE).await.unwrap_err();
    assert!(matches!(error, FrameError::TimedOut { moved: 0 }));
    assert_eq!(start.elapsed(), GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_drip_is_cut_off_however_long_the_frame() {
    let (mut ours, mut theirs) = pair(64);
    let drip = tokio::spawn(async move {
        theirs
            .write_all(&32_000_000_u32.to_be_bytes())
            .await
            .unwrap();
        while theirs.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let start = Instant::now();
    let error = read(&mut ours, BLOB_FRAME_BYTES, GRACE).await.unwrap_err();
    assert!(matches!(error, FrameError::TimedOut { .. }), "{error}");
    assert!(start.elapsed() <= GRACE + Duration::from_secs(2));
    drop(ours);
    drip.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_link_that_keeps_the_pace_is_waited_for() {
    let (mut ours, mut theirs) = pair(70_000);
    let body = vec![1; 4_000_000];
    let frame = framed(&body);
    let send = async {
        for piece in frame.chunks(65_536) {
            theirs.write_all(piece).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let (read, ()) = tokio::join!(read(&mut ours, BLOB_FRAME_BYTES, GRACE), send);
    assert_eq!(read.unwrap().len(), body.len());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_cut_off() {
    let (mut ours, _theirs) = pair(1024);
    let error = write(&mut ours, &vec![0; 100_000], GRACE)
        .await
        .unwrap_err();
    assert!(
        matches!(error, FrameError::TimedOut { moved: 1024 }),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_finished_stream_does_not_wait_for_ever() {
    let (ours, theirs) = pair(64);
    let start = Instant::now();
    finish(ours).await;
    assert_eq!(start.elapsed(), LINGER_TIME);
    drop(theirs);
}

#[test]
fn prefix_and_body_are_one_piece() {
    let frame = encode(&serde_json::json!({"cid": "é"}));
    assert_eq!(
        frame,
        [&[0, 0, 0, 12], "{\"cid\":\"é\"}".as_bytes()].concat()
    );
}

#[test]
fn the_largest_blob_fits_its_frame() {
    assert_eq!(BLOB_FRAME_BYTES, 44_739_244 + 65_536);
}
