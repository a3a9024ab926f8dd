//! What a stop, a restart and a bad file do.

use super::*;

#[actix::test]
async fn a_restart_forgets_nothing_and_asks_nothing_again() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &settings(), dir.path()).await;
    nodes[1].knows(&[]);
    let all = contents("blob", 3);
    for node in &nodes {
        all.iter().for_each(|content| {
            node.store.seed(content, None);
        });
    }
    until("compared", Duration::from_mins(1), || {
        world.asked(1, "compare all") == 1
    })
    .await;
    nodes[0].conduct.note(&peer(9), crate::conduct::Deed::Lied);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = nodes[0].shard(shard_of(&all[0]));
    assert_eq!(before.live, 2);
    nodes[0].reconciler.clone().stop().await;

    let store = nodes[0].store.clone();
    let again = world
        .node_with(1, &[1, 2], settings(), dir.path(), store)
        .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(again.shard(shard_of(&all[0])), before);
    assert!(again.conduct.is_blocked(&peer(9)));
    tokio::time::sleep(INTERVAL / 2).await;
    assert_eq!(world.asked(1, "compare all"), 1, "it is not due");
    tokio::time::sleep(INTERVAL).await;
    assert_eq!(world.asked(1, "compare all"), 2);
}

#[actix::test]
async fn what_is_new_is_written_down_within_two_minutes() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &settings(), dir.path()).await;
    let file = dir.path().join("1.json");
    until("written", Duration::from_mins(2), || file.exists()).await;
    assert!(world.asked(1, "compare all") > 0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(&peer(2).to_string()), "{text}");
    drop(nodes);
}

#[actix::test]
async fn who_never_started_writes_nothing() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let node = world.node(1, &[], settings(), dir.path()).await;
    node.reconciler.clone().stop().await;
    let file = dir.path().join("2.json");
    std::fs::write(&file, "kept").unwrap();
    let parts = ReconcilerParts {
        admission: Admission::Everyone,
        settings: settings(),
        state_file: file.clone(),
        store: node.store.port(),
        swarm: node.reconciler.shared.parts.swarm.clone(),
        facts: node.facts.clone(),
        holders: node.holders.clone(),
        conduct: node.conduct.clone(),
    };
    let disabled = Reconciler::new(parts);
    let shards = disabled.snapshot(3);
    assert_eq!(shards.outbox, 3);
    assert_eq!(shards.shards.len(), 8);
    assert_eq!(
        shards.shards[0].reason.as_deref(),
        Some("no other node keeps this shard")
    );
    disabled.stop().await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}

#[actix::test]
async fn a_stop_ends_what_is_under_way() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &settings(), dir.path()).await;
    nodes[1].knows(&[]);
    nodes[1].store.seed(&contents("blob", 1)[0], None);
    let (sender, held) = tokio::sync::oneshot::channel::<()>();
    let held = Mutex::new(Some(held));
    world.gives(2, move |_, _| {
        let (kept, body) = bytecave_messages::body::stream(Some(100));
        let held = held.lock().unwrap().take();
        tokio::spawn(async move {
            let _kept = kept;
            if let Some(held) = held {
                let _ = held.await;
            }
        });
        Some(Ok(RemoteBlob {
            size: 100,
            blob_root: None,
            content_type: None,
            offset: 0,
            body: bytecave_messages::body::BlobBody::Stream(body),
        }))
    });
    until("fetching", Duration::from_mins(1), || {
        nodes[0].reconciler.snapshot(0).repairs_running == 1
    })
    .await;
    let began = Instant::now();
    nodes[0].reconciler.clone().stop().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(nodes[0].reconciler.snapshot(0).repairs_running, 0);
    let asked = world.lock().log.len();
    tokio::time::sleep(INTERVAL * 3).await;
    assert_eq!(world.lock().log.len(), asked, "nothing goes on");
    drop(sender);
}

#[actix::test]
async fn why_copies_are_wanting_is_said() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let node = world.node(1, &[2], settings(), dir.path()).await;
    let shard = count().shard(3).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let waiting = format!("waiting for the first comparison with holder {}", peer(2));
    assert_eq!(node.shard(shard).reason, Some(waiting));
    let mut away = keeper(2);
    (away.connection, away.live) = (None, false);
    away.last_seen_ms = test_now_ms() - 240_000;
    node.holders.set_network(Arc::new(network(vec![away])));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let unseen = format!("holder {} unseen for 4 min", peer(2));
    let view = node.shard(shard);
    assert_eq!(view.reason, Some(unseen));
    assert!(view.holders.iter().any(|holder| !holder.live));
    node.knows(&[2]);
    node.reconciler
        .shared
        .board()
        .differ(peer(2), shard, 4, test_now_ms());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        node.shard(shard).reason.as_deref(),
        Some("holders differ by 4 blobs")
    );
    assert_eq!(node.shard(shard).live, 1);
}
