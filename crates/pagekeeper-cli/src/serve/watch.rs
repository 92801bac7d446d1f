//! A thread for each process that somebody looks at: looks at it again and again, and tells every reader what changed.

use std::collections::{HashMap, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pagekeeper::monitor::{MonitorError, Observer, Snapshot};
use pagekeeper_sys::Errno;
use serde::Serialize;
use tokio::sync::broadcast;

use super::events::{self, Event, Level};
use crate::failure::Failure;
use crate::picture::Later;

/// Moments of the time line that a new reader is given.
const MOST_MOMENTS: usize = 900;
/// Lines of the event log that are kept.
const MOST_EVENTS: usize = 200;
/// Looks that a slow reader may be behind before it is told everything anew.
const MOST_BEHIND: usize = 16;
/// A process that nobody looks at is watched so much longer: whoever reloads the page finds its time line again.
const LINGER: Duration = Duration::from_secs(60);

/// One server-sent event: its name, and JSON.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) event: &'static str,
    pub(super) data: String,
}

/// A moment of the time line, in seconds since 1970 and bytes.
#[derive(Clone, Debug, Serialize)]
struct Moment {
    at: f64,
    working_set: u64,
    modified: u64,
    standby: u64,
    compressed: u64,
    page_file: u64,
    swapped: u64,
    budget: u64,
}

impl Moment {
    fn of(snapshot: &Snapshot) -> Self {
        let totals = &snapshot.totals;
        Self {
            at: snapshot.taken_at_ms as f64 / 1e3,
            working_set: totals.working_set_bytes,
            modified: totals.modified_bytes,
            standby: totals.standby_bytes,
            compressed: totals.compressed_bytes,
            page_file: totals.page_file_bytes,
            swapped: totals.swapped_bytes,
            budget: totals.budget_bytes,
        }
    }
}

/// All that is known of a process.
#[derive(Debug, Serialize)]
struct Known {
    snapshot: Snapshot,
    moments: VecDeque<Moment>,
    events: VecDeque<Event>,
    /// Why nothing more comes.
    ended: Option<String>,
}

/// What one look changed.
#[derive(Serialize)]
struct Look<'a> {
    later: &'a Later,
    events: &'a [Event],
}

/// That nothing more comes.
#[derive(Serialize)]
struct Ended<'a> {
    text: &'a str,
    events: &'a [Event],
}

/// A process that is being watched.
#[derive(Debug)]
pub(super) struct Watch {
    sender: broadcast::Sender<Arc<Message>>,
    /// One reference more than seats are taken. They are taken and counted under the lock of all watches.
    places: Arc<()>,
    known: Mutex<Known>,
}

/// A reader's place at a watch, which goes on as long as one is taken.
#[derive(Debug)]
pub(super) struct Seat {
    watch: Arc<Watch>,
    _place: Arc<()>,
}

impl Seat {
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Watches {
    every: Duration,
    /// Watched whether somebody looks or not.
    kept: Option<u32>,
    watches: Mutex<HashMap<u32, Arc<Watch>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watches {
    /// Looks every so often; at `kept` from now on and always.
    ///
    /// # Errors
    /// Where `kept` cannot be looked at.
    pub(super) fn new(every: Duration, kept: Option<u32>) -> Result<Arc<Self>, Failure> {
        let watches = Arc::new(Self {
            every,
            kept,
            watches: Mutex::new(HashMap::new()),
        });
        if let Some(pid) = kept {
            watches.of(pid)?;
        }
        Ok(watches)
    }

    /// The watch of a process, begun where there is none yet. Looks at the process: takes a while.
    ///
    /// # Errors
    /// As [`Observer::of`].
    pub(super) fn of(self: &Arc<Self>, pid: u32) -> Result<Seat, MonitorError> {
        if let Some(seat) = self.running(pid) {
            return Ok(seat);
        }
        let mut observer = Observer::of(pid)?;
        let snapshot = observer.snapshot()?;
        let mut watches = locked(&self.watches);
        // Another reader may have come first.
        if let Some(watch) = watches.get(&pid).filter(|watch| watch.goes_on()) {
            return Ok(watch.seat());
        }
        let begin = format!("looking at {} begins", snapshot.name);
        let begin = events::line(snapshot.taken_at_ms, Level::Info, begin);
        let watch = Arc::new(Watch {
            sender: broadcast::Sender::new(MOST_BEHIND),
            places: Arc::new(()),
            known: Mutex::new(Known {
                moments: VecDeque::from([Moment::of(&snapshot)]),
                events: VecDeque::from([begin]),
                snapshot,
                ended: None,
            }),
        });
        let (all, own) = (Arc::clone(self), Arc::clone(&watch));
        let name = format!("watch {pid}");
        let thread = thread::Builder::new().name(name);
        thread
            .spawn(move || {
                let run = AssertUnwindSafe(|| own.run(&all, observer));
                if panic::catch_unwind(run).is_err() {
                    // Its readers are told, and the next one begins anew.
                    own.end("looking at it failed: an error of this program");
                    all.remove(pid, &own);
                }
            })
            .map_err(|error| MonitorError::Kernel {
                pid,
                what: "a thread to look with",
                errno: Errno::from_io_error(&error).unwrap_or(Errno::AGAIN),
            })?;
        let seat = watch.seat();
        watches.insert(pid, watch);
        Ok(seat)
    }

    /// A process whose end is to be seen by whoever comes later stays; another one may have got the number of any other.
    fn running(&self, pid: u32) -> Option<Seat> {
        let watches = locked(&self.watches);
        let watch = watches.get(&pid)?;
        (watch.goes_on() || self.kept == Some(pid)).then(|| watch.seat())
    }

    /// Forgets a watch that nobody follows; whether it did.
    fn forget(&self, pid: u32, watch: &Arc<Watch>) -> bool {
        let mut watches = locked(&self.watches);
        // Readers take their seats under the same lock: none can be coming now.
        if self.kept == Some(pid) || watch.is_followed() {
            return false;
        }
        take_out(&mut watches, pid, watch);
        true
    }

    fn remove(&self, pid: u32, watch: &Arc<Watch>) {
        take_out(&mut locked(&self.watches), pid, watch);
    }
}

/// Another watch of that number stays.
fn take_out(watches: &mut HashMap<u32, Arc<Watch>>, pid: u32, watch: &Arc<Watch>) {
    if watches
        .get(&pid)
        .is_some_and(|other| Arc::ptr_eq(other, watch))
    {
        watches.remove(&pid);
    }
}

impl Watch {
    fn seat(self: &Arc<Self>) -> Seat {
        Seat {
            watch: Arc::clone(self),
            _place: Arc::clone(&self.places),
        }
    }

    fn is_followed(&self) -> bool {
        Arc::strong_count(&self.places) > 1
    }

    fn goes_on(&self) -> bool {
        locked(&self.known).ended.is_none()
    }

    /// Everything so far, and whatever comes from now on: nothing is missed between the two, and nothing comes twice.
    pub(super) fn follow(&self) -> (Arc<Message>, broadcast::Receiver<Arc<Message>>) {
        let known = locked(&self.known);
        let receiver = self.sender.subscribe();
        let data = serde_json::to_string(&*known).unwrap_or_default();
        (
            Arc::new(Message {
                event: "hello",
                data,
            }),
            receiver,
        )
    }

    fn run(self: &Arc<Self>, all: &Watches, mut observer: Observer) {
        let mut followed = Instant::now();
        loop {
            thread::sleep(all.every);
            if self.is_followed() {
                followed = Instant::now();
            } else if followed.elapsed() > LINGER && all.forget(observer.pid(), self) {
                return;
            }
            match observer.snapshot() {
                Ok(snapshot) => self.tell(snapshot),
                Err(MonitorError::Silent { .. }) => {}
                Err(error) => {
                    self.end(&error.to_string());
                    if all.kept != Some(observer.pid()) {
                        while !all.forget(observer.pid(), self) {
                            thread::sleep(all.every.max(Duration::from_secs(1)));
                        }
                    }
                    return;
                }
            }
        }
    }

    fn tell(&self, snapshot: Snapshot) {
        let mut known = locked(&self.known);
        let new = events::between(&known.snapshot, &snapshot);
        let later = Later::between(&known.snapshot.regions, &snapshot);
        let look = Look {
            later: &later,
            events: &new,
        };
        let data = serde_json::to_string(&look).unwrap_or_default();
        known.moments.push_back(Moment::of(&snapshot));
        while known.moments.len() > MOST_MOMENTS {
            known.moments.pop_front();
        }
        known.snapshot = snapshot;
        known.log(new);
        // Nobody may be listening.
        let _ = self.sender.send(Arc::new(Message {
            event: "look",
            data,
        }));
    }

    fn end(&self, text: &str) {
        let mut known = locked(&self.known);
        let text = text.to_owned();
        let at_ms = known.snapshot.taken_at_ms;
        let new = vec![events::line(at_ms, Level::Warning, text.clone())];
        let ended = Ended {
            text: &text,
            events: &new,
        };
        let data = serde_json::to_string(&ended).unwrap_or_default();
        known.ended = Some(text);
        known.log(new);
        let _ = self.sender.send(Arc::new(Message {
            event: "ended",
            data,
        }));
    }
}

impl Known {
    fn log(&mut self, new: Vec<Event>) {
        self.events.extend(new);
        while self.events.len() > MOST_EVENTS {
            self.events.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_everything_and_then_what_changes_until_the_end() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let every = Duration::from_millis(100);
        let watches = Watches::new(every, Some(child.id())).unwrap();
        let seat = watches.of(child.id()).unwrap();
        let (hello, mut receiver) = seat.watch().follow();
        assert_eq!(hello.event, "hello");
        let data: serde_json::Value = serde_json::from_str(&hello.data).unwrap();
        assert_eq!(data["snapshot"]["pid"], child.id());
        assert!(!data["snapshot"]["regions"].as_array().unwrap().is_empty());
        assert_eq!(receiver.blocking_recv().unwrap().event, "look");
        child.kill().unwrap();
        child.wait().unwrap();
        let last = loop {
            match receiver.blocking_recv().unwrap() {
                look if look.event == "look" => {}
                last => break last,
            }
        };
        assert_eq!(last.event, "ended");
        assert!(last.data.contains("has ended"), "{}", last.data);
        // Whoever comes later is told of the end.
        let (hello, _) = watches.of(child.id()).unwrap().watch().follow();
        assert!(hello.data.contains("\"ended\":\"process"), "{}", hello.data);
    }

    #[test]
    fn what_cannot_be_looked_at_is_refused_at_once() {
        let every = Duration::from_secs(1);
        assert!(Watches::new(every, Some(u32::MAX)).is_err());
        let watches = Watches::new(every, None).unwrap();
        assert!(matches!(
            watches.of(u32::MAX),
            Err(MonitorError::NoSuchProcess { .. })
        ));
    }
}
