//! The list of processes, with a few figures for each.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pagekeeper_sys::process;

use super::error::MonitorError;
use super::observer::Observer;
use super::snapshot::{Counters, Snapshot, Source, Totals};

/// How long a process may take to answer, and all together: one that does not, or late on purpose, is not to keep the others'
/// figures from being shown.
const EACH: Duration = Duration::from_millis(50);
const ALL: Duration = Duration::from_millis(500);

/// One process of the list.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProcessSummary {
    /// The process's number.
    pub pid: u32,
    /// Its short name.
    pub name: String,
    /// Its command line.
    pub command: String,
    /// The number of its user.
    pub user: u32,
    /// Who told.
    pub source: Source,
    /// Sums.
    pub totals: Totals,
    /// What happened since it began.
    pub counters: Counters,
}

impl From<Snapshot> for ProcessSummary {
    fn from(figures: Snapshot) -> Self {
        Self {
            pid: figures.pid,
            name: figures.name,
            command: figures.command,
            user: figures.user,
            source: figures.source,
            totals: figures.totals,
            counters: figures.counters,
        }
    }
}

/// The list of processes, refreshed again and again.
#[derive(Debug, Default)]
pub struct Processes {
    observers: HashMap<u32, Observer>,
    /// Processes that may not be looked into, or have no memory.
    closed: usize,
}

impl Processes {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// The processes that may be looked into now, by their numbers.
    ///
    /// # Errors
    /// [`MonitorError::Kernel`] without `/proc`.
    pub fn refresh(&mut self) -> Result<Vec<ProcessSummary>, MonitorError> {
        let pids = process::list().map_err(|errno| MonitorError::Kernel {
            pid: std::process::id(),
            what: "the list of processes in /proc",
            errno,
        })?;
        self.observers
            .retain(|pid, _| pids.binary_search(pid).is_ok());
        self.closed = 0;
        let until = Instant::now() + ALL;
        Ok(pids
            .into_iter()
            .filter_map(|pid| {
                let left = until.saturating_duration_since(Instant::now());
                let summary = self.look_at(pid, left.min(EACH));
                self.closed += usize::from(summary.is_none());
                summary
            })
            .collect())
    }

    /// How many processes the last refresh left out, because they may not be looked into or have no memory.
    pub fn left_out(&self) -> usize {
        self.closed
    }

    fn look_at(&mut self, pid: u32, patience: Duration) -> Option<ProcessSummary> {
        let known = self.observers.remove(&pid);
        let mut observer = match known {
            Some(observer) => observer,
            None => Observer::of(pid).ok()?,
        };
        let figures = match observer.figures_within(patience) {
            Ok(figures) => figures,
            // Another process may have got the number.
            Err(_) => {
                observer = Observer::of(pid).ok()?;
                observer.figures_within(patience).ok()?
            }
        };
        self.observers.insert(pid, observer);
        Some(figures.into())
    }
}

/// The processes that may be looked into, once. For looking again and again see [`Processes`].
///
/// # Errors
/// [`MonitorError::Kernel`] without `/proc`.
pub fn processes() -> Result<Vec<ProcessSummary>, MonitorError> {
    Processes::new().refresh()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_listed_and_one_that_ends_is_not() {
        let mut list = Processes::new();
        let own = std::process::id();
        let found = list.refresh().unwrap();
        let mine = found.iter().find(|process| process.pid == own).unwrap();
        assert!(mine.totals.working_set_bytes > 0 && mine.counters.soft_faults > 0);
        assert!(found.windows(2).all(|two| two[0].pid < two[1].pid));
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let shows = |list: &mut Processes, pid| {
            list.refresh()
                .unwrap()
                .iter()
                .any(|process| process.pid == pid)
        };
        assert!(shows(&mut list, child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!shows(&mut list, child.id()));
    }
}
