//! When a peer was met, and when it said goodbye.

use super::*;

fn goodbye(number: u64, said_ms: u64) -> Announcement {
    Announcement {
        leaving: true,
        ..announcement(number, said_ms)
    }
}

fn view(members: &Members, now: u64) -> PeerView {
    let views = members.views(now, 10);
    assert_eq!(views.len(), 1);
    views[0].clone()
}

#[test]
fn a_goodbye_holds_until_a_later_word_of_the_peer_itself() {
    let mut members = members(10);
    prove(&mut members, 1, NOW);
    assert!(announce(&mut members, 1, 2, NOW + 3 * MINUTE));
    let now = NOW + 4 * MINUTE;
    members.take_changed();
    assert!(members.announced(goodbye(1, now), peer(2), now));
    assert!(members.take_changed(), "worth writing");
    let left = view(&members, now);
    assert_eq!((left.left_ms, left.live), (Some(now), false));
    assert_eq!(members.counts(now).live, 0);
    // What was said before and took its time changes nothing.
    let late = announcement(1, now - 1);
    assert!(!members.announced(late, peer(2), now + 1));
    let told = members.told(peer(1), [at(7)].iter(), Teller::LocalNetwork, now + 1);
    assert!(told && view(&members, now + 1).left_ms.is_some());
    assert!(announce(&mut members, 1, 2, now + 2));
    let back = view(&members, now + 2);
    assert_eq!((back.left_ms, back.live), (None, true));
}

#[test]
fn what_still_comes_over_the_last_connection_is_no_return() {
    let mut members = members(10);
    let id = connection(1);
    assert!(members.connected(peer(1), id, &dialled(&at(1)), NOW));
    identify(&mut members, 1, &[], NOW);
    assert!(members.announced(goodbye(1, NOW + 1), peer(1), NOW + 1));
    members.pinged(peer(1), Duration::from_millis(1), NOW + 2);
    identify(&mut members, 1, &[], NOW + 3);
    assert!(!view(&members, NOW + 3).live);
    members.disconnected(peer(1), id, NOW + 4);
    let gone = view(&members, NOW + 5);
    assert_eq!((gone.left_ms, gone.live), (Some(NOW + 1), false));
    assert!(members.connected(peer(1), connection(2), &dialled(&at(1)), NOW + 6));
    let back = view(&members, NOW + 6);
    assert_eq!((back.left_ms, back.live), (None, true));
    assert_eq!(back.first_seen_ms, NOW);
}

#[test]
fn nobody_comes_by_saying_goodbye() {
    let mut members = members(10);
    assert!(!members.announced(goodbye(1, NOW), peer(2), NOW));
    assert_eq!(members.counts(NOW).known, 0);
}

#[test]
fn age_and_goodbye_outlive_a_restart() {
    let mut before = members(10);
    prove(&mut before, 1, NOW);
    let now = NOW + 5 * MINUTE;
    assert!(before.announced(goodbye(1, now), peer(1), now));
    let mut after = members(10);
    after.restore(before.remembered(), now + MINUTE);
    let known = view(&after, now + MINUTE);
    assert_eq!((known.first_seen_ms, known.left_ms), (NOW, Some(now)));
    assert!(!known.live);

    // Of a file that does not say, and of one that says what cannot be.
    let mut odd = before.remembered();
    odd[0].first_seen_ms = 0;
    odd[0].left_ms = Some(u64::MAX);
    let mut after = members(10);
    after.restore(odd, now + MINUTE);
    let known = view(&after, now + MINUTE);
    assert_eq!((known.first_seen_ms, known.left_ms), (now, None));
}
