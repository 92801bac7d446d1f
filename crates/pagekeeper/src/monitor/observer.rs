//! Looking at one process again and again.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pagekeeper_sys::process::{self, Identity, Transfers};
use pagekeeper_sys::procmap::{Maps, Residence};
use pagekeeper_units::PAGE_SIZE;

use super::error::MonitorError;
use super::kernel_view::{self, InMemory, Pages};
use super::region::Region;
use super::snapshot::{Snapshot, Source, Totals};
use crate::statistics::Exactness;

/// Of the time, the part that looking at regions may take: a twentieth. Larger processes are looked at less often.
const REST: u32 = 19;

/// Looks at one process. Needs the rights of a debugger that only reads: the same user, or root.
///
/// ```
/// use pagekeeper::monitor::Observer;
/// let mut observer = Observer::of(std::process::id())?;
/// let snapshot = observer.snapshot()?;
/// assert!(snapshot.totals.working_set_bytes > 0);
/// # Ok::<(), pagekeeper::monitor::MonitorError>(())
/// ```
pub struct Observer {
    pid: u32,
    started: u64,
    command: String,
    /// `None` where the kernel does not say which pages are in memory.
    pages: Option<Pages>,
    seen: Option<Seen>,
}

/// The kernel's regions as they were seen last.
struct Seen {
    regions: Vec<Region>,
    in_memory: InMemory,
    /// When the look began, and how long it took.
    at: Instant,
    took: Duration,
}

impl core::fmt::Debug for Observer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Observer")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl Observer {
    /// Begins to look at a process.
    ///
    /// # Errors
    /// [`MonitorError`]: there is none, it is somebody else's, it may not be looked into, it has no memory.
    pub fn of(pid: u32) -> Result<Self, MonitorError> {
        let identity = Identity::of(pid).map_err(|_| MonitorError::NoSuchProcess { pid })?;
        if identity.has_ended() {
            return Err(MonitorError::NoMemory { pid });
        }
        let refused = |what| move |errno| MonitorError::refused(pid, what, errno);
        let mut maps = Maps::of(pid).map_err(refused("its map"))?;
        if maps.next_region().map_err(refused("its map"))?.is_none() {
            return Err(MonitorError::NoMemory { pid });
        }
        Ok(Self {
            pid,
            started: identity.started,
            command: process::command_line(pid).unwrap_or_default(),
            pages: Pages::of(pid).ok(),
            seen: None,
        })
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The process now, with its regions.
    ///
    /// # Errors
    /// [`MonitorError::Exited`], and what [`Observer::of`] gives.
    pub fn snapshot(&mut self) -> Result<Snapshot, MonitorError> {
        let mut snapshot = self.figures()?;
        self.look_at_regions()?;
        let Some(seen) = &self.seen else {
            return Ok(snapshot);
        };
        snapshot.regions.clone_from(&seen.regions);
        let in_memory = self.pages.as_ref().map(|_| seen.in_memory);
        sum_up(&mut snapshot.totals, &snapshot.regions, in_memory);
        let age = seen.at.elapsed();
        if age > Duration::from_secs(1) {
            snapshot.notes.push(format!(
                "regions are {} s old: looking at them takes {} ms, so it is done less often",
                age.as_secs(),
                seen.took.as_millis()
            ));
        }
        if self.pages.is_none() {
            snapshot.notes.push(
                "which pages are in memory is not known: the kernel does not open this process's page map"
                    .to_owned(),
            );
        }
        Ok(snapshot)
    }

    /// The process now, without its regions: cheaper.
    ///
    /// # Errors
    /// As [`Observer::snapshot`].
    pub fn figures(&mut self) -> Result<Snapshot, MonitorError> {
        let pid = self.pid;
        let refused = |what| move |errno| MonitorError::refused(pid, what, errno);
        let identity = Identity::of(pid).map_err(refused("its status"))?;
        if identity.started != self.started || identity.has_ended() {
            return Err(MonitorError::Exited { pid });
        }
        let sums = Residence::of(pid).map_err(refused("its status"))?;
        if sums.mapped_bytes == 0 {
            return Err(MonitorError::Exited { pid });
        }
        let mut snapshot = Snapshot {
            taken_at_ms: now_ms(),
            pid,
            command: self.command.clone(),
            user: identity.user,
            name: identity.name.clone(),
            source: Source::Proc,
            residence: Exactness::Sampled,
            faults: Exactness::Sampled,
            totals: totals_of(&sums),
            ..Snapshot::default()
        };
        count_activity(&mut snapshot, pid, &identity);
        if identity.is_stopped() {
            snapshot.notes.push("the process is stopped".to_owned());
        }
        Ok(snapshot)
    }

    /// Looks at the regions again, unless the last look was so long that it must not be repeated yet.
    fn look_at_regions(&mut self) -> Result<(), MonitorError> {
        if let Some(seen) = &self.seen
            && seen.at.elapsed() < seen.took * (REST + 1)
        {
            return Ok(());
        }
        let pid = self.pid;
        let refused = |what| move |errno| MonitorError::refused(pid, what, errno);
        let at = Instant::now();
        let mut regions = kernel_view::regions(pid, &[]).map_err(refused("its map"))?;
        if regions.is_empty() {
            return Err(MonitorError::Exited { pid });
        }
        let in_memory = match &self.pages {
            Some(pages) => {
                kernel_view::fill_pages(pages, &mut regions).map_err(refused("its page map"))?
            }
            None => InMemory::default(),
        };
        self.seen = Some(Seen {
            regions,
            in_memory,
            at,
            took: at.elapsed(),
        });
        Ok(())
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// What the kernel counted of a process.
pub(super) fn count_activity(snapshot: &mut Snapshot, pid: u32, identity: &Identity) {
    let transfers = Transfers::of(pid).unwrap_or_default();
    let counters = &mut snapshot.counters;
    counters.process_minor_faults = identity.minor_faults;
    counters.process_major_faults = identity.major_faults;
    counters.soft_faults = identity.minor_faults;
    counters.hard_faults = identity.major_faults;
    counters.bytes_in = transfers.read_bytes;
    counters.bytes_out = transfers.written_bytes;
}

/// Sums without regions: what the kernel keeps. What is committed is estimated.
pub(super) fn totals_of(sums: &Residence) -> Totals {
    let private_bytes = sums.data_bytes + sums.stack_bytes;
    Totals {
        reserved_bytes: sums.mapped_bytes,
        committed_bytes: private_bytes + sums.code_bytes,
        private_bytes,
        shared_bytes: sums.code_bytes,
        working_set_bytes: sums.resident_bytes,
        working_set_private_bytes: sums.anonymous_bytes,
        working_set_shared_bytes: sums.file_bytes + sums.shared_bytes,
        swapped_bytes: sums.swapped_bytes,
        locked_bytes: sums.locked_bytes,
        page_table_bytes: sums.page_table_bytes,
        ..Totals::default()
    }
}

/// Makes the first group of the totals the sum of the regions.
pub(super) fn sum_up(totals: &mut Totals, regions: &[Region], in_memory: Option<InMemory>) {
    let page = PAGE_SIZE as u64;
    let mut sum = Totals::default();
    for region in regions {
        sum.reserved_bytes += region.size_bytes;
        sum.committed_bytes += region.committed_bytes;
        if region.shared || region.kind.is_file() {
            sum.shared_bytes += region.committed_bytes;
        } else {
            sum.private_bytes += region.committed_bytes;
        }
        sum.working_set_bytes += region.pages.resident * page;
        sum.modified_bytes += region.pages.modified * page;
        sum.standby_bytes += region.pages.standby * page;
        sum.compressed_bytes += region.pages.compressed * page;
        sum.page_file_bytes += region.pages.page_file * page;
        sum.swapped_bytes += region.pages.swapped * page;
    }
    totals.reserved_bytes = sum.reserved_bytes;
    totals.committed_bytes = sum.committed_bytes;
    totals.private_bytes = sum.private_bytes;
    totals.shared_bytes = sum.shared_bytes;
    let Some(in_memory) = in_memory else {
        return;
    };
    totals.working_set_bytes = sum.working_set_bytes;
    totals.working_set_private_bytes = in_memory.private * page;
    totals.working_set_shared_bytes = in_memory.shared * page;
    totals.modified_bytes = sum.modified_bytes;
    totals.standby_bytes = sum.standby_bytes;
    totals.compressed_bytes = sum.compressed_bytes;
    totals.page_file_bytes = sum.page_file_bytes;
    totals.swapped_bytes = sum.swapped_bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_the_regions_is_the_totals_and_what_the_kernel_says() {
        let pid = std::process::id();
        let ballast = vec![1_u8; 256 << 20];
        let snapshot = Observer::of(pid).unwrap().snapshot().unwrap();
        let sum: u64 = snapshot
            .regions
            .iter()
            .map(|region| region.pages.resident)
            .sum();
        assert_eq!(sum * 4096, snapshot.totals.working_set_bytes);
        let sizes: u64 = snapshot
            .regions
            .iter()
            .map(|region| region.size_bytes)
            .sum();
        assert_eq!(sizes, snapshot.totals.reserved_bytes);
        assert_eq!(
            snapshot.totals.private_bytes + snapshot.totals.shared_bytes,
            snapshot.totals.committed_bytes
        );
        // Other tests run beside this one, hence the ballast.
        let kernel = Residence::of(pid).unwrap().resident_bytes;
        let ours = snapshot.totals.working_set_bytes;
        assert!(ours.abs_diff(kernel) < kernel / 10, "{ours} of {kernel}");
        assert_eq!(snapshot.source, Source::Proc);
        drop(ballast);
    }

    #[test]
    fn processes_that_cannot_be_looked_at_are_told_apart() {
        let none = u32::MAX >> 2;
        assert_eq!(
            Observer::of(none).unwrap_err(),
            MonitorError::NoSuchProcess { pid: none }
        );
        // Number 2 is the thread that makes the kernel's threads, where it is shown.
        if Identity::of(2).is_ok_and(|identity| identity.name == "kthreadd") {
            let error = Observer::of(2).unwrap_err();
            assert!(
                matches!(
                    error,
                    MonitorError::NoMemory { pid: 2 } | MonitorError::NotPermitted { .. }
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn a_process_that_ends_meanwhile_is_said_to_have_ended() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let mut observer = Observer::of(child.id()).unwrap();
        assert!(observer.snapshot().is_ok());
        child.kill().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(
            observer.snapshot().unwrap_err(),
            MonitorError::Exited { pid }
        );
    }
}
