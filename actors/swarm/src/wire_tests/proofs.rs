//! `/bytecave/proof/1.0.0` between real swarms. What the error of a challenge says may be held against
//! the peer, so each is told apart.

use std::time::Duration;

use bytecave_core::proof::{Challenge, ChallengeCount, Nonce, PROOF_MAX_BYTES, Proof, Statement};
use bytecave_core::{BlobCid, NodeIdentity};
use bytecave_messages::swarm::{Refusal, RefusalKind, SwarmError};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::clients::{client, says};
use super::host::{Host, limits, two};
use super::replicator::{LONG, Node, until};
use crate::wire::frame;
use crate::wire::streams::StreamLimits;
use crate::wire::v2::Kind;
use crate::wire::v2::header::{HEADER_BYTES, Header};
use crate::wire::v2::proof::{answer_frame, question_frame};

const SHORT: Duration = Duration::from_millis(400);

pub(super) fn challenge(cid: BlobCid, count: u64) -> Challenge {
    Challenge {
        cid,
        nonce: Nonce::new([9; 32]),
        count: ChallengeCount::new(count).unwrap(),
    }
}

/// What a node of these tests proves of these bytes.
pub(super) fn proof(challenge: &Challenge, bytes: &[u8]) -> Proof {
    let statement = Statement::from_content(challenge, bytes).unwrap();
    let identity = NodeIdentity::from_seed([7; 32]).unwrap();
    Proof::sign(&identity, "node-7", 1_700_000_000_000, statement).unwrap()
}

fn any() -> Challenge {
    challenge(BlobCid::of(b"any"), 4)
}

#[actix::test]
async fn a_challenge_is_answered_with_a_proof() {
    let node = Node::new().await;
    let (client, peer) = (client(&node.asker, SHORT), node.host.id);
    for (size, count) in [(0, 1), (1025, 4), (3_000_000, 32)] {
        let bytes: Vec<u8> = (0..size).map(|at: usize| at.to_le_bytes()[1]).collect();
        let asked = challenge(node.has(&bytes, None), count);
        let proven = client.challenge(peer, &asked, LONG).await;
        assert_eq!(proven, Ok(proof(&asked, &bytes)));
        let heard = node.kitchen.lock().unwrap().challenged.pop();
        assert_eq!(heard, Some(asked), "as it was asked");
    }
    until(|| node.budget.snapshot().depth == 0).await;
    assert_eq!(node.memory.used_bytes(), 0);
}

#[actix::test]
async fn a_refusal_keeps_its_kind() {
    let node = Node::new().await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let unknown = client.challenge(peer, &any(), LONG).await;
    assert_eq!(unknown, Err(SwarmError::NotFound { peer }));
    for (refusal, kind) in [
        (Refusal::Damaged, RefusalKind::Damaged),
        (Refusal::Declined, RefusalKind::Declined),
        (Refusal::Blocked, RefusalKind::Blocked),
        (Refusal::Unavailable("not now"), RefusalKind::Unavailable),
    ] {
        node.kitchen.lock().unwrap().unproven = Some(refusal.clone());
        let reason = refusal.to_string();
        let refused = SwarmError::Refused { peer, kind, reason };
        let answer = client.challenge(peer, &any(), LONG).await;
        assert_eq!(answer, Err(refused));
    }
    node.kitchen.lock().unwrap().unproven = Some(Refusal::Busy);
    let busy = client.challenge(peer, &any(), LONG).await;
    assert_eq!(busy, Err(SwarmError::Busy { peer }));
    node.kitchen.lock().unwrap().deaf = true;
    let dropped = client.challenge(peer, &any(), LONG).await;
    assert_eq!(dropped, Err(SwarmError::Busy { peer }));
}

#[actix::test]
async fn a_node_that_waits_too_long_for_its_own_answer_says_busy() {
    let node = Node::with(|setup| setup.settings.request_timeout = SHORT).await;
    node.kitchen.lock().unwrap().slow = true;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let busy = client.challenge(peer, &any(), LONG).await;
    assert_eq!(busy, Err(SwarmError::Busy { peer }));
}

#[actix::test]
async fn who_falls_silent_is_late_by_the_patience_and_not_by_the_timeout_of_requests() {
    let node = Node::new().await;
    node.kitchen.lock().unwrap().slow = true;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let late = client.challenge(peer, &any(), SHORT).await;
    assert_eq!(late, Err(SwarmError::TimedOut { peer, after: SHORT }));
}

#[actix::test]
async fn who_does_not_even_agree_on_the_protocol_is_late() {
    // A host on a thread of its own, which stands still from some moment on.
    let (started, host) = oneshot::channel();
    let (freeze, frozen) = oneshot::channel::<()>();
    let (end, ended) = std::sync::mpsc::sync_channel::<()>(1);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let host = Host::new(limits()).await;
            let incoming = host.control.accept(Kind::Proof.protocol());
            assert!(started.send((host.id, host.address.clone())).is_ok());
            let _ = frozen.await;
            drop(incoming);
        });
        let _ = ended.recv();
    });
    let (peer, address) = host.await.unwrap();
    let asker = Host::new(limits()).await;
    assert!(asker.dial(&address).await);
    drop(freeze);
    let client = client(&asker, LONG);
    let late = client.challenge(peer, &any(), SHORT).await;
    assert_eq!(late, Err(SwarmError::TimedOut { peer, after: SHORT }));
    drop(end);
    thread.join().unwrap();
}

#[actix::test]
async fn who_cannot_be_dialled_is_unreachable_however_long_that_takes() {
    let hasty = StreamLimits {
        open_timeout: SHORT,
        ..limits()
    };
    let (asker, nowhere) = (Host::new(hasty).await, Host::new(limits()).await);
    let (client, peer) = (client(&asker, LONG), nowhere.id);
    let unreachable = async || {
        let error = client.challenge(peer, &any(), SHORT).await.unwrap_err();
        assert!(matches!(error, SwarmError::Unreachable { .. }), "{error}");
    };
    unreachable().await;
    // Connects, and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    asker.learn(
        &peer,
        &format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap(),
    );
    unreachable().await;
}

#[actix::test]
async fn who_does_not_speak_it_is_told_apart_and_nothing_older_is_tried() {
    let node = Node::with(|setup| setup.first_version = true).await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    node.has(b"any", None);
    let error = client.challenge(peer, &any(), LONG).await;
    let protocol = "/bytecave/proof/1.0.0";
    assert_eq!(error, Err(SwarmError::Unsupported { peer, protocol }));
}

#[actix::test]
async fn nonsense_is_the_peers_own_and_a_broken_stream_is_not() {
    let whole = answer_frame(&proof(&any(), b"any"));
    let prefix = |length: usize| u32::try_from(length).unwrap().to_be_bytes();
    let stated = |length: usize, bytes: &[u8]| [&prefix(length), bytes].concat();
    let body = &whole[4..];
    let endless = vec![0; PROOF_MAX_BYTES + 4];
    for nonsense in [
        stated(0, b""),
        stated(8, b"nonsense"),
        stated(PROOF_MAX_BYTES + 1, b""),
        stated(usize::try_from(u32::MAX).unwrap(), &endless),
        stated(PROOF_MAX_BYTES, &endless),
        stated(body.len() - 1, body),
        stated(body.len() + 1, &[body, b"x"].concat()),
        // A header that refuses nothing, and one that is none.
        Header::default().frame(),
        stated(2, &[0xa1, 0]),
    ] {
        let (asker, host) = two(limits()).await;
        says(&host, Kind::Proof.protocol(), nonsense.clone());
        let client = client(&asker, LONG);
        let error = client.challenge(host.id, &any(), LONG).await.unwrap_err();
        assert!(
            matches!(error, SwarmError::BadAnswer { .. }),
            "{error} for {} bytes",
            nonsense.len()
        );
    }
    for broken in [stated(body.len() + 1, body), whole[..3].to_vec(), vec![]] {
        let (asker, host) = two(limits()).await;
        says(&host, Kind::Proof.protocol(), broken);
        let client = client(&asker, LONG);
        let error = client.challenge(host.id, &any(), LONG).await.unwrap_err();
        assert!(matches!(error, SwarmError::Unreachable { .. }), "{error}");
    }
}

#[actix::test]
async fn a_drip_is_late() {
    let (asker, host) = two(limits()).await;
    let mut incoming = host.control.accept(Kind::Proof.protocol());
    tokio::spawn(async move {
        let mut inbound = incoming.next().await.unwrap();
        let length = u32::try_from(PROOF_MAX_BYTES).unwrap().to_be_bytes();
        inbound.stream.write_all(&length).await.unwrap();
        while inbound.stream.write_all(b"b").await.is_ok() && inbound.stream.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let (client, peer) = (client(&asker, LONG), host.id);
    let late = client.challenge(peer, &any(), SHORT).await;
    assert_eq!(late, Err(SwarmError::TimedOut { peer, after: SHORT }));
}

/// What the node says to these bytes: a refusal.
async fn refusal(node: &Node, said: &[u8]) -> RefusalKind {
    let mut stream = node.open_ours(Kind::Proof).await;
    stream.write_all(said).await.unwrap();
    stream.flush().await.unwrap();
    let answer = Header::read_within(&mut stream, LONG).await.unwrap();
    let end = stream.read(&mut [0; 1]).await;
    assert_eq!(end.unwrap(), 0, "one answer and then the end");
    answer.refused.unwrap().kind
}

#[actix::test]
async fn questions_that_make_no_sense_are_refused_and_asked_of_nobody() {
    let node = Node::with(|setup| setup.settings.request_timeout = SHORT).await;
    let header = |count| Header {
        cid: Some(BlobCid::of(b"any")),
        nonce: Some(Nonce::new([9; 32])),
        count,
        ..Header::default()
    };
    let without_nonce = Header {
        nonce: None,
        ..header(Some(4))
    };
    let long = u32::try_from(HEADER_BYTES + 1).unwrap().to_be_bytes();
    for said in [
        header(Some(0)).frame(),
        header(Some(33)).frame(),
        header(Some(u64::MAX)).frame(),
        header(None).frame(),
        without_nonce.frame(),
        frame::seal(b"\0\0\0\0garbage".to_vec()),
        // A nonce of 31 bytes.
        frame::seal([&b"\0\0\0\0\xa1\x09\x58\x1f"[..], &[0; 31]].concat()),
        long.to_vec(),
        // Silence, at once and in the middle.
        Vec::new(),
        question_frame(&any())[..20].to_vec(),
    ] {
        assert_eq!(
            refusal(&node, &said).await,
            RefusalKind::Invalid,
            "{said:?}"
        );
    }
    assert!(node.kitchen.lock().unwrap().challenged.is_empty());
    until(|| node.budget.snapshot().depth == 0).await;
}

#[actix::test]
async fn nobody_challenges_without_end() {
    let node = Node::new().await;
    let asked = challenge(node.has(b"any", None), 1);
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let mut answered = 0;
    let refused = loop {
        match client.challenge(peer, &asked, LONG).await {
            Ok(_) => answered += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SwarmError::Busy { peer });
    assert!(answered >= 200, "a burst passes: {answered}");
}

#[actix::test]
async fn without_a_permit_a_node_is_busy() {
    let node = Node::with(|setup| setup.mailbox = 1).await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let share = bytecave_messages::budget::Share::Client;
    let _full = node.budget.try_acquire(share, "other").unwrap();
    let busy = client.challenge(peer, &any(), LONG).await;
    assert_eq!(busy, Err(SwarmError::Busy { peer }));
}
