//! What other actors ask of peers: each question is a task of its own, which holds its permit.

use actix::{Handler, ResponseFuture};
use bytecave_core::proof::Proof;
use bytecave_messages::swarm::{
    AskSync, ChallengePeer, RemoteBlob, ReplicaSent, RetrieveFromPeer, SendReplica, SwarmError,
};
use bytecave_messages::sync::SyncAnswer;

use super::SwarmActor;

impl Handler<RetrieveFromPeer> for SwarmActor {
    type Result = ResponseFuture<Result<RemoteBlob, SwarmError>>;

    fn handle(&mut self, message: RetrieveFromPeer, _: &mut Self::Context) -> Self::Result {
        let RetrieveFromPeer {
            peer,
            cid,
            from,
            cancelled,
            permit,
        } = message;
        self.asks(permit.span().clone(), move |client| async move {
            let asked = client.retrieve(peer, cid, from, permit);
            let blob = cancelled.unless(asked).await;
            blob.unwrap_or(Err(SwarmError::Unavailable))
        })
    }
}

impl Handler<SendReplica> for SwarmActor {
    type Result = ResponseFuture<Result<ReplicaSent, SwarmError>>;

    fn handle(&mut self, message: SendReplica, _: &mut Self::Context) -> Self::Result {
        let SendReplica {
            peer,
            blob,
            body,
            cancelled,
            permit,
        } = message;
        self.asks(permit.span().clone(), move |client| async move {
            let _permit = permit;
            let sent = cancelled.unless(client.send_replica(peer, &blob, body));
            sent.await.unwrap_or(Err(SwarmError::Unavailable))
        })
    }
}

impl Handler<AskSync> for SwarmActor {
    type Result = ResponseFuture<Result<SyncAnswer, SwarmError>>;

    fn handle(&mut self, message: AskSync, _: &mut Self::Context) -> Self::Result {
        let AskSync {
            peer,
            request,
            permit,
        } = message;
        self.asks(permit.span().clone(), move |client| async move {
            let _permit = permit;
            client.sync(peer, &request).await
        })
    }
}

impl Handler<ChallengePeer> for SwarmActor {
    type Result = ResponseFuture<Result<Proof, SwarmError>>;

    fn handle(&mut self, message: ChallengePeer, _: &mut Self::Context) -> Self::Result {
        let ChallengePeer {
            peer,
            challenge,
            patience,
            permit,
        } = message;
        self.asks(permit.span().clone(), move |client| async move {
            let _permit = permit;
            client.challenge(peer, &challenge, patience).await
        })
    }
}
