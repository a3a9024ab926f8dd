//! An HTTP client that hides nothing: it sends the bytes it is given and tells how the end came.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No test waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request in the making.
#[derive(Clone)]
pub(crate) struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    chunked: bool,
}

/// How an answer's body ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// As its framing said.
    Whole,
    /// The connection was closed before.
    Short,
    /// The connection was reset before.
    Reset,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) end: End,
    /// Whether `100 Continue` came first.
    pub(crate) continued: bool,
}

impl Request {
    pub(crate) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: None,
            chunked: false,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn post(path: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", path).body(body)
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends the body in chunks, without saying how long it is.
    pub(crate) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    fn names(&self, name: &str) -> bool {
        self.headers
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// The head as it goes over the wire.
    pub(crate) fn head(&self, address: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.names("Host") {
            let _ = write!(head, "Host: {address}\r\n");
        }
        if !self.names("Connection") {
            head.push_str("Connection: close\r\n");
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if self.chunked {
            head.push_str("Transfer-Encoding: chunked\r\n");
        } else if let Some(body) = &self.body
            && !self.names("Content-Length")
        {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    fn wire_body(&self) -> Vec<u8> {
        let body = self.body.clone().unwrap_or_default();
        if !self.chunked {
            return body;
        }
        let mut wire = Vec::new();
        for chunk in body.chunks(100_000) {
            wire.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            wire.extend(chunk);
            wire.extend(b"\r\n");
        }
        wire.extend(b"0\r\n\r\n");
        wire
    }

    /// Sends it and reads the answer; reads already while it sends, as careful clients do.
    pub(crate) async fn send(self, address: SocketAddr) -> Answer {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let mut wire = self.head(address);
        wire.extend(self.wire_body());
        let write = async {
            // A server that refuses may close before it has read all.
            let _ = writer.write_all(&wire).await;
        };
        let read = read_answer(&mut reader, self.method == "HEAD");
        let both = async { tokio::join!(write, read).1 };
        tokio::time::timeout(PATIENCE, both)
            .await
            .expect("an answer in time")
    }

    /// Sends the head, waits for `100 Continue` or a final answer, and sends the body only after
    /// the former.
    pub(crate) async fn send_expecting(self, address: SocketAddr) -> Answer {
        let request = self.header("Expect", "100-continue");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&request.head(address)).await.unwrap();
        let mut first = vec![0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut first).await.unwrap();
        let continued = first == b"HTTP/1.1 100 Continue\r\n\r\n";
        if continued {
            stream.write_all(&request.wire_body()).await.unwrap();
            first.clear();
        }
        let mut answer = read_answer_after(&mut stream, first, false).await;
        answer.continued = continued;
        answer
    }
}

/// Reads one answer to its end.
pub(crate) async fn read_answer<R: AsyncReadExt + Unpin>(stream: &mut R, is_head: bool) -> Answer {
    read_answer_after(stream, Vec::new(), is_head).await
}

async fn read_answer_after<R: AsyncReadExt + Unpin>(
    stream: &mut R,
    mut bytes: Vec<u8>,
    is_head: bool,
) -> Answer {
    let mut end = End::Short;
    let head_len = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if let Some(why) = read_more(stream, &mut bytes).await {
            end = why;
            break bytes.len();
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_len]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut answer = Answer {
        status,
        headers,
        body: bytes.get(head_len + 4..).unwrap_or_default().to_vec(),
        end,
        continued: false,
    };
    if is_head || matches!(status, 0 | 204 | 304) {
        if status != 0 {
            answer.end = End::Whole;
        }
        return answer;
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.end = read_chunks(stream, &mut answer.body).await;
        return answer;
    }
    let len: usize = answer.header("content-length").unwrap().parse().unwrap();
    answer.end = loop {
        if answer.body.len() >= len {
            break End::Whole;
        }
        if let Some(why) = read_more(stream, &mut answer.body).await {
            break why;
        }
    };
    answer
}

async fn read_chunks<R: AsyncReadExt + Unpin>(stream: &mut R, body: &mut Vec<u8>) -> End {
    let mut raw = std::mem::take(body);
    loop {
        let line = loop {
            if let Some(at) = raw.windows(2).position(|two| two == b"\r\n") {
                break at;
            }
            if let Some(why) = read_more(stream, &mut raw).await {
                return why;
            }
        };
        let len = usize::from_str_radix(std::str::from_utf8(&raw[..line]).unwrap(), 16).unwrap();
        while raw.len() < line + 2 + len + 2 {
            if let Some(why) = read_more(stream, &mut raw).await {
                return why;
            }
        }
        body.extend(&raw[line + 2..line + 2 + len]);
        raw.drain(..line + 2 + len + 2);
        if len == 0 {
            return End::Whole;
        }
    }
}

/// `None` while there is more to come.
async fn read_more<R: AsyncReadExt + Unpin>(stream: &mut R, into: &mut Vec<u8>) -> Option<End> {
    match stream.read_buf(into).await {
        Ok(0) => Some(End::Short),
        Ok(_) => None,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Some(End::Reset),
        Err(error) => panic!("{error}"),
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Checks that it is a whole problem document with this status and code, and gives it.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.end, End::Whole);
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let document = self.json();
        assert_eq!(document["code"], code, "{text}");
        assert_eq!(document["status"], status);
        assert_eq!(document["type"], format!("urn:bytecave:problem:{code}"));
        assert!(
            document["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty())
        );
        assert!(
            document["detail"]
                .as_str()
                .is_some_and(|detail| !detail.is_empty())
        );
        assert!(document["retryable"].is_boolean());
        assert_eq!(document["requestId"].as_str(), self.header("x-request-id"));
        document
    }
}
