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

/// How long an answer may take: the process may have no processor, or much to list.
const PATIENCE: Duration = Duration::from_secs(2);
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

    /// Asks for something, and waits until it was answered.
    fn ask(&mut self, wanted: u32) -> Result<(), MonitorError> {
        let pid = self.pid;
        self.words()[word::WANTED].fetch_or(wanted, Ordering::AcqRel);
        let ticket = advance_shared(&self.words()[word::TICKET]);
        let patience = if self.is_silent { LOOK } else { PATIENCE };
        let until = Instant::now() + patience;
        loop {
            let answered = self.words()[word::ANSWERED].load(Ordering::Acquire);
            // Tickets go round; the difference does not.
            if answered.wrapping_sub(ticket) as i32 >= 0 {
                self.is_silent = false;
                return Ok(());
            }
            let identity = Identity::of(pid).map_err(|_| MonitorError::Exited { pid })?;
            if identity.has_ended() {
                return Err(MonitorError::Exited { pid });
            }
            if identity.is_stopped() || Instant::now() >= until {
                self.is_silent = true;
                return Err(MonitorError::Silent { pid });
            }
            wait_shared(&self.words()[word::ANSWERED], answered, Some(LOOK));
        }
    }

    /// Figures, and regions where they are asked for: fresh ones, or those that the process told last when it is silent.
    pub(in super::super) fn figures(
        &mut self,
        with_regions: bool,
    ) -> Result<(LiveFigures, Option<LiveRegions>), MonitorError> {
        let wanted = match with_regions {
            true => layout::FIGURES | layout::REGIONS,
            false => layout::FIGURES,
        };
        let asked = self.ask(wanted);
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
        let asked = self.ask(layout::ONE_PAGE);
        let words = self.words();
        let length = words[word::ANSWER_BYTES].load(Ordering::Acquire) as usize;
        let mut bytes = vec![0; length.min(layout::ANSWER_ROOM)];
        let read = self.file.read(layout::ANSWER_AT, &mut bytes);
        words[word::ASKER].store(0, Ordering::Release);
        asked?;
        read.map_err(|errno| MonitorError::refused(pid, "its live source", errno))?;
        Ok(bytes)
    }

    /// Readers ask for pages one after the other. One that ended with its turn loses it.
    fn take_turn(&self) -> Result<(), MonitorError> {
        let asker = &self.words()[word::ASKER];
        let own = std::process::id();
        let until = Instant::now() + PATIENCE;
        loop {
            let holder = match asker.compare_exchange(0, own, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(holder) => holder,
            };
            let is_gone = holder != own && Identity::of(holder).is_err();
            if is_gone {
                let _ = asker.compare_exchange(holder, 0, Ordering::AcqRel, Ordering::Relaxed);
            } else if Instant::now() >= until {
                return Err(MonitorError::Silent { pid: self.pid });
            } else {
                std::thread::sleep(Duration::from_millis(1));
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
