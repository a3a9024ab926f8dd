//! When an entry of the outbox is dealt with: a pure decision.
//!
//! Nothing of this lets go of a blob: this node keeps what it took. It is only about whether this node
//! goes on bringing it to others.

use bytecave_core::PeerId;

use crate::place::Outcome;
use crate::placement::Holder;

/// What becomes of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is dealt with.
    Settled,
    /// It is tried again later.
    Again,
}

/// By who holds the shard now, and what came of copying the blob.
///
/// It is settled when every other accepting holder has the blob durably or refuses it for good. Where
/// this node is a holder itself, it is enough to have tried each, since holders compare what they have
/// and fetch what they lack; where it is not, nobody would compare with it, so at least one of them must
/// have it and the others were tried.
pub(super) fn verdict(me: &PeerId, holders: &[Holder], outcome: &Outcome) -> Verdict {
    if outcome.gone {
        return Verdict::Settled;
    }
    let others = || others(me, holders);
    let held_here = holders.iter().any(|holder| holder.peer == *me);
    let tried = !outcome.cut_short
        && others().all(|peer| outcome.is_done_with(peer) || outcome.failed.contains(peer));
    let settled = if others().all(|peer| outcome.is_done_with(peer)) {
        held_here || others().next().is_some()
    } else {
        tried && (held_here || others().any(|peer| outcome.has(peer)))
    };
    if settled {
        Verdict::Settled
    } else {
        Verdict::Again
    }
}

/// Whether every other accepting holder has the blob or refuses it for good, or there is nothing to bring.
pub(super) fn is_everywhere(me: &PeerId, holders: &[Holder], outcome: &Outcome) -> bool {
    outcome.gone
        || others(me, holders).next().is_some()
            && others(me, holders).all(|peer| outcome.is_done_with(peer))
}

fn others<'a>(me: &'a PeerId, holders: &'a [Holder]) -> impl Iterator<Item = &'a PeerId> {
    let accepting = holders.iter().filter(|holder| holder.accepting);
    let peers = accepting.map(|holder| &holder.peer);
    peers.filter(move |peer| *peer != me)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::peer;

    fn holder(number: u8, accepting: bool) -> Holder {
        Holder {
            peer: peer(number),
            accepting,
            counted: accepting,
            on_probation: false,
            unproved: false,
        }
    }

    fn outcome(has: &[u8], declines: &[u8], failed: &[u8]) -> Outcome {
        let peers = |numbers: &[u8]| numbers.iter().map(|number| peer(*number)).collect();
        Outcome {
            has: has.iter().map(|number| (peer(*number), false)).collect(),
            declines: peers(declines),
            failed: peers(failed),
            ..Outcome::default()
        }
    }

    #[test]
    fn a_holder_tries_each_and_another_goes_on_until_one_has_it() {
        use Verdict::{Again, Settled};
        let others = [holder(1, true), holder(2, false), holder(3, true)];
        let with_us = [&others[..], &[holder(9, true)]].concat();
        for (has, declines, failed, ours, not_ours) in [
            (&[][..], &[][..], &[][..], Again, Again),
            (&[1], &[], &[], Again, Again),
            (&[1, 3], &[], &[], Settled, Settled),
            (&[1], &[3], &[], Settled, Settled),
            (&[], &[1, 3], &[], Settled, Settled),
            (&[1], &[], &[3], Settled, Settled),
            (&[], &[], &[1, 3], Settled, Again),
            (&[], &[1], &[3], Settled, Again),
            (&[4], &[], &[1, 3], Settled, Again),
        ] {
            let outcome = outcome(has, declines, failed);
            assert_eq!(verdict(&peer(9), &with_us, &outcome), ours, "{outcome:?}");
            assert_eq!(
                verdict(&peer(9), &others, &outcome),
                not_ours,
                "{outcome:?}"
            );
        }
    }

    #[test]
    fn what_is_settled_need_not_be_everywhere() {
        let holders = [holder(1, true), holder(2, false), holder(9, true)];
        let is = |holders: &[Holder], outcome: &Outcome| is_everywhere(&peer(9), holders, outcome);
        assert!(is(&holders, &outcome(&[1], &[], &[])));
        assert!(is(&holders, &outcome(&[], &[1], &[])));
        assert!(!is(&holders, &outcome(&[], &[], &[1])));
        assert!(!is(&[holder(9, true)], &Outcome::default()));
        let gone = Outcome {
            gone: true,
            ..Outcome::default()
        };
        assert!(is(&[holder(9, true)], &gone));
    }

    #[test]
    fn what_this_node_was_too_busy_for_is_not_tried() {
        let holders = [holder(1, true), holder(9, true)];
        let mut cut_short = outcome(&[], &[], &[1]);
        cut_short.cut_short = true;
        assert_eq!(verdict(&peer(9), &holders, &cut_short), Verdict::Again);
        cut_short.gone = true;
        assert_eq!(verdict(&peer(9), &holders, &cut_short), Verdict::Settled);
    }

    #[test]
    fn with_nobody_else_a_holder_is_done_and_another_waits() {
        let nobody = Outcome::default();
        assert_eq!(
            verdict(&peer(9), &[holder(9, true)], &nobody),
            Verdict::Settled
        );
        assert_eq!(verdict(&peer(9), &[], &nobody), Verdict::Again);
        assert_eq!(
            verdict(&peer(9), &[holder(1, false)], &nobody),
            Verdict::Again
        );
    }
}
