#![allow(clippy::unwrap_used)]
use std::sync::{Arc, Mutex};

use actix::{Actor, Context, Handler};
use bytecave_core::{BlobCid, ShardCount, ShardSet};
use bytecave_messages::body::BlobBody;
use bytecave_messages::budget::{Budget, Share};
use bytecave_messages::ports::{StorePort, stop};
use bytecave_messages::store::{Foreign, StoreCondition, Word};
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
