//! Audits among the nodes of the tests: a peer proves what its store has, and nothing that it let go.

use bytecave_messages::proof::{AuditCause, AuditRecord, Outcome, PossessionWanted};

use super::*;
use crate::audits::Audits;
use crate::audits::tests::record;

/// Time from question to answer.
pub(super) const TAKES: Duration = Duration::from_secs(1);

/// The prover of one node.
pub(super) struct Prover {
    me: PeerId,
    world: World,
    audits: Arc<Mutex<Option<Audits>>>,
}

/// Audits of the node `me`, answered from the stores of the others.
pub(super) fn audits(me: PeerId, world: &World) -> Audits {
    let told = Arc::new(Mutex::new(None));
    let prover = Prover {
        me,
        world: world.clone(),
        audits: Arc::clone(&told),
    };
    let audits = Audits::new(vec![prover.start().recipient()]);
    *told.lock().unwrap() = Some(audits.clone());
    audits
}

impl Actor for Prover {
    type Context = Context<Self>;
}

impl Handler<PossessionWanted> for Prover {
    type Result = ();

    fn handle(
        &mut self,
        PossessionWanted { peer: to, cid }: PossessionWanted,
        _: &mut Context<Self>,
    ) {
        let store = {
            let mut wire = self.world.lock();
            wire.log.push((self.me, to, "prove"));
            if wire.mute.contains(&to) {
                return;
            }
            wire.nodes.get(&to).map(|(_, store)| store.clone())
        };
        let audits = self.audits.lock().unwrap().clone().unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(TAKES).await;
            let whole = |store: FakeStore| store.kept(&cid).is_some_and(|kept| !kept.quarantined);
            let outcome = match store {
                None => Outcome::Offline,
                Some(store) if whole(store.clone()) => Outcome::Passed,
                Some(_) => Outcome::Failed,
            };
            let now_ms = test_now_ms();
            let ended = AuditRecord {
                peer_id: to,
                cause: AuditCause::Wanted,
                took_ms: u64::try_from(TAKES.as_millis()).unwrap(),
                ..record(1, cid, outcome, now_ms)
            };
            audits.finished(&Arc::new(ended), true, now_ms);
        });
    }
}
