//! What every actor has in common: it is told to stop, it says how it is, and its death is noticed.

use actix::Message;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::budget::ActorName;

/// Command: finish what is in work and stop. Answered when that is done.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// Event: an actor's condition changed.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct PartChanged {
    /// Which actor.
    pub actor: ActorName,
    /// How it is.
    pub state: PartState,
}

/// How an actor is, for `/ready` and `/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum PartState {
    /// Not up yet.
    Starting,
    /// At work.
    Ready,
    /// Switched off, by a setting or because a setting is missing; counts as ready.
    Disabled {
        /// Why, and what would switch it on.
        reason: String,
    },
    /// On its way down.
    Stopping,
}

/// Tells the node that an actor died: whoever is dropped without [`DeathWatch::disarm`] did.
///
/// An actor that dies is never restarted in place, since every port would go on pointing at the
/// dead one: the node turns unready, stops in order and leaves the restart to its supervisor.
#[derive(Debug)]
pub struct DeathWatch {
    actor: ActorName,
    deaths: Option<mpsc::Sender<ActorName>>,
}

impl DeathWatch {
    /// Watches `actor`; its name arrives at `deaths` when the guard is dropped armed. One slot per
    /// actor is room enough.
    pub fn new(actor: ActorName, deaths: mpsc::Sender<ActorName>) -> Self {
        Self {
            actor,
            deaths: Some(deaths),
        }
    }

    /// From here on the end is in order.
    pub fn disarm(&mut self) {
        self.deaths = None;
    }
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        if let Some(deaths) = self.deaths.take() {
            // Full or closed: another death, or the node's own end, has been noticed already.
            let _ = deaths.try_send(self.actor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_armed_watch_reports() {
        let (deaths, mut reported) = mpsc::channel(2);
        let mut orderly = DeathWatch::new(ActorName::Proof, deaths.clone());
        orderly.disarm();
        drop(orderly);
        assert!(reported.try_recv().is_err());
        drop(DeathWatch::new(ActorName::Store, deaths));
        assert_eq!(reported.try_recv(), Ok(ActorName::Store));
    }
}
