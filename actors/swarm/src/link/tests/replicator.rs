//! Who answers: notes what is asked, and answers in one way.

use actix::{Actor, Addr, AsyncContext, Context, Handler};
use bytecave_core::{BlobCid, BlobRoot, StoreAuthorization};
use bytecave_messages::body::{self, BlobBody};
use bytecave_messages::ports::SwarmEvents;
use bytecave_messages::swarm::{
    Answer, InboundChallenge, InboundHaveList, InboundReplica, InboundRetrieve, InboundStore,
    InboundSync, Kept, Refusal, ServedBlob,
};
use bytes::Bytes;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::HANG;

/// How everything is answered.
#[derive(Clone)]
pub(super) enum Way {
    /// Stores are well.
    Keep,
    /// Retrieves get this, as a stream.
    Serve(Bytes),
    /// A blob just above the limit, which nobody may read.
    Oversized,
    /// Fewer bytes than stated.
    Short,
    /// More bytes than stated.
    Long,
    /// A stream that breaks off.
    Broken,
    Refuse(Refusal),
    /// No answer at all, and it is known at once.
    Drop,
    /// No answer until it is released.
    Hoard,
}

pub(super) struct Stored {
    pub(super) from: String,
    pub(super) body: Bytes,
    pub(super) content_type: Option<String>,
    pub(super) app_id: Option<String>,
    pub(super) authorization: Option<StoreAuthorization>,
}

pub(super) enum Heard {
    Store(Stored),
    Retrieve(BlobCid),
}

/// The test's end.
pub(super) struct Replicator {
    heard: Mutex<mpsc::Receiver<Heard>>,
    address: Addr<Fake>,
}

impl Replicator {
    pub(super) fn start(way: Way) -> (Self, SwarmEvents) {
        let (sender, heard) = mpsc::channel(256);
        let address = Fake {
            way,
            heard: sender,
            stores: Vec::new(),
            retrieves: Vec::new(),
        }
        .start();
        let events = SwarmEvents {
            changed: Vec::new(),
            part: Vec::new(),
            retrieve: address.clone().recipient(),
            have_list: address.clone().recipient(),
            replica: address.clone().recipient(),
            sync: address.clone().recipient(),
            challenge: address.clone().recipient(),
            store: address.clone().recipient(),
        };
        let replicator = Self {
            heard: Mutex::new(heard),
            address,
        };
        (replicator, events)
    }

    /// The next that was asked.
    pub(super) async fn heard(&self) -> Heard {
        let mut heard = self.heard.lock().await;
        timeout(HANG, heard.recv()).await.unwrap().unwrap()
    }

    /// Answers what was hoarded, and from now on at once.
    pub(super) fn release(&self) {
        self.address.try_send(Release).unwrap();
    }
}

struct Fake {
    way: Way,
    heard: mpsc::Sender<Heard>,
    stores: Vec<(Kept, Answer<Result<Kept, Refusal>>)>,
    retrieves: Vec<Answer<Result<ServedBlob, Refusal>>>,
}

#[derive(actix::Message)]
#[rtype(result = "()")]
struct Release;

impl Actor for Fake {
    type Context = Context<Self>;
}

impl Handler<Release> for Fake {
    type Result = ();

    fn handle(&mut self, _: Release, _: &mut Self::Context) {
        self.way = Way::Keep;
        for (kept, answer) in self.stores.drain(..) {
            answer.send(Ok(kept));
        }
    }
}

impl Handler<InboundStore> for Fake {
    type Result = ();

    fn handle(&mut self, store: InboundStore, _: &mut Self::Context) {
        let kept = Kept {
            cid: BlobCid::of(&store.body),
            already_stored: false,
        };
        assert_eq!(store.cid, None);
        let from = store.from.to_string();
        let stored = Stored {
            from: from.strip_prefix("relay ").unwrap().to_owned(),
            body: store.body,
            content_type: store.content_type,
            app_id: store.app_id,
            authorization: store.authorization,
        };
        self.heard.try_send(Heard::Store(stored)).unwrap();
        match &self.way {
            Way::Refuse(refusal) => store.answer.send(Err(refusal.clone())),
            Way::Drop => drop(store.answer),
            Way::Hoard => self.stores.push((kept, store.answer)),
            _ => store.answer.send(Ok(kept)),
        }
    }
}

impl Handler<InboundRetrieve> for Fake {
    type Result = ();

    fn handle(&mut self, retrieve: InboundRetrieve, context: &mut Self::Context) {
        self.heard.try_send(Heard::Retrieve(retrieve.cid)).unwrap();
        let (size, pieces, whole) = match &self.way {
            Way::Serve(bytes) => (bytes.len(), bytes.clone(), true),
            Way::Oversized => ((32 << 20) + 1, Bytes::new(), false),
            Way::Short => (4, Bytes::from_static(b"abc"), true),
            Way::Long => (2, Bytes::from_static(b"abc"), true),
            Way::Broken => (3, Bytes::from_static(b"abc"), false),
            Way::Refuse(refusal) => return retrieve.answer.send(Err(refusal.clone())),
            Way::Keep | Way::Drop => return,
            Way::Hoard => return self.retrieves.push(retrieve.answer),
        };
        let (mut sender, stream) = body::stream(Some(size as u64));
        retrieve.answer.send(Ok(ServedBlob {
            size: size as u64,
            blob_root: BlobRoot::new([0; 32]),
            offset: 0,
            len: size as u64,
            content_type: Some("image/png".to_owned()),
            body: BlobBody::Stream(stream),
        }));
        context.spawn(actix::fut::wrap_future(async move {
            for piece in pieces.chunks(256 * 1024) {
                if sender.send(Bytes::copy_from_slice(piece)).await.is_err() {
                    return;
                }
            }
            if whole {
                sender.finish();
            }
        }));
    }
}

impl Handler<InboundHaveList> for Fake {
    type Result = ();

    fn handle(&mut self, _: InboundHaveList, _: &mut Self::Context) {
        panic!("no relay asks for a list");
    }
}

impl Handler<InboundReplica> for Fake {
    type Result = ();

    fn handle(&mut self, _: InboundReplica, _: &mut Self::Context) {
        panic!("no relay sends a replica");
    }
}

impl Handler<InboundChallenge> for Fake {
    type Result = ();

    fn handle(&mut self, _: InboundChallenge, _: &mut Self::Context) {
        panic!("no relay challenges");
    }
}

impl Handler<InboundSync> for Fake {
    type Result = ();

    fn handle(&mut self, _: InboundSync, _: &mut Self::Context) {
        panic!("no relay compares");
    }
}
