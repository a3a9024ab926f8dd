//! A node that answers as a test wants it to, down to the wrong byte: what no real one does on demand.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

/// Answers as many connections as it has answers, then is gone.
pub(super) struct FakeNode {
    url: String,
    served: JoinHandle<Vec<u8>>,
}

impl FakeNode {
    /// Answers the first request with these bytes, whatever it asks.
    pub(super) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        Self::answering_each([answer])
    }

    /// Answers one request after the other, each on a connection of its own.
    pub(super) fn answering_each(answers: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers: Vec<Vec<u8>> = answers.into_iter().map(Into::into).collect();
        let served = std::thread::spawn(move || {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .unwrap();
                requests.extend(read_request(&mut stream));
                stream.write_all(&answer).unwrap();
                stream.shutdown(Shutdown::Both).unwrap();
            }
            requests
        });
        Self { url, served }
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The requests as they came, one behind the other.
    pub(super) fn request(self) -> String {
        String::from_utf8(self.served.join().unwrap()).unwrap()
    }
}

/// Reads the head, and a body of a stated length or in chunks, to its end.
fn read_request(stream: &mut impl Read) -> Vec<u8> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !is_whole(&request) {
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(
            read,
            0,
            "the request ended early: {}",
            String::from_utf8_lossy(&request)
        );
        request.extend_from_slice(&buffer[..read]);
    }
    request
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n");
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// An answer with this status line, type and body.
pub(super) fn answer(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
