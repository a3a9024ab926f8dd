//! Own threads for what blocks: hashing, sealing, reading from disk, ingesting.
//!
//! A pool has a fixed number of threads and a fixed number of places. Whoever finds no place waits
//! for one without holding a thread; how many may wait is bounded by the permits that callers hold.
//! A panic in a job is that job's error and costs no thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::{fmt, io, thread};

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Jobs that may wait for each thread: enough to keep it busy, few enough that a job does not
/// become old in the queue.
const PLACES_PER_THREAD: usize = 16;

/// Why a job gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum PoolError {
    /// It panicked.
    #[error("a job of the storage engine panicked, see the log")]
    Panicked,
    /// The engine is closing.
    #[error("the storage engine is closed")]
    Closed,
}

type Job = Box<dyn FnOnce() + Send>;

/// A bounded pool of threads. Closed when dropped.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// A job under way; its result, or why there is none.
pub(crate) struct Running<T>(oneshot::Receiver<T>);

impl Pool {
    /// Starts `threads` threads called `name`.
    pub(crate) fn start(name: &str, threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            wake: Condvar::new(),
            places: Arc::new(Semaphore::new(threads * PLACES_PER_THREAD)),
        });
        let pool = Self {
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
        };
        for _ in 0..threads {
            let shared = Arc::clone(&shared);
            let handle = thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || shared.work())?;
            lock(&pool.threads).push(handle);
        }
        Ok(pool)
    }

    /// Waits for a place and queues `job`. The job runs to its end even if nobody awaits it.
    pub(crate) async fn submit<T, F>(&self, job: F) -> Result<Running<T>, PoolError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let place = Arc::clone(&self.shared.places)
            .acquire_owned()
            .await
            .map_err(|_| PoolError::Closed)?;
        self.queue(place, job)
    }

    /// Queues `job` if there is a place right now.
    pub(crate) fn try_submit<F>(&self, job: F) -> bool
    where
        F: FnOnce() + Send + 'static,
    {
        Arc::clone(&self.shared.places)
            .try_acquire_owned()
            .is_ok_and(|place| self.queue(place, job).is_ok())
    }

    /// Runs `job` and waits for its result.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T, PoolError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.submit(job).await?.result().await
    }

    /// Jobs queued or running.
    pub(crate) fn depth(&self) -> usize {
        let threads = lock(&self.threads).len();
        (threads * PLACES_PER_THREAD).saturating_sub(self.shared.places.available_permits())
    }

    /// Finishes what is queued and ends the threads.
    pub(crate) fn close(&self) {
        self.shared.places.close();
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for handle in threads {
            // A pool that is dropped by one of its own jobs must not wait for itself.
            if handle.thread().id() != thread::current().id() {
                // Jobs are caught, so a thread ends by returning.
                let _ = handle.join();
            }
        }
    }

    fn queue<T, F>(&self, place: OwnedSemaphorePermit, job: F) -> Result<Running<T>, PoolError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let job = Box::new(move || {
            let done = catch_unwind(AssertUnwindSafe(job));
            // Before anybody is told, so that who was told finds a place.
            drop(place);
            if let Ok(value) = done {
                // Nobody may be waiting any more.
                let _ = answer.send(value);
            }
        });
        let mut state = self.shared.lock();
        if state.closed {
            return Err(PoolError::Closed);
        }
        state.jobs.push_back(job);
        drop(state);
        self.shared.wake.notify_one();
        Ok(Running(result))
    }
}

impl<T> Running<T> {
    /// The job's result.
    pub(crate) async fn result(self) -> Result<T, PoolError> {
        self.0.await.map_err(|_| PoolError::Panicked)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn work(&self) {
        loop {
            let mut state = self.lock();
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if state.closed {
                    return;
                }
                state = self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            job();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} jobs)", self.depth())
    }
}

/// No code between lock and unlock can leave the data half changed, so poison means nothing here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_costs_no_thread() {
        let pool = Pool::start("test", 1).unwrap();
        for _ in 0..3 {
            let died: Result<(), _> = pool.run(|| panic!("job died")).await;
            assert_eq!(died, Err(PoolError::Panicked));
        }
        assert_eq!(pool.run(|| 7).await, Ok(7));
        assert_eq!(pool.depth(), 0);
    }

    #[tokio::test]
    async fn no_more_jobs_than_places_are_taken() {
        let pool = Pool::start("test", 1).unwrap();
        let (release, wait) = sync_channel::<()>(0);
        let first = pool.submit(move || wait.recv().is_err()).await.unwrap();
        while pool.try_submit(|| ()) {}
        assert_eq!(pool.depth(), PLACES_PER_THREAD);
        drop(release);
        assert_eq!(first.result().await, Ok(true));
        assert_eq!(pool.run(|| 1).await, Ok(1));
    }

    #[tokio::test]
    async fn closing_finishes_what_is_queued_and_takes_nothing_more() {
        let pool = Pool::start("test", 2).unwrap();
        let queued = pool.submit(|| 1).await.unwrap();
        pool.close();
        assert_eq!(queued.result().await, Ok(1));
        assert_eq!(pool.run(|| 2).await, Err(PoolError::Closed));
    }
}
