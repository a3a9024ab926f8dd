//! One reading of a large blob for several receivers.
//!
//! Nothing is read until the first of them wants it: most learn of a copy that they have before. From
//! then on the slowest sets the pace, and one that takes nothing for long is left behind, since the
//! others wait for it. Memory is bounded by the pieces that each receiver's stream holds.

use std::time::Duration;

use bytecave_messages::body::{BlobBody, BodyError, BodySender, BodyStream, stream};
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;

/// How long the others wait for a receiver that takes nothing. Too short: a receiver on a slow line
/// begins anew. Too long: all are held up by one that is stuck.
const IDLE: Duration = Duration::from_secs(10);

/// So many streams of the same `size` bytes, which `open` gives when the first is read from. Whoever is
/// left behind finds its stream broken off.
pub(super) fn fan<F>(size: u64, receivers: usize, open: F) -> Vec<BodyStream>
where
    F: Future<Output = Result<BlobBody, BodyError>> + Send + 'static,
{
    let (senders, streams): (Vec<_>, _) = (0..receivers).map(|_| stream(Some(size))).unzip();
    tokio::spawn(feed(senders, open));
    streams
}

async fn feed<F>(mut senders: Vec<BodySender>, open: F)
where
    F: Future<Output = Result<BlobBody, BodyError>>,
{
    if !wanted(&mut senders).await {
        return;
    }
    let mut body = match open.await {
        Ok(body) => body,
        Err(error) => return fail(senders, &error),
    };
    while let Some(piece) = next(&mut body).await {
        match piece {
            Ok(piece) => hand_out(&mut senders, &piece).await,
            Err(error) => return fail(senders, &error),
        }
        if senders.is_empty() {
            return;
        }
    }
    senders.into_iter().for_each(BodySender::finish);
}

/// Waits until one of them is read from; `false` when all were dropped unread.
async fn wanted(senders: &mut Vec<BodySender>) -> bool {
    loop {
        let first = {
            let waiting = senders.iter_mut().enumerate();
            let mut waiting: FuturesUnordered<_> = waiting
                .map(async |(at, sender)| (at, sender.wanted().await))
                .collect();
            waiting.next().await
        };
        match first {
            None => return false,
            Some((_, true)) => return true,
            Some((at, false)) => drop(senders.swap_remove(at)),
        }
    }
}

async fn next(body: &mut BlobBody) -> Option<Result<Bytes, BodyError>> {
    match body {
        BlobBody::Whole(bytes) if bytes.is_empty() => None,
        BlobBody::Whole(bytes) => Some(Ok(std::mem::take(bytes))),
        BlobBody::Stream(stream) => stream.next().await,
    }
}

/// Gives a piece to all, and keeps those that took it.
async fn hand_out(senders: &mut Vec<BodySender>, piece: &Bytes) {
    let each = senders.iter_mut().map(async |sender| {
        let taken = timeout(IDLE, sender.send(piece.clone())).await;
        matches!(taken, Ok(Ok(())))
    });
    let mut taken = join_all(each).await.into_iter();
    senders.retain(|_| taken.next().unwrap_or(false));
}

fn fail(senders: Vec<BodySender>, error: &BodyError) {
    for sender in senders {
        sender.fail(error.clone());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytecave_messages::body::PIECES_IN_FLIGHT;

    use super::*;
    use crate::fakes::read_all;

    const PIECES: usize = 40;

    /// A fan, and how often its source was opened.
    fn fanned(receivers: usize) -> (Vec<BodyStream>, Arc<AtomicUsize>) {
        let opened = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&opened);
        let open = async move {
            count.fetch_add(1, Ordering::Relaxed);
            let (mut sender, body) = stream(None);
            tokio::spawn(async move {
                for number in 0..PIECES {
                    let piece = Bytes::from(vec![u8::try_from(number).unwrap(); 100]);
                    if sender.send(piece).await.is_err() {
                        return;
                    }
                }
                sender.finish();
            });
            Ok(BlobBody::Stream(body))
        };
        (fan(PIECES as u64 * 100, receivers, open), opened)
    }

    fn whole() -> Vec<u8> {
        let piece = |number: usize| vec![u8::try_from(number).unwrap(); 100];
        (0..PIECES).flat_map(piece).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn all_get_all_from_one_reading() {
        let (streams, opened) = fanned(3);
        let reading = streams
            .into_iter()
            .map(|stream| read_all(BlobBody::Stream(stream)));
        assert_eq!(join_all(reading).await, vec![whole(); 3]);
        assert_eq!(opened.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_for_those_who_want_nothing() {
        let (streams, opened) = fanned(3);
        drop(streams);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(opened.load(Ordering::Relaxed), 0);
        let (mut streams, opened) = fanned(3);
        let last = streams.pop().unwrap();
        drop(streams);
        assert_eq!(read_all(BlobBody::Stream(last)).await, whole());
        assert_eq!(opened.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_nothing_is_left_behind_and_one_that_leaves_is_not_missed() {
        let (mut streams, _) = fanned(3);
        let (stuck, leaving) = (streams.pop().unwrap(), streams.pop().unwrap());
        let reading = tokio::spawn(read_all(BlobBody::Stream(streams.pop().unwrap())));
        drop(leaving);
        assert_eq!(reading.await.unwrap(), whole());
        let mut stuck = stuck;
        let mut got = 0;
        let end = loop {
            match stuck.next().await {
                Some(Ok(_)) => got += 1,
                end => break end,
            }
        };
        assert_eq!(got, PIECES_IN_FLIGHT);
        assert!(
            matches!(end, Some(Err(BodyError::Stopped { .. }))),
            "{end:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_sets_the_pace_and_gets_all() {
        let (mut streams, _) = fanned(2);
        let mut slow = streams.pop().unwrap();
        let quick = tokio::spawn(read_all(BlobBody::Stream(streams.pop().unwrap())));
        let mut all = Vec::new();
        while let Some(piece) = slow.next().await {
            all.extend(piece.unwrap());
            tokio::time::sleep(IDLE / 2).await;
        }
        assert_eq!(all, whole());
        assert_eq!(quick.await.unwrap(), whole());
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_said_to_all() {
        let streams = fan(5, 2, async { Err(BodyError::Deleted) });
        for mut stream in streams {
            assert_eq!(stream.next().await, Some(Err(BodyError::Deleted)));
        }
    }
}
