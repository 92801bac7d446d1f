//! A snapshot, or a recording of several seconds.

use std::thread;
use std::time::{Duration, Instant};

use pagekeeper::monitor::{MonitorError, Observer, Snapshot};

use crate::failure::Failure;
use crate::picture::Document;

/// A process now, and with `record` what it becomes in so many seconds. When it ends meanwhile the recording ends with it.
pub(super) fn document(pid: u32, record: Option<u64>, every: f64) -> Result<Document, Failure> {
    let mut observer = Observer::of(pid)?;
    let mut document = Document::of(observer.snapshot()?);
    let Some(seconds) = record else {
        return Ok(document);
    };
    let (begin, length) = (Instant::now(), Duration::from_secs(seconds));
    let mut last = document.snapshot.clone();
    let mut looks = 1;
    loop {
        let next = begin + Duration::from_secs_f64(every * f64::from(looks));
        if next > begin + length {
            return Ok(document);
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
        looks += 1;
        match observer.snapshot() {
            Ok(now) => {
                document.add(&last, &now);
                last = now;
            }
            Err(ended @ (MonitorError::Exited { .. } | MonitorError::NoSuchProcess { .. })) => {
                end_early(&mut document, &last, &ended, begin.elapsed());
                return Ok(document);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The last moment says why there is no other.
fn end_early(document: &mut Document, last: &Snapshot, ended: &MonitorError, after: Duration) {
    let mut end = last.clone();
    let note = format!("the recording stops here: {ended}");
    eprintln!(
        "pagekeeper: {ended} after {} s: the recording stops there",
        after.as_secs()
    );
    end.notes.push(note);
    document.add(last, &end);
}
