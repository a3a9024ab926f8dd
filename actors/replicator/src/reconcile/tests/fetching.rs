//! How fast, how many at once, and what of streams that stall or break.

use bytecave_config::ByteSize;
use bytecave_messages::body::{BlobBody, stream};

use super::*;

/// A blob of this length and of a shard that the nodes keep.
fn large(len: usize) -> Vec<u8> {
    let with = |at: u32| {
        let mut content = vec![0; len];
        content[..4].copy_from_slice(&at.to_be_bytes());
        content
    };
    (0..1000)
        .map(with)
        .find(|content| shard_of(content).get() < 8)
        .unwrap()
}

/// A stream of `content` from there on, `piece` bytes after each `pause`, that breaks at that byte.
fn streamed(
    content: &[u8],
    from: u64,
    (piece, pause): (usize, Duration),
    breaks_at: Option<usize>,
) -> RemoteBlob {
    let (mut sender, body) = stream(Some(content.len() as u64));
    let end = breaks_at.unwrap_or(content.len());
    let part = content[usize::try_from(from).unwrap()..end].to_vec();
    tokio::spawn(async move {
        for piece in part.chunks(piece) {
            tokio::time::sleep(pause).await;
            if sender.send(piece.to_vec().into()).await.is_err() {
                return;
            }
        }
        if breaks_at.is_none() {
            sender.finish();
        }
    });
    RemoteBlob {
        size: content.len() as u64,
        blob_root: None,
        content_type: None,
        offset: from,
        body: BlobBody::Stream(body),
    }
}

#[actix::test]
async fn repairs_keep_to_their_rate_and_number() {
    const RATE: u64 = 64 << 10;
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let mut settings = settings();
    settings.repair_bytes_per_second = ByteSize::new(RATE);
    settings.repairs_at_once = 2;
    let nodes = world.nodes(2, &settings, dir.path()).await;
    nodes[1].knows(&[]);
    let all: Vec<_> = (0..12_usize).map(|at| large(60_000 + at)).collect();
    let total: u64 = all.iter().map(|content| content.len() as u64).sum();
    for content in &all {
        nodes[1].store.seed(content, None);
    }
    until("begun", Duration::from_mins(1), || {
        nodes[0].counter("repaired_bytes") > 0
    })
    .await;
    let began = Instant::now();
    let before = nodes[0].counter("repaired_bytes");
    let mut most_running = 0;
    while !nodes[0].has(&all) {
        let snapshot = nodes[0].reconciler.snapshot(0);
        most_running = most_running.max(snapshot.repairs_running);
        let repaired = nodes[0].counter("repaired_bytes") - before;
        // What was bought before counts in half a second and the burst.
        let allowed = RATE * (began.elapsed().as_secs() + 3);
        assert!(
            repaired <= allowed,
            "{repaired} after {:?}",
            began.elapsed()
        );
        assert!(began.elapsed() < Duration::from_mins(1));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(
        began.elapsed().as_secs() >= total / RATE - 4,
        "{:?}",
        began.elapsed()
    );
    assert_eq!(most_running, 2);
}

#[actix::test]
async fn a_stream_that_breaks_is_gone_on_with() {
    const HALF: usize = 3 << 20;
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &settings(), dir.path()).await;
    nodes[1].knows(&[]);
    let content = large(HALF * 2);
    nodes[1].store.seed(&content, None);
    let (given, asked) = (content.clone(), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&asked);
    world.gives(2, move |_, from| {
        noted.lock().unwrap().push(from);
        let breaks_at = (from == 0).then_some(HALF);
        Some(Ok(streamed(
            &given,
            from,
            (1 << 18, Duration::from_millis(10)),
            breaks_at,
        )))
    });
    until("repaired", Duration::from_mins(1), || {
        nodes[0].has(std::slice::from_ref(&content))
    })
    .await;
    assert_eq!(*asked.lock().unwrap(), [0, HALF as u64]);
    assert_eq!(nodes[0].counter("repaired_blobs"), 1);
}

#[actix::test]
async fn a_peer_that_trickles_is_left_for_another() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(3, &settings(), dir.path()).await;
    let content = large(1 << 20);
    nodes[2].store.seed(&content, None);
    let given = content.clone();
    world.gives(2, move |_, from| {
        let trickle = (100, Duration::from_secs(1));
        Some(Ok(streamed(&given, from, trickle, None)))
    });
    nodes[0].repair(&content, &[2, 3]);
    let began = Instant::now();
    until("repaired", Duration::from_mins(1), || {
        nodes[0].has(std::slice::from_ref(&content))
    })
    .await;
    assert!(began.elapsed().as_secs() >= 30, "it had its time");
    assert!(nodes[0].conduct.score(&peer(2)) < 0.0);
    assert!(!nodes[0].conduct.is_blocked(&peer(2)));
}

#[actix::test]
async fn a_peer_that_sends_nothing_is_left_for_another() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(3, &settings(), dir.path()).await;
    let all = contents("blob", 1);
    nodes[2].store.seed(&all[0], None);
    let open = Arc::new(Mutex::new(Vec::new()));
    let kept_open = Arc::clone(&open);
    world.gives(2, move |_, _| {
        let (sender, body) = stream(Some(100));
        kept_open.lock().unwrap().push(sender);
        Some(Ok(RemoteBlob {
            size: 100,
            blob_root: None,
            content_type: None,
            offset: 0,
            body: BlobBody::Stream(body),
        }))
    });
    nodes[0].repair(&all[0], &[2, 3]);
    until("repaired", Duration::from_mins(1), || nodes[0].has(&all)).await;
    assert_eq!(open.lock().unwrap().len(), 1);
}

#[actix::test]
async fn whoever_is_not_admitted_gives_nothing() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &settings(), dir.path()).await;
    nodes[1].store.seed(&contents("blob", 1)[0], None);
    let mut parts = ReconcilerParts {
        admission: Admission::Nobody("for a test"),
        settings: settings(),
        state_file: dir.path().join("strict.json"),
        store: nodes[0].store.port(),
        swarm: nodes[0].reconciler.shared.parts.swarm.clone(),
        facts: nodes[0].facts.clone(),
        holders: nodes[0].holders.clone(),
        conduct: nodes[0].conduct.clone(),
    };
    nodes[0].reconciler.clone().stop().await;
    parts.settings.reconcile_interval = TimeSpan::from_millis(10_000);
    let strict = Reconciler::with_clock(parts, test_now_ms);
    world
        .lock()
        .nodes
        .insert(peer(1), (strict.clone(), nodes[0].store.clone()));
    strict.start();
    tokio::time::sleep(INTERVAL).await;
    assert!(world.asked(1, "ranges") > 0);
    assert_eq!(world.asked(1, "retrieve"), 0);
    let offered = put(
        &strict,
        peer(2),
        peer(1),
        SyncRequest::Offer {
            shard: shard_of(&contents("blob", 1)[0]),
            digests: digests(&contents("blob", 1)).into_iter().collect(),
        },
    );
    let refused = offered.await.unwrap_err();
    assert!(
        matches!(
            refused,
            SwarmError::Refused {
                kind: RefusalKind::NotAdmitted,
                ..
            }
        ),
        "{refused:?}"
    );
}
