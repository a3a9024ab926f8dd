//! How bytes travel: TCP, WebSocket (plain and TLS), QUIC and circuits through relays, all of them
//! authenticated by the node's key.
//!
//! Composed by hand, because a WebSocket listener may have a certificate, which the builder of
//! libp2p has no place for. The order is the builder's: a `/p2p-circuit` address is the relay
//! transport's alone, a `/ws` address the WebSocket's alone, and what is left is TCP's or QUIC's.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytecave_config::P2p;
use libp2p::core::Transport;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::OptionalTransport;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::websocket::tls;
use libp2p::{PeerId, dns, noise, quic, relay, tcp, websocket, yamux};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::line::{Multiplexer, ReadAhead};
use crate::options::StartError;
use crate::traffic::{Meter, Metered, Traffic};

/// All transports as one.
pub(crate) type Boxed = libp2p::core::transport::Boxed<(PeerId, StreamMuxerBox)>;

/// Streams of one connection. Not for their number: yamux gives each stream an equal part of what a
/// connection may have in flight (1 GiB), and js-yamux sends a whole window as one frame, while a
/// frame above 1 MiB ends the connection here. With fewer streams the windows would grow past that;
/// this is the least number that keeps them below.
const YAMUX_STREAMS: usize = 4093;
/// Longest WebSocket message. The longest honest one is a yamux window of 1 MiB; libp2p's default
/// would have strangers send 256 MiB before they are authenticated.
const WS_MESSAGE_BYTES: usize = 4 << 20;
/// In flight on one QUIC stream, and on a connection: memory a peer may occupy by not being read.
const QUIC_STREAM_BYTES: u32 = 2 << 20;
const QUIC_CONNECTION_BYTES: u32 = 8 << 20;
/// Longest certificate or key file that is read.
const PEM_MAX_BYTES: u64 = 1 << 20;

/// The transports, and the behaviour that belongs to the one through relays.
pub(crate) struct Transports {
    pub(crate) all: Boxed,
    pub(crate) relay: Option<relay::client::Behaviour>,
}

/// Builds the transports that the settings ask for.
pub(crate) fn build(
    settings: &P2p,
    keypair: &Keypair,
    traffic: &Traffic,
) -> Result<Transports, StartError> {
    let authenticate = noise::Config::new(keypair).map_err(|e| part("noise", &e))?;
    let dial_timeout = settings.dial_timeout.as_duration();

    let plain = tcp_transport(traffic.meter("tcp"))
        .map(|stream, _| ReadAhead::new(stream))
        .upgrade(Version::V1Lazy)
        .authenticate(authenticate.clone())
        .multiplex(multiplexer())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));

    // DNS below the WebSocket: a certificate is checked against the name, so it must see it.
    let mut ws = websocket::Config::new(dns_over(tcp_transport(traffic.meter("websocket")))?);
    ws.set_max_data_size(WS_MESSAGE_BYTES);
    if let Some(tls) = tls_config(settings)? {
        ws.set_tls_config(tls);
    }
    let ws = ws
        .upgrade(Version::V1Lazy)
        .authenticate(authenticate.clone())
        .multiplex(multiplexer())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));

    let quic = if settings.enable_quic {
        let mut config = quic::Config::new(keypair);
        config.handshake_timeout = dial_timeout;
        config.max_stream_data = QUIC_STREAM_BYTES;
        config.max_connection_data = QUIC_CONNECTION_BYTES;
        let meter = traffic.meter("quic");
        let quic = quic::tokio::Transport::new(config)
            .map(move |(peer, muxer), _| (peer, StreamMuxerBox::new(meter.muxer(muxer))));
        OptionalTransport::some(quic)
    } else {
        OptionalTransport::none()
    };

    let (circuits, behaviour) = if settings.enable_relay {
        let (circuits, behaviour) = relay::client::new(keypair.public().to_peer_id());
        let meter = traffic.meter("circuit");
        let circuits = circuits
            .map(move |stream, _| meter.stream(stream))
            .upgrade(Version::V1Lazy)
            .authenticate(authenticate)
            .multiplex(multiplexer())
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        (OptionalTransport::some(circuits), Some(behaviour))
    } else {
        (OptionalTransport::none(), None)
    };

    // The resolver stands above both: it takes every address that is left, and gives none back.
    let resolved = dns_over(
        quic.or_transport(plain)
            .map(|either, _| either.into_inner()),
    )?;
    let all = circuits
        .or_transport(ws)
        .map(|either, _| either.into_inner())
        .or_transport(resolved)
        .map(|either, _| either.into_inner());
    Ok(Transports {
        all: TransportTimeout::new(all, dial_timeout).boxed(),
        relay: behaviour,
    })
}

fn tcp_transport(
    meter: Meter,
) -> impl Transport<
    Output = Metered<tcp::tokio::TcpStream>,
    Error = io::Error,
    ListenerUpgrade: Send + 'static,
    Dial: Send + 'static,
> + Send
+ Unpin
+ 'static {
    tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .map(move |stream, _| meter.stream(stream))
}

pub(crate) fn multiplexer() -> Multiplexer {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(YAMUX_STREAMS);
    Multiplexer(config)
}

/// Resolves names as the system does.
fn dns_over<T>(inner: T) -> Result<dns::tokio::Transport<T>, StartError> {
    dns::tokio::Transport::system(inner).map_err(|e| part("the resolver of names", &e))
}

fn part(part: &'static str, cause: &dyn std::error::Error) -> StartError {
    StartError::Part {
        part,
        cause: cause.to_string(),
    }
}

/// The certificate of `/tls/ws` listeners, if there is one.
fn tls_config(settings: &P2p) -> Result<Option<tls::Config>, StartError> {
    let (Some(certificate), Some(key)) = (&settings.tls_certificate_file, &settings.tls_key_file)
    else {
        return Ok(None);
    };
    let refused = |setting, cause: String| StartError::Tls { setting, cause };
    let in_certificate = |cause| refused("p2p.tls_certificate_file", cause);
    let in_key = |cause| refused("p2p.tls_key_file", cause);

    let pem = read_pem(certificate).map_err(in_certificate)?;
    let chain: Vec<tls::Certificate> = CertificateDer::pem_slice_iter(&pem)
        .map(|found| found.map(|der| tls::Certificate::new(der.to_vec())))
        .collect::<Result<_, _>>()
        .map_err(|e| in_certificate(format!("{} is not PEM: {e}", certificate.display())))?;
    if chain.is_empty() {
        let cause = format!("{} contains no certificate", certificate.display());
        return Err(in_certificate(cause));
    }

    let pem = read_pem(key.path()).map_err(in_key)?;
    let der = PrivateKeyDer::from_pem_slice(&pem).map_err(|e| {
        in_key(format!(
            "{} contains no private key: {e}",
            key.path().display()
        ))
    })?;
    // libp2p panics over a form of key it does not know; the same question is asked here first.
    let der = der.secret_der().to_vec();
    PrivateKeyDer::try_from(der.clone()).map_err(|e| in_key(e.to_owned()))?;
    tls::Config::new(tls::PrivateKey::new(der), chain)
        .map(Some)
        .map_err(|e| in_certificate(e.to_string()))
}

fn read_pem(path: &Path) -> Result<Vec<u8>, String> {
    let problem = |e: io::Error| format!("cannot read {}: {e}", path.display());
    let file = File::open(path).map_err(problem)?;
    let mut bytes = Vec::new();
    let read = file.take(PEM_MAX_BYTES + 1).read_to_end(&mut bytes);
    if read.map_err(problem)? as u64 > PEM_MAX_BYTES {
        return Err(format!(
            "{} is longer than {PEM_MAX_BYTES} bytes",
            path.display()
        ));
    }
    Ok(bytes)
}
