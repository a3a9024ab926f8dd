//! What was served within the last hour, for the health protocol.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// One bucket for each minute of the hour.
const MINUTES: usize = 60;

/// Counts requests by the minute.
#[derive(Debug)]
pub(crate) struct Served {
    start: Instant,
    minutes: Mutex<[Minute; MINUTES]>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Minute {
    /// Which minute since the start.
    number: u64,
    requests: u64,
    succeeded: u64,
    time: Duration,
}

/// The last hour, as the health protocol tells it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastHour {
    #[serde(rename = "requestsLastHour")]
    requests: u64,
    /// Milliseconds.
    avg_response_time: f64,
    /// 0 to 1; 1 while nothing was asked.
    success_rate: f64,
}

impl Served {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            minutes: Mutex::new([Minute::default(); MINUTES]),
        }
    }

    pub(super) fn record(&self, took: Duration, succeeded: bool) {
        let number = self.minute();
        let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        let at = usize::try_from(number).unwrap_or_default() % MINUTES;
        let Some(minute) = minutes.get_mut(at) else {
            return;
        };
        if minute.number != number {
            *minute = Minute {
                number,
                ..Minute::default()
            };
        }
        minute.requests += 1;
        minute.succeeded += u64::from(succeeded);
        minute.time += took;
    }

    pub(super) fn last_hour(&self) -> LastHour {
        let now = self.minute();
        let minutes = *self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = minutes
            .iter()
            .filter(|minute| minute.number + MINUTES as u64 > now);
        let (mut requests, mut succeeded, mut time) = (0, 0, Duration::ZERO);
        for minute in recent {
            requests += minute.requests;
            succeeded += minute.succeeded;
            time += minute.time;
        }
        if requests == 0 {
            return LastHour {
                requests: 0,
                avg_response_time: 0.0,
                success_rate: 1.0,
            };
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of an hour, far below 2^52"
        )]
        LastHour {
            requests,
            avg_response_time: time.as_secs_f64() * 1000.0 / requests as f64,
            success_rate: succeeded as f64 / requests as f64,
        }
    }

    fn minute(&self) -> u64 {
        self.start.elapsed().as_secs() / 60
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_hour_is_remembered_and_no_more() {
        let served = Served::new();
        assert_eq!(served.last_hour().requests, 0);
        served.record(Duration::from_millis(30), true);
        tokio::time::advance(Duration::from_mins(59)).await;
        served.record(Duration::from_millis(10), false);
        let hour = served.last_hour();
        assert_eq!(hour.requests, 2);
        assert!((hour.avg_response_time - 20.0).abs() < 1e-9);
        assert!((hour.success_rate - 0.5).abs() < 1e-9);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(served.last_hour().requests, 1);
        tokio::time::advance(Duration::from_hours(1)).await;
        served.record(Duration::ZERO, true);
        assert_eq!(served.last_hour().requests, 1);
    }
}
