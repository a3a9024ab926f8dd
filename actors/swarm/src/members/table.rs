//! Who gets a place, and who gives way.

use bytecave_core::PeerId;

use super::member::{Member, Standing};
use super::{Members, NEW_STRANGERS_PER_MINUTE, NEW_STRANGERS_PER_TELLER, Teller};

/// A minute of the rate of newcomers.
const MINUTE_MS: u64 = 60_000;

impl Members {
    /// A place for a peer that is connected or configured, new or not. `false`: all places are of
    /// such peers, or it is this node itself.
    pub(super) fn make_place(&mut self, peer: PeerId) -> bool {
        if peer == self.own {
            return false;
        }
        if self.by_id.contains_key(&peer) {
            return true;
        }
        if self.by_id.len() >= self.limit {
            let yielding = self
                .by_id
                .values()
                .filter(|member| !member.is_connected() && !member.is_configured())
                .max_by_key(|member| (member.standing.rank(), u64::MAX - member.heard_ms));
            let Some(yielding) = yielding.map(|member| member.id) else {
                return false;
            };
            self.by_id.remove(&yielding);
        }
        // It came by itself: nobody else vouches for it.
        let standing = Standing::Stranger(Teller::Peer(peer));
        self.by_id.insert(peer, Member::new(peer, standing));
        true
    }

    /// A place for a peer that was only told of, if its teller and all tellers together have one
    /// left, or have told of somebody who fell silent.
    pub(super) fn admit(&mut self, peer: PeerId, teller: Teller, now_ms: u64) -> bool {
        if peer == self.own || !self.rate_allows(teller, now_ms) {
            return false;
        }
        let of = |one: Option<Teller>| {
            let strangers = self.by_id.values().filter(move |member| {
                matches!(member.standing, Standing::Stranger(by) if one.is_none_or(|one| by == one))
                    && !member.is_connected()
            });
            strangers.clone().count()
        };
        let of_teller_full = of(Some(teller)) >= (self.limit / 8).max(1);
        let strangers_full = of(None) >= (self.limit / 2).max(1);
        let table_full = self.by_id.len() >= self.limit;
        if of_teller_full || strangers_full || table_full {
            let whose = of_teller_full.then_some(teller);
            let Some(silent) = self.silent_stranger(whose, now_ms) else {
                return false;
            };
            self.by_id.remove(&silent);
        }
        self.newcomers += 1;
        *self.newcomers_of.entry(teller).or_default() += 1;
        let member = Member::new(peer, Standing::Stranger(teller));
        self.by_id.insert(peer, member);
        true
    }

    fn rate_allows(&mut self, teller: Teller, now_ms: u64) -> bool {
        let minute = now_ms / MINUTE_MS;
        if self.minute != minute {
            self.minute = minute;
            self.newcomers = 0;
            self.newcomers_of.clear();
        }
        let of_teller = self.newcomers_of.get(&teller).copied().unwrap_or(0);
        self.newcomers < NEW_STRANGERS_PER_MINUTE && of_teller < NEW_STRANGERS_PER_TELLER
    }

    /// The stranger that fell silent longest ago, of one teller or of all.
    fn silent_stranger(&self, whose: Option<Teller>, now_ms: u64) -> Option<PeerId> {
        self.by_id
            .values()
            .filter(|member| match member.standing {
                Standing::Stranger(by) => whose.is_none_or(|whose| whose == by),
                Standing::Configured | Standing::Proven => false,
            })
            .filter(|member| !member.is_live(now_ms, self.timeout_ms))
            .min_by_key(|member| member.heard_ms)
            .map(|member| member.id)
    }
}
