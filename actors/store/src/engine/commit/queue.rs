//! The queue before the commit thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use bytecave_messages::budget::{ActorName, Full};
use bytecave_messages::store::StoreError;
use tokio::sync::oneshot;

use super::{Op, Reply};
use crate::engine::state::lock;

/// Operations that may wait. Callers hold a permit each, so only a caller without one gets here.
const CAPACITY: usize = 16_384;
/// A group takes at most this many operations …
const GROUP_OPERATIONS: usize = 1024;
/// … and no further one when it has this many bytes: as much as is written while the disk syncs.
const GROUP_BYTES: usize = 8 << 20;

/// What waits to be committed.
#[derive(Debug, Default)]
pub(crate) struct CommitQueue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Op>,
    closed: bool,
}

/// What the commit thread is to do next.
pub(crate) enum Next {
    /// Commit these.
    Group(Vec<Op>),
    /// Nothing came in time.
    Idle,
    /// Nothing will come any more.
    Closed,
}

impl CommitQueue {
    /// Queues the operation that `make` makes; what it gives is where its answer comes.
    pub(crate) fn submit<T>(
        &self,
        make: impl FnOnce(Reply<T>) -> Op,
    ) -> oneshot::Receiver<Result<T, StoreError>> {
        let (reply, answer) = oneshot::channel();
        self.submit_to(reply, make);
        answer
    }

    /// The same for an answer that somebody awaits already.
    pub(crate) fn submit_to<T>(&self, reply: Reply<T>, make: impl FnOnce(Reply<T>) -> Op) {
        let mut state = lock(&self.state);
        let refusal = if state.closed {
            StoreError::Unavailable
        } else if state.waiting.len() >= CAPACITY {
            StoreError::Full(Full {
                actor: ActorName::Store,
                capacity: CAPACITY,
                retry_after: Duration::from_secs(1),
            })
        } else {
            state.waiting.push_back(make(reply));
            drop(state);
            self.wake.notify_one();
            return;
        };
        drop(state);
        // The caller may have gone away.
        let _ = reply.send(Err(refusal));
    }

    /// Queues an operation that clears up behind another one: at most one for each.
    pub(crate) fn submit_cleanup(&self, op: Op) {
        let mut state = lock(&self.state);
        // Once closed it is left to the next start.
        if !state.closed {
            state.waiting.push_back(op);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Waits for operations, at most `patience`.
    pub(crate) fn next(&self, patience: Option<Duration>) -> Next {
        let mut state = lock(&self.state);
        while state.waiting.is_empty() {
            if state.closed {
                return Next::Closed;
            }
            state = match patience {
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let (state, timeout) = self
                        .wake
                        .wait_timeout(state, patience)
                        .unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() && state.waiting.is_empty() {
                        return Next::Idle;
                    }
                    state
                }
            };
        }
        let mut bytes = 0;
        let mut count = 0;
        for op in state.waiting.iter().take(GROUP_OPERATIONS) {
            if bytes >= GROUP_BYTES {
                break;
            }
            bytes += op.bytes();
            count += 1;
        }
        Next::Group(state.waiting.drain(..count).collect())
    }

    /// Takes nothing more; what waits is still committed.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.wake.notify_all();
    }

    /// Operations waiting.
    pub(crate) fn depth(&self) -> usize {
        lock(&self.state).waiting.len()
    }
}
