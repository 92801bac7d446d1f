//! The reader's side: asks a process that uses Pagekeeper, and copies out what it says.

use core::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::{Duration, Instant};

use pagekeeper_sys::Errno;
use pagekeeper_sys::process::{self, Identity, ProcessMemory};
use pagekeeper_sys::shared_file::{SharedFile, WORDS, advance_shared, wait_shared};
use pagekeeper_units::PAGE_SIZE;

use super::super::error::MonitorError;
use super::super::region::Region;
use super::layout::{self, word};
use super::listing::LiveRegions;
use super::record::{LiveFigures, Reader, RegionRecord};
use super::requests::{Outcome, residence_of};
use crate::engine::Residence;

/// How long an answer may take: the process may have no processor.
pub(in super::super) const PATIENCE: Duration = Duration::from_secs(2);
/// And how long a list of its regions may, as long as it is seen to go on.
const LONGEST: Duration = Duration::from_secs(30);
/// In between, whether the process is still there and runs is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How often what is written meanwhile is read again.
const TRIES: usize = 50;

/// A process that tells what it does.
#[derive(Debug)]
pub(in super::super) struct LiveSource {
    pid: u32,
    file: SharedFile,
    /// It did not answer the last time: it is not waited for long.
    is_silent: bool,
}

/// Where the page of an address is.
#[derive(Clone, Debug)]
pub(in super::super) struct Found {
    /// From the page upwards; `None` where nothing is allocated.
    pub(in super::super) region: Option<Region>,
    /// The free stretch, where nothing is allocated: base and bytes.
    pub(in super::super) free: (u64, u64),
    pub(in super::super) residence: Option<Residence>,
}

impl LiveSource {
    /// The live source of a process; `None` when it has none: it does not use Pagekeeper.
    pub(in super::super) fn of(
        identity: &Identity,
        pid: u32,
    ) -> Result<Option<Self>, MonitorError> {
        let prefix = format!("/memfd:{}", layout::NAME);
        let refused = |errno| MonitorError::refused(pid, "its descriptors", errno);
        for path in process::descriptors_of(pid, &prefix).map_err(refused)? {
            // One that vanishes, or that somebody else gave the same name, is none.
            let Ok(file) = SharedFile::open(&path) else {
                continue;
            };
            let words = file.words();
            if words[word::MAGIC].load(Ordering::Acquire) != layout::MAGIC {
                continue;
            }
            // A forked child has its parent's descriptor.
            let owner = words[word::OWNER].load(Ordering::Relaxed);
            if owner != identity.inner_pid {
                continue;
            }
            let theirs = words[word::VERSION].load(Ordering::Relaxed);
            if theirs != layout::VERSION {
                let ours = layout::VERSION;
                return Err(MonitorError::OtherVersion { pid, theirs, ours });
            }
            return Ok(Some(Self {
                pid,
                file,
                is_silent: false,
            }));
        }
        Ok(None)
    }

    fn words(&self) -> &[AtomicU32; WORDS] {
        self.file.words()
    }

    /// Asks for something, and waits until it was answered: the whole question, or `request`, the one for a page.
    fn ask(
        &mut self,
        wanted: u32,
        request: Option<u32>,
        patience: Duration,
    ) -> Result<(), MonitorError> {
        let pid = self.pid;
        self.words()[word::WANTED].fetch_or(wanted, Ordering::AcqRel);
        let ticket = advance_shared(&self.words()[word::TICKET]);
        let patience = if self.is_silent {
            LOOK.min(patience)
        } else {
            patience
        };
        let began = Instant::now();
        let mut until = began + patience;
        let mut beat = self.words()[word::BEAT].load(Ordering::Relaxed);
        loop {
            let answered = self.words()[word::ANSWERED].load(Ordering::Acquire);
            let told = self.words()[word::TOLD].load(Ordering::Acquire);
            // Tickets go round; the difference does not.
            if answered.wrapping_sub(ticket) as i32 >= 0 || request == Some(told) {
                self.is_silent = false;
                return Ok(());
            }
            let identity = Identity::of(pid).map_err(|_| MonitorError::Exited { pid })?;
            if identity.has_ended() {
                return Err(MonitorError::Exited { pid });
            }
            let beats = self.words()[word::BEAT].load(Ordering::Relaxed);
            // Whoever wants figures only has those that were told last.
            if beats != beat && wanted != layout::FIGURES {
                beat = beats;
                until = (Instant::now() + PATIENCE).min(began + LONGEST);
            }
            if identity.is_stopped() || Instant::now() >= until {
                self.is_silent = true;
                return Err(MonitorError::Silent { pid });
            }
            let left = until.saturating_duration_since(Instant::now());
            wait_shared(
                &self.words()[word::ANSWERED],
                answered,
                Some(LOOK.min(left)),
            );
        }
    }

    /// Figures, and regions where they are asked for: fresh ones, or those that the process told last when it is silent for
    /// longer than `patience`.
    pub(in super::super) fn figures(
        &mut self,
        with_regions: bool,
        patience: Duration,
    ) -> Result<(LiveFigures, Option<LiveRegions>), MonitorError> {
        let wanted = match with_regions {
            true => layout::FIGURES | layout::REGIONS,
            false => layout::FIGURES,
        };
        let asked = self.ask(wanted, None, patience);
        match asked {
            Ok(()) => {}
            Err(MonitorError::Silent { .. }) if self.has_told() => {}
            Err(error) => return Err(error),
        }
        let (figures, regions) = self.copy(with_regions)?;
        let makes_no_sense = MonitorError::Kernel {
            pid: self.pid,
            what: "what it says of itself makes no sense",
            errno: Errno::BADMSG,
        };
        let figures = LiveFigures::decode(&figures).ok_or_else(|| makes_no_sense.clone())?;
        let regions = match regions.is_empty() {
            true => None,
            false => Some(LiveRegions::decode(&regions).ok_or(makes_no_sense)?),
        };
        Ok((figures, regions))
    }

    /// Whether the last question was not answered.
    pub(in super::super) fn is_silent(&self) -> bool {
        self.is_silent
    }

    fn has_told(&self) -> bool {
        self.words()[word::FIGURE_BYTES].load(Ordering::Acquire) != 0
    }

    /// What is written there now, whole.
    fn copy(&self, with_regions: bool) -> Result<(Vec<u8>, Vec<u8>), MonitorError> {
        let pid = self.pid;
        let refused = |errno| MonitorError::refused(pid, "its live source", errno);
        let words = self.words();
        for _ in 0..TRIES {
            let before = words[word::SEQUENCE].load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let length = |place: usize, room: usize| {
                    (words[place].load(Ordering::Acquire) as usize).min(room)
                };
                let mut figures = vec![0; length(word::FIGURE_BYTES, layout::FIGURES_ROOM)];
                self.file
                    .read(layout::FIGURES_AT, &mut figures)
                    .map_err(refused)?;
                let mut regions = Vec::new();
                if with_regions {
                    regions.resize(length(word::REGION_BYTES, layout::REGIONS_ROOM), 0);
                    self.file
                        .read(layout::REGIONS_AT, &mut regions)
                        .map_err(refused)?;
                }
                fence(Ordering::SeqCst);
                if words[word::SEQUENCE].load(Ordering::Acquire) == before {
                    return Ok((figures, regions));
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(MonitorError::Silent { pid })
    }

    /// Asks for one page; the answer's bytes.
    fn ask_for_page(&mut self, request: u32, address: u64) -> Result<Vec<u8>, MonitorError> {
        let pid = self.pid;
        self.take_turn()?;
        let words = self.words();
        words[word::REQUEST].store(request, Ordering::Release);
        words[word::ADDRESS].store(address as u32, Ordering::Release);
        words[word::ADDRESS + 1].store((address >> 32) as u32, Ordering::Release);
        words[word::ANSWER_BYTES].store(0, Ordering::Release);
        let number = words[word::ASKED].load(Ordering::Relaxed).wrapping_add(1);
        words[word::ASKED].store(number, Ordering::Release);
        let asked = self.ask(layout::ONE_PAGE, Some(number), PATIENCE);
        let words = self.words();
        let length = words[word::ANSWER_BYTES].load(Ordering::Acquire) as usize;
        let mut bytes = vec![0; length.min(layout::ANSWER_ROOM)];
        let read = self.file.read(layout::ANSWER_AT, &mut bytes);
        self.file.unlock();
        asked?;
        read.map_err(|errno| MonitorError::refused(pid, "its live source", errno))?;
        Ok(bytes)
    }

    /// Readers ask for pages one after the other: the file's lock, which the kernel takes from whoever ends with it, also in
    /// another process namespace.
    fn take_turn(&self) -> Result<(), MonitorError> {
        let pid = self.pid;
        let until = Instant::now() + PATIENCE;
        loop {
            let taken = self.file.try_lock();
            match taken.map_err(|errno| MonitorError::refused(pid, "its live source", errno))? {
                true => return Ok(()),
                false if Instant::now() >= until => return Err(MonitorError::Silent { pid }),
                false => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// What lies at an address; `None` when it is not in address space of Pagekeeper's.
    pub(in super::super) fn find(&mut self, address: u64) -> Result<Option<Found>, MonitorError> {
        let bytes = self.ask_for_page(layout::WHERE, address)?;
        let mut reader = Reader::new(&bytes);
        Ok(Self::parse_found(&mut reader))
    }

    fn parse_found(reader: &mut Reader<'_>) -> Option<Found> {
        if Outcome::of(reader.word()?)? != Outcome::Found {
            return None;
        }
        let residence = residence_of(reader.word()?);
        let is_allocated = reader.word()? != 0;
        let mut region = RegionRecord::decode(reader)?.to_region();
        region.name = reader.text()?;
        Some(Found {
            free: (region.base, region.size_bytes),
            region: is_allocated.then_some(region),
            residence,
        })
    }

    /// The page that begins at `address`, wherever its bytes are.
    pub(in super::super) fn read_page(
        &mut self,
        address: u64,
        into: &mut [u8; PAGE_SIZE],
    ) -> Result<(), MonitorError> {
        let pid = self.pid;
        let bytes = self.ask_for_page(layout::READ, address)?;
        let mut reader = Reader::new(&bytes);
        let outcome = reader.word().and_then(Outcome::of);
        let reason = match outcome {
            Some(Outcome::Found) => match reader.bytes(PAGE_SIZE) {
                Some(page) => {
                    into.copy_from_slice(page);
                    return Ok(());
                }
                None => "the answer was cut short",
            },
            Some(Outcome::NotCommitted) => "not committed",
            Some(Outcome::NotOurs) => {
                // Memory of the program itself: what the kernel lets a debugger read.
                let read = ProcessMemory::of(pid).and_then(|memory| memory.read(address, into));
                match read {
                    Ok(()) => return Ok(()),
                    Err(Errno::PERM | Errno::ACCESS) => {
                        "it is memory of the program itself, which the kernel does not show to you (ptrace_scope)"
                    }
                    Err(_) => "nothing is mapped there",
                }
            }
            Some(Outcome::NotDumpable) => "the process is not dumpable",
            Some(Outcome::Lost) => "its contents could not be brought back from the page file",
            _ => "nothing is mapped there",
        };
        Err(MonitorError::Unreadable {
            pid,
            address,
            reason: reason.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicBool;
    use pagekeeper_sys::shared_file::{OwnedFile, wake_shared};
    use pagekeeper_units::PageCount;

    /// A file as a publisher has it, and a reader of it.
    fn pair(name: &str) -> (OwnedFile, std::os::fd::OwnedFd, LiveSource) {
        let (owned, descriptor) = OwnedFile::create(name, PageCount::new(64)).unwrap();
        let pid = std::process::id();
        let paths = process::descriptors_of(pid, &format!("/memfd:{name}")).unwrap();
        let file = SharedFile::open(&paths[0]).unwrap();
        let live = LiveSource {
            pid,
            file,
            is_silent: false,
        };
        (owned, descriptor, live)
    }

    #[test]
    fn a_list_that_takes_long_is_waited_for_while_it_goes_on() {
        let (owned, _descriptor, mut live) = pair("pk-test-beat");
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let words = owned.words();
                let until = Instant::now() + PATIENCE + PATIENCE / 4;
                while Instant::now() < until {
                    words[word::BEAT].fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(LOOK / 10);
                }
                is_over.store(true, Ordering::Release);
                let ticket = words[word::TICKET].load(Ordering::Acquire);
                words[word::ANSWERED].store(ticket, Ordering::Release);
                wake_shared(&words[word::ANSWERED]);
            });
            assert_eq!(
                live.ask(layout::FIGURES | layout::REGIONS, None, PATIENCE),
                Ok(())
            );
            assert!(is_over.load(Ordering::Acquire));
        });
        // Without a beat it is given up.
        let pid = live.pid;
        let silent = Err(MonitorError::Silent { pid });
        assert_eq!(
            live.ask(layout::FIGURES | layout::REGIONS, None, PATIENCE),
            silent
        );
    }

    #[test]
    fn a_request_for_one_page_does_not_wait_for_a_list() {
        let (owned, _descriptor, mut live) = pair("pk-test-told");
        let words = owned.words();
        // Of a reader that gave up: its answer is not taken for the next one's.
        words[word::ASKED].store(6, Ordering::Release);
        words[word::TOLD].store(6, Ordering::Release);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while words[word::ASKED].load(Ordering::Acquire) != 7 {
                    std::thread::yield_now();
                }
                owned.write(layout::ANSWER_AT, b"answer");
                words[word::ANSWER_BYTES].store(6, Ordering::Release);
                words[word::TOLD].store(7, Ordering::Release);
            });
            assert_eq!(live.ask_for_page(layout::WHERE, 0).unwrap(), b"answer");
        });
        // The turn is free, and whoever goes while it is taken frees it.
        let paths = process::descriptors_of(std::process::id(), "/memfd:pk-test-told").unwrap();
        let [first, second] = [(); 2].map(|()| SharedFile::open(&paths[0]).unwrap());
        assert_eq!(first.try_lock(), Ok(true));
        assert_eq!(second.try_lock(), Ok(false));
        assert!(live.take_turn().is_err());
        drop(first);
        assert_eq!(second.try_lock(), Ok(true));
        second.unlock();
        assert!(live.take_turn().is_ok());
    }
}
