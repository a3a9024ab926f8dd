//! What others know of a node that stopped, and when they met it.

use super::*;

#[actix::test]
async fn a_node_that_stops_says_goodbye_and_is_welcome_again() {
    let one = Node::start(1, settings(|_| {})).await;
    let at = one.address().await;
    let mut two = Node::start(2, settings(bootstrap(&at))).await;
    until("they hear each other", || {
        let heard = |view: PeerView| view.announced.is_some() && view.info.is_some();
        one.view(&two).is_some_and(heard) && two.view(&one).is_some_and(heard)
    })
    .await;
    let before = one.view(&two).unwrap();
    assert!(before.live && before.left_ms.is_none());
    assert!(before.first_seen_ms > 0);
    assert!(before.first_seen_ms <= before.last_seen_ms);

    two.stop().await;
    until("the goodbye was heard", || {
        one.view(&two).is_some_and(|view| view.left_ms.is_some())
    })
    .await;
    assert!(!one.view(&two).unwrap().live);

    let again = Node::try_start(2, Arc::clone(&two.directory), settings(bootstrap(&at)));
    let again = again.await.unwrap();
    until("it is back", || {
        one.view(&again)
            .is_some_and(|view| view.live && view.left_ms.is_none())
    })
    .await;
    let after = one.view(&again).unwrap();
    assert_eq!(after.first_seen_ms, before.first_seen_ms);
    until("it remembers when it met the other", || {
        again
            .view(&one)
            .is_some_and(|view| view.first_seen_ms > 0 && view.first_seen_ms <= before.last_seen_ms)
    })
    .await;
}
