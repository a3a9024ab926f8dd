//! The one way in which work is timed here: so many workers at once, until it is enough, and only
//! whole operations count.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::random::f64_of;
use crate::sample::Sample;

/// When a measurement has enough.
#[derive(Clone, Copy, Debug)]
pub enum Enough {
    /// No operation starts after this time.
    After(Duration),
    /// Exactly this many operations, over all workers.
    Operations(u64),
}

/// What was done and how long it took, from the first start to the last end.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Measured {
    /// Operations.
    pub operations: u64,
    /// Content bytes that these moved.
    pub bytes: u64,
    /// Seconds.
    pub seconds: f64,
}

/// Hands out numbers of operations until it is enough.
#[derive(Debug)]
struct Tickets {
    next: AtomicU64,
    enough: Enough,
    started: Instant,
}

impl Tickets {
    fn new(enough: Enough) -> Self {
        Self {
            next: AtomicU64::new(0),
            enough,
            started: Instant::now(),
        }
    }

    fn take(&self) -> Option<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        match self.enough {
            Enough::After(time) => self.started.elapsed() < time,
            Enough::Operations(count) => number < count,
        }
        .then_some(number)
    }

    fn measured(&self, operations: u64, bytes: u64) -> Measured {
        Measured {
            operations,
            bytes,
            seconds: self.started.elapsed().as_secs_f64(),
        }
    }
}

impl Measured {
    /// The same as a line of the results.
    pub fn sample(&self, subject: &str, operation: &str, size: String, clients: usize) -> Sample {
        let per_second = |count| f64_of(count) / self.seconds.max(f64::MIN_POSITIVE);
        Sample {
            subject: subject.to_owned(),
            operation: operation.to_owned(),
            size,
            clients,
            operations: self.operations,
            bytes: self.bytes,
            seconds: self.seconds,
            operations_per_second: per_second(self.operations),
            bytes_per_second: per_second(self.bytes),
            ..Sample::default()
        }
    }
}

/// Work that blocks, on threads. `worker` makes what each thread needs of its own; the closure that
/// it returns does operation `n` and gives the bytes moved.
pub fn on_threads<W, O, E>(workers: usize, enough: Enough, worker: W) -> Result<Measured, E>
where
    W: Fn(usize) -> Result<O, E> + Sync,
    O: FnMut(u64) -> Result<u64, E> + Send,
    E: Send,
{
    // Made before the clock starts.
    let operations: Result<Vec<O>, E> = (0..workers).map(&worker).collect();
    let operations = operations?;
    let tickets = Tickets::new(enough);
    let tallies: Vec<Result<(u64, u64), E>> = thread::scope(|scope| {
        let running: Vec<_> = operations
            .into_iter()
            .map(|mut operation| {
                let tickets = &tickets;
                scope.spawn(move || {
                    let mut tally = (0, 0);
                    while let Some(number) = tickets.take() {
                        tally.1 += operation(number)?;
                        tally.0 += 1;
                    }
                    Ok(tally)
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(tally) => tally,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    });
    sum(&tickets, tallies)
}

/// Work that waits, as tasks of the runtime; otherwise as [`on_threads`].
pub async fn as_tasks<W, O, F, E>(workers: usize, enough: Enough, worker: W) -> Result<Measured, E>
where
    W: Fn(usize) -> O,
    O: FnMut(u64) -> F + Send + 'static,
    F: Future<Output = Result<u64, E>> + Send,
    E: Send + 'static,
{
    let operations: Vec<O> = (0..workers).map(worker).collect();
    let tickets = Arc::new(Tickets::new(enough));
    let running: Vec<_> = operations
        .into_iter()
        .map(|mut operation| {
            let tickets = Arc::clone(&tickets);
            tokio::spawn(async move {
                let mut tally = (0, 0);
                while let Some(number) = tickets.take() {
                    tally.1 += operation(number).await?;
                    tally.0 += 1;
                }
                Ok(tally)
            })
        })
        .collect();
    let mut tallies = Vec::new();
    for task in running {
        match task.await {
            Ok(tally) => tallies.push(tally),
            Err(died) => std::panic::resume_unwind(died.into_panic()),
        }
    }
    sum(&tickets, tallies)
}

fn sum<E>(tickets: &Tickets, tallies: Vec<Result<(u64, u64), E>>) -> Result<Measured, E> {
    let mut operations = 0;
    let mut bytes = 0;
    for tally in tallies {
        let (more_operations, more_bytes) = tally?;
        operations += more_operations;
        bytes += more_bytes;
    }
    Ok(tickets.measured(operations, bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn exactly_as_many_operations_are_done_as_asked_and_each_once() {
        let seen = std::sync::Mutex::new(Vec::new());
        let measured = on_threads(4, Enough::Operations(1000), |_| {
            Ok::<_, ()>(|number| {
                seen.lock().unwrap().push(number);
                Ok(3)
            })
        })
        .unwrap();
        assert_eq!((measured.operations, measured.bytes), (1000, 3000));
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..1000));
    }

    #[test]
    fn an_error_ends_the_measurement() {
        let fails_at = |bad| {
            on_threads(2, Enough::Operations(10), move |_| {
                Ok(move |number| if number == bad { Err("bad") } else { Ok(1) })
            })
        };
        assert_eq!(fails_at(7), Err("bad"));
        assert!(fails_at(10).is_ok());
    }

    #[tokio::test]
    async fn tasks_count_like_threads() {
        let measured = as_tasks(3, Enough::Operations(100), |_| |_| async { Ok::<_, ()>(2) });
        let measured = measured.await.unwrap();
        assert_eq!((measured.operations, measured.bytes), (100, 200));
        assert!(measured.seconds > 0.0);
        let sample = measured.sample("engine", "store", "2B".to_owned(), 3);
        assert!(sample.operations_per_second > 0.0);
    }

    #[tokio::test]
    async fn nothing_starts_after_the_time_is_up() {
        let none = as_tasks(2, Enough::After(Duration::ZERO), |_| {
            |_| async { Ok::<_, ()>(1) }
        });
        assert_eq!(none.await.unwrap().operations, 0);
    }
}
