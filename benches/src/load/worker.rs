//! One client: takes the next piece of work, does it, counts it, until it is told to stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::{Request, StatusCode};

use super::blobs::{FreshBlob, Numbers, StoredBlob, pick};
use super::connection::{ExchangeError, Link};
use super::options::Mode;
use super::tally::Tally;
use super::target::{self, Target};
use super::upload::Upload;
use crate::content::{Checker, Pieces};
use crate::random::SplitMix;
use crate::size::SizeSpec;

/// After a failure a client waits this long, so that a server that refuses work is not hammered.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);
/// Bytes of an answer that are kept where it is read as JSON or shown as an error; the rest is dropped.
const KEPT_ANSWER_BYTES: usize = 64 << 10;

/// What all clients share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) numbers: Numbers,
    pub(super) sizes: SizeSpec,
    pub(super) mode: Mode,
    pub(super) read_ratio: f64,
    pub(super) verify: bool,
    pub(super) timeout: Duration,
    pub(super) leaves: u8,
    /// Time from one request of a client to its next, at least.
    pub(super) every: Option<Duration>,
}

/// When a phase ends. What is under way then is finished and counted.
#[derive(Debug)]
pub(super) enum Until {
    /// No new request from then on.
    Deadline(Instant),
    /// This many more requests, over all clients.
    Requests(AtomicU64),
}

/// What a phase is for.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Store blobs and remember where they can be read.
    Prepare,
    /// What the mode says, reading from these.
    Measure(Arc<Vec<StoredBlob>>),
}

/// A client with its connection and buffers.
pub(super) struct Client {
    shared: Arc<Shared>,
    /// The server that it asks.
    target: Arc<Target>,
    link: Option<Link>,
    pieces: Arc<Mutex<Pieces>>,
    random: SplitMix,
}

/// What a phase gave.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) tally: Tally,
    /// Blobs that can now be read; of [`Work::Prepare`] only.
    pub(super) stored: Vec<StoredBlob>,
}

/// A finished exchange.
struct Answer {
    status: StatusCode,
    /// Bytes of the body.
    len: u64,
    /// The first of them, where they are wanted.
    kept: BytesMut,
    /// Whether they were what was stored; `true` where nobody looked.
    intact: bool,
}

/// What becomes of an answer's body.
enum Sink {
    Drop,
    Keep,
    Check(Checker, u64),
}

/// How an attempt on one connection ended, other than by an error.
enum Attempt {
    Answered(Answer),
    /// The server had closed the idle connection; the request was not sent.
    NotSent(Box<Request<Upload>>),
}

impl Until {
    fn goes_on(&self) -> bool {
        match self {
            Self::Deadline(deadline) => Instant::now() < *deadline,
            Self::Requests(left) => {
                let take = |left: u64| left.checked_sub(1);
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .is_ok()
            }
        }
    }
}

impl Client {
    /// Client `number`, not connected yet.
    pub(super) fn new(shared: Arc<Shared>, target: Arc<Target>, number: u64) -> Self {
        let seed = shared.numbers.run() ^ number;
        Self {
            shared,
            target,
            link: None,
            pieces: Arc::new(Mutex::new(Pieces::new())),
            random: SplitMix::new(seed),
        }
    }

    /// Works until told to stop.
    pub(super) async fn run(mut self, work: Work, until: Arc<Until>) -> (Self, Done) {
        let mut done = Done {
            tally: Tally::new(),
            stored: Vec::new(),
        };
        let mut begin = Instant::now();
        if let Some(every) = self.shared.every {
            // Not all clients at the same moment.
            begin += every.mul_f64(self.random.unit());
        }
        while until.goes_on() {
            if let Some(every) = self.shared.every {
                tokio::time::sleep_until(begin.into()).await;
                // Whoever is late does not make up for it.
                begin = Instant::now().max(begin + every);
            }
            let failures = done.tally.failures();
            match &work {
                Work::Prepare => self.store(&mut done, true).await,
                Work::Measure(blobs) => self.measured(blobs, &mut done).await,
            }
            if done.tally.failures() > failures {
                if matches!(work, Work::Prepare) {
                    break; // Without its blobs the run is off; no need to wait for more of the same.
                }
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
        (self, done)
    }

    async fn measured(&mut self, blobs: &[StoredBlob], done: &mut Done) {
        let reads = match self.shared.mode {
            Mode::Store => false,
            Mode::Retrieve => true,
            Mode::Mixed => self.random.unit() < self.shared.read_ratio,
            Mode::Path => return self.path(done).await,
            Mode::Prove => return self.prove(blobs, done).await,
        };
        match pick(blobs, &mut self.random) {
            Some(blob) if reads => self.retrieve(blob, done).await,
            _ => self.store(done, false).await,
        }
    }

    async fn store(&mut self, done: &mut Done, remember: bool) {
        let blob: FreshBlob = self.shared.numbers.take();
        let size = self.shared.sizes.pick(&mut self.random);
        let body = Upload::blob(blob.seed, size, Arc::clone(&self.pieces));
        let run = self.shared.numbers.run();
        let request = self.target.store(blob, run, body);
        let sink = if remember { Sink::Keep } else { Sink::Drop };
        let Some(answer) = self
            .counted(request, sink, target::stores, size, &mut done.tally)
            .await
        else {
            return;
        };
        if remember {
            match self.target.stored_at(blob, run, &answer.kept) {
                Some(uri) => done.stored.push(StoredBlob {
                    uri,
                    seed: blob.seed,
                    size,
                }),
                None => done
                    .tally
                    .failed("answer".to_owned(), "the answer to a store names no CID"),
            }
        }
    }

    async fn retrieve(&mut self, blob: &StoredBlob, done: &mut Done) {
        let request = self.target.get(blob.uri.clone());
        let sink = if self.shared.verify {
            Sink::Check(Checker::new(blob.seed), blob.size)
        } else {
            Sink::Drop
        };
        let is_ok = |status| status == StatusCode::OK;
        self.counted(request, sink, is_ok, blob.size, &mut done.tally)
            .await;
    }

    async fn prove(&mut self, blobs: &[StoredBlob], done: &mut Done) {
        let Some(blob) = pick(blobs, &mut self.random) else {
            return;
        };
        let mut nonce = [0; 32];
        for part in nonce.chunks_exact_mut(8) {
            part.copy_from_slice(&self.random.next().to_be_bytes());
        }
        let request = self.target.prove(&blob.uri, nonce, self.shared.leaves);
        let is_ok = |status| status == StatusCode::OK;
        self.counted(request, Sink::Drop, is_ok, 0, &mut done.tally)
            .await;
    }

    async fn path(&mut self, done: &mut Done) {
        let request = self.target.get(self.target.probe.clone());
        let is_ok = |status: StatusCode| status.is_success();
        self.counted(request, Sink::Drop, is_ok, 0, &mut done.tally)
            .await;
    }

    /// One exchange, timed and counted; the answer when it succeeded.
    async fn counted(
        &mut self,
        request: Request<Upload>,
        sink: Sink,
        succeeds: impl Fn(StatusCode) -> bool,
        size: u64,
        tally: &mut Tally,
    ) -> Option<Answer> {
        let reads = request.method() == hyper::Method::GET && size > 0;
        let started = Instant::now();
        let answer = match self.exchange(request, sink).await {
            Ok(answer) => answer,
            Err(error) => {
                tally.failed(error.kind().to_owned(), &error.to_string());
                return None;
            }
        };
        if !succeeds(answer.status) {
            tally.failed(
                answer.status.as_u16().to_string(),
                &String::from_utf8_lossy(&answer.kept),
            );
            return None;
        }
        if reads && answer.len != size {
            let said = format!("{} bytes came of {size}", answer.len);
            tally.failed("length".to_owned(), &said);
            return None;
        }
        if !answer.intact {
            tally.failed(
                "content".to_owned(),
                "the bytes are not those that were stored",
            );
            return None;
        }
        let nanoseconds = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        tally.succeeded(size, nanoseconds);
        Some(answer)
    }

    async fn exchange(
        &mut self,
        mut request: Request<Upload>,
        mut sink: Sink,
    ) -> Result<Answer, ExchangeError> {
        let limit = self.shared.timeout;
        loop {
            let kept_link = self.link.take().filter(Link::is_open);
            let fresh = kept_link.is_none();
            let mut link = match kept_link {
                Some(link) => link,
                None => Link::open(self.target.address).await?,
            };
            let attempt = tokio::time::timeout(limit, attempt(&mut link, request, &mut sink))
                .await
                .map_err(|_| ExchangeError::TimedOut)??;
            match attempt {
                Attempt::Answered(answer) => {
                    self.link = Some(link);
                    return Ok(answer);
                }
                Attempt::NotSent(_) if fresh => return Err(ExchangeError::Closed),
                Attempt::NotSent(back) => request = *back,
            }
        }
    }
}

async fn attempt(
    link: &mut Link,
    request: Request<Upload>,
    sink: &mut Sink,
) -> Result<Attempt, ExchangeError> {
    let (sender, driver) = link.split();
    let exchange = async {
        // Fails when the server has closed the connection since the last answer.
        if sender.ready().await.is_err() {
            return Ok(Attempt::NotSent(Box::new(request)));
        }
        let response = match sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut failed) => {
                return match failed.take_message() {
                    Some(request) => Ok(Attempt::NotSent(Box::new(request))),
                    None => Err(failed.into_error()),
                };
            }
        };
        let status = response.status();
        let mut body = response.into_body();
        let mut answer = Answer {
            status,
            len: 0,
            kept: BytesMut::new(),
            intact: true,
        };
        while let Some(frame) = body.frame().await {
            let frame = frame?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            answer.len += data.len() as u64;
            match sink {
                Sink::Check(checker, _) if status.is_success() => checker.feed(data),
                // 202 is a failure of stores, whose text is wanted.
                Sink::Drop if status.is_success() && status != StatusCode::ACCEPTED => {}
                _ => {
                    let room = KEPT_ANSWER_BYTES.saturating_sub(answer.kept.len());
                    answer
                        .kept
                        .extend_from_slice(data.get(..data.len().min(room)).unwrap_or_default());
                }
            }
        }
        if let Sink::Check(checker, size) = sink {
            answer.intact = checker.is_intact(*size);
        }
        Ok(Attempt::Answered(answer))
    };
    Ok(driver.carry(exchange).await??)
}
