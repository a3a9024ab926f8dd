//! What happens to requests of peers, counted.

use bytecave_messages::swarm::RefusalKind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::frame::FrameError;

/// The counters of the wire. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct WireCounters {
    requests: Family<RequestLabels, Counter>,
    turned_away: Family<TurnedAwayLabels, Counter>,
}

/// How a request of a peer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As asked.
    Served,
    /// There is no such blob here.
    NotFound,
    /// Declined, with the reason.
    Refused,
    /// It made no sense.
    Invalid,
    /// Declined for want of room or rate.
    Busy,
    /// The peer was too slow.
    TimedOut,
    /// The stream ended early.
    Broken,
}

/// Why a stream was not served at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnedAway {
    /// The peer has too many streams.
    PeerLimit,
    /// The node has, or nobody takes them fast enough.
    Full,
    /// It came over a relayed connection.
    Relayed,
    /// The peer's key is of a kind that is not known here.
    ForeignKey,
    /// There was not even room for an answer.
    Reset,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    protocol: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TurnedAwayLabels {
    reason: &'static str,
}

impl WireCounters {
    /// Adds the counters to `registry`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "bytecave_swarm_requests",
            "Requests of peers by protocol and outcome",
            self.requests.clone(),
        );
        registry.register(
            "bytecave_swarm_streams_turned_away",
            "Inbound streams that were not served, by reason",
            self.turned_away.clone(),
        );
    }

    pub(crate) fn request(&self, protocol: &'static str, outcome: Outcome) {
        let labels = RequestLabels {
            protocol,
            outcome: outcome.as_str(),
        };
        self.requests.get_or_create(&labels).inc();
    }

    pub(crate) fn turned_away(&self, reason: TurnedAway) {
        let labels = TurnedAwayLabels {
            reason: reason.as_str(),
        };
        self.turned_away.get_or_create(&labels).inc();
    }

    #[cfg(test)]
    pub(crate) fn turned_away_so_far(&self, reason: TurnedAway) -> u64 {
        let labels = TurnedAwayLabels {
            reason: reason.as_str(),
        };
        self.turned_away.get_or_create(&labels).get()
    }
}

impl Outcome {
    /// Of a request that was declined.
    pub(crate) const fn refused(kind: RefusalKind) -> Self {
        match kind {
            RefusalKind::NotFound => Self::NotFound,
            RefusalKind::Invalid | RefusalKind::Mismatch => Self::Invalid,
            RefusalKind::Busy => Self::Busy,
            _ => Self::Refused,
        }
    }

    /// Of a request that was not read, or whose answer did not go out.
    pub(crate) const fn of(error: &FrameError) -> Self {
        match error {
            FrameError::TooLong { .. } => Self::Invalid,
            FrameError::TimedOut { .. } => Self::TimedOut,
            FrameError::Ended { .. } | FrameError::Stream(_) => Self::Broken,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::Busy => "busy",
            Self::TimedOut => "timed_out",
            Self::Broken => "broken",
        }
    }
}

impl TurnedAway {
    const fn as_str(self) -> &'static str {
        match self {
            Self::PeerLimit => "peer_limit",
            Self::Full => "full",
            Self::Relayed => "relayed",
            Self::ForeignKey => "foreign_key",
            Self::Reset => "reset",
        }
    }
}
