//! Each page fault of user code that the kernel answers, one by one: which instruction, which address, which thread.
//!
//! Two software events, for faults answered from memory and from a disk, are opened for every thread on every processor (only
//! events of one processor may be inherited by threads to come and have a buffer). All events of a processor
//! write into one ring, which the kernel fills without overwriting: what does not fit is lost, and counted.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: bare system calls, and a ring that the kernel writes"
)]

use core::sync::atomic::{AtomicU64, Ordering};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use linux_raw_sys::general::{__NR_ioctl, __NR_mmap};
use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber, PageRange};

use super::{Attributes, FAULTS_MAJOR, FAULTS_MINOR};
use crate::map::Mapping;
use crate::{Errno, raw};

/// Data pages of a ring (a power of two): together with one page of header within the 516 KiB that the kernel lets a user lock for
/// each processor, whatever his limit.
const RING_PAGES: u64 = 64;
/// Descriptors that are opened at most: threads times processors times two.
const MOST_EVENTS: usize = 4096;

const SAMPLE_IP: u64 = 1 << 0;
const SAMPLE_TID: u64 = 1 << 1;
const SAMPLE_ADDR: u64 = 1 << 3;
const SAMPLE_IDENTIFIER: u64 = 1 << 16;

const IOCTL_SET_OUTPUT: usize = 0x2405;
const IOCTL_ID: usize = 0x8008_2407;

const RECORD_LOST: u32 = 2;
const RECORD_SAMPLE: u32 = 9;
/// Offsets in the first page of a ring (`struct perf_event_mmap_page`).
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;

/// One fault.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FaultSample {
    /// Address of the instruction.
    pub instruction: u64,
    /// Address that it touched.
    pub address: u64,
    /// Number of the thread (`gettid`).
    pub thread: u32,
    /// Whether the page was read from a disk.
    pub read_disk: bool,
}

/// Collects the faults of user code of all threads of this process, until it is dropped.
#[derive(Debug)]
pub struct FaultSamples {
    rings: Vec<Ring>,
    /// Kept open, in no order.
    events: Vec<OwnedFd>,
    /// The numbers of the events that count faults answered by a disk.
    from_disk: Vec<u64>,
    process: u32,
}

/// The events of one processor write here.
#[derive(Debug)]
struct Ring {
    processor: usize,
    memory: Mapping,
    /// The event whose ring it is.
    owner: RawFd,
}

impl FaultSamples {
    /// Starts collecting.
    ///
    /// # Errors
    /// `EACCES` or `EPERM` by `kernel.perf_event_paranoid` above 2 or a filter, `ENOSYS`; `EMFILE` and `E2BIG` for more
    /// threads and processors than there may be descriptors.
    pub fn open() -> Result<Self, Errno> {
        let mut samples = Self {
            rings: Vec::new(),
            events: Vec::new(),
            from_disk: Vec::new(),
            process: std::process::id(),
        };
        let processors = crate::cpu::Processors::read().online;
        let mut known: Vec<u32> = Vec::new();
        // Threads that start meanwhile inherit from those that are known, or are seen in the next round.
        loop {
            let new: Vec<u32> = threads()?
                .into_iter()
                .filter(|thread| !known.contains(thread))
                .collect();
            if new.is_empty() {
                break;
            }
            for &thread in &new {
                samples.follow(thread, processors)?;
            }
            known.extend(new);
        }
        Ok(samples)
    }

    /// Opens the events of one thread on every processor. A thread or a processor that has gone is no error.
    fn follow(&mut self, thread: u32, processors: usize) -> Result<(), Errno> {
        for processor in 0..processors {
            for config in [FAULTS_MINOR, FAULTS_MAJOR] {
                if self.events.len() >= MOST_EVENTS {
                    return Err(Errno::TOOBIG);
                }
                let event = match open_event(config, thread, processor) {
                    Err(Errno::SRCH | Errno::NODEV) => continue,
                    other => other?,
                };
                self.direct(&event, processor)?;
                if config == FAULTS_MAJOR {
                    self.from_disk.push(number_of(&event)?);
                }
                self.events.push(event);
            }
        }
        Ok(())
    }

    /// Lets the event write into its processor's ring, which is made with the first.
    fn direct(&mut self, event: &OwnedFd, processor: usize) -> Result<(), Errno> {
        let ring = self.rings.iter().find(|ring| ring.processor == processor);
        if let Some(ring) = ring {
            let argument = [
                event.as_raw_fd() as usize,
                IOCTL_SET_OUTPUT,
                ring.owner as usize,
            ];
            // SAFETY: Two events of ours; no memory is touched.
            return unsafe { raw::call(__NR_ioctl, argument) }.map(drop);
        }
        self.rings.push(Ring {
            processor,
            memory: map_ring(event)?,
            owner: event.as_raw_fd(),
        });
        Ok(())
    }

    /// Hands every fault since the last time to `visit`, processor by processor, and empties the rings. Returns how many more
    /// there were that did not fit.
    pub fn take(&mut self, mut visit: impl FnMut(FaultSample)) -> u64 {
        let mut lost = 0;
        for ring in &self.rings {
            ring.drain(|kind, words| match (kind, words) {
                // A forked child inherits events as a thread does: its faults are none of ours.
                (RECORD_SAMPLE, &[event, instruction, ids, address])
                    if ids as u32 == self.process =>
                {
                    visit(FaultSample {
                        instruction,
                        address,
                        thread: (ids >> 32) as u32,
                        read_disk: self.from_disk.contains(&event),
                    });
                }
                (RECORD_LOST, &[_, count, ..]) => lost += count,
                _ => {}
            });
        }
        lost
    }
}

impl Ring {
    fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset < self.memory.len());
        // SAFETY: Inside the mapping, aligned; the kernel writes it as one word, and it stays mapped as long as `self`.
        unsafe { AtomicU64::from_ptr(self.memory.base().add(offset).cast()) }
    }

    /// Calls `visit` with the kind of each record and the words behind its header.
    fn drain(&self, mut visit: impl FnMut(u32, &[u64])) {
        let size = RING_PAGES * PAGE_SIZE as u64;
        // Acquire pairs with the kernel's: what is below the head is written. Release: we have read what is below the tail.
        let head = self.word(DATA_HEAD).load(Ordering::Acquire);
        let mut tail = self.word(DATA_TAIL).load(Ordering::Relaxed);
        let at = |position: u64| {
            let offset = PAGE_SIZE + (position % size) as usize;
            self.word(offset).load(Ordering::Relaxed)
        };
        while tail < head {
            // kind: u32, misc: u16, size: u16
            let header = at(tail);
            let length = header >> 48;
            if length < 8 || tail + length > head {
                break;
            }
            let mut words = [0; 8];
            let count = ((length / 8 - 1) as usize).min(words.len());
            for (word, position) in words.iter_mut().zip((tail + 8..tail + length).step_by(8)) {
                *word = at(position);
            }
            visit(header as u32, &words[..count]);
            tail += length;
        }
        self.word(DATA_TAIL).store(head, Ordering::Release);
    }
}

fn open_event(config: u64, thread: u32, processor: usize) -> Result<OwnedFd, Errno> {
    let every_one = Attributes {
        sample_period: 1,
        sample_type: SAMPLE_IDENTIFIER | SAMPLE_IP | SAMPLE_TID | SAMPLE_ADDR,
        ..Attributes::counting(config)
    };
    every_one.open(thread as usize, processor)
}

/// What the kernel calls an event in its samples.
fn number_of(event: &OwnedFd) -> Result<u64, Errno> {
    let mut number = 0_u64;
    let argument = [
        event.as_raw_fd() as usize,
        IOCTL_ID,
        (&raw mut number).expose_provenance(),
    ];
    // SAFETY: The kernel writes one word of ours.
    unsafe { raw::call(__NR_ioctl, argument) }?;
    Ok(number)
}

fn map_ring(event: &OwnedFd) -> Result<Mapping, Errno> {
    const READ_WRITE: usize = 3;
    const SHARED: usize = 1;
    let pages = PageCount::new(1 + RING_PAGES);
    let argument = [
        0,
        pages.as_usize() * PAGE_SIZE,
        READ_WRITE,
        SHARED,
        event.as_raw_fd() as usize,
        0,
    ];
    // SAFETY: A new mapping, which nobody else knows.
    unsafe {
        let address = raw::call(__NR_mmap, argument)?;
        let range = PageRange::new(PageNumber::containing(address as u64), pages);
        Ok(Mapping::from_range(range))
    }
}

/// The numbers of this process's threads.
fn threads() -> Result<Vec<u32>, Errno> {
    let folder = std::fs::read_dir("/proc/self/task").map_err(|error| {
        error
            .raw_os_error()
            .map_or(Errno::NOENT, Errno::from_raw_os_error)
    })?;
    let names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::{Access, Treatment, reserve};

    fn touch(memory: &Mapping, pages: core::ops::Range<usize>) {
        for page in pages {
            // SAFETY: Inside the mapping.
            unsafe { memory.base().add(page * PAGE_SIZE).write_volatile(1) };
        }
    }

    /// The pages of `memory` that `samples` tells of, with the thread that touched each first.
    fn pages_of(samples: &mut FaultSamples, memory: &Mapping) -> Vec<(u64, u32)> {
        let mut found = Vec::new();
        let lost = samples.take(|sample| {
            let page = PageNumber::containing(sample.address);
            if memory.range().contains(page) {
                assert_ne!(sample.instruction, 0);
                found.push((page.since(memory.range().start()).get(), sample.thread));
            }
        });
        assert_eq!(lost, 0);
        found.sort_unstable();
        found
    }

    #[test]
    fn every_touch_of_every_thread_is_told_once() {
        let treatment = Treatment::NO_HUGE_PAGES;
        let memory = reserve(PageCount::new(300), Access::READ_WRITE, treatment).unwrap();
        let (start, started) = std::sync::mpsc::channel::<()>();
        let own = crate::thread::number;
        std::thread::scope(|scope| {
            let memory = &memory;
            // A thread that is there already when the collecting starts.
            let old = scope.spawn(move || {
                started.recv().unwrap();
                touch(memory, 100..200);
                own()
            });
            let mut samples = match FaultSamples::open() {
                Ok(samples) => samples,
                Err(errno) => {
                    start.send(()).unwrap();
                    return println!("skipped, because perf_event_open gives {errno}");
                }
            };
            touch(memory, 0..100);
            start.send(()).unwrap();
            let old = old.join().unwrap();
            // And one that starts later.
            let new = scope.spawn(move || {
                touch(memory, 200..300);
                own()
            });
            let new = new.join().unwrap();
            let expected: Vec<(u64, u32)> = (0..300)
                .map(|page| (page, [own(), old, new][page as usize / 100]))
                .collect();
            assert_eq!(pages_of(&mut samples, memory), expected);
            // Told once; and no page that is there already.
            touch(memory, 0..300);
            assert_eq!(pages_of(&mut samples, memory), []);
        });
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut samples = match FaultSamples::open() {
            Ok(samples) => samples,
            Err(errno) => return println!("skipped, because perf_event_open gives {errno}"),
        };
        // More than fit into the rings of all processors together.
        let rings = crate::cpu::Processors::read().online as u64;
        let many = PageCount::new(10_000 * rings);
        let memory = reserve(many, Access::READ_WRITE, Treatment::NO_HUGE_PAGES).unwrap();
        touch(&memory, 0..many.as_usize());
        let mut seen = 0;
        let mut lost = samples.take(|sample| {
            let page = PageNumber::containing(sample.address);
            seen += u64::from(memory.range().contains(page));
        });
        assert!((1000..many.get()).contains(&seen), "{seen}");
        // The kernel tells of what was lost with the next record that fits, on the same processor.
        for _ in 0..10_000 {
            let one =
                reserve(PageCount::ONE, Access::READ_WRITE, Treatment::NO_HUGE_PAGES).unwrap();
            touch(&one, 0..1);
            lost += samples.take(|_| {});
            if lost > 0 {
                break;
            }
            std::thread::yield_now();
        }
        assert!(lost > 0);
        println!("{seen} seen, {lost} lost");
    }
}
