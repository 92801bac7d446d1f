//! One hook for the whole process: every exception of every space, and faults in memory that is nobody's here.
//!
//! [`crate::Space::on_exception`] is for programs in Rust, which know their space. An interface that shows a process the
//! exceptions of Windows needs more: the interrupted registers, to read and to change, and the program's
//! own bad accesses (a null pointer) beside ours.
//!
//! The hook runs where callbacks run: on the thread's own stack, outside the signal frame, no lock held. A fault that
//! is not ours and that the hook passes goes to the handlers that the program installed with `sigaction`, as if there were
//! no hook: the instruction runs again, and the fault handler recognises it.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use pagekeeper_model::Access;
use pagekeeper_sys::signal::{self, Decision, FaultInfo, Redirected, Registers, SIGNAL_BUS};

use crate::exception::{Exception, ExceptionKind, Handled};

/// The interrupted thread: what it goes on with if the exception is mended. Windows: `CONTEXT`.
#[derive(Debug)]
pub struct Interrupted<'fault, 'info> {
    fault: &'fault mut FaultInfo<'info>,
}

impl<'fault, 'info> Interrupted<'fault, 'info> {
    pub(crate) fn new(fault: &'fault mut FaultInfo<'info>) -> Self {
        Self { fault }
    }

    /// The general registers.
    pub fn registers(&self) -> &Registers {
        &self.fault.context().registers
    }

    /// The general registers, to change.
    pub fn registers_mut(&mut self) -> &mut Registers {
        &mut self.fault.context_mut().registers
    }

    /// The floating-point and vector state as the processor saved it; its first 512 bytes are those of `fxsave`.
    pub fn extended_state(&self) -> &[u8] {
        self.fault.context().extended_state()
    }

    /// The same, to change; the bytes from 464 to 511 are the kernel's and stay as they are.
    pub fn extended_state_mut(&mut self) -> &mut [u8] {
        self.fault.context_mut().extended_state_mut()
    }
}

/// What is called for an exception.
pub type ProcessHook = fn(&Exception, &mut Interrupted<'_, '_>) -> Handled;

/// The hook's address; 0 while there is none. It is never taken away: a thread may be on its way to it.
static HOOK: AtomicUsize = AtomicUsize::new(0);

/// Sets the hook; whether it is set now (only one can be, for ever). Installs the fault handler if need be.
///
/// # Errors
/// What the kernel says when the fault handler cannot be installed.
pub fn set_process_hook(hook: ProcessHook) -> Result<bool, crate::EngineError> {
    crate::engine::inline::install_handler()?;
    let address = hook as *const () as usize;
    let before = HOOK.compare_exchange(0, address, Ordering::AcqRel, Ordering::Acquire);
    Ok(before.is_ok() || before == Err(address))
}

/// Asks the hook, if there is one.
pub(crate) fn ask(exception: &Exception, interrupted: &mut Interrupted<'_, '_>) -> Handled {
    match hook() {
        Some(hook) => hook(exception, interrupted),
        None => Handled::Pass,
    }
}

#[allow(
    unsafe_code,
    reason = "UNSAFETY: a function's address comes back as a function"
)]
fn hook() -> Option<ProcessHook> {
    let address = HOOK.load(Ordering::Acquire);
    if address == 0 {
        return None;
    }
    // SAFETY: only `set_process_hook` stores here, a function of this type.
    Some(unsafe { core::mem::transmute::<usize, ProcessHook>(address) })
}

/// For the fault handler: what becomes of a fault in memory that is not ours.
pub(crate) fn decide_foreign(fault: &FaultInfo<'_>) -> Decision {
    if HOOK.load(Ordering::Relaxed) == 0 || was_passed(fault) {
        return Decision::NotMine;
    }
    Decision::Redirect {
        target: dispatch_foreign,
        argument: 0,
    }
}

/// On the thread's own stack, outside the signal frame.
fn dispatch_foreign(redirected: &mut Redirected<'_>) -> signal::Verdict {
    let fault = &mut redirected.fault;
    let exception = describe(fault);
    let mark = Mark::of(fault);
    if ask(&exception, &mut Interrupted::new(fault)) == Handled::Pass {
        mark.leave();
    }
    signal::Verdict::Resume
}

/// `SI_KERNEL`: the processor's general protection fault, as for an address that is none; it has no address.
const FROM_PROTECTION: i32 = 0x80;

fn describe(fault: &FaultInfo<'_>) -> Exception {
    let no_address = fault.code() == FROM_PROTECTION;
    let access = if no_address {
        Access::Read
    } else if fault.is_instruction_fetch() {
        Access::Execute
    } else if fault.is_write() {
        Access::Write
    } else {
        Access::Read
    };
    Exception {
        kind: if fault.signal() == SIGNAL_BUS && !no_address {
            ExceptionKind::InPageError(Some(libc::EIO))
        } else {
            ExceptionKind::AccessViolation
        },
        address: if no_address {
            u64::MAX
        } else {
            fault.address() as u64
        },
        access,
        instruction: fault.instruction_pointer() as u64,
    }
}

/// Faults that the hook passed and that will come again at once. More than are ever on their way at a time; the oldest
/// is overwritten, and its fault then only asks the hook once more.
static PASSED: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A fault by its instruction, address and stack pointer, which together belong to one thread.
struct Mark(u64);

impl Mark {
    fn of(fault: &FaultInfo<'_>) -> Self {
        let registers = &fault.context().registers;
        let address = fault.address() as u64;
        Self((registers.rip ^ address.rotate_left(21) ^ registers.rsp.rotate_left(42)) | 1)
    }

    fn leave(self) {
        let slot = NEXT.fetch_add(1, Ordering::Relaxed) % PASSED.len();
        PASSED[slot].store(self.0, Ordering::Release);
    }
}

/// Whether the hook has passed this fault; asked once.
fn was_passed(fault: &FaultInfo<'_>) -> bool {
    let Mark(mark) = Mark::of(fault);
    PASSED.iter().any(|slot| {
        slot.load(Ordering::Acquire) == mark
            && slot
                .compare_exchange(mark, 0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    })
}
