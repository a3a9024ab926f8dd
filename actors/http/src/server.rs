//! The listener, the workers and the app that each worker runs.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Request};
use actix_server::ServerHandle;
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config,
};
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, Extensions, Response, Server, ServiceResponse};
use actix_web::middleware::{Compress, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::{App, Error, guard, web};
use thiserror::Error;

use crate::conn::{Conn, ConnLimits};
use crate::endpoint::Endpoint;
use crate::options::HttpSettings;
use crate::state::Shared;
use crate::{gate, routes};

/// How far the clock by which actix-http sets its timers may be behind: without this a short
/// `http.header_timeout` would be over before it began.
const CLOCK_LAG: Duration = Duration::from_millis(500);
/// How long a connection may take to close, and the rest of a refused body to be dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {source}; {remedy}")]
pub struct BindError {
    /// The address of the settings.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
    /// What to do about it.
    pub remedy: &'static str,
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        let remedy = match source.kind() {
            io::ErrorKind::AddrInUse => {
                "another program, perhaps another node, has the port: stop it or choose another PORT"
            }
            io::ErrorKind::AddrNotAvailable => {
                "this machine has no such address: set HOST to one it has, 127.0.0.1 or 0.0.0.0"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need a privilege: choose a higher PORT"
            }
            _ => "check HOST and PORT",
        };
        Self {
            address,
            source,
            remedy,
        }
    }
}

/// Takes the address, so that a failure is known before anything else is started.
pub(crate) fn bind(settings: &HttpSettings) -> Result<(TcpListener, SocketAddr), BindError> {
    let address = SocketAddr::new(settings.host, settings.port);
    let failed = |source| BindError::new(address, source);
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Serves `listener` on worker threads of its own until the handle stops it.
pub(crate) fn serve(
    shared: &Arc<Shared>,
    listener: TcpListener,
    stop_timeout: Duration,
) -> io::Result<(Server, ServerHandle)> {
    let settings = &shared.settings;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let workers = settings.workers.unwrap_or(cores).clamp(1, 512);
    let limits = ConnLimits {
        header_timeout: settings.header_timeout,
        write_timeout: settings.body_idle_timeout,
    };
    let head_timeout = settings.header_timeout + CLOCK_LAG;
    let shared = Arc::clone(shared);
    let builder = Server::build()
        .disable_signals()
        .workers(workers)
        .max_concurrent_connections((settings.max_connections / workers).max(1))
        .shutdown_timeout(stop_timeout.as_secs().max(1));
    let stopping = builder.graceful_shutdown_signal();
    let server = builder
        .listen("bytecave-http", listener, move || {
            let stopping = stopping.clone();
            let for_expect = Arc::clone(&shared);
            let service = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                // Idle connections are watched by `Conn`, without a timer for each request.
                .keep_alive(KeepAlive::Os)
                .client_request_timeout(head_timeout)
                .client_disconnect_timeout(CLOSE_TIMEOUT)
                .expect(fn_service(move |request: Request| {
                    std::future::ready(gate::expect(&for_expect, request))
                }))
                .on_connect_ext(|conn: &Conn, extensions: &mut Extensions| {
                    extensions.insert(Rc::clone(conn.state()));
                })
                .h1(map_config(
                    app(Arc::clone(&shared))
                        .into_factory()
                        .map_err(into_response),
                    |()| AppConfig::default(),
                ));
            fn_service(move |stream: TcpStream| {
                let conn = Conn::new(stream, limits);
                let peer = conn.peer_addr();
                std::future::ready(Ok((conn, peer)))
            })
            .and_then(service)
        })?
        .run();
    let handle = server.handle();
    Ok((server, handle))
}

/// What no route and no middleware of ours turned into an answer.
fn into_response(error: Error) -> Response<BoxBody> {
    error.error_response().into()
}

/// The routes behind the gate.
pub(crate) fn app(
    shared: Arc<Shared>,
) -> App<
    impl ServiceFactory<
        actix_web::dev::ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    >,
> {
    let for_gate = Arc::clone(&shared);
    let at = |endpoint: Endpoint| web::resource(endpoint.pattern());
    let reading = || web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
    App::new()
        .app_data(web::Data::from(shared))
        .wrap(from_fn(move |request, next| {
            gate::gate(Arc::clone(&for_gate), request, next)
        }))
        .service(at(Endpoint::Retrieve).route(reading().to(routes::retrieve::retrieve)))
        .service(at(Endpoint::Store).route(web::post().to(routes::store::store)))
        .service(at(Endpoint::Live).route(reading().to(routes::status::live)))
        .service(at(Endpoint::Ready).route(reading().to(routes::status::ready)))
        .service(at(Endpoint::Health).route(reading().to(routes::status::health)))
        .service(at(Endpoint::Info).route(reading().to(routes::status::info)))
        .service(
            at(Endpoint::Metrics)
                .wrap(Compress::default())
                .route(reading().to(routes::status::metrics)),
        )
        .service(
            at(Endpoint::Shards)
                .wrap(Compress::default())
                .route(reading().to(routes::status::shards)),
        )
        .service(
            at(Endpoint::Actors)
                .wrap(Compress::default())
                .route(reading().to(routes::status::actors)),
        )
        .service(
            at(Endpoint::Peers)
                .wrap(Compress::default())
                .route(reading().to(routes::peers::peers)),
        )
        .service(
            at(Endpoint::Replication)
                .wrap(Compress::default())
                .route(reading().to(routes::replication::replication)),
        )
        .service(at(Endpoint::Proofs).route(web::post().to(routes::proofs::make)))
        .service(at(Endpoint::VerifyProof).route(web::post().to(routes::proofs::verify)))
        .service(
            at(Endpoint::Audits)
                .wrap(Compress::default())
                .route(reading().to(routes::audits::list)),
        )
        .service(at(Endpoint::Scrub).route(web::post().to(routes::audits::start_scrub)))
        .service(at(Endpoint::ShardPlan).route(reading().to(routes::moves::plan)))
        .service(at(Endpoint::ApplyShardPlan).route(web::post().to(routes::moves::apply)))
        .service(
            at(Endpoint::OpenApi)
                .wrap(Compress::default())
                .route(reading().to(routes::status::openapi)),
        )
        .service(
            at(Endpoint::Blobs)
                .wrap(Compress::default())
                .route(reading().to(routes::blobs::list)),
        )
        .service(
            at(Endpoint::Blob)
                .route(reading().to(routes::blobs::show))
                .route(web::delete().to(routes::blobs::delete)),
        )
        .service(
            at(Endpoint::Pin)
                .route(web::put().to(routes::blobs::pin))
                .route(web::delete().to(routes::blobs::unpin)),
        )
        .service(at(Endpoint::Gc).route(web::post().to(routes::admin::collect_garbage)))
        .service(
            at(Endpoint::LogLevel)
                .app_data(routes::admin::json_config())
                .route(web::post().to(routes::admin::post_log_level))
                .route(web::put().to(routes::admin::set_log_level)),
        )
        .service(
            at(Endpoint::BlockedList)
                .wrap(Compress::default())
                .route(reading().to(routes::blocked::list)),
        )
        .service(
            at(Endpoint::Blocked)
                .route(web::put().to(routes::blocked::block))
                .route(web::delete().to(routes::blocked::unblock)),
        )
        .service(at(Endpoint::RotateKeys).route(web::post().to(routes::admin::rotate_keys)))
}
