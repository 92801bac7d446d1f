//! Hostile arguments, from eight threads at once: a defined error each time, no crash, nothing leaked, nothing changed.
//!
//! Every bit of every flag alone and in pairs, addresses that are none, sizes that wrap around, pointers that are unaligned, NULL,
//! read-only, guarded, or lead into the kernel. What succeeds is undone; at the end the space holds what it held before.

// Longer than 500 lines because it is one list of every call with every bad argument.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: hands bad addresses to the calls on purpose"
)]

mod hostile_flags;

use core::ffi::c_void;
use core::ptr;
use std::sync::Barrier;

use hostile_flags::flag_words;
use pagekeeper_win32::alloc::{VirtualAlloc, VirtualAllocEx};
use pagekeeper_win32::alloc2::VirtualAlloc2;
use pagekeeper_win32::bad_pointer::{IsBadReadPtr, IsBadStringPtrA, IsBadWritePtr};
use pagekeeper_win32::fault_watch::{GetWsChanges, GetWsChangesEx, InitializeProcessForWsWatch};
use pagekeeper_win32::free::{VirtualFree, VirtualFreeEx};
use pagekeeper_win32::handles::CloseHandle;
use pagekeeper_win32::last_error::{GetLastError, SetLastError};
use pagekeeper_win32::lock::{VirtualLock, VirtualUnlock};
use pagekeeper_win32::memory_status::{GlobalMemoryStatus, GlobalMemoryStatusEx};
use pagekeeper_win32::offer::{DiscardVirtualMemory, OfferVirtualMemory, ReclaimVirtualMemory};
use pagekeeper_win32::performance::{GetPerformanceInfo, GetProcessMemoryInfo};
use pagekeeper_win32::prefetch::PrefetchVirtualMemory;
use pagekeeper_win32::process::GetCurrentProcess;
use pagekeeper_win32::protect::VirtualProtect;
use pagekeeper_win32::query::VirtualQuery;
use pagekeeper_win32::system_info::GetSystemInfo;
use pagekeeper_win32::types::{DWORD, MEMORY_BASIC_INFORMATION};
use pagekeeper_win32::working_set::{
    GetProcessWorkingSetSizeEx, QueryWorkingSet, QueryWorkingSetEx, SetProcessWorkingSetSizeEx,
};
use pagekeeper_win32::write_watch::{GetWriteWatch, ResetWriteWatch};

const THREADS: usize = 8;
const PAGE: usize = 4096;
const MARK: DWORD = 0xE1E1_E1E1;

const MEM_COMMIT: DWORD = 0x1000;
const MEM_RESERVE: DWORD = 0x2000;
const MEM_DECOMMIT: DWORD = 0x4000;
const MEM_RELEASE: DWORD = 0x8000;
const READ_WRITE: DWORD = 4;

/// What a call may say when it fails here.
const DEFINED: [DWORD; 14] = [5, 6, 8, 24, 31, 50, 87, 122, 158, 259, 487, 998, 1453, 1455];

fn at(address: usize) -> *mut c_void {
    ptr::with_exposed_provenance_mut(address)
}

/// Fails unless the last error is one that is defined; `failed` says whether the call did.
fn check(failed: bool, call: &str) {
    let error = GetLastError();
    if failed {
        assert!(
            DEFINED.contains(&error) || error == 0x8000_0001,
            "{call}: failed with {error:#x}"
        );
    } else {
        assert_eq!(error, MARK, "{call}: succeeded and wrote the last error");
    }
    SetLastError(MARK);
}

/// Memory of one thread that the calls are let loose on, and around it what must stay as it is.
struct Field {
    /// 16 pages: committed, then reserved, then read-only, guarded, no-access ones.
    base: usize,
}

impl Field {
    fn new() -> Self {
        let base = VirtualAlloc(ptr::null_mut(), 16 * PAGE, MEM_RESERVE, 1).addr();
        assert_ne!(base, 0);
        let field = Self { base };
        field.set_up();
        field
    }

    fn set_up(&self) {
        // SAFETY: the thread's own memory, which nobody refers to.
        unsafe { VirtualFree(at(self.base), 0, MEM_DECOMMIT) };
        for (page, protection) in [(0, 4), (1, 4), (4, 2), (5, 0x104), (6, 1), (8, 0x20)] {
            let made = VirtualAlloc(at(self.base + page * PAGE), PAGE, MEM_COMMIT, protection);
            assert!(!made.is_null());
        }
        SetLastError(MARK);
    }

    /// State and protection of every page.
    fn state(&self) -> Vec<(DWORD, DWORD)> {
        let look = |page| {
            // SAFETY: plain integers and pointers; all zero is a value.
            let mut info: MEMORY_BASIC_INFORMATION = unsafe { core::mem::zeroed() };
            assert_eq!(
                VirtualQuery(at(self.base + page * PAGE), &raw mut info, 48),
                48
            );
            (info.State, info.Protect)
        };
        (0..16).map(look).collect()
    }

    fn addresses(&self) -> Vec<usize> {
        vec![
            0,
            1,
            0xFFFF,
            0x7FFE_0000,
            0x7FFF_FFFE_FFFF,
            0x7FFF_FFFF_0000,
            0x7FFF_FFFF_FFFF,
            0x8000_0000_0000,
            0xFFFF_8000_0000_0000,
            usize::MAX - 4095,
            usize::MAX,
            self.base,
            self.base + 1,
            self.base + 2 * PAGE,
            self.base + 4 * PAGE + 7,
            self.base + 5 * PAGE,
            self.base + 6 * PAGE,
            self.base + 15 * PAGE + 4095,
            ptr::from_ref(&DEFINED).addr(),
            check as *const () as usize,
        ]
    }

    /// Where a result may be asked to be written; the first is good.
    fn out_pointers(&self) -> Vec<usize> {
        vec![
            self.base,
            self.base + 3,
            self.base + PAGE - 2,
            0,
            8,
            self.base + 2 * PAGE,
            self.base + 2 * PAGE - 3,
            self.base + 4 * PAGE,
            self.base + 6 * PAGE,
            0x8000_0000_0000,
            0xFFFF_8000_0000_0000,
            usize::MAX - 2,
            c"constant".as_ptr().addr(),
        ]
    }
}

const SIZES: [usize; 12] = [
    0,
    1,
    PAGE,
    PAGE + 1,
    16 * PAGE,
    16 * PAGE + 1,
    0x7FFF_FFFE_0000,
    0x7FFF_FFFE_0001,
    1 << 47,
    1 << 63,
    usize::MAX - 4095,
    usize::MAX,
];

/// A reservation of its own made by a hostile call; undone at once.
fn undo(made: *mut c_void, field: &Field) {
    if !made.is_null() && !(field.base..field.base + 16 * PAGE).contains(&made.addr()) {
        // SAFETY: nobody uses it.
        let freed = unsafe { VirtualFree(made, 0, MEM_RELEASE) };
        let error = GetLastError();
        // At one of the addresses that all threads try, another one's hostile release may have been quicker.
        assert!(freed == 1 || error == 487, "{made:?} {error}");
    }
    SetLastError(MARK);
}

fn allocate(field: &Field) {
    for kind in flag_words() {
        for (address, size) in [(0, PAGE), (field.base, PAGE), (1, 1), (usize::MAX, 2)] {
            let made = VirtualAlloc(at(address), size, kind, READ_WRITE);
            check(made.is_null(), "VirtualAlloc, types");
            undo(made, field);
        }
    }
    for protection in flag_words() {
        for kind in [MEM_RESERVE, MEM_COMMIT] {
            let made = VirtualAlloc(ptr::null_mut(), PAGE, kind, protection);
            check(made.is_null(), "VirtualAlloc, protections");
            undo(made, field);
        }
    }
    field.set_up();
    let before = field.state();
    // A guard page that is read as a list of parameters is disarmed, which is right.
    let guarded = field.base + 5 * PAGE;
    for address in field.addresses() {
        let list = if address == guarded { 8 } else { address };
        for size in SIZES {
            for kind in [
                MEM_RESERVE,
                MEM_COMMIT,
                MEM_RESERVE | MEM_COMMIT,
                0x8_0000,
                0x100_0000,
            ] {
                let inside = (field.base..field.base + 16 * PAGE).contains(&address);
                if inside && kind == MEM_COMMIT && size < 17 * PAGE {
                    continue;
                }
                let made = VirtualAlloc(at(address), size, kind, READ_WRITE);
                check(made.is_null(), "VirtualAlloc, addresses");
                undo(made, field);
                let made = VirtualAlloc2(
                    ptr::null_mut(),
                    at(address),
                    size,
                    kind,
                    READ_WRITE,
                    at(list).cast(),
                    2,
                );
                check(made.is_null(), "VirtualAlloc2");
                undo(made, field);
            }
            for process in [0, 1, usize::MAX - 1] {
                let made = VirtualAllocEx(at(process), at(address), size, MEM_RESERVE, READ_WRITE);
                assert!(made.is_null());
                check(true, "VirtualAllocEx");
            }
        }
    }
    assert_eq!(
        field.state(),
        before,
        "a refused allocation changed something"
    );
}

fn release(field: &Field) {
    let before = field.state();
    for kind in flag_words() {
        if kind == MEM_RELEASE || kind == MEM_DECOMMIT || kind == MEM_RELEASE | MEM_DECOMMIT {
            continue;
        }
        // SAFETY: refused, or nobody uses the memory.
        let freed = unsafe { VirtualFree(at(field.base), PAGE, kind) };
        assert_eq!(freed, 0, "{kind:#x}");
        check(true, "VirtualFree, types");
    }
    for address in field.addresses() {
        for size in SIZES {
            let inside = (field.base..field.base + 16 * PAGE).contains(&address);
            for kind in [MEM_RELEASE, MEM_DECOMMIT] {
                if inside && (kind == MEM_DECOMMIT || size == 0) {
                    continue;
                }
                // SAFETY: as above; nothing is allocated at the other addresses.
                let freed = unsafe { VirtualFree(at(address), size, kind) };
                // At one of the addresses that all threads try, another one may have a reservation at this moment.
                let may_be_anothers = (0x1_0000..0x7FFF_FFFE_0000).contains(&address);
                assert!(
                    freed == 0 || may_be_anothers,
                    "{address:#x} {size:#x} {kind:#x}"
                );
                check(freed == 0, "VirtualFree, addresses");
            }
            // SAFETY: no such process.
            let freed = unsafe { VirtualFreeEx(at(2), at(address), 0, MEM_RELEASE) };
            assert_eq!(freed, 0);
            check(true, "VirtualFreeEx");
        }
    }
    assert_eq!(field.state(), before, "a refused free changed something");
}

/// A placeholder under every flag: what succeeds is turned back, and what is refused leaves it as it was.
fn placeholders(field: &Field) {
    const PRESERVING: DWORD = MEM_RELEASE | 2;
    const COALESCING: DWORD = MEM_RELEASE | 1;
    const SIZE: usize = 16 * PAGE;
    let mut leftovers = Vec::new();
    let allocate = |address, kind, protection| {
        let none = ptr::null_mut();
        VirtualAlloc2(none, address, SIZE, kind, protection, ptr::null_mut(), 0)
    };
    // SAFETY: nobody refers to what lies there.
    let free = |address: usize, size, kind| unsafe { VirtualFree(at(address), size, kind) };
    // What follows the placeholder must be ours, and no placeholder: some of the addresses and sizes below reach into it, and
    // would split or merge that of another thread, which is right for whoever calls and not what this looks for.
    let base = loop {
        let base = allocate(ptr::null_mut(), MEM_RESERVE | 0x4_0000, 1);
        assert!(!base.is_null());
        let fence = VirtualAlloc(at(base.addr() + SIZE), PAGE, MEM_RESERVE, 1);
        if !fence.is_null() {
            break base;
        }
        assert_eq!(GetLastError(), 487, "something lies there already");
        assert_eq!(free(base.addr(), 0, MEM_RELEASE), 1);
        // Takes the place up, so that the next one lies elsewhere; given back at the end.
        leftovers.push(VirtualAlloc(base, SIZE, MEM_RESERVE, 1));
    };
    let as_it_was = |what: &str| {
        // SAFETY: plain integers and pointers; all zero is a value.
        let mut info: MEMORY_BASIC_INFORMATION = unsafe { core::mem::zeroed() };
        assert_eq!(VirtualQuery(base, &raw mut info, 48), 48);
        let found = (info.AllocationBase, info.State, info.AllocationProtect);
        assert_eq!(found, (base, MEM_RESERVE, 1), "{what}");
        assert_eq!(info.RegionSize, SIZE, "{what}");
        SetLastError(MARK);
    };
    SetLastError(MARK);
    for kind in flag_words() {
        for protection in [1, 4] {
            let made = allocate(base, kind, protection);
            check(made.is_null(), "VirtualAlloc2, placeholder");
            // MEM_RESET alone finds nothing that is committed, and changes nothing.
            if !made.is_null() && kind & 0x4000 != 0 {
                assert_eq!(made, base, "{kind:#x}");
                assert_eq!(free(base.addr(), SIZE, PRESERVING), 1, "{kind:#x}");
            }
            as_it_was("a refused replacement");
        }
    }
    let mut addresses = field.addresses();
    addresses.extend([0, 1, PAGE, 5 * PAGE + 3, SIZE - 1, SIZE].map(|offset| base.addr() + offset));
    for address in addresses {
        for size in SIZES {
            let freed = free(address, size, COALESCING);
            assert_eq!(freed, 0, "one cannot be merged");
            check(true, "VirtualFree, merge");
            let freed = free(address, size, PRESERVING);
            check(freed == 0, "VirtualFree, split");
            if freed == 1 {
                assert_eq!(
                    free(base.addr(), SIZE, COALESCING),
                    1,
                    "{address:#x} {size:#x}"
                );
            }
            as_it_was("a refused split");
        }
    }
    leftovers.retain(|place| !place.is_null());
    leftovers.extend([base, at(base.addr() + SIZE)]);
    for place in leftovers {
        assert_eq!(free(place.addr(), 0, MEM_RELEASE), 1, "{place:?}");
    }
    SetLastError(MARK);
}

fn protect(field: &Field) {
    let before = field.state();
    let foreign = |address| !(field.base..field.base + 16 * PAGE).contains(&address);
    for out in field.out_pointers().into_iter().skip(3) {
        let changed = VirtualProtect(at(field.base), PAGE, 2, at(out).cast());
        assert_eq!(changed, 0, "{out:#x}");
        check(true, "VirtualProtect, out pointers");
        assert_eq!(field.state(), before, "a refused change was made: {out:#x}");
    }
    let mut old = 0;
    for address in field.addresses() {
        // Program text is the program's own: changing it would succeed, and end it.
        if address > 0x1_0000 && address < 0x7FFF_FFFF_0000 && foreign(address) {
            continue;
        }
        for size in SIZES {
            if size <= 16 * PAGE && size > 0 && !foreign(address) {
                continue;
            }
            let changed = VirtualProtect(at(address), size, 2, &raw mut old);
            assert_eq!(changed, 0, "{address:#x} {size:#x}");
            check(true, "VirtualProtect, addresses");
        }
    }
    assert_eq!(field.state(), before);
    for protection in flag_words() {
        let changed = VirtualProtect(at(field.base + PAGE), PAGE, protection, &raw mut old);
        check(changed == 0, "VirtualProtect, protections");
    }
    field.set_up();
}

/// Calls that only look, or that leave no trace where they are refused.
fn look(field: &Field) {
    let own = GetCurrentProcess();
    for out in field.out_pointers() {
        for address in field.addresses() {
            let length = VirtualQuery(at(address), at(out).cast(), 48);
            check(length == 0, "VirtualQuery");
        }
        check(
            GlobalMemoryStatusEx(at(out).cast()) == 0,
            "GlobalMemoryStatusEx",
        );
        GlobalMemoryStatus(at(out).cast());
        GetSystemInfo(at(out).cast());
        check(
            GetPerformanceInfo(at(out).cast(), 104) == 0,
            "GetPerformanceInfo",
        );
        check(
            GetProcessMemoryInfo(own, at(out).cast(), 80) == 0,
            "GetProcessMemoryInfo",
        );
        let (low, high, flags) = (at(out).cast(), at(out).cast(), at(out).cast());
        check(
            GetProcessWorkingSetSizeEx(own, low, high, flags) == 0,
            "GetProcessWorkingSetSizeEx",
        );
        check(
            QueryWorkingSetEx(own, at(out), 64) == 0,
            "QueryWorkingSetEx",
        );
        check(QueryWorkingSet(own, at(out), 8) == 0, "QueryWorkingSet");
        check(
            PrefetchVirtualMemory(own, 1 << 40, at(out).cast(), 0) == 0,
            "PrefetchVirtualMemory",
        );
        for length in [0, 1, 16, 64, PAGE as DWORD] {
            let changes = GetWsChanges(own, at(out).cast(), length);
            check(changes == 0, "GetWsChanges");
            let changes = GetWsChangesEx(own, at(out).cast(), at(out).cast());
            check(changes == 0, "GetWsChangesEx");
        }
        for flags in [0, 1, 2, u32::MAX] {
            let (pages, count, grain) = (at(out).cast(), at(out).cast(), at(out).cast());
            let answer = GetWriteWatch(flags, at(out), PAGE, pages, count, grain);
            check(answer != 0, "GetWriteWatch");
        }
        SetLastError(MARK);
        IsBadReadPtr(at(out), 64);
        IsBadWritePtr(at(out), 64);
        IsBadStringPtrA(at(out).cast(), 10_000);
        field.set_up();
    }
    for handle in field.addresses() {
        let closed = CloseHandle(at(handle));
        check(closed == 0, "CloseHandle");
    }
}

fn keep_and_drop(field: &Field) {
    let foreign = |address: usize| {
        address > 0x1_0000
            && address < 0x7FFF_FFFF_0000
            && !(field.base..field.base + 16 * PAGE).contains(&address)
    };
    for address in field.addresses() {
        if foreign(address) {
            continue;
        }
        for size in SIZES {
            check(VirtualLock(at(address), size) == 0, "VirtualLock");
            check(VirtualUnlock(at(address), size) == 0, "VirtualUnlock");
            check(ResetWriteWatch(at(address), size) != 0, "ResetWriteWatch");
            for priority in [0, 1, 4, 5, -1] {
                let answer = OfferVirtualMemory(at(address), size, priority);
                assert!(answer == 0 || DEFINED.contains(&answer), "offer {answer}");
            }
            let answer = ReclaimVirtualMemory(at(address), size);
            assert!(answer == 0 || DEFINED.contains(&answer), "reclaim {answer}");
            // SAFETY: nobody needs the contents.
            let answer = unsafe { DiscardVirtualMemory(at(address), size) };
            assert!(answer == 0 || DEFINED.contains(&answer), "discard {answer}");
            check(false, "calls that return their error");
        }
    }
    let own = GetCurrentProcess();
    for flags in flag_words() {
        // A size that no machine has: whatever the flags say, the limits stay.
        let set = SetProcessWorkingSetSizeEx(own, 1 << 40, 1 << 50, flags);
        check(set == 0, "SetProcessWorkingSetSizeEx");
    }
    field.set_up();
}

#[test]
fn eight_threads_with_nothing_good_in_mind() {
    // The calls of this test only, so that "nothing leaked" can be seen.
    let first = VirtualAlloc(ptr::null_mut(), PAGE, MEM_RESERVE, READ_WRITE);
    let committed = || {
        let mut counters = pagekeeper_win32::types::PROCESS_MEMORY_COUNTERS_EX::default();
        assert_eq!(
            GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, 80),
            1
        );
        counters.PagefileUsage
    };
    let before = committed();
    // Refused where the kernel does not tell of faults; then asking for them is, too.
    let watching = InitializeProcessForWsWatch(GetCurrentProcess());
    assert!(watching == 1 || GetLastError() == 50);
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let barrier = &barrier;
            scope.spawn(move || {
                let field = Field::new();
                barrier.wait();
                let steps: [fn(&Field); 6] = [
                    allocate,
                    release,
                    placeholders,
                    protect,
                    look,
                    keep_and_drop,
                ];
                for step in 0..steps.len() {
                    steps[(step + thread) % steps.len()](&field);
                }
                // SAFETY: nobody uses it.
                assert_eq!(unsafe { VirtualFree(at(field.base), 0, MEM_RELEASE) }, 1);
            });
        }
    });
    assert_eq!(committed(), before, "commit charge leaked");
    // SAFETY: nobody uses it.
    assert_eq!(unsafe { VirtualFree(first, 0, MEM_RELEASE) }, 1);
}

/// The same in processes of their own, since a process has one default engine.
#[test]
fn with_the_other_engines() {
    let own = std::env::current_exe().expect("this program");
    for engine in ["inline", "resident"] {
        let status = std::process::Command::new(&own)
            .args(["--exact", "eight_threads_with_nothing_good_in_mind"])
            .env("PAGEKEEPER_ENGINE", engine)
            .status()
            .expect("run");
        assert!(status.success(), "{engine}: {status}");
    }
}
