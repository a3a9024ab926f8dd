//! The OpenAPI document, generated from the routes.

use std::sync::OnceLock;

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::routes::{
    ProblemDocument, Replicas, admin, audits, blobs, blocked, moves, peers, proofs, replication,
    retrieve, status, store,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ByteCave",
        description = "A node that keeps encrypted blobs and gives them back by their CID.",
        license(name = "MIT", identifier = "MIT"),
    ),
    paths(
        store::store,
        retrieve::retrieve,
        blobs::list,
        blobs::show,
        blobs::delete,
        blobs::pin,
        blobs::unpin,
        status::live,
        status::ready,
        status::health,
        status::info,
        status::shards,
        status::actors,
        peers::peers,
        replication::replication,
        proofs::make,
        proofs::verify,
        audits::list,
        audits::start_scrub,
        status::metrics,
        status::openapi,
        admin::collect_garbage,
        admin::rotate_keys,
        admin::set_log_level,
        admin::post_log_level,
        blocked::list,
        blocked::block,
        blocked::unblock,
        moves::plan,
        moves::apply,
    ),
    components(schemas(ProblemDocument, Replicas, status::RangeAnswer)),
    modifiers(&Token),
    tags(
        (name = "blobs", description = "Storing, retrieving, listing"),
        (name = "proofs", description = "Showing that a blob is there, and what others showed"),
        (name = "status", description = "How the node is"),
        (name = "admin", description = "What an operator tells a running node"),
    ),
)]
struct Document;

/// How the token is sent.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        if let Some(components) = &mut document.components {
            components.add_security_scheme(
                "token",
                SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
            );
        }
    }
}

/// The document that `/openapi.json` serves and `docs/openapi.json` keeps.
pub fn openapi_json() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        // The document is made of strings and numbers, which always become JSON.
        let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
        text.push('\n');
        text
    })
}
