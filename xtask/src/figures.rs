//! Figures as they are printed.

use std::time::Duration;

pub(crate) fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn show(time: Duration) -> String {
    format!("{:.0} us", time.as_secs_f64() * 1e6)
}
