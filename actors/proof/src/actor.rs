//! The actor's shell: it starts a task for each question and hears how store and replicator are.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, ResponseFuture};
use bytecave_core::proof::Proof;
use bytecave_messages::budget::ActorName;
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, PartState, Stop};
use bytecave_messages::ports::{ProofEvents, notify};
use bytecave_messages::proof::{
    AuditPage, ListAudits, MakeProof, PossessionWanted, ProofChanged, ProofError, ProofSnapshot,
    ScrubView, StartScrub,
};
use bytecave_messages::replicator::ReplicatorChanged;
use bytecave_messages::store::StoreChanged;
use bytecave_messages::swarm::InboundChallenge;

use crate::audit::{Auditor, AuditorParts};
use crate::chance::{Chance, SystemChance};
use crate::clock::now_ms;
use crate::counters::Counters;
use crate::ledger::Ledger;
use crate::open::OpenNonces;
use crate::options::ProofOptions;
use crate::prover::{Limits, Prover};
use crate::scrub::{Scrubber, ScrubberParts};

/// Time between two words about how proofs are.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Time that writing down what is to survive may take at a stop: well below what the whole node has.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// The shell.
#[derive(Debug)]
pub struct ProofActor {
    networked: bool,
    prover: Prover,
    auditor: Auditor,
    scrubber: Scrubber,
    ledger: Ledger,
    counters: Arc<Counters>,
    events: ProofEvents,
    watch: DeathWatch,
}

impl ProofActor {
    /// A shell that proves, audits and scrubs.
    pub fn new(options: ProofOptions) -> Self {
        Self::with(options, now_ms, Arc::new(SystemChance::new()))
    }

    /// By a clock in milliseconds since 1970, and these lots.
    fn with(options: ProofOptions, now_ms: fn() -> u64, chance: Arc<dyn Chance>) -> Self {
        let ProofOptions {
            settings,
            directory,
            budget,
            store,
            events,
            ..
        } = options;
        let counters = Arc::new(Counters::default());
        let history = usize::try_from(settings.audit_history).unwrap_or(usize::MAX);
        let contained = settings.contained_interval.as_duration();
        let ledger = Ledger::new(&directory, history, contained, now_ms);
        let per_second = settings.challenges_per_second;
        let per_second_per_peer = settings.challenges_per_second_per_peer;
        let scrub = ScrubberParts {
            period: settings.scrub_period.as_duration(),
            bytes_per_second: settings.scrub_bytes_per_second.bytes(),
            budget: budget.clone(),
            store: store.clone(),
            counters: Arc::clone(&counters),
            now_ms,
        };
        let open = OpenNonces::default();
        let audit = AuditorParts {
            open: open.clone(),
            per_day: settings.audits_per_day,
            timeout: settings.audit_timeout.as_duration(),
            budget,
            store: store.clone(),
            swarm: options.swarm,
            events: events.clone(),
            ledger: ledger.clone(),
            counters: Arc::clone(&counters),
            chance,
        };
        Self {
            networked: options.networked,
            prover: Prover {
                identity: options.identity,
                node_id: options.node_id.into(),
                store,
                open,
                limits: Arc::new(Limits::new(per_second, per_second_per_peer)),
                counters: Arc::clone(&counters),
                now_ms,
            },
            auditor: Auditor::new(audit),
            scrubber: Scrubber::new(scrub, &directory),
            ledger,
            counters,
            events,
            watch: options.watch,
        }
    }

    /// Tells how proofs are.
    fn tell(&mut self, _: &mut Context<Self>) {
        let snapshot = ProofSnapshot {
            scrub: self.scrubber.view(),
            peers: self.ledger.peers(),
            counters: self.counters.all(),
        };
        self.events.proof_changed(&ProofChanged(Arc::new(snapshot)));
    }
}

impl Actor for ProofActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.auditor.start(self.networked);
        self.scrubber.start();
        context.run_interval(TELL_EVERY, Self::tell);
        let (actor, state) = (ActorName::Proof, PartState::Ready);
        notify(&self.events.part, &PartChanged { actor, state });
    }
}

/// A handler that answers with what a task brings.
macro_rules! answer {
    ($message:ident -> $reply:ty, |$actor:ident, $given:ident| $task:expr) => {
        impl Handler<$message> for ProofActor {
            type Result = ResponseFuture<Result<$reply, ProofError>>;

            fn handle(&mut self, $given: $message, _: &mut Self::Context) -> Self::Result {
                let $actor = &*self;
                Box::pin($task)
            }
        }
    };
}

answer!(MakeProof -> Proof, |actor, asked| actor.prover.clone().make(asked));
answer!(ListAudits -> AuditPage, |actor, asked| actor.ledger.clone().answer(asked));
answer!(StartScrub -> ScrubView, |actor, asked| actor.scrubber.clone().answer(asked));

/// A handler of what is heard.
macro_rules! heard {
    ($message:ident, |$actor:ident, $given:pat_param| $what:expr) => {
        impl Handler<$message> for ProofActor {
            type Result = ();

            fn handle(&mut self, $given: $message, _: &mut Self::Context) {
                let $actor = &*self;
                $what;
            }
        }
    };
}

heard!(InboundChallenge, |actor, asked| tokio::spawn(
    actor.prover.clone().answer(asked)
));
heard!(PossessionWanted, |actor, wanted| actor
    .auditor
    .want(wanted.peer, wanted.cid));
heard!(ReplicatorChanged, |actor, ReplicatorChanged(snapshot)| {
    actor.auditor.set_replicas(snapshot);
});
heard!(StoreChanged, |actor, StoreChanged(snapshot)| {
    actor.scrubber.set_total_bytes(snapshot.bytes);
    actor.auditor.set_stored(snapshot);
});

impl Handler<Stop> for ProofActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Stop, context: &mut Self::Context) -> Self::Result {
        self.watch.disarm();
        context.stop();
        let (auditor, scrubber) = (self.auditor.clone(), self.scrubber.clone());
        let ended = async { tokio::join!(auditor.stop(), scrubber.stop()) };
        Box::pin(async {
            if tokio::time::timeout(STOP_WITHIN, ended).await.is_err() {
                tracing::warn!("audits and scrub could not be written down in time");
            }
        })
    }
}

#[cfg(test)]
mod tests;
