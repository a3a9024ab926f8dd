//! `/audits` and `/admin/scrub`: what this node found when it asked others for proof, and how far it is
//! with reading its own blobs again.

use std::fmt::Display;
use std::str::FromStr;

use actix_web::{HttpRequest, HttpResponse, web};
use bytecave_core::tree::LEAF_BYTES;
use bytecave_messages::budget::Share;
use bytecave_messages::proof::{
    AUDITS_LIMIT, AuditFilter, AuditPage, AuditRecord, Outcome, PeerAudits, ProofSnapshot,
    ScrubView,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::shapes::{AuditShape, PeerAuditsShape, ScrubShape};
use super::{NO_STORE, ProblemDocument, query};
use crate::problem::{Code, Problem};
use crate::state::Shared;

/// Audits in a page when the client names no number.
const DEFAULT_LIMIT: usize = 100;
/// Most peers in an answer: those that failed most.
const PEERS_LIMIT: usize = 1000;
/// A page ends early when its audits have about this much JSON: each may carry a proof as evidence.
const PAGE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// JSON of an audit without evidence, or of a proof without leaves, at most.
const FRAME_BYTES: usize = 1024;
/// JSON of a leaf without its path.
const LEAF_TEXT_BYTES: usize = LEAF_BYTES.div_ceil(3) * 4 + 64;
/// JSON of a hash in a path.
const HASH_TEXT_BYTES: usize = 67;

/// Audits, and what they and the scrub say of the peers and of this node.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditsAnswer<'a> {
    /// The asked audits, the newest first.
    #[schema(value_type = Vec<AuditShape>)]
    audits: Vec<&'a AuditRecord>,
    /// `before` of the next page; null after the oldest that is kept.
    next: Option<u64>,
    /// Peers that were audited and are remembered, by peer id; when there are more than a thousand, those
    /// that failed most.
    #[schema(value_type = Vec<PeerAuditsShape>)]
    peers: Vec<&'a PeerAudits>,
    /// How far this node's own scrub is; null in its first second.
    #[schema(value_type = Option<ScrubShape>)]
    scrub: Option<&'a ScrubView>,
}

/// As they came: what is wrong with one of them is said with its name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditsQuery {
    peer: Option<String>,
    cid: Option<String>,
    outcome: Option<String>,
    before: Option<String>,
    limit: Option<String>,
}

impl AuditsQuery {
    fn filter(&self) -> Result<AuditFilter, Problem> {
        let outcome = self.outcome.as_deref().map(outcome).transpose()?;
        Ok(AuditFilter {
            peer: parameter("peer", self.peer.as_deref())?,
            cid: parameter("cid", self.cid.as_deref())?,
            outcome,
        })
    }

    fn limit(&self) -> Result<usize, Problem> {
        let limit = parameter("limit", self.limit.as_deref())?.unwrap_or(DEFAULT_LIMIT);
        if (1..=AUDITS_LIMIT).contains(&limit) {
            return Ok(limit);
        }
        Err(Problem::new(
            Code::BadQuery,
            format!("limit={limit} is out of range: expected 1 to {AUDITS_LIMIT}"),
        ))
    }
}

/// Lists what this node asked other holders, and what came of it; the newest first.
#[utoipa::path(get, path = "/audits", operation_id = "list_audits", tag = "proofs", params(
    ("peer" = Option<String>, Query, description = "only of this peer"),
    ("cid" = Option<String>, Query, description = "only of this blob"),
    ("outcome" = Option<String>, Query, description = "only with this outcome: `passed`, `failed`, `contained`, `offline`, `declined`, `unsupported` or `unknown`"),
    ("before" = Option<u64>, Query, description = "only those before this number: `next` of the page before"),
    ("limit" = Option<u64>, Query, description = "audits in the page, 1 to 1000; 100 when left out. A page with much evidence has fewer"),
), responses(
    (status = 200, description = "a page", body = AuditsAnswer<'static>),
    (status = 400, description = "malformed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "busy or starting", body = ProblemDocument, content_type = "application/problem+json"),
), security((), ("token" = [])))]
pub(crate) async fn list(
    request: HttpRequest,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Problem> {
    let asked: AuditsQuery = query(request.uri().query())?;
    let (filter, limit) = (asked.filter()?, asked.limit()?);
    let before = parameter("before", asked.before.as_deref())?;
    let page = shared.proof()?.audits(Share::Client, filter, before, limit);
    let page = page.await.map_err(|error| shared.unproven(error))?;
    let proofs = shared.proofs();
    let answer = answer(&page, proofs.as_deref());
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(answer))
}

/// Reads everything on this node again, from the first blob, unless that is under way.
///
/// Answers at once; `/audits` tells how far it is.
#[utoipa::path(post, path = "/admin/scrub", tag = "admin", responses(
    (status = 200, description = "how it is", body = ScrubShape),
    (status = 401, description = "a token is needed", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "busy or starting", body = ProblemDocument, content_type = "application/problem+json"),
), security(("token" = [])))]
pub(crate) async fn start_scrub(shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    let started = shared.proof()?.start_scrub(Share::Client).await;
    let view = started.map_err(|error| shared.unproven(error))?;
    tracing::info!("scrub started by request");
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(view))
}

fn answer<'a>(page: &'a AuditPage, proofs: Option<&'a ProofSnapshot>) -> AuditsAnswer<'a> {
    let mut room = PAGE_MAX_BYTES;
    let audits = page.audits.iter().map(|audit| &**audit);
    let audits: Vec<&AuditRecord> = audits
        .take_while(|audit| {
            let fits = room > 0;
            room = room.saturating_sub(text_bytes(audit));
            fits
        })
        .collect();
    let next = if audits.len() < page.audits.len() {
        audits.last().map(|last| last.sequence)
    } else {
        page.next
    };
    AuditsAnswer {
        audits,
        next,
        peers: proofs.map_or_else(Vec::new, |proofs| worst(&proofs.peers)),
        scrub: proofs.map(|proofs| &proofs.scrub),
    }
}

/// About how long an audit is as JSON.
fn text_bytes(audit: &AuditRecord) -> usize {
    let reason = audit.reason.as_ref().map_or(0, String::len);
    let evidence = audit.evidence.as_ref().map_or(0, |evidence| {
        let leaves = evidence.proof.leaves.iter();
        let leaves = leaves.map(|leaf| LEAF_TEXT_BYTES + leaf.path.len() * HASH_TEXT_BYTES);
        FRAME_BYTES + leaves.sum::<usize>()
    });
    FRAME_BYTES + reason + evidence
}

/// The peers that an operator would look for, by peer id.
fn worst(peers: &[PeerAudits]) -> Vec<&PeerAudits> {
    let mut chosen: Vec<&PeerAudits> = peers.iter().collect();
    if chosen.len() > PEERS_LIMIT {
        chosen.sort_by_key(|peer| std::cmp::Reverse(peer.failed));
        chosen.truncate(PEERS_LIMIT);
        chosen.sort_by_key(|peer| peer.peer_id);
    }
    chosen
}

fn outcome(text: &str) -> Result<Outcome, Problem> {
    let known = Outcome::ALL.into_iter();
    known.clone().find(|one| one.word() == text).ok_or_else(|| {
        let words: Vec<&str> = known.map(Outcome::word).collect();
        let shown: String = text.chars().take(80).collect();
        let words = words.join(", ");
        Problem::new(
            Code::BadQuery,
            format!("outcome={shown} is none: expected one of {words}"),
        )
    })
}

/// A query parameter; what is wrong with it begins with its name.
fn parameter<T: FromStr<Err: Display>>(
    name: &str,
    text: Option<&str>,
) -> Result<Option<T>, Problem> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|error: T::Err| {
        let shown: String = text.chars().take(80).collect();
        Problem::new(Code::BadQuery, format!("{name}={shown}: {error}"))
    })
}
