//! Who is connected to whom, and how much each may have in hand: every mailbox and limit in one
//! table.
//!
//! All six mailboxes exist before the first actor runs, so an actor is built with the ports it
//! needs, and a cycle of events needs no half-built address.

use actix::dev::channel::{AddressReceiver, channel};
use actix::{Actor, Addr, Context, Recipient};
use bytecave_config::Actors;
use bytecave_http::HttpActor;
use bytecave_messages::budget::{ActorName, Budget};
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, Stop};
use bytecave_messages::ports::{
    ProofEvents, ProofPort, ReplicatorEvents, ReplicatorPort, StoreEvents, StorePort, SwarmEvents,
    SwarmPort,
};
use bytecave_proof::ProofActor;
use bytecave_registry::RegistryActor;
use bytecave_replicator::ReplicatorActor;
use bytecave_store::StoreActor;
use bytecave_swarm::SwarmActor;
use tokio::sync::mpsc;

/// An actor's mailbox before the actor runs.
pub(crate) struct Mailbox<A: Actor> {
    pub(crate) address: Addr<A>,
    receiver: AddressReceiver<A>,
    pub(crate) budget: Budget,
}

/// The six mailboxes.
pub(crate) struct Mailboxes {
    pub(crate) store: Mailbox<StoreActor>,
    pub(crate) swarm: Mailbox<SwarmActor>,
    pub(crate) replicator: Mailbox<ReplicatorActor>,
    pub(crate) proof: Mailbox<ProofActor>,
    pub(crate) registry: Mailbox<RegistryActor>,
    pub(crate) http: Mailbox<HttpActor>,
    deaths: mpsc::Sender<ActorName>,
}

impl<A: Actor<Context = Context<A>>> Mailbox<A> {
    fn new(actor: ActorName, settings: &bytecave_config::Actor) -> Self {
        // Settings allow at most 65,536.
        let capacity = usize::try_from(settings.mailbox).unwrap_or(usize::MAX);
        let (sender, receiver) = channel(capacity);
        Self {
            address: Addr::new(sender),
            receiver,
            budget: Budget::new(actor, capacity),
        }
    }

    /// Runs the actor on the current arbiter.
    pub(crate) fn run(self, actor: A) {
        Context::with_receiver(self.receiver).run(actor);
    }

    /// How the actor is told to stop.
    pub(crate) fn stop(&self) -> Recipient<Stop>
    where
        A: actix::Handler<Stop>,
    {
        self.address.clone().recipient()
    }
}

impl Mailboxes {
    /// Six mailboxes, and where the death of an actor is heard.
    pub(crate) fn new(settings: &Actors) -> (Self, mpsc::Receiver<ActorName>) {
        let (deaths, heard) = mpsc::channel(ActorName::ALL.len());
        let mailboxes = Self {
            store: Mailbox::new(ActorName::Store, &settings.store),
            swarm: Mailbox::new(ActorName::Swarm, &settings.swarm),
            replicator: Mailbox::new(ActorName::Replicator, &settings.replicator),
            proof: Mailbox::new(ActorName::Proof, &settings.proof),
            registry: Mailbox::new(ActorName::Registry, &settings.registry),
            http: Mailbox::new(ActorName::Http, &settings.http),
            deaths,
        };
        (mailboxes, heard)
    }

    /// Every budget, for `/actors` and `/metrics`.
    pub(crate) fn budgets(&self) -> Vec<Budget> {
        vec![
            self.store.budget.clone(),
            self.swarm.budget.clone(),
            self.replicator.budget.clone(),
            self.proof.budget.clone(),
            self.registry.budget.clone(),
            self.http.budget.clone(),
        ]
    }

    /// Watches over `actor`.
    pub(crate) fn watch(&self, actor: ActorName) -> DeathWatch {
        DeathWatch::new(actor, self.deaths.clone())
    }

    /// Who hears how the parts are.
    pub(crate) fn part_listeners(&self) -> Vec<Recipient<PartChanged>> {
        vec![self.http.address.clone().recipient()]
    }

    /// The way to the blobs.
    pub(crate) fn store_port(&self) -> StorePort {
        StorePort::new(&self.store.address, self.store.budget.clone())
    }

    /// The way to the network.
    pub(crate) fn swarm_port(&self) -> SwarmPort {
        SwarmPort::new(&self.swarm.address, self.swarm.budget.clone())
    }

    /// The way to blobs that peers have.
    pub(crate) fn replicator_port(&self) -> ReplicatorPort {
        ReplicatorPort::new(&self.replicator.address, self.replicator.budget.clone())
    }

    /// The way to proofs and audits.
    pub(crate) fn proof_port(&self) -> ProofPort {
        ProofPort::new(&self.proof.address, self.proof.budget.clone())
    }

    /// Where the swarm's events go.
    pub(crate) fn swarm_events(&self) -> SwarmEvents {
        let replicator = &self.replicator.address;
        SwarmEvents {
            changed: vec![
                self.http.address.clone().recipient(),
                replicator.clone().recipient(),
            ],
            part: self.part_listeners(),
            retrieve: replicator.clone().recipient(),
            have_list: replicator.clone().recipient(),
            replica: replicator.clone().recipient(),
            sync: replicator.clone().recipient(),
            challenge: self.proof.address.clone().recipient(),
            store: replicator.clone().recipient(),
        }
    }

    /// Where the replicator's events go.
    pub(crate) fn replicator_events(&self) -> ReplicatorEvents {
        ReplicatorEvents {
            changed: vec![
                self.http.address.clone().recipient(),
                self.proof.address.clone().recipient(),
            ],
            possession: vec![self.proof.address.clone().recipient()],
            part: self.part_listeners(),
        }
    }

    /// Where the prover's events go.
    pub(crate) fn proof_events(&self) -> ProofEvents {
        ProofEvents {
            changed: vec![self.http.address.clone().recipient()],
            finished: vec![self.replicator.address.clone().recipient()],
            opened: self.replicator.address.clone().recipient(),
            part: self.part_listeners(),
        }
    }

    /// Where the store's events go.
    pub(crate) fn store_events(&self) -> StoreEvents {
        StoreEvents {
            stored: vec![self.replicator.address.clone().recipient()],
            changed: vec![
                self.http.address.clone().recipient(),
                self.swarm.address.clone().recipient(),
                self.replicator.address.clone().recipient(),
                self.proof.address.clone().recipient(),
            ],
            part: self.part_listeners(),
        }
    }
}
