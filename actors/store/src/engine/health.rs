//! Whether the database takes writes, and why not.

use std::sync::Mutex;

use bytecave_messages::store::StoreError;
use rocksdb::Error;

use super::state::lock;

/// The last write error that the database has not recovered from.
#[derive(Debug, Default)]
pub(crate) struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum State {
    #[default]
    Writable,
    /// The file system is full; the database goes on by itself once there is room.
    NoSpace,
    /// The database gave up writing until it is opened anew.
    ReadOnly(String),
}

impl Health {
    /// The write was done: whatever was wrong is over.
    pub(crate) fn note_written(&self) {
        let mut state = lock(&self.state);
        if *state != State::Writable {
            tracing::info!("the database takes writes again");
            *state = State::Writable;
        }
    }

    /// The write failed; gives the error for whoever asked for it.
    pub(crate) fn note_failure(&self, error: &Error) -> StoreError {
        let cause = error.to_string();
        let next = if cause.contains("No space left") || cause.contains("space limit") {
            State::NoSpace
        } else {
            State::ReadOnly(format!(
                "{cause}; reads go on, a restart takes writes again and `bytecave verify` names what is damaged and the remedy"
            ))
        };
        let mut state = lock(&self.state);
        if *state != next {
            tracing::error!(cause, "the database takes no writes");
            *state = next;
        }
        drop(state);
        self.refusal().unwrap_or(StoreError::Failed {
            operation: "writing",
            cause,
        })
    }

    /// The commit thread is gone.
    pub(crate) fn note_dead(&self, reason: &str) {
        *lock(&self.state) = State::ReadOnly(reason.to_owned());
    }

    /// Why nothing can be written now.
    pub(crate) fn refusal(&self) -> Option<StoreError> {
        match &*lock(&self.state) {
            State::Writable => None,
            State::NoSpace => Some(StoreError::DiskFull {
                free_bytes: 0,
                reserve_bytes: 0,
            }),
            State::ReadOnly(reason) => Some(StoreError::ReadOnly {
                reason: reason.clone(),
            }),
        }
    }

    /// Whether the file system refused a write.
    pub(crate) fn is_out_of_space(&self) -> bool {
        *lock(&self.state) == State::NoSpace
    }

    /// Why the database is read-only, if it is.
    pub(crate) fn read_only(&self) -> Option<String> {
        match &*lock(&self.state) {
            State::ReadOnly(reason) => Some(reason.clone()),
            State::Writable | State::NoSpace => None,
        }
    }
}
