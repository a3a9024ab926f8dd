//! The WebSocket to a relay, with every buffer bounded.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::MAX_MESSAGE_BYTES;
use super::session::LinkFailure;

/// Bytes read or gathered for writing at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// Most bytes that wait for the socket: two pieces of an answer, and room for the small frames
/// between them.
const MAX_WRITE_BUFFER_BYTES: usize = 4 * BUFFER_BYTES;

/// The WebSocket of a link.
pub(super) type Socket = WebSocketStream<MaybeTlsStream<Heard<TcpStream>>>;

/// TLS for `wss://`. Clones share it.
#[derive(Clone)]
pub(super) struct Tls(Result<Arc<ClientConfig>, rustls::Error>);

impl Tls {
    /// Certificates are checked against the roots of the web. The crypto library is named, because
    /// a process in which two are linked has no default one.
    pub(super) fn new() -> Self {
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_root_certificates(roots).with_no_client_auth());
        Self(config.map(Arc::new))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Connects to the relay at `url`.
pub(super) async fn connect(
    url: &str,
    tls: &Tls,
    within: Duration,
) -> Result<(Socket, LastHeard), LinkFailure> {
    timeout(within, open(url, tls))
        .await
        .unwrap_or(Err(LinkFailure::NoConnection { within }))
}

async fn open(url: &str, tls: &Tls) -> Result<(Socket, LastHeard), LinkFailure> {
    let request = url.into_client_request().map_err(LinkFailure::connect)?;
    let uri = request.uri();
    let encrypted = uri.scheme_str() == Some("wss");
    let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let connector = if encrypted {
        Connector::Rustls(tls.0.clone().map_err(LinkFailure::Tls)?)
    } else {
        Connector::Plain
    };
    let host = uri.host().unwrap_or_default();
    let tcp = TcpStream::connect(format!("{host}:{port}"))
        .await
        .map_err(|error| LinkFailure::connect(error.into()))?;
    // Answers are written whole: waiting for more would only delay them.
    tcp.set_nodelay(true)
        .map_err(|error| LinkFailure::connect(error.into()))?;
    let heard = LastHeard::now();
    let tcp = Heard {
        inner: tcp,
        heard: heard.clone(),
    };
    let (socket, _) = client_async_tls_with_config(request, tcp, Some(limits()), Some(connector))
        .await
        .map_err(LinkFailure::connect)?;
    Ok((socket, heard))
}

fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES))
}

/// When the last byte came from the relay. A large message may take minutes to come whole; as long
/// as its bytes come, the relay lives.
#[derive(Debug, Clone)]
pub(super) struct LastHeard {
    since: Instant,
    after_ms: Arc<AtomicU64>,
}

impl LastHeard {
    fn now() -> Self {
        Self {
            since: Instant::now(),
            after_ms: Arc::default(),
        }
    }

    fn note(&self) {
        let after_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.after_ms.store(after_ms, Ordering::Relaxed);
    }

    /// Returns when nothing was heard for `silence`.
    pub(super) async fn silent_for(&self, silence: Duration) {
        loop {
            let heard_ms = self.after_ms.load(Ordering::Relaxed);
            tokio::time::sleep_until(self.since + Duration::from_millis(heard_ms) + silence).await;
            if self.after_ms.load(Ordering::Relaxed) == heard_ms {
                return;
            }
        }
    }
}

/// A stream that notes when something was read from it.
#[derive(Debug)]
pub(super) struct Heard<S> {
    inner: S,
    heard: LastHeard,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.heard.note();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
