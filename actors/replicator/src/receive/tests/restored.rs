//! What was let go and is brought again.

use super::*;

#[actix::test]
async fn what_was_let_go_is_taken_back_without_its_bytes() {
    let store = FakeStore::start();
    let receiver = receiver(&store, &settings());
    let content = content();
    let cid = store.seed(&content, None);
    let hold = Duration::from_hours(24);
    assert_eq!(store.port().retire(cid, hold).await, Ok(true));
    assert!(store.kept(&cid).is_none() && store.retired(&cid) == Some(hold));
    let (kept, wanted) = offer(&receiver, 1, stated(&content), &content).await;
    assert!(kept.unwrap().already_stored && !wanted);
    assert!(store.kept(&cid).is_some() && store.retired(&cid).is_none());
}
