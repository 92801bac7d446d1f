//! What a failed call must not change.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads the sequence's own pages, and structures that the calls fill"
)]

use core::ops::Range;

use pagekeeper_win32::bad_pointer::IsBadReadPtr;
use pagekeeper_win32::last_error::SetLastError;
use pagekeeper_win32::performance::GetProcessMemoryInfo;
use pagekeeper_win32::process::GetCurrentProcess;
use pagekeeper_win32::query::VirtualQuery;
use pagekeeper_win32::types::{DWORD, MEMORY_BASIC_INFORMATION, PROCESS_MEMORY_COUNTERS_EX};
use pagekeeper_win32::working_set::GetProcessWorkingSetSizeEx;

use super::{MARK, PAGE, PAGE_GUARD, at};

/// A stretch of address space that the sequence reserved. All of it may have been released since.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub(super) base: usize,
    pub(super) size: usize,
}

/// What a failed call must not change.
#[derive(PartialEq, Debug)]
pub(super) struct Snapshot {
    /// Base, size, allocation base, allocation protection, state, protection of every region.
    regions: Vec<[usize; 6]>,
    /// The first word of every page among the first of each area that can be read.
    contents: Vec<(usize, u64)>,
    charge: usize,
    limits: (usize, usize, DWORD),
}

impl Snapshot {
    /// What is in these areas now, and what is the process's.
    pub(super) fn of(areas: &[Area]) -> Self {
        let mut regions = Vec::new();
        let mut contents = Vec::new();
        for area in areas {
            let mut next = area.base;
            while next < area.base + area.size {
                let info = region_at(next).expect("an address of a program");
                regions.push([
                    info.BaseAddress.addr(),
                    info.RegionSize,
                    info.AllocationBase.addr(),
                    info.AllocationProtect as usize,
                    info.State as usize,
                    info.Protect as usize,
                ]);
                let end = info.BaseAddress.addr() + info.RegionSize;
                assert!(end > next, "a walk that does not advance");
                if info.State == 0x1000 && info.Protect & PAGE_GUARD == 0 {
                    contents.extend(words_of(next..end.min(area.base + 64 * PAGE)));
                }
                next = end;
            }
        }
        SetLastError(MARK);
        Self {
            regions,
            contents,
            charge: charge(),
            limits: limits(),
        }
    }

    /// The same as if no guard were armed.
    pub(super) fn without_guards(mut self) -> Self {
        for region in &mut self.regions {
            region[5] &= !(PAGE_GUARD as usize);
        }
        // Regions that differed in their guard only are one now.
        self.regions.dedup_by(|above, below| {
            let joined = below[0] + below[1] == above[0] && below[2..] == above[2..];
            if joined {
                below[1] += above[1];
            }
            joined
        });
        self.contents.clear();
        self
    }
}

pub(super) fn region_at(address: usize) -> Option<MEMORY_BASIC_INFORMATION> {
    // SAFETY: plain integers and pointers; all zero is a value.
    let mut info: MEMORY_BASIC_INFORMATION = unsafe { core::mem::zeroed() };
    (VirtualQuery(at(address), &raw mut info, size_of_val(&info)) != 0).then_some(info)
}

pub(super) fn charge() -> usize {
    let mut counters = PROCESS_MEMORY_COUNTERS_EX::default();
    let length = size_of_val(&counters) as DWORD;
    assert_eq!(
        GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, length),
        1
    );
    counters.PagefileUsage
}

pub(super) fn limits() -> (usize, usize, DWORD) {
    let (mut low, mut high, mut flags) = (0, 0, 0);
    let own = GetCurrentProcess();
    assert_eq!(
        GetProcessWorkingSetSizeEx(own, &raw mut low, &raw mut high, &raw mut flags),
        1
    );
    (low, high, flags)
}

/// The first words of the pages of `range` that can be read.
fn words_of(range: Range<usize>) -> Vec<(usize, u64)> {
    range
        .step_by(PAGE)
        .filter(|&page| IsBadReadPtr(at(page), 8) == 0)
        // SAFETY: it has just been read, and nobody else changes the space.
        .map(|page| (page, unsafe { at(page).cast::<u64>().read_volatile() }))
        .collect()
}
