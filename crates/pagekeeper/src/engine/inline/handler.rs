//! The process's answer to SIGBUS and SIGSEGV: whose address is it, and what becomes of it.
//!
//! Runs with all signals blocked on a stack that may be 8 KiB small, so it finds the arena and goes over to a work
//! area's own stack at once. Violations are not dispatched here: the thread leaves the signal frame first.

#![allow(unsafe_code, reason = "UNSAFETY: goes over to a work area's stack")]

use core::ffi::c_void;
use core::num::NonZeroI32;

use pagekeeper_sys::Errno;
use pagekeeper_sys::checked_copy;
use pagekeeper_sys::signal::{Decision, FaultInfo, SIGNAL_BUS, SIGNAL_SEGV, call_on_stack};
use pagekeeper_sys::time::monotonic_nanoseconds;
use pagekeeper_units::PageNumber;

use super::arena::Arena;
use super::fault::{Answer, Want, bring_in};
use super::foreign;
use super::work_area::WorkArea;
use crate::exception::{self, Cause};
use crate::fault_watch::{self, Arrived};
use crate::fork;
use crate::process_hook;
use crate::registry::Reading;

/// What is handed over to the other stack.
struct Job<'fault> {
    arena: &'fault Arena,
    page: PageNumber,
    want: Want,
    is_segv: bool,
    area: &'fault mut WorkArea,
    answer: Answer,
}

/// The client that `pagekeeper_sys::signal::install` gets.
pub(crate) fn on_fault(fault: &mut FaultInfo<'_>) -> Decision {
    if !fault.information().is_fault() {
        return Decision::NotMine;
    }
    let decision = decide(fault);
    match decision {
        Decision::Retry => decision,
        // Where nothing else helps, a copy that may fail does.
        _ if checked_copy::give_up(fault) => Decision::Retry,
        Decision::NotMine if !fork::is_child() => process_hook::decide_foreign(fault),
        _ => decision,
    }
}

/// What becomes of a fault in paged memory.
fn decide(fault: &mut FaultInfo<'_>) -> Decision {
    if fork::is_child() {
        return Decision::NotMine;
    }
    let page = PageNumber::containing(fault.address() as u64);
    let reading = Reading::begin();
    let Some(found) = reading.find(page) else {
        return Decision::NotMine;
    };
    let Some(arena) = found.inline.as_deref() else {
        // The kernel pages this one: SIGBUS means that its file could not be read, SIGSEGV that the access is wrong.
        let cause = if fault.signal() == SIGNAL_BUS {
            Cause::InPage(NonZeroI32::new(Errno::IO.raw_os_error()))
        } else {
            Cause::Violation
        };
        return exception::redirect(cause);
    };
    let want = if fault.is_instruction_fetch() {
        Want::Execute
    } else if fault.is_write() {
        Want::Write
    } else {
        Want::Read
    };
    let instruction = fault.instruction_pointer() as u64;
    match answer(
        arena,
        fault.address() as u64,
        want,
        instruction,
        fault.signal() == SIGNAL_SEGV,
    ) {
        Answer::Again => {
            if fault.was_present() && want == Want::Write {
                lift_stale_protection(arena, page);
            }
            Decision::Retry
        }
        Answer::Violation => exception::redirect(Cause::Violation),
        Answer::Guard => exception::redirect(Cause::Guard),
        Answer::Lost(errno) => exception::redirect(Cause::InPage(errno)),
        Answer::Unmapped => Decision::Die {
            signal: SIGNAL_SEGV,
            code: 1,
        },
        Answer::Protected => Decision::NotMine,
    }
}

fn answer(arena: &Arena, address: u64, want: Want, instruction: u64, is_segv: bool) -> Answer {
    let page = PageNumber::containing(address);
    let start = monotonic_nanoseconds();
    let mut area = arena.set().areas().take();
    // Of a page that was locked or pinned, perhaps.
    area.arrived = Arrived::default();
    let top = area.stack_top();
    let mut job = Job {
        arena,
        page,
        want,
        is_segv,
        area: &mut area,
        answer: Answer::Again,
    };
    // SAFETY: the area and with it its stack is ours until it is dropped; `run` gets the job it expects, which outlives
    // the call, and never unwinds.
    unsafe { call_on_stack(top, run, (&raw mut job).cast()) };
    let answer = job.answer;
    let arrived = core::mem::take(&mut area.arrived);
    drop(area);
    if fault_watch::is_on() && !arrived.pages.is_empty() {
        fault_watch::record(instruction, address, arrived.pages, arrived.read_disk);
    }
    let counters = arena.set().counters();
    let took = monotonic_nanoseconds().saturating_sub(start);
    counters.latency.record(took);
    counters.sites.note(instruction, start);
    answer
}

extern "C" fn run(job: *mut c_void) {
    // SAFETY: `answer` passes its own job, exclusively, for the time of the call.
    let job = unsafe { &mut *job.cast::<Job<'_>>() };
    job.answer = bring_in(job.arena, job.page, job.want, job.area);
    if job.answer == Answer::Again {
        job.answer = foreign::look(job.arena, job.page, job.is_segv);
    }
}

/// The page is there and may be written, yet the kernel refused a write: it came in before its rights changed.
fn lift_stale_protection(arena: &Arena, page: PageNumber) {
    super::change::lift_write_protection(arena, page);
}
