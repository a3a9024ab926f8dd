#![allow(clippy::unwrap_used)]
use std::sync::{Arc, Mutex};

use actix::{Actor, Context, Handler};
use bytecave_core::{BlobCid, ShardCount, ShardRange, ShardSet};
use bytecave_messages::body::BlobBody;
use bytecave_messages::budget::{Budget, Share};
use bytecave_messages::ports::{StorePort, stop};
use bytecave_messages::store::{ByteRange, Foreign, InTransit, NewBlob, Standing, StoreCondition};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use super::*;
use crate::engine::{EngineOptions, UnlockSecret};

/// Writes down what it hears.
#[derive(Clone, Default)]
struct Listener {
    heard: Arc<Mutex<Vec<String>>>,
    changed: Arc<Notify>,
}

impl Listener {
    fn note(&self, event: String) {
        self.heard.lock().unwrap().push(event);
        self.changed.notify_one();
    }

    async fn until(&self, event: &str) {
        let heard = async {
            while !self
                .heard
                .lock()
                .unwrap()
                .iter()
                .any(|heard| heard == event)
            {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), heard)
            .await
            .unwrap_or_else(|_| panic!("{event} was not heard: {:?}", self.heard.lock()));
    }
}

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<BlobStored> for Listener {
    type Result = ();

    fn handle(&mut self, event: BlobStored, _: &mut Self::Context) {
        self.note(format!("stored {}", event.shard));
    }
}

impl Handler<StoreChanged> for Listener {
    type Result = ();

    fn handle(&mut self, event: StoreChanged, _: &mut Self::Context) {
        assert_eq!(event.0.condition, StoreCondition::Writable);
        self.note(format!("{} blobs", event.0.blobs));
    }
}

impl Handler<PartChanged> for Listener {
    type Result = ();

    fn handle(&mut self, event: PartChanged, _: &mut Self::Context) {
        self.note(format!("{:?}", event.state));
    }
}

fn blob(content: &'static [u8]) -> NewBlob {
    NewBlob {
        body: BlobBody::Whole(Bytes::from_static(content)),
        expected: None,
        content_type: None,
        file_name: None,
        word: Word::Client,
        durable: false,
        foreign: Foreign::Refuse,
    }
}

/// What the replicator asks, through the port.
async fn asks_for_copies(port: &StorePort, first: &Stored, second: BlobCid) {
    let digests = vec![first.cid.digest(), second.digest()];
    let listed = port.list_digests(Share::Repair, first.shard).await.unwrap();
    assert!(listed.iter().any(|listed| listed.digest == digests[0]));
    port.delete(Share::Client, first.cid).await.unwrap();
    port.renew_tombstones(digests.clone()).await.unwrap();
    assert!(port.set_blocked(Share::Client, second, true).await.unwrap());
    let standings = port.check(Share::Peer, digests).await.unwrap();
    assert_eq!(standings, [Standing::Deleted, Standing::Blocked]);
    let page = port.blocked(Share::Client, None, 10).await.unwrap();
    assert_eq!((page.cids, page.next), (vec![second], None));
    assert!(
        port.set_blocked(Share::Client, second, false)
            .await
            .unwrap()
    );
    port.put(Share::Client, blob(b"first")).await.unwrap();
}

#[actix::test]
async fn it_hands_out_what_is_in_transit() {
    let dir = tempfile::tempdir().unwrap();
    let count = ShardCount::new(16).unwrap();
    let content: Vec<u8> = (0..5_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let shard = count.shard_of(&BlobCid::of(&content).digest());
    let kept = ShardRange {
        start: (u64::from(shard.get()) + 1) % 16,
        end: (u64::from(shard.get()) + 1) % 16,
    };
    let shards = ShardSet::from_ranges(count, &[kept]).unwrap();
    let mut options = EngineOptions::new(dir.path(), UnlockSecret::from_key([7; 32]), shards);
    options.disk_reserve_bytes = Some(0);
    let engine = Engine::open(options).unwrap();
    let (deaths, _died) = mpsc::channel(1);
    let actor = StoreActor::new(
        engine,
        StoreEvents {
            stored: Vec::new(),
            changed: Vec::new(),
            part: Vec::new(),
        },
        DeathWatch::new(ActorName::Store, deaths),
    )
    .start();
    let budget = Budget::new(ActorName::Store, 8);
    let port = StorePort::new(&actor, budget.clone());
    let new = NewBlob {
        body: BlobBody::Whole(Bytes::from(content.clone())),
        foreign: Foreign::Transit,
        ..blob(b"")
    };
    let stored = port.put(Share::Client, new).await.unwrap();
    let Some(InTransit::Disk(hold)) = stored.transit else {
        panic!("it is in transit on disk: {stored:?}");
    };
    let range = Some(ByteRange::Last(1 << 20));
    let read = port.read_transit(Share::Client, hold, range).await.unwrap();
    let BlobBody::Stream(mut stream) = read.body else {
        panic!("a large blob is streamed");
    };
    let mut tail = Vec::new();
    while let Some(piece) = stream.next().await {
        tail.extend_from_slice(&piece.unwrap());
    }
    assert!(content.ends_with(&tail) && tail.len() == 1 << 20);
    stop(&actor.recipient()).await;
}

#[actix::test]
async fn it_answers_tells_of_what_happens_and_stops_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let shards = ShardSet::all(ShardCount::new(16).unwrap());
    let mut options =
        EngineOptions::new(dir.path(), UnlockSecret::from_key([7; 32]), shards.clone());
    options.disk_reserve_bytes = Some(0);
    let engine = Engine::open(options.clone()).unwrap();
    let listener = Listener::default();
    let hears = listener.clone().start();
    let events = StoreEvents {
        stored: vec![hears.clone().recipient()],
        changed: vec![hears.clone().recipient()],
        part: vec![hears.recipient()],
    };
    let (deaths, mut died) = mpsc::channel(1);
    let actor = StoreActor::new(engine, events, DeathWatch::new(ActorName::Store, deaths)).start();
    let budget = Budget::new(ActorName::Store, 8);
    let port = StorePort::new(&actor, budget.clone());
    listener.until("Ready").await;
    listener.until("0 blobs").await;

    let stored = port.put(Share::Client, blob(b"first")).await.unwrap();
    assert_eq!(stored.cid, BlobCid::of(b"first"));
    listener.until(&format!("stored {}", stored.shard)).await;
    // At the next telling, without anybody asking.
    listener.until("1 blobs").await;
    let read = port.get(Share::Client, stored.cid, None).await.unwrap();
    assert!(matches!(read.body, BlobBody::Whole(bytes) if bytes == "first"));
    assert!(!port.put(Share::Client, blob(b"first")).await.unwrap().new);
    let told = listener.heard.lock().unwrap().clone();
    let nudges = told.iter().filter(|event| event.starts_with("stored"));
    assert_eq!(nudges.count(), 1, "a duplicate is no news");
    // What a peer brings is in no outbox, so nobody is told of it.
    let by_peer = NewBlob {
        word: Word::Peer,
        durable: true,
        ..blob(b"second")
    };
    let second = port.put(Share::Peer, by_peer).await.unwrap();
    assert!(second.new);
    listener.until("2 blobs").await;
    let told = listener.heard.lock().unwrap().clone();
    let nudges = told.iter().filter(|event| event.starts_with("stored"));
    assert_eq!(nudges.count(), 1, "{told:?}");
    asks_for_copies(&port, &stored, second.cid).await;
    assert_eq!(budget.snapshot().depth, 0, "every permit came back");

    stop(&actor.recipient()).await;
    listener.until("Stopping").await;
    assert_eq!(
        port.get(Share::Client, stored.cid, None).await.unwrap_err(),
        StoreError::Unavailable
    );
    assert!(died.try_recv().is_err(), "an end in order is no death");
    drop(port);
    let engine = Engine::open(options).unwrap();
    assert_eq!(engine.snapshot().blobs, 1);
}
