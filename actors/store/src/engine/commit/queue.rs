//! The queue before the commit thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    /// How many of them somebody waits for until they are durable.
    awaited: usize,
    closed: bool,
}

impl State {
    fn push(&mut self, op: Op) {
        self.awaited += usize::from(op.is_awaited());
        self.waiting.push_back(op);
    }
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

/// How many awaited operations a group waits for, and for how long at most.
///
/// Callers who were just answered come back with their next operation while the group behind them
/// is already being synced, so without waiting each group would hold half of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Company {
    pub(crate) expected: usize,
    pub(crate) wait: Duration,
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
            state.push(make(reply));
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
            state.push(op);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Waits for operations, at most `patience`, and then a moment longer for as many as `company`
    /// says.
    pub(crate) fn next(&self, patience: Option<Duration>, company: Company) -> Next {
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
        let until = Instant::now() + company.wait;
        while state.awaited < company.expected && !state.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .wake
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
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
        let group: Vec<Op> = state.waiting.drain(..count).collect();
        state.awaited -= group.iter().filter(|op| op.is_awaited()).count();
        Next::Group(group)
    }

    /// Takes nothing more; what waits is still committed.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.wake.notify_all();
    }

    /// Operations waiting that somebody waits for until they are durable.
    pub(crate) fn awaited(&self) -> usize {
        lock(&self.state).awaited
    }

    /// Operations waiting.
    pub(crate) fn depth(&self) -> usize {
        lock(&self.state).waiting.len()
    }
}
