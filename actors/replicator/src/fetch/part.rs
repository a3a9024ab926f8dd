//! A part of a blob: nothing of a blob is given before the whole was verified, so a large one is
//! fetched into the store first, into its shard when that is ours, and else on its way through.

use bytecave_core::BlobCid;
use bytecave_messages::body::{BlobBody, stream};
use bytecave_messages::budget::Share;
use bytecave_messages::replicator::{FetchError, FetchedBlob};
use bytecave_messages::store::{
    BlobRead, ByteRange, Foreign, InTransit, NewBlob, StoreError, Stored, Word,
};
use tracing::Span;

use super::ask::Blob;
use super::flow::{Ended, Flow};
use super::out::Out;
use super::transits::Transit;
use super::{Fetcher, Found, Outcome, found};

/// Where a verified blob is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In memory.
    Here(Blob),
    /// In its shard, which is ours.
    Shard,
    /// On its way.
    Transit(Transit),
}

impl Fetcher {
    /// Gets a part. Whoever wants a part of a blob that is being fetched waits for the same fetch.
    pub(super) async fn part(&self, cid: BlobCid, range: ByteRange, span: &Span) -> Outcome {
        let held = self.0.transits.read(&cid).map(Place::Transit);
        let place = if let Some(place) = held {
            place
        } else {
            let begin = || {
                let (fetcher, span) = (self.clone(), span.clone());
                async move { fetcher.bring(cid, &span).await }
            };
            let brought = self.0.parts.join(cid, span, begin).await;
            brought.unwrap_or(Err(FetchError::Unavailable))?
        };
        let store = &self.0.store;
        let (read, content_type) = match place {
            Place::Here(blob) => return slice(blob, range),
            Place::Shard => (store.get(Share::Client, cid, Some(range)).await, None),
            Place::Transit(Transit { hold, content_type }) => {
                let read = store.read_transit(Share::Client, hold, Some(range)).await;
                (read, content_type)
            }
        };
        let BlobRead {
            info,
            offset,
            len,
            body,
        } = read.map_err(|error| refused(cid, error))?;
        Ok(FetchedBlob {
            size: info.size,
            content_type: content_type.or(info.content_type),
            offset,
            len,
            body,
        })
    }

    /// Fetches a blob to where it can be read from.
    async fn bring(&self, cid: BlobCid, span: &Span) -> Result<Place, FetchError> {
        let mut next = self.find(cid, span).await?;
        loop {
            let start = match next {
                Found::Here(blob) => return Ok(Place::Here(blob)),
                Found::Large(start) => *start,
            };
            let content_type = start.opened.content_type.clone();
            let (sender, body) = stream(Some(start.opened.stated.size));
            let new = NewBlob {
                body: BlobBody::Stream(body),
                expected: Some(cid),
                content_type: content_type.clone(),
                file_name: None,
                word: Word::Peer,
                durable: false,
                foreign: Foreign::Transit,
            };
            let flow = Flow::new(start).run(Out::new(sender, None));
            let ((mut asker, ended), put) =
                tokio::join!(flow, self.0.store.put(Share::Client, new));
            match (put, ended) {
                (Ok(stored), _) => return Ok(self.placed(stored, content_type)),
                // Nothing of it went out: the next peer may tell the truth.
                (Err(StoreError::Body(_)), Err(Ended::Wrong)) => {
                    let given = asker.find(0, None).await?;
                    next = found(asker, given);
                }
                (Err(StoreError::Body(_)), Err(Ended::Lost(error))) => return Err(error),
                (Err(error), _) => return Err(refused(cid, error)),
            }
        }
    }

    fn placed(&self, stored: Stored, content_type: Option<String>) -> Place {
        match stored.transit {
            None => Place::Shard,
            Some(InTransit::Memory(bytes)) => Place::Here(Blob {
                bytes,
                content_type,
            }),
            Some(InTransit::Disk(hold)) => {
                let transit = Transit { hold, content_type };
                self.0.transits.keep(stored.cid, transit.clone());
                Place::Transit(transit)
            }
        }
    }
}

/// The part of a blob that is in memory.
fn slice(blob: Blob, range: ByteRange) -> Outcome {
    let size = blob.bytes.len() as u64;
    let (from, to) = match range {
        ByteRange::FromTo(first, last) => (first, size.min(last.saturating_add(1))),
        ByteRange::From(first) => (first, size),
        ByteRange::Last(len) => (size.saturating_sub(len), size),
    };
    if from >= to {
        return Err(FetchError::RangeNotSatisfiable { size });
    }
    // Both lie within bytes that are in memory, so they fit.
    let within = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    let (first, behind) = within.ok_or(FetchError::RangeNotSatisfiable { size })?;
    Ok(FetchedBlob {
        size,
        content_type: blob.content_type,
        offset: from,
        len: to - from,
        body: BlobBody::Whole(blob.bytes.slice(first..behind)),
    })
}

/// What it means for a part of a blob that the store refused it.
fn refused(cid: BlobCid, error: StoreError) -> FetchError {
    match error {
        StoreError::Full(full) => FetchError::Full(full),
        StoreError::Unavailable => FetchError::Unavailable,
        StoreError::RangeNotSatisfiable { size } => FetchError::RangeNotSatisfiable { size },
        // A blob that is blocked here is not let through either.
        error => FetchError::NoRoom {
            cid,
            cause: error.to_string(),
        },
    }
}
