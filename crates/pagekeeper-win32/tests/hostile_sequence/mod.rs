//! Sequences of calls with hostile arguments, drawn from bytes: the entry of the fuzz target (`fuzz/`) and of
//! `tests/hostile_sequences.rs`.
//!
//! Each call takes its arguments from the bytes: addresses of what the sequence has reserved, beside it, or nobody's; sizes that wrap
//! around; flags that make sense, and any others; pointers for results that are unaligned, closed, guarded, or lead into the kernel.
//! Three things are checked after each call:
//!
//! - a call that fails sets one of the errors that are defined, and **nothing has changed**: no state or protection of a page, no contents,
//!   no commit charge, no limit of the working set;
//! - a call that succeeds leaves the last error alone;
//! - at the end everything can be released, and nothing is charged any more.
//!
//! A panic is a finding. One sequence at a time: charges are the process's.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: hands bad addresses to the calls on purpose"
)]

mod choices;
mod snapshot;

use core::ffi::c_void;
use core::ptr;

use pagekeeper_win32::alloc::{VirtualAlloc, VirtualAllocEx};
use pagekeeper_win32::alloc2::VirtualAlloc2;
use pagekeeper_win32::bad_pointer::{IsBadReadPtr, IsBadWritePtr};
use pagekeeper_win32::free::VirtualFree;
use pagekeeper_win32::last_error::{GetLastError, SetLastError};
use pagekeeper_win32::lock::{VirtualLock, VirtualUnlock};
use pagekeeper_win32::memory_status::GlobalMemoryStatusEx;
use pagekeeper_win32::offer::{DiscardVirtualMemory, OfferVirtualMemory, ReclaimVirtualMemory};
use pagekeeper_win32::performance::GetPerformanceInfo;
use pagekeeper_win32::physical::{
    AllocateUserPhysicalPages, FreeUserPhysicalPages, MapUserPhysicalPages,
};
use pagekeeper_win32::prefetch::PrefetchVirtualMemory;
use pagekeeper_win32::process::GetCurrentProcess;
use pagekeeper_win32::protect::VirtualProtect;
use pagekeeper_win32::query::VirtualQuery;
use pagekeeper_win32::types::DWORD;
use pagekeeper_win32::working_set::{
    EmptyWorkingSet, QueryWorkingSet, QueryWorkingSetEx, SetProcessWorkingSetSizeEx,
};
use pagekeeper_win32::write_watch::{GetWriteWatch, ResetWriteWatch};

use choices::{Choices, PROTECTIONS, SIZES, STRANGE, TYPES};
use snapshot::{Area, Snapshot, charge, limits, region_at};

const PAGE: usize = 4096;
const GRANULE: usize = 65536;
const MARK: DWORD = 0xE1E1_E1E1;
/// For an armed guard page: the call fails once, and the guard is gone, which is right.
const GUARD_PAGE: DWORD = 0x8000_0001;
const PAGE_GUARD: DWORD = 0x100;

/// What a call may say when it fails here.
const DEFINED: [DWORD; 17] = [
    5, 6, 8, 24, 31, 50, 87, 122, 158, 170, 487, 998, 1314, 1453, 1455, 1816, GUARD_PAGE,
];

/// Calls with one sequence at most: a snapshot follows each that fails.
const MOST_CALLS: usize = 64;
const MOST_AREAS: usize = 8;

fn at(address: usize) -> *mut c_void {
    ptr::with_exposed_provenance_mut(address)
}

struct World<'a> {
    choices: Choices<'a>,
    areas: Vec<Area>,
    /// 16 pages for results: readable ones, and such as fail.
    results: usize,
    frames: Vec<usize>,
    /// Whether each call is written to the standard error output, for somebody who looks for the reason of a failure.
    is_traced: bool,
}

impl World<'_> {
    fn trace(&self, what: core::fmt::Arguments<'_>) {
        if self.is_traced {
            eprintln!("{what}");
        }
    }

    /// An address that a call may be given to change something there.
    fn target(&mut self) -> usize {
        let which = self.choices.byte();
        if which.is_multiple_of(10) || self.areas.is_empty() {
            return self.choices.one_of(&STRANGE);
        }
        let area = self.choices.one_of(&self.areas.clone());
        let page = usize::from(self.choices.byte()) % 40;
        let inside = self.choices.one_of(&[0, 0, 0, 0, 0, 0, 1, PAGE - 1]);
        match self.choices.byte() % 8 {
            0 => area.base + area.size - PAGE + inside,
            1 => area.base,
            // Also beyond a small area, where nobody else's memory may be touched: only what is this sequence's.
            _ => area.base + (page * PAGE) % area.size + inside,
        }
    }

    /// Whether all of it is the sequence's, or such that no call finds anything there.
    fn is_harmless(&self, address: usize, size: usize) -> bool {
        let is_nobodys = !(0x1_0000..0x7FFF_FFFE_0000).contains(&address);
        let end = address.saturating_add(size.max(1));
        let inside = |area: &Area| address >= area.base && end <= area.base + area.size;
        is_nobodys || self.areas.iter().any(inside)
    }

    fn size(&mut self) -> usize {
        match self.choices.byte() % 8 {
            0 | 1 => self.choices.one_of(&SIZES),
            2 => usize::from(self.choices.byte()) * PAGE,
            _ => usize::from(self.choices.byte() % 12 + 1) * PAGE,
        }
    }

    /// Where a result may be asked to be written.
    fn result(&mut self) -> usize {
        let offset = self.choices.one_of(&[0, 0, 1, 8, PAGE - 8, PAGE - 3]);
        match self.choices.byte() % 8 {
            0 => self.choices.one_of(&STRANGE),
            1 => c"constant".as_ptr().addr(),
            2..=5 => self.results + offset,
            _ => self.results + usize::from(self.choices.byte() % 15) * PAGE + offset,
        }
    }

    /// Memory for results as it is at the start of every call: two good pages, then one of every bad kind between good ones.
    fn prepare_results(&self) {
        for page in 0..16 {
            let protection = match page {
                3 => 2,
                5 => 1,
                7 => 0x104,
                9 => 0x20,
                _ => 4,
            };
            let made = VirtualAlloc(at(self.results + page * PAGE), PAGE, 0x1000, protection);
            assert!(!made.is_null(), "{}", GetLastError());
        }
        // SAFETY: nobody refers to it.
        unsafe { VirtualFree(at(self.results + 11 * PAGE), PAGE, 0x4000) };
    }

    /// One call; what it is called, whether it failed, and with which error.
    fn call(&mut self) -> (&'static str, bool, DWORD) {
        let own = GetCurrentProcess();
        let flag = |name, done: i32| (name, done == 0, GetLastError());
        let number = |name, error: DWORD| {
            assert_eq!(GetLastError(), MARK, "{name} returns its error");
            (name, error != 0, if error == 0 { MARK } else { error })
        };
        match self.choices.byte() % 24 {
            0..=5 => self.allocate(),
            6 | 7 => self.free(),
            8 | 9 => {
                let (address, size, out) = (self.target(), self.size(), self.result());
                let protection = self.choices.flags(&PROTECTIONS);
                self.trace(format_args!(
                    "{address:#x} {size:#x} {protection:#x} {out:#x}"
                ));
                if !self.is_harmless(address, size) {
                    return ("-", false, MARK);
                }
                let done = VirtualProtect(at(address), size, protection, at(out).cast());
                flag("VirtualProtect", done)
            }
            10 => {
                let (address, out) = (self.target(), self.result());
                let length = self.choices.one_of(&[48, 48, 47, 0, 49, usize::MAX]);
                let written = VirtualQuery(at(address), at(out).cast(), length);
                flag("VirtualQuery", i32::from(written != 0))
            }
            11 | 12 => {
                let (address, size) = (self.target(), self.size());
                self.trace(format_args!("{address:#x} {size:#x}"));
                if !self.is_harmless(address, size) {
                    return ("-", false, MARK);
                }
                match self.choices.byte() % 2 {
                    0 => flag("VirtualLock", VirtualLock(at(address), size)),
                    _ => flag("VirtualUnlock", VirtualUnlock(at(address), size)),
                }
            }
            13 | 14 => {
                let (address, size) = (self.target(), self.size());
                self.trace(format_args!("{address:#x} {size:#x}"));
                if !self.is_harmless(address, size) {
                    return ("-", false, MARK);
                }
                match self.choices.byte() % 3 {
                    0 => {
                        let priority = self.choices.one_of(&[1, 2, 3, 4, 0, 5, -1]);
                        number("Offer", OfferVirtualMemory(at(address), size, priority))
                    }
                    1 => number("Reclaim", ReclaimVirtualMemory(at(address), size)),
                    // SAFETY: nobody needs the contents.
                    _ => number("Discard", unsafe {
                        DiscardVirtualMemory(at(address), size)
                    }),
                }
            }
            15 => self.watch(),
            16 => {
                let length = self.choices.one_of(&[0, 8, 16, 40, 64, 4096, u32::MAX]);
                let out = self.result();
                match self.choices.byte() % 2 {
                    0 => flag(
                        "QueryWorkingSetEx",
                        QueryWorkingSetEx(own, at(out), length.min(8192)),
                    ),
                    _ => flag("QueryWorkingSet", QueryWorkingSet(own, at(out), length)),
                }
            }
            17 => {
                let sizes = [0, 1, 1 << 20, 4 << 20, 16 << 20, 1 << 40, usize::MAX];
                let (low, high) = (self.choices.one_of(&sizes), self.choices.one_of(&sizes));
                let flags = self.choices.flags(&[0, 4, 8, 5, 6, 9, 10]);
                let done = SetProcessWorkingSetSizeEx(own, low, high, flags);
                flag("SetProcessWorkingSetSizeEx", done)
            }
            18 => {
                let out = self.result();
                match self.choices.byte() % 3 {
                    0 => flag("GlobalMemoryStatusEx", GlobalMemoryStatusEx(at(out).cast())),
                    1 => flag(
                        "GetPerformanceInfo",
                        GetPerformanceInfo(at(out).cast(), 104),
                    ),
                    _ => flag("PrefetchVirtualMemory", {
                        let count = self.choices.one_of(&[0, 1, 2, 300, usize::MAX]);
                        PrefetchVirtualMemory(own, count, at(out).cast(), 0)
                    }),
                }
            }
            19 => self.physical(),
            20 => flag("EmptyWorkingSet", EmptyWorkingSet(own)),
            _ => self.touch(),
        }
    }

    fn allocate(&mut self) -> (&'static str, bool, DWORD) {
        // Anywhere, three times out of eight.
        let address = match self.choices.byte() % 8 {
            0..=2 => 0,
            _ => self.target(),
        };
        let size = self.size();
        let (kind, protection) = (self.choices.flags(&TYPES), self.choices.flags(&PROTECTIONS));
        self.trace(format_args!(
            "{address:#x} {size:#x} {kind:#x} {protection:#x}"
        ));
        // Large pages are locked in memory: not by the gigabyte.
        let is_large = kind & 0x2000_0000 != 0 && size > 64 << 20;
        if is_large || self.areas.len() == MOST_AREAS && kind & 0x2000 != 0 {
            return ("-", false, MARK);
        }
        let (own, none) = (GetCurrentProcess(), ptr::null_mut());
        let made = match self.choices.byte() % 8 {
            0 => {
                let (list, count) = (self.result(), self.choices.one_of(&[0, 1, 2, u32::MAX]));
                VirtualAlloc2(
                    none,
                    at(address),
                    size,
                    kind,
                    protection,
                    at(list).cast(),
                    count,
                )
            }
            1 => VirtualAlloc2(own, at(address), size, kind, protection, none.cast(), 0),
            2 => {
                let process = self.choices.one_of(&[0, 1, usize::MAX - 1, usize::MAX]);
                VirtualAllocEx(at(process), at(address), size, kind, protection)
            }
            _ => VirtualAlloc(at(address), size, kind, protection),
        };
        let error = GetLastError();
        let base = made.addr();
        if made.is_null() {
            return ("VirtualAlloc", true, error);
        }
        let known = |area: &Area| base >= area.base && base < area.base + area.size;
        if !self.areas.iter().any(known) {
            assert!(base.is_multiple_of(GRANULE), "{base:#x}");
            let end = (address % GRANULE * usize::from(address != 0)) + size;
            self.areas.push(Area {
                base,
                size: end.next_multiple_of(PAGE),
            });
        }
        ("VirtualAlloc", false, error)
    }

    fn free(&mut self) -> (&'static str, bool, DWORD) {
        let (address, size) = (self.target(), self.size());
        let kind = self
            .choices
            .flags(&[0x8000, 0x4000, 0xC000, 0x8001, 0x8002]);
        let size = match self.choices.byte() % 2 {
            0 if kind == 0x8000 => 0,
            _ => size,
        };
        self.trace(format_args!("{address:#x} {size:#x} {kind:#x}"));
        // SAFETY: what is freed is the sequence's, and nobody refers to it.
        let done = unsafe { VirtualFree(at(address), size, kind) };
        let error = GetLastError();
        if done != 0 {
            // What is free altogether may become somebody else's.
            self.areas.retain(|area| {
                region_at(area.base).is_none_or(|info| {
                    info.State != 0x1_0000
                        || info.BaseAddress.addr() + info.RegionSize < area.base + area.size
                })
            });
            SetLastError(MARK);
        }
        ("VirtualFree", done == 0, error)
    }

    fn watch(&mut self) -> (&'static str, bool, DWORD) {
        let (address, size) = (self.target(), self.size());
        self.trace(format_args!("{address:#x} {size:#x}"));
        if self.choices.byte().is_multiple_of(2) {
            let answer = ResetWriteWatch(at(address), size);
            return ("ResetWriteWatch", answer != 0, GetLastError());
        }
        let flags = self.choices.one_of(&[0, 0, 1, 2, u32::MAX]);
        let (list, count, grain) = (self.result(), self.result(), self.result());
        let answer = GetWriteWatch(
            flags,
            at(address),
            size,
            at(list).cast(),
            at(count).cast(),
            at(grain).cast(),
        );
        ("GetWriteWatch", answer != 0, GetLastError())
    }

    fn physical(&mut self) -> (&'static str, bool, DWORD) {
        let own = GetCurrentProcess();
        let mut count = self.choices.one_of(&[0, 1, 2, 8]);
        let address = self.target();
        match self.choices.byte() % 3 {
            0 if self.frames.len() < 16 => {
                let mut frames = vec![0; count];
                let done =
                    AllocateUserPhysicalPages(own, &raw mut count, frames.as_mut_ptr().cast());
                let error = GetLastError();
                if done != 0 {
                    self.frames.extend(&frames[..count]);
                }
                ("AllocateUserPhysicalPages", done == 0, error)
            }
            1 => {
                let strange = [0_usize, usize::MAX, 1, 2, 3, 4, 5, 6];
                let list = match self.choices.byte() % 3 {
                    0 => strange.as_ptr(),
                    1 if self.frames.len() >= count => self.frames.as_ptr(),
                    _ => ptr::null(),
                };
                // SAFETY: what lies in the window nobody refers to.
                let done = unsafe { MapUserPhysicalPages(at(address), count, list.cast()) };
                ("MapUserPhysicalPages", done == 0, GetLastError())
            }
            _ => {
                let (count, list) = (self.result(), self.result());
                // A small number, or none that can be read; and lists that do not overwrite their own number.
                if IsBadReadPtr(at(count), 8) == 0 {
                    // SAFETY: it has just been read.
                    let wanted = unsafe { at(count).cast::<usize>().read_unaligned() };
                    if wanted > 64 || count.abs_diff(list) < PAGE {
                        SetLastError(MARK);
                        return ("-", false, MARK);
                    }
                }
                let done = AllocateUserPhysicalPages(own, at(count).cast(), at(list).cast());
                // What the page of results holds may be a count that works: those frames are found there.
                if done != 0 {
                    // SAFETY: the call has written both.
                    unsafe {
                        let made = at(count).cast::<usize>().read_unaligned();
                        for index in 0..made {
                            let from = at(list).cast::<usize>().wrapping_add(index);
                            self.frames.push(from.read_unaligned());
                        }
                    }
                }
                ("AllocateUserPhysicalPages", done == 0, GetLastError())
            }
        }
    }

    /// Writes into a page, where that can be done: a failed call must leave it.
    fn touch(&mut self) -> (&'static str, bool, DWORD) {
        let address = self.target() & !(PAGE - 1);
        let value = u64::from(self.choices.word()) | 1 << 40;
        let is_own = address >= 0x1_0000 && self.is_harmless(address, PAGE);
        if is_own && IsBadWritePtr(at(address), 8) == 0 {
            // SAFETY: the sequence's own page, and it can be written.
            unsafe { at(address).cast::<u64>().write_volatile(value) };
        }
        SetLastError(MARK);
        ("-", false, MARK)
    }

    /// Gives everything back.
    fn clear(&mut self) {
        for area in core::mem::take(&mut self.areas) {
            let mut next = area.base;
            while next < area.base + area.size {
                let info = region_at(next).expect("an address of a program");
                next = info.BaseAddress.addr() + info.RegionSize;
                let base = info.AllocationBase.addr();
                if info.State != 0x1_0000 && (area.base..area.base + area.size).contains(&base) {
                    // SAFETY: nobody refers to it.
                    let freed = unsafe { VirtualFree(at(base), 0, 0x8000) };
                    assert_eq!(freed, 1, "{base:#x}: {}", GetLastError());
                    next = area.base;
                }
            }
        }
        let mut count = self.frames.len();
        if count > 0 {
            let own = GetCurrentProcess();
            // SAFETY: no window has them any more.
            let freed =
                unsafe { FreeUserPhysicalPages(own, &raw mut count, self.frames.as_ptr().cast()) };
            assert_eq!((freed, count), (1, self.frames.len()));
        }
    }
}

/// Carries out the sequence that the bytes stand for.
pub(crate) fn run(bytes: &[u8]) {
    let results = VirtualAlloc(ptr::null_mut(), 16 * PAGE, 0x2000, 1).addr();
    assert_ne!(results, 0, "{}", GetLastError());
    let own = GetCurrentProcess();
    let (low, high, _) = limits();
    let charged = charge();
    let mut world = World {
        choices: Choices(bytes.iter()),
        areas: Vec::new(),
        results,
        frames: Vec::new(),
        is_traced: std::env::var_os("PAGEKEEPER_TRACE").is_some(),
    };
    world.trace(format_args!("-- {} bytes", bytes.len()));
    // Something to be hostile to: committed, reserved, watched.
    for (pages, kind) in [(16, 0x3000), (40, 0x2000), (16, 0x20_3000)] {
        let size = pages * PAGE;
        let base = VirtualAlloc(ptr::null_mut(), size, kind, 4).addr();
        if base != 0 {
            world.areas.push(Area { base, size });
        }
    }
    for _ in 0..MOST_CALLS {
        if world.choices.0.len() == 0 {
            break;
        }
        world.prepare_results();
        let before = Snapshot::of(&world.areas);
        SetLastError(MARK);
        let start = std::time::Instant::now();
        let (name, failed, error) = world.call();
        let took = start.elapsed();
        world.trace(format_args!(
            "{name}: failed {failed}, {error:#x}, {took:.0?}"
        ));
        if !failed {
            assert_eq!(error, MARK, "{name} succeeded and wrote the last error");
            continue;
        }
        assert!(DEFINED.contains(&error), "{name} failed with {error:#x}");
        world.prepare_results();
        let after = Snapshot::of(&world.areas);
        match error {
            GUARD_PAGE => assert_eq!(before.without_guards(), after.without_guards(), "{name}"),
            _ => assert_eq!(
                before, after,
                "{name} failed with {error} and changed something"
            ),
        }
    }
    world.clear();
    // SAFETY: nobody refers to it.
    assert_eq!(unsafe { VirtualFree(at(results), 0, 0x8000) }, 1);
    // Soft limits again, as they were.
    assert_eq!(SetProcessWorkingSetSizeEx(own, low, high, 10), 1);
    assert_eq!(charge(), charged, "commit charge leaked");
}
