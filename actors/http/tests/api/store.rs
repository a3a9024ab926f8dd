//! `POST /store`.

use std::time::Duration;

use bytecave_core::BlobCid;
use bytecave_messages::body::BodyError;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Request, read_answer};
use crate::fake_store::{Asked, content_of_len, content_of_shard};
use crate::node::{Node, TOKEN, until};

const MIB: usize = 1024 * 1024;

fn put(len: u64, whole: bool) -> Asked {
    Asked::Put {
        whole,
        stated_len: Some(len),
        received: Ok(len),
    }
}

#[actix::test]
async fn a_new_blob_is_201_with_all_fields_and_the_same_again_is_200() {
    let node = Node::up().await;
    let content = content_of_shard(true);
    let cid = BlobCid::of(&content);
    let request = Request::post("/store", content.clone());
    let answer = node.send(request.clone()).await;
    assert_eq!(answer.status, 201);
    let json = answer.json();
    let info = node.store.info(&cid).unwrap();
    assert_eq!(json["cid"], cid.to_string());
    assert_eq!(json["size"], content.len());
    assert_eq!(json["encrypted"], true);
    assert_eq!(json["shard"], info.shard.get());
    assert_eq!(json["blobRoot"], hex::encode(info.blob_root.as_bytes()));
    assert_eq!(json["commitment"].as_str().unwrap().len(), 64);
    assert_eq!(json["durability"], "batched");
    assert_eq!(json["replicas"]["target"], 1);
    assert_eq!(json["replicas"]["confirmed"], 1);
    assert!(json.get("receipt").is_none(), "it is not durable yet");
    assert_eq!(
        answer.header("location"),
        Some(format!("/retrieve/{cid}").as_str())
    );
    assert_eq!(node.send(request).await.status, 200);
    assert_eq!(node.store.content(&cid).unwrap(), content);
}

#[actix::test]
async fn small_bodies_go_whole_and_large_ones_as_a_stream() {
    let node = Node::up().await;
    for (len, whole) in [
        (0, true),
        (1, true),
        (70_000, true),
        (4 * MIB, true),
        (4 * MIB + 1, false),
    ] {
        let content = content_of_len(len);
        let answer = node.send(Request::post("/store", content.clone())).await;
        assert_eq!(answer.status, 201, "{len}");
        assert_eq!(node.store.asked().pop(), Some(put(len as u64, whole)));
        assert_eq!(node.store.content(&BlobCid::of(&content)).unwrap(), content);
    }
}

#[actix::test]
async fn a_body_in_chunks_is_streamed() {
    let node = Node::up().await;
    let content = content_of_len(700_001);
    let answer = node
        .send(Request::post("/store", content.clone()).chunked())
        .await;
    assert_eq!(answer.status, 201);
    let received = Ok(content.len() as u64);
    assert_eq!(
        node.store.asked(),
        [Asked::Put {
            whole: false,
            stated_len: None,
            received
        }]
    );
    assert_eq!(node.store.content(&BlobCid::of(&content)).unwrap(), content);
}

#[actix::test]
async fn type_and_name_are_kept() {
    let node = Node::up().await;
    let content = content_of_shard(true);
    let request = Request::post("/store", content.clone())
        .header("Content-Type", "image/png")
        .header(
            "Content-Disposition",
            "attachment; filename*=UTF-8''gr%C3%BCn.png",
        );
    assert_eq!(node.send(request).await.status, 201);
    let info = node.store.info(&BlobCid::of(&content)).unwrap();
    assert_eq!(info.content_type.as_deref(), Some("image/png"));
    assert_eq!(info.file_name.as_deref(), Some("grün.png"));
}

#[actix::test]
async fn no_length_at_all_is_411() {
    let node = Node::up().await;
    let answer = node.send(Request::new("POST", "/store")).await;
    answer.problem(411, "length_required");
    assert!(node.store.asked().is_empty());
}

#[actix::test]
async fn oversize_is_refused_before_the_body_when_its_length_is_stated() {
    let node = Node::with(|setup| setup.settings.max_blob_bytes = 1000).await;
    let answer = node.send(Request::post("/store", vec![1; 1001])).await;
    assert_eq!(answer.problem(413, "blob_too_large")["limitBytes"], 1000);
    assert!(node.store.asked().is_empty());
    assert_eq!(
        node.send(Request::post("/store", content_of_len(1000)))
            .await
            .status,
        201
    );
}

#[actix::test]
async fn oversize_is_refused_in_the_middle_when_it_is_not() {
    let node = Node::with(|setup| setup.settings.max_blob_bytes = 300_000).await;
    let answer = node
        .send(Request::post("/store", vec![1; 5 * MIB]).chunked())
        .await;
    assert_eq!(answer.problem(413, "blob_too_large")["limitBytes"], 300_000);
    let received = Err(BodyError::TooLarge {
        limit_bytes: 300_000,
    });
    assert_eq!(
        node.store.asked(),
        [Asked::Put {
            whole: false,
            stated_len: None,
            received
        }]
    );
    assert!(
        node.store
            .content(&BlobCid::of(&vec![1; 5 * MIB]))
            .is_none()
    );
}

#[actix::test]
async fn the_stated_cid_is_checked() {
    let node = Node::up().await;
    let content = content_of_shard(true);
    let cid = BlobCid::of(&content);
    let with =
        |stated: String| Request::post("/store", content.clone()).header("X-Content-CID", stated);
    for stated in [cid.to_string(), cid.digest().to_hex().to_uppercase()] {
        assert!(node.send(with(stated)).await.status < 300);
    }
    let other = BlobCid::of(&content_of_len(77));
    let problem = node.send(with(other.to_string())).await;
    let problem = problem.problem(422, "cid_mismatch");
    assert_eq!(problem["expected"], other.to_string());
    assert_eq!(problem["actual"], cid.to_string());
    node.send(with("nonsense".to_owned()))
        .await
        .problem(400, "bad_cid");
}

#[actix::test]
async fn bodies_that_are_not_what_they_seem_are_415_or_400() {
    let node = Node::up().await;
    let ask = || Request::post("/store", "x");
    node.send(ask().header("Content-Encoding", "gzip"))
        .await
        .problem(415, "unsupported_media_type");
    node.send(ask().header("Content-Type", "multipart/mixed; boundary=x"))
        .await
        .problem(415, "unsupported_media_type");
    node.send(ask().header("Content-Type", "no type"))
        .await
        .problem(400, "bad_header");
    node.send(ask().header("Content-Type", "multipart/form-data"))
        .await
        .problem(400, "bad_body");
    assert!(node.store.asked().is_empty());
}

fn form(parts: &[(&str, &[u8])]) -> Request {
    let mut body = Vec::new();
    for (head, content) in parts {
        body.extend(format!("--bound\r\n{head}\r\n\r\n").into_bytes());
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--bound--\r\n");
    Request::post("/store", body).header("Content-Type", "multipart/form-data; boundary=bound")
}

const FIELD: &str = "Content-Disposition: form-data; name=\"note\"";
const FILE: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"dir/a b.txt\"\r\nContent-Type: text/plain";

#[actix::test]
async fn a_form_with_one_file_stores_the_file() {
    let node = Node::up().await;
    let content = content_of_shard(true);
    let cid = BlobCid::of(&content);
    let answer = node
        .send(form(&[(FIELD, b"hello"), (FILE, &content), (FIELD, b"x")]))
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let info = node.store.info(&cid).unwrap();
    assert_eq!(info.content_type.as_deref(), Some("text/plain"));
    assert_eq!(info.file_name.as_deref(), Some("a b.txt"));
    assert_eq!(node.store.asked(), [put(content.len() as u64, true)]);
    let large = content_of_len(5 * MIB);
    assert_eq!(node.send(form(&[(FILE, &large)])).await.status, 201);
    assert_eq!(node.store.content(&BlobCid::of(&large)).unwrap(), large);
    let in_chunks = content_of_len(300_000);
    assert_eq!(
        node.send(form(&[(FILE, &in_chunks)]).chunked())
            .await
            .status,
        201
    );
    assert_eq!(
        node.store.content(&BlobCid::of(&in_chunks)).unwrap(),
        in_chunks
    );
}

#[actix::test]
async fn a_form_with_no_file_or_two_or_half_of_one_stores_nothing() {
    let node = Node::up().await;
    let content = content_of_shard(true);
    let large = content_of_len(5 * MIB);
    let none = node.send(form(&[(FIELD, b"hello")])).await;
    none.problem(400, "bad_body");
    let two = node.send(form(&[(FILE, &content), (FILE, b"y")])).await;
    two.problem(400, "bad_body");
    let two = node.send(form(&[(FILE, &large), (FILE, b"y")])).await;
    two.problem(400, "bad_body");
    let mut half = b"--bound\r\n".to_vec();
    half.extend(FILE.as_bytes());
    half.extend(b"\r\n\r\nhalf of it");
    let half =
        Request::post("/store", half).header("Content-Type", "multipart/form-data; boundary=bound");
    node.send(half).await.problem(400, "bad_body");
    for content in [content, large, b"y".to_vec(), b"half of it".to_vec()] {
        assert!(node.store.content(&BlobCid::of(&content)).is_none());
    }
}

#[actix::test]
async fn a_form_s_file_is_bounded_like_any_blob() {
    let node = Node::with(|setup| setup.settings.max_blob_bytes = 100_000).await;
    let at_limit = content_of_len(100_000);
    assert_eq!(node.send(form(&[(FILE, &at_limit)])).await.status, 201);
    let above = content_of_len(100_001);
    node.send(form(&[(FILE, &above)]))
        .await
        .problem(413, "blob_too_large");
    node.send(form(&[(FILE, &above)]).chunked())
        .await
        .problem(413, "blob_too_large");
    let far_above = content_of_len(3 * MIB);
    node.send(form(&[(FILE, &far_above)]))
        .await
        .problem(413, "blob_too_large");
    node.send(form(&[(FILE, &far_above)]).chunked())
        .await
        .problem(413, "blob_too_large");
}

#[actix::test]
async fn who_expects_100_gets_it_or_the_refusal_before_the_body() {
    let node = Node::with(|setup| {
        setup.settings.max_blob_bytes = 1000;
        setup.settings.store_access = bytecave_config::StoreAccess::Token;
    })
    .await;
    let ours = content_of_shard(true);
    let fine = Request::post("/store", ours.clone()).token(TOKEN);
    let answer = fine.clone().send_expecting(node.address).await;
    assert!(answer.continued);
    assert_eq!(answer.status, 201);

    let refused = [
        (Request::post("/store", ours.clone()), 401, "token_required"),
        (
            fine.clone().header("Host", "evil.example"),
            403,
            "host_not_allowed",
        ),
        (
            Request::post("/store", vec![0; 1001]).token(TOKEN),
            413,
            "blob_too_large",
        ),
        (
            Request::post("/nowhere", ours.clone()),
            404,
            "route_not_found",
        ),
        (
            fine.clone().header(
                "X-Content-CID",
                BlobCid::of(&content_of_shard(false)).to_string(),
            ),
            421,
            "wrong_shard",
        ),
    ];
    for (request, status, code) in refused {
        let answer = request.send_expecting(node.address).await;
        assert!(!answer.continued, "{code}");
        answer.problem(status, code);
    }
    assert_eq!(node.store.asked().len(), 1);
}

#[actix::test]
async fn a_client_that_stops_half_way_leaves_nothing() {
    let node = Node::up().await;
    for (len, chunked) in [(1000, false), (10 * MIB, false), (10 * MIB, true)] {
        let before = node.store.asked().len();
        let mut request = Request::post("/store", vec![1; len]);
        if chunked {
            request = request.chunked();
        }
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(&request.head(node.address)).await.unwrap();
        let start = if chunked { &b"64\r\nabc"[..] } else { b"abc" };
        stream.write_all(start).await.unwrap();
        if len > MIB {
            drop(stream);
            until("the store hears of it", || {
                node.store.asked().len() > before
            })
            .await;
            assert!(matches!(
                node.store.asked().last(),
                Some(Asked::Put {
                    received: Err(BodyError::Stopped { .. }),
                    ..
                })
            ));
        } else {
            // Half closed: the answer can still be read.
            stream.shutdown().await.unwrap();
            let answer = read_answer(&mut stream, false).await;
            answer.problem(400, "body_incomplete");
            assert_eq!(node.store.asked().len(), before, "the store was not asked");
        }
    }
    until("the permits are back", || {
        node.http_budget.snapshot().depth == 0
    })
    .await;
    assert_eq!(
        node.metric("bytecave_http_upload_bytes_in_flight").await,
        Some(0.0)
    );
}

#[actix::test]
async fn a_client_that_falls_silent_is_cut_off() {
    let node = Node::with(|setup| {
        setup.settings.body_idle_timeout = Duration::from_millis(100);
    })
    .await;
    for len in [1000, 10 * MIB] {
        let request = Request::post("/store", vec![1; len]);
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(&request.head(node.address)).await.unwrap();
        stream.write_all(b"abc").await.unwrap();
        let answer = read_answer(&mut stream, false).await;
        answer.problem(408, "upload_too_slow");
    }
    until("the permits are back", || {
        node.http_budget.snapshot().depth == 0
    })
    .await;
}

#[actix::test]
async fn uploads_beyond_the_memory_for_them_are_503_until_there_is_room() {
    let node = Node::with(|setup| {
        setup.settings.max_upload_in_flight_bytes = 5 * MIB as u64;
    })
    .await;
    let request = Request::post("/store", vec![1; 10 * MIB]);
    let mut first = TcpStream::connect(node.address).await.unwrap();
    first.write_all(&request.head(node.address)).await.unwrap();
    first.write_all(&vec![1; 4 * MIB]).await.unwrap();
    let second = node.send(Request::post("/store", vec![2; 2 * MIB])).await;
    second.problem(503, "uploads_full");
    assert_eq!(second.header("retry-after"), Some("1"));
    assert_eq!(
        node.metric("bytecave_http_uploads_refused_total").await,
        Some(1.0)
    );
    drop(first);
    until("the first is gone", || !node.store.asked().is_empty()).await;
    until("its permit is back", || {
        node.http_budget.snapshot().depth == 0
    })
    .await;
    let again = node
        .send(Request::post("/store", content_of_len(2 * MIB)))
        .await;
    assert_eq!(again.status, 201);
}

#[actix::test]
async fn a_refusal_reaches_a_client_that_is_still_sending_and_the_connection_ends() {
    let node = Node::with(|setup| setup.settings.max_blob_bytes = 1000).await;
    for chunked in [false, true] {
        let mut request =
            Request::post("/store", vec![1; 8 * MIB]).header("Connection", "keep-alive");
        if chunked {
            request = request.chunked();
        }
        let answer = node.send(request).await;
        answer.problem(413, "blob_too_large");
        assert_eq!(answer.header("connection"), Some("close"));
    }
}
