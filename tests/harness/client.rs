//! A small HTTP client of our own: blocking, one connection for each request, able to send what no
//! library would (half a body, a foreign Host, a bad range), and strict about short bodies.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::{PATIENCE, wait_for};

/// Talks to one node.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    token: Option<String>,
}

/// What is asked.
#[derive(Clone)]
pub(crate) struct Request<'a> {
    method: &'a str,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<&'a [u8]>,
    chunked: bool,
    host: Option<String>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: &'a str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: None,
            chunked: false,
            host: None,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    pub(crate) fn store(body: &'a [u8]) -> Self {
        Self::new("POST", "/store").body(body)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(mut self, body: &'a [u8]) -> Self {
        self.body = Some(body);
        self
    }

    /// Sends the body in chunks, without a Content-Length.
    pub(crate) fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Sends this Host header instead of the true one.
    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            token: None,
        }
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn head(&self, request: &Request<'_>) -> Vec<u8> {
        let host = request
            .host
            .clone()
            .unwrap_or_else(|| self.address.to_string());
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n",
            request.method, request.path
        );
        if let Some(token) = &self.token {
            head.extend(["Authorization: Bearer ", token, "\r\n"]);
        }
        for (name, value) in &request.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        if request.chunked {
            head += "Transfer-Encoding: chunked\r\n";
        } else if let Some(body) = request.body {
            head.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
        }
        head += "\r\n";
        head.into_bytes()
    }

    /// Sends a request and reads the whole answer; a body that is shorter than announced is an error.
    pub(crate) fn send(&self, request: Request<'_>) -> io::Result<Response> {
        let mut stream = self.connect()?;
        // A server that refuses early may close while we still write: its answer is what counts.
        let written = self.write(&mut stream, &request);
        match Response::read(stream, request.method == "HEAD") {
            Ok(response) => Ok(response),
            Err(read) => Err(written.err().unwrap_or(read)),
        }
    }

    fn write(&self, stream: &mut TcpStream, request: &Request<'_>) -> io::Result<()> {
        let mut first = self.head(request);
        let body = request.body.unwrap_or_default();
        if request.chunked {
            stream.write_all(&first)?;
            for part in body.chunks(60_000) {
                stream.write_all(format!("{:x}\r\n", part.len()).as_bytes())?;
                stream.write_all(part)?;
                stream.write_all(b"\r\n")?;
            }
            return stream.write_all(b"0\r\n\r\n");
        }
        let together = body.len().min(64 * 1024);
        first.extend_from_slice(&body[..together]);
        stream.write_all(&first)?;
        stream.write_all(&body[together..])
    }

    /// As [`Self::send`], for a node that must answer.
    #[track_caller]
    pub(crate) fn ask(&self, request: Request<'_>) -> Response {
        let what = format!("{} {}", request.method, request.path);
        match self.send(request) {
            Ok(response) => response,
            Err(e) => panic!("{what}: {e}"),
        }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.ask(Request::get(path))
    }

    #[track_caller]
    pub(crate) fn store(&self, body: &[u8]) -> Response {
        self.ask(Request::store(body))
    }

    /// Stores bytes that must be taken; gives the CID.
    #[track_caller]
    pub(crate) fn keep(&self, body: &[u8]) -> String {
        let answer = self.store(body);
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer.json()["cid"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn retrieve(&self, cid: &str) -> Response {
        self.get(&format!("/retrieve/{cid}"))
    }

    #[track_caller]
    pub(crate) fn health(&self) -> Value {
        let answer = self.get("/health");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Every blob that the node lists, page by page.
    #[track_caller]
    pub(crate) fn list(&self, page: usize) -> Vec<Value> {
        let mut blobs = Vec::new();
        let mut after = String::new();
        loop {
            let answer = self.get(&format!("/blobs?limit={page}{after}"));
            assert_eq!(answer.status, 200, "{answer:?}");
            let json = answer.json();
            let rows = json["blobs"]
                .as_array()
                .unwrap_or_else(|| panic!("no blobs in {json}"));
            assert!(
                rows.len() <= page,
                "{} rows where {page} were asked for",
                rows.len()
            );
            blobs.extend(rows.iter().cloned());
            match json["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return blobs,
            }
        }
    }

    /// Asserts that this many blobs are listed now, and that the counters of /health, which follow within
    /// about a second, come to say the same of number and bytes; gives the bytes.
    #[track_caller]
    pub(crate) fn holds(&self, blobs: usize) -> u64 {
        let listed = self.list(1000);
        let bytes = listed.iter().map(|row| row["size"].as_u64().unwrap()).sum();
        assert_eq!(listed.len(), blobs, "blobs listed");
        wait_for(
            &format!("counters of {blobs} blobs and {bytes} bytes"),
            || {
                let health = self.health();
                (health["storedBlobs"] == blobs && health["totalSize"] == bytes).then_some(())
            },
        );
        bytes
    }

    /// Begins an upload: the head, announcing `length` bytes, and the first of them.
    pub(crate) fn begin_upload(&self, length: usize, first: &[u8]) -> TcpStream {
        let mut stream = self.connect().unwrap();
        let mut head = self
            .head(&Request::new("POST", "/store").header("Content-Length", &length.to_string()));
        head.extend_from_slice(first);
        stream.write_all(&head).unwrap();
        stream
    }

    /// Begins a request, reads the head of its answer and leaves the body unread.
    pub(crate) fn begin_download(&self, path: &str) -> io::Result<Download> {
        let mut stream = self.connect()?;
        stream.write_all(&self.head(&Request::get(path)))?;
        let mut reader = BufReader::with_capacity(4096, stream);
        let (status, headers) = read_head(&mut reader)?;
        Ok(Download {
            status,
            headers,
            reader,
        })
    }
}

/// An answer whose body has not been read.
pub(crate) struct Download {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
}

impl Download {
    /// Reads the body.
    pub(crate) fn finish(mut self) -> io::Result<Response> {
        let body = read_body(&mut self.reader, &self.headers)?;
        Ok(Response {
            status: self.status,
            headers: self.headers,
            body,
        })
    }
}

/// An answer.
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.body[..self.body.len().min(600)];
        write!(
            f,
            "{} {:?} {} bytes: {}",
            self.status,
            self.headers,
            self.body.len(),
            String::from_utf8_lossy(shown)
        )
    }
}

impl Response {
    /// Reads an answer from a connection.
    pub(crate) fn read(stream: TcpStream, without_body: bool) -> io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let (status, headers) = read_head(&mut reader)?;
        let body = if without_body || status == 204 || status == 304 {
            Vec::new()
        } else {
            read_body(&mut reader, &headers)?
        };
        Ok(Self {
            status,
            headers,
            body,
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// Asserts a problem with this status in the form of RFC 9457, and gives its code.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert!(
            self.header("content-type")
                .is_some_and(|t| t.starts_with("application/problem+json")),
            "{self:?}"
        );
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        let json = self.json();
        for name in ["type", "title", "detail", "code", "requestId"] {
            assert!(
                json[name].as_str().is_some_and(|text| !text.is_empty()),
                "no {name} in {json}"
            );
        }
        assert_eq!(json["status"], status, "{json}");
        assert!(json["retryable"].is_boolean(), "{json}");
        let code = json["code"].as_str().unwrap().to_owned();
        assert!(
            code.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
            "{code}"
        );
        code
    }
}

impl Response {
    /// Asserts a problem with one of these statuses.
    #[track_caller]
    pub(crate) fn problem_in(&self, statuses: &[u16]) -> String {
        assert!(
            statuses.contains(&self.status),
            "none of {statuses:?}: {self:?}"
        );
        self.problem(self.status)
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.as_str())
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection ended before the answer did",
        ));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| bad("a header is no UTF-8"))
}

fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    loop {
        let status = line(reader)?;
        let status: u16 = status
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| bad(&status))?;
        let mut headers = Vec::new();
        loop {
            let line = line(reader)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| bad(&line))?;
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        if status != 100 {
            return Ok((status, headers));
        }
    }
}

fn read_body(reader: &mut impl BufRead, headers: &[(String, String)]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if let Some(length) = find(headers, "content-length") {
        let length: u64 = length.parse().map_err(|_| bad("content-length"))?;
        reader.take(length).read_to_end(&mut body)?;
        if body.len() as u64 != length {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the body is shorter than announced",
            ));
        }
        return Ok(body);
    }
    if find(headers, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = line(reader)?;
            let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(|_| bad("chunk size"))?;
            let before = body.len() as u64;
            reader.take(size).read_to_end(&mut body)?;
            if body.len() as u64 - before != size {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "a chunk is shorter than announced",
                ));
            }
            line(reader)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    reader.read_to_end(&mut body)?;
    Ok(body)
}
