//! `AutoNAT`'s server, with a limit of time for dialling back.
//!
//! A NAT answers a stranger's dial with silence, and a dial into silence takes longer than the server
//! has to answer: the asker would never hear that it cannot be reached, and ask again every few
//! seconds. Here such a dial counts as failed in time for an answer.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::autonat::v2::server;
use libp2p::swarm::{
    ConnectionId, DialError, DialFailure, FromSwarm, NetworkBehaviour, THandlerInEvent, ToSwarm,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// Time for one dial; the server's own limit for the whole question is 10 s.
pub(crate) const DIAL_LIMIT: Duration = Duration::from_secs(7);
/// Dials watched at once; more than these end by the server's own limit.
const WATCHED_MAX: usize = 1024;

/// The server, and its dials under way, the oldest first.
pub(crate) struct DialBack {
    inner: server::Behaviour,
    limit: Duration,
    dials: VecDeque<(Instant, ConnectionId)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl DialBack {
    /// Each dial may take as long as `limit`.
    pub(crate) fn new(inner: server::Behaviour, limit: Duration) -> Self {
        Self {
            inner,
            limit,
            dials: VecDeque::new(),
            timer: None,
        }
    }

    fn watch(&mut self, connection: ConnectionId) {
        if self.dials.len() < WATCHED_MAX {
            let by = Instant::now() + self.limit;
            self.dials.push_back((by, connection));
        }
    }

    /// Whether a dial's time is up; it has failed then, as far as the server knows.
    fn give_up_one(&mut self, context: &mut Context<'_>) -> bool {
        let Some((by, connection_id)) = self.dials.front().copied() else {
            self.timer = None;
            return false;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(by)));
        if timer.deadline() != by {
            timer.as_mut().reset(by);
        }
        if timer.as_mut().poll(context).is_pending() {
            return false;
        }
        self.dials.pop_front();
        // The server has forgotten dials that ended before.
        let failure = DialFailure {
            peer_id: None,
            error: &DialError::Aborted,
            connection_id,
        };
        self.inner.on_swarm_event(FromSwarm::DialFailure(failure));
        true
    }
}

impl NetworkBehaviour for DialBack {
    type ConnectionHandler = <server::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = server::Event;

    crate::delegate::connections_of_inner!();

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.inner.on_swarm_event(event);
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while self.give_up_one(context) {}
        let said = self.inner.poll(context);
        if let Poll::Ready(ToSwarm::Dial { opts }) = &said {
            // What is returned here is polled after again, and then the timer is set.
            self.watch(opts.connection_id());
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use libp2p::autonat::v2::client;
    use libp2p::swarm::{NewExternalAddrCandidate, Swarm, SwarmEvent};
    use libp2p::{Multiaddr, SwarmBuilder, identify, noise, tcp, yamux};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const HANG: Duration = Duration::from_mins(1);

    /// With identify, by which peers learn what others speak.
    #[derive(NetworkBehaviour)]
    struct With<B: NetworkBehaviour> {
        identify: identify::Behaviour,
        nat: B,
    }

    fn swarm<B: NetworkBehaviour>(nat: B) -> Swarm<With<B>> {
        SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(
                tcp::Config::default(),
                noise::Config::new,
                yamux::Config::default,
            )
            .unwrap()
            .with_behaviour(|key| With {
                identify: identify::Behaviour::new(identify::Config::new(
                    "test".to_owned(),
                    key.public(),
                )),
                nat,
            })
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(HANG))
            .build()
    }

    #[tokio::test]
    async fn who_cannot_be_reached_hears_so_though_the_dial_meets_silence() {
        // Takes connections, and says nothing ever.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let there: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();

        let limit = Duration::from_millis(50);
        let mut server = swarm(DialBack::new(server::Behaviour::default(), limit));
        server
            .listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap())
            .unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = server.select_next_some().await {
                break address;
            }
        };
        let mut asker = swarm(client::Behaviour::default());
        asker.dial(address).unwrap();
        let candidate = NewExternalAddrCandidate { addr: &there };
        let candidate = FromSwarm::NewExternalAddrCandidate(candidate);
        asker.behaviour_mut().nat.on_swarm_event(candidate);
        let heard = async {
            loop {
                tokio::select! {
                    _ = server.select_next_some() => {}
                    event = asker.select_next_some() => {
                        // What the other saw of us is asked about, too.
                        if let SwarmEvent::Behaviour(WithEvent::Nat(event)) = event
                            && event.tested_addr == there
                        {
                            return event.result;
                        }
                    }
                }
            }
        };
        let result = timeout(HANG, heard).await.expect("no answer came");
        assert!(result.is_err());
    }
}
