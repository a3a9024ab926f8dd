#![allow(clippy::unwrap_used)]
use bytecave_core::PeerId;
use bytecave_messages::body::{BodyError, BodyStream};
use bytecave_messages::budget::{ActorName, Budget, Share};
use bytecave_messages::cancel::cancellation;
use bytecave_messages::store::{ByteRange, StoreError};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::ask::AT_ONCE;
use super::*;
use crate::candidates::ASKED_AT_MOST;
use crate::conduct::Deed;
use crate::fakes::{
    Does, FakeStore, FakeSwarm, content_of_shard, count, facts, holders, peer, read_all, view,
};

mod large;
mod part;
mod small;

const PATIENCE: Patience = Patience {
    deadline: Duration::from_mins(1),
    hedge: Duration::from_secs(2),
    stall: Duration::from_secs(10),
};
/// Of a large blob: a little more than whole pieces.
const LARGE_BYTES: usize = (5 << 20) + 12_345;

struct Node {
    store: FakeStore,
    swarm: FakeSwarm,
    conduct: Conduct,
    budget: Budget,
    fetcher: Fetcher,
}

impl Node {
    /// With so many connected peers, and a clock that jumps.
    fn with(peers: u8) -> Self {
        tokio::time::pause();
        Self::another(peers)
    }

    /// Where the clock jumps already.
    fn another(peers: u8) -> Self {
        Self::among(holders(3, (1..=peers).map(view).collect()))
    }

    fn among(holders: Holders) -> Self {
        let (store, swarm) = (FakeStore::start(), FakeSwarm::start());
        let conduct = Conduct::new(|| 0);
        Self {
            fetcher: Fetcher::new(
                store.port(),
                swarm.port(),
                facts(),
                holders,
                conduct.clone(),
                PATIENCE,
            ),
            store,
            swarm,
            conduct,
            budget: Budget::new(ActorName::Replicator, 64),
        }
    }

    fn fetch(&self, cid: BlobCid) -> impl Future<Output = Outcome> + use<> {
        self.ask(cid, None)
    }

    /// As the port does: the work is not the asker's, who only tells when it does not wait any more.
    fn ask(&self, cid: BlobCid, range: Option<ByteRange>) -> impl Future<Output = Outcome> + use<> {
        let (waiting, cancelled) = cancellation();
        let wanted = FetchBlob {
            cid,
            range,
            cancelled,
            permit: self.budget.try_acquire(Share::Client, "fetch").unwrap(),
        };
        let work = tokio::spawn(self.fetcher.clone().fetch(wanted));
        async move {
            let _waiting = waiting;
            work.await.unwrap()
        }
    }

    /// Whether a peer was noted for these deeds and no others.
    fn noted(&self, number: u8, deeds: &[Deed]) {
        let expected = Conduct::new(|| 0);
        for deed in deeds {
            expected.note(&peer(number), *deed);
        }
        let (found, expected) = (self.score(number), expected.score(&peer(number)));
        assert!(
            (found - expected).abs() < f64::EPSILON,
            "peer {number}: {found} instead of {expected}"
        );
    }

    fn score(&self, number: u8) -> f64 {
        self.conduct.score(&peer(number))
    }

    /// Lets everything run until it waits for something; then nothing of a fetch may be left.
    async fn nothing_is_left(&self) {
        settle().await;
        assert_eq!(self.swarm.under_way(), 0, "peers are still asked");
        assert_eq!(self.swarm.depth(), 0, "permits of the network are out");
        assert_eq!(self.budget.snapshot().depth, 0, "a permit is out");
        assert!(self.fetcher.0.finds.is_empty());
        assert!(self.fetcher.0.parts.is_empty());
    }
}

/// The paused clock moves only when nothing else can.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

fn ours() -> Vec<u8> {
    content_of_shard(2)
}

/// A large blob of a shard.
fn large_of_shard(shard: u16) -> Vec<u8> {
    let mut content: Vec<u8> = (0..=250).cycle().take(LARGE_BYTES).collect();
    for number in 0_u32.. {
        content[..4].copy_from_slice(&number.to_be_bytes());
        if count().shard_of(&BlobCid::of(&content).digest()).get() == shard {
            return content;
        }
    }
    unreachable!("some number gives each shard")
}

fn gives(content: Vec<u8>) -> Does {
    Does::Gives(content, Duration::ZERO)
}

fn streams(bytes: &[u8]) -> Does {
    Does::Streams {
        bytes: bytes.to_vec(),
        piece: 100_000,
        pause: Duration::from_millis(1),
        breaks_at: None,
    }
}

fn breaks(bytes: &[u8], at: u64) -> Does {
    Does::Streams {
        bytes: bytes.to_vec(),
        piece: 100_000,
        pause: Duration::from_millis(1),
        breaks_at: Some(at),
    }
}

/// States a size, and gives this.
fn claims(size: usize, bytes: &[u8], stalls: bool) -> Does {
    Does::Claims {
        size: size as u64,
        blob_root: None,
        bytes: bytes.to_vec(),
        stalls,
    }
}

fn whole(body: BlobBody) -> Bytes {
    match body {
        BlobBody::Whole(bytes) => bytes,
        BlobBody::Stream(_) => panic!("a small blob comes whole"),
    }
}

fn pieces(body: BlobBody) -> BodyStream {
    match body {
        BlobBody::Whole(_) => panic!("a large blob comes as a stream"),
        BlobBody::Stream(stream) => stream,
    }
}

/// What comes of a stream, and how it ends.
async fn drain(mut stream: BodyStream) -> (Vec<u8>, Result<(), BodyError>) {
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => all.extend_from_slice(&piece),
            Err(error) => return (all, Err(error)),
        }
    }
    (all, Ok(()))
}

fn asked_from(asked: &[(u8, u64)]) -> Vec<(PeerId, u64)> {
    asked
        .iter()
        .map(|(number, from)| (peer(*number), *from))
        .collect()
}
