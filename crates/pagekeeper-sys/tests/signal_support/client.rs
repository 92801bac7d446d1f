//! A client that answers for some closed pages by opening them outside the signal frame.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: overwrites registers on purpose, reads errno"
)]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pagekeeper_sys::signal::{self, Decision, FaultInfo, Redirected, Verdict};

use super::{closed_pages, open_page};

/// The closed pages that the clients below answer for.
pub static START: AtomicUsize = AtomicUsize::new(0);
pub const PAGES: usize = 64;
/// How often a redirected function ran.
pub static RUNS: AtomicUsize = AtomicUsize::new(0);

pub fn is_ours(fault: &FaultInfo<'_>) -> bool {
    fault.address().wrapping_sub(START.load(Relaxed)) < PAGES * 4096
}

/// Maps the pages and installs `client`.
pub fn prepare(client: signal::FaultHandler) -> *mut u8 {
    let start = closed_pages(PAGES);
    START.store(start as usize, Relaxed);
    // SAFETY: The clients keep the rules.
    unsafe { signal::install(client).expect("installed") };
    start
}

/// Opens the page from outside the frame.
pub fn open_outside(fault: &mut FaultInfo<'_>) -> Decision {
    if is_ours(fault) {
        Decision::Redirect {
            target: opening,
            argument: fault.address(),
        }
    } else {
        Decision::NotMine
    }
}

pub fn opening(redirected: &mut Redirected<'_>) -> Verdict {
    RUNS.fetch_add(1, Relaxed);
    assert_eq!(redirected.argument, redirected.fault.address());
    // Allocates, formats, and spoils every register that a function may spoil.
    let text = format!("{:x} {:?}", redirected.argument, std::time::Instant::now());
    assert!(!std::hint::black_box(text).is_empty());
    spoil();
    // SAFETY: errno of this thread.
    unsafe { *libc::__errno_location() = 99 };
    open_page(redirected.argument);
    Verdict::Resume
}

/// Overwrites the vector registers and x87 state.
pub fn spoil() {
    // SAFETY: All are declared as spoiled; the machine has AVX, which the tests' processors do.
    unsafe {
        std::arch::asm!(
            "fninit",
            "fld1",
            "fstp st(0)",
            "pxor xmm0, xmm0",
            "pxor xmm1, xmm1",
            "pxor xmm2, xmm2",
            "pxor xmm3, xmm3",
            "pxor xmm4, xmm4",
            "pxor xmm5, xmm5",
            "pxor xmm6, xmm6",
            "pxor xmm7, xmm7",
            "pxor xmm8, xmm8",
            "pxor xmm9, xmm9",
            "pxor xmm10, xmm10",
            "pxor xmm11, xmm11",
            "pxor xmm12, xmm12",
            "pxor xmm13, xmm13",
            "pxor xmm14, xmm14",
            "pxor xmm15, xmm15",
            clobber_abi("C"),
        );
        if std::arch::is_x86_feature_detected!("avx") {
            std::arch::asm!("vzeroall", clobber_abi("C"));
        }
    }
}
pub extern "C" fn touch_from_handler(_signal: i32) {
    let page = START.load(Relaxed) + 4096 * RUNS.load(Relaxed);
    // SAFETY: A page that the client opens.
    unsafe { (page as *mut u8).write_volatile(3) };
}
