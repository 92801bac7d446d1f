//! Looking at one process again and again.

use std::time::{Duration, Instant};

use pagekeeper_sys::Errno;
use pagekeeper_sys::process::{self, Identity};
use pagekeeper_sys::procmap::{Maps, Residence};
use pagekeeper_sys::time::thread_processor_time;
use pagekeeper_units::PAGE_SIZE;

use super::error::MonitorError;
use super::kernel_view::{self, InMemory};
use super::live::ask::{LiveSource, PATIENCE};
use super::live::collect;
use super::live::listing::LiveRegions;
use super::page_info::{PageInfo, free_at, from_page, residence_name};
use super::page_map::PageMap;
use super::region::{Region, RegionUse};
use super::snapshot::{Snapshot, Source};
use super::sums::{add_told, count_activity, now_ms, place_code, sum_up, totals_of};
use crate::statistics::Exactness;

/// Of a processor, the part that looking at regions may take: a fiftieth. Larger processes are looked at less often.
const REST: u32 = 50;

/// Regions that are so old are said to be.
const NOTABLE_AGE_MS: u64 = 2000;

/// A process that is changing programs is looked at again so often, and after so long.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(2);

/// How often it is looked whether a process has begun to use Pagekeeper: at first at once, then in every so many looks.
const LOOK_FOR_LIVE: u32 = 10;

/// Looks at one process. Needs the rights of a debugger that only reads: the same user, or root.
///
/// ```
/// use pagekeeper::monitor::Observer;
/// let mut observer = Observer::of(std::process::id())?;
/// let snapshot = observer.snapshot()?;
/// assert!(snapshot.totals.working_set_bytes > 0);
/// # Ok::<(), pagekeeper::monitor::MonitorError>(())
/// ```
#[derive(Debug)]
pub struct Observer {
    pid: u32,
    started: u64,
    /// Where the program lies that ran when looking began.
    program: [u64; 2],
    command: String,
    teller: Teller,
    looks: u32,
    pages: PageMap,
    seen: Option<Seen>,
    /// How long the process may take to answer.
    patience: Duration,
}

/// Who tells of the memory that Pagekeeper manages.
#[derive(Debug)]
enum Teller {
    /// Nobody: there is none, as far as is known.
    Nobody,
    /// The process, when it is asked.
    Process(LiveSource),
    /// It is this process.
    Own,
}

/// Regions as they were seen last.
#[derive(Debug)]
struct Seen {
    regions: Vec<Region>,
    in_memory: InMemory,
    /// When the process listed its own, in milliseconds since 1970.
    taken_at_ms: u64,
    /// When the look ended, and how much of a processor it took.
    at: Instant,
    took: Duration,
}

impl Observer {
    /// Begins to look at a process.
    ///
    /// # Errors
    /// [`MonitorError`]: there is none, it is somebody else's, it may not be looked into, it has no memory.
    pub fn of(pid: u32) -> Result<Self, MonitorError> {
        let identity = Identity::of(pid).map_err(|errno| match errno {
            Errno::NOENT | Errno::SRCH => MonitorError::NoSuchProcess { pid },
            errno => MonitorError::refused(pid, "its status", errno),
        })?;
        if identity.has_ended() {
            return Err(MonitorError::NoMemory { pid });
        }
        let refused = |what| move |errno| MonitorError::refused(pid, what, errno);
        let mut maps = Maps::of(pid).map_err(refused("its map"))?;
        if maps.next_region().map_err(refused("its map"))?.is_none() {
            return Err(MonitorError::NoMemory { pid });
        }
        let teller = match pid == std::process::id() {
            true => Teller::Own,
            false => LiveSource::of(&identity, pid)?.map_or(Teller::Nobody, Teller::Process),
        };
        Ok(Self {
            pid,
            started: identity.started,
            program: identity.program,
            command: process::command_line(pid).unwrap_or_default(),
            teller,
            looks: 0,
            pages: PageMap::Unopened,
            seen: None,
            patience: PATIENCE,
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
        self.whatever_it_runs(Self::one_snapshot)
    }

    /// What was opened belongs to the program that ran then; the process may run another one now, which is looked at anew.
    fn whatever_it_runs<T>(
        &mut self,
        look: impl Fn(&mut Self) -> Result<T, MonitorError>,
    ) -> Result<T, MonitorError> {
        let mut found = look(self);
        for _ in 0..TRIES {
            let Err(MonitorError::Exited { pid }) = found else {
                break;
            };
            match Self::of(pid) {
                Ok(again) if again.started == self.started => {
                    *self = again;
                    found = look(self);
                }
                // In the middle of changing programs it has no memory for a moment.
                Err(MonitorError::NoMemory { .. } | MonitorError::Exited { .. }) => {}
                _ => break,
            }
            if found.is_err() {
                std::thread::sleep(PAUSE);
            }
        }
        found
    }

    /// The process as it is known to the kernel, as long as it runs the program that is looked at.
    fn identify(&self) -> Result<Identity, MonitorError> {
        let pid = self.pid;
        let refused = |errno| MonitorError::refused(pid, "its status", errno);
        let identity = Identity::of(pid).map_err(refused)?;
        let is_same = identity.started == self.started && identity.program == self.program;
        if !is_same || identity.has_ended() {
            return Err(MonitorError::Exited { pid });
        }
        Ok(identity)
    }

    fn one_snapshot(&mut self) -> Result<Snapshot, MonitorError> {
        let (mut snapshot, live) = self.look(true)?;
        self.look_at_regions(live)?;
        let Some(seen) = &self.seen else {
            return Ok(snapshot);
        };
        snapshot.regions.clone_from(&seen.regions);
        let in_memory = self.pages.get().map(|_| seen.in_memory);
        sum_up(&mut snapshot.totals, &snapshot.regions, in_memory);
        snapshot.age_ms = snapshot
            .age_ms
            .max(now_ms().saturating_sub(seen.taken_at_ms));
        if snapshot.age_ms >= NOTABLE_AGE_MS {
            snapshot.notes.push(format!(
                "regions are {} s old: looking at all pages takes long, so it is done less often",
                snapshot.age_ms / 1000
            ));
        }
        if self.pages.get().is_none() {
            snapshot.notes.push(
                "which pages are in memory is not known: the kernel does not open this process's page map"
                    .to_owned(),
            );
        }
        if snapshot
            .regions
            .iter()
            .any(|region| region.usage == RegionUse::Merged)
        {
            snapshot.notes.push(
                "there are so many regions that neighbours are shown as one; sums are right all the same"
                    .to_owned(),
            );
        }
        for site in &mut snapshot.fault_sites {
            place_code(site, &snapshot.regions);
        }
        Ok(snapshot)
    }

    /// The process now, without its regions: cheaper.
    ///
    /// # Errors
    /// As [`Observer::snapshot`].
    pub fn figures(&mut self) -> Result<Snapshot, MonitorError> {
        self.whatever_it_runs(|it| it.look(false).map(|(snapshot, _)| snapshot))
    }

    /// The same, for one of many: of a process that takes longer to answer, what it told last or what the kernel shows.
    pub(super) fn figures_within(&mut self, patience: Duration) -> Result<Snapshot, MonitorError> {
        self.patience = patience;
        let figures = self.figures();
        self.patience = PATIENCE;
        figures
    }

    /// What lies at an address, and where its page is.
    ///
    /// # Errors
    /// As [`Observer::snapshot`]; [`MonitorError::Silent`] when the process is stopped.
    pub fn page_at(&mut self, address: u64) -> Result<PageInfo, MonitorError> {
        self.whatever_it_runs(|it| it.one_page(address))
    }

    fn one_page(&mut self, address: u64) -> Result<PageInfo, MonitorError> {
        self.identify()?;
        if let Teller::Process(live) = &mut self.teller
            && let Some(found) = live.find(address)?
        {
            let mut region = found.region;
            if let Some(region) = &mut region {
                kernel_view::name_view(self.pid, region);
            }
            return Ok(PageInfo {
                free_bytes: match region {
                    Some(_) => 0,
                    None => found.free.1,
                },
                region,
                page: found.residence.map_or("", residence_name).to_owned(),
            });
        }
        let snapshot = self.one_snapshot()?;
        Ok(match snapshot.region_at(address) {
            Some(region) => from_page(region, address, self.pages.get()),
            None => free_at(&snapshot, address),
        })
    }

    /// Bytes of the process from `address` on, wherever they are: of a process that uses Pagekeeper also pages that are out.
    ///
    /// # Errors
    /// [`MonitorError::Unreadable`] with the first address that cannot be read; [`MonitorError::NotPagekeeper`]: other
    /// processes are read with a debugger; as [`Observer::snapshot`].
    pub fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), MonitorError> {
        // Of another program than the one that was chosen nothing is read.
        self.identify()?;
        let Teller::Process(live) = &mut self.teller else {
            return Err(MonitorError::NotPagekeeper { pid: self.pid });
        };
        let mut page = [0_u8; PAGE_SIZE];
        let mut done = 0;
        while done < bytes.len() {
            let at = address.saturating_add(done as u64);
            let skip = (at % PAGE_SIZE as u64) as usize;
            live.read_page(at - skip as u64, &mut page)?;
            let count = (PAGE_SIZE - skip).min(bytes.len() - done);
            bytes[done..done + count].copy_from_slice(&page[skip..skip + count]);
            done += count;
        }
        Ok(())
    }

    fn look(
        &mut self,
        with_regions: bool,
    ) -> Result<(Snapshot, Option<LiveRegions>), MonitorError> {
        let pid = self.pid;
        let refused = |what| move |errno| MonitorError::refused(pid, what, errno);
        let identity = self.identify()?;
        let sums = Residence::of(pid).map_err(refused("its status"))?;
        if sums.mapped_bytes == 0 {
            return Err(MonitorError::Exited { pid });
        }
        self.looks = self.looks.wrapping_add(1);
        if matches!(self.teller, Teller::Nobody)
            && self.looks > 1
            && (self.looks < LOOK_FOR_LIVE || self.looks.is_multiple_of(LOOK_FOR_LIVE))
            && let Some(live) = LiveSource::of(&identity, pid)?
        {
            self.teller = Teller::Process(live);
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
        let live = match &mut self.teller {
            Teller::Nobody => return Ok((snapshot, None)),
            Teller::Own => {
                let (figures, _) = collect::figures();
                let regions = with_regions.then(collect::own_regions);
                (figures, regions)
            }
            Teller::Process(live) => match live.figures(with_regions, self.patience) {
                Ok(told) => {
                    if live.is_silent() && !identity.is_stopped() {
                        let text = MonitorError::Silent { pid }.to_string();
                        snapshot.notes.push(text);
                    }
                    told
                }
                // It was stopped before anybody looked: there is what the kernel shows.
                Err(error @ MonitorError::Silent { .. }) => {
                    snapshot.notes.push(error.to_string());
                    return Ok((snapshot, None));
                }
                Err(error) => return Err(error),
            },
        };
        if !live.0.engines.is_empty() {
            add_told(&mut snapshot, live.0);
        }
        Ok((snapshot, live.1))
    }

    /// Looks at the regions again, unless that took so long the last time that it must not be done yet.
    fn look_at_regions(&mut self, live: Option<LiveRegions>) -> Result<(), MonitorError> {
        if let Some(seen) = &self.seen
            && seen.at.elapsed() < seen.took * REST
        {
            return Ok(());
        }
        let pid = self.pid;
        let refused = |what| move |errno| MonitorError::refused(pid, what, errno);
        let (start, taken_at_ms) = (thread_processor_time(), now_ms());
        let mut live = live.unwrap_or(LiveRegions {
            taken_at_ms,
            ..LiveRegions::default()
        });
        let mut regions = kernel_view::regions(pid, &mut live).map_err(refused("its map"))?;
        if regions.is_empty() {
            return Err(MonitorError::Exited { pid });
        }
        self.pages.open(pid);
        let mut in_memory = match self.pages.get() {
            Some(pages) => {
                kernel_view::fill_pages(pages, &mut regions).map_err(refused("its page map"))?
            }
            None => InMemory::default(),
        };
        for region in &live.regions {
            match region.shared {
                true => in_memory.shared += region.pages.resident,
                false => in_memory.private += region.pages.resident,
            }
        }
        regions.extend(live.regions);
        regions.sort_unstable_by_key(|region| region.base);
        self.seen = Some(Seen {
            regions,
            in_memory,
            taken_at_ms: live.taken_at_ms,
            at: Instant::now(),
            took: thread_processor_time().saturating_sub(start),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_another_program_is_looked_at_anew() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let mut shell = Command::new("sh");
        shell.args(["-c", "read line; exec sleep 1000"]);
        let mut child = shell.stdin(Stdio::piped()).spawn().unwrap();
        // The kernel changes the name before the arguments.
        let arguments = format!("/proc/{}/cmdline", child.id());
        let runs = |wanted: &[u8]| std::fs::read(&arguments).unwrap() == wanted;
        while runs(b"") {
            std::thread::yield_now();
        }
        let mut observer = Observer::of(child.id()).unwrap();
        let mut briefly = Observer::of(child.id()).unwrap();
        assert!(briefly.figures().unwrap().command.starts_with("sh -c"));
        assert!(!observer.snapshot().unwrap().regions.is_empty());
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        while !runs(b"sleep\x001000\0") {
            std::thread::yield_now();
        }
        let snapshot = observer.snapshot();
        let figures = briefly.figures();
        child.kill().unwrap();
        child.wait().unwrap();
        let snapshot = snapshot.unwrap();
        assert_eq!(figures.unwrap().command, "sleep 1000");
        assert_eq!(
            (snapshot.name.as_str(), snapshot.command.as_str()),
            ("sleep", "sleep 1000")
        );
        assert_eq!(snapshot.source, Source::Proc);
        let of_sleep = |region: &Region| region.name.ends_with("/sleep");
        assert!(snapshot.regions.iter().any(of_sleep));
        assert_eq!(
            observer.snapshot().unwrap_err(),
            MonitorError::Exited { pid: child.id() }
        );
    }

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
