//! The actor's shell.

use actix::{Actor, ActorContext, Context, Handler, Recipient};
use bytecave_config::Registry;
use bytecave_messages::budget::ActorName;
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, PartState, Stop};
use bytecave_messages::ports::notify;

/// The shell; it reports itself disabled and has nothing else to do yet.
#[derive(Debug)]
pub struct RegistryActor {
    reason: String,
    listeners: Vec<Recipient<PartChanged>>,
    watch: DeathWatch,
}

impl RegistryActor {
    /// A shell that reports to `listeners`; `settings` decide only what it says.
    pub fn new(
        settings: &Registry,
        listeners: Vec<Recipient<PartChanged>>,
        watch: DeathWatch,
    ) -> Self {
        let Registry {
            owner_address,
            contract_address,
            rpc_url,
            ..
        } = settings;
        let set = owner_address.is_some() || contract_address.is_some() || !rpc_url.is_empty();
        let reason = if set {
            "this version does not register on a contract yet; the registry settings have no effect"
        } else {
            "OWNER_ADDRESS, VAULT_REGISTRY_ADDRESS and RPC_URL are not set; this version does not register yet"
        };
        Self {
            reason: reason.to_owned(),
            listeners,
            watch,
        }
    }

    fn tell(&self, state: PartState) {
        notify(
            &self.listeners,
            &PartChanged {
                actor: ActorName::Registry,
                state,
            },
        );
    }
}

impl Actor for RegistryActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        tracing::info!(reason = self.reason, "registry disabled");
        self.tell(PartState::Disabled {
            reason: self.reason.clone(),
        });
    }
}

impl Handler<Stop> for RegistryActor {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Self::Context) {
        self.watch.disarm();
        context.stop();
    }
}
