//! The interrupted thread in Windows' layout, and back. Windows: `CONTEXT`.

use pagekeeper::{Interrupted, Registers};

use crate::constants::CONTEXT_KNOWN;
use crate::types::{CONTEXT, XSAVE_FORMAT};

/// The part of the `fxsave` area that belongs to the program; the kernel keeps its own words behind it.
const PROGRAMS_PART: usize = 464;
/// Where MXCSR lies in it.
const MXCSR: usize = 24;
/// Where the extended state says which of its parts are not in their initial state.
const STATE_BITS: usize = 512;
/// x87 and SSE among them.
const LEGACY_STATES: u8 = 3;

const EMPTY: CONTEXT = CONTEXT {
    Home: [0; 6],
    ContextFlags: CONTEXT_KNOWN,
    MxCsr: 0x1F80,
    SegCs: 0x33,
    SegDs: 0x2B,
    SegEs: 0x2B,
    SegFs: 0x53,
    SegGs: 0x2B,
    SegSs: 0x2B,
    EFlags: 0,
    Dr: [0; 6],
    Rax: 0,
    Rcx: 0,
    Rdx: 0,
    Rbx: 0,
    Rsp: 0,
    Rbp: 0,
    Rsi: 0,
    Rdi: 0,
    R8: 0,
    R9: 0,
    R10: 0,
    R11: 0,
    R12: 0,
    R13: 0,
    R14: 0,
    R15: 0,
    Rip: 0,
    FltSave: XSAVE_FORMAT([0; 512]),
    VectorRegister: [0; 26],
    VectorControl: 0,
    DebugControl: 0,
    LastBranchToRip: 0,
    LastBranchFromRip: 0,
    LastExceptionToRip: 0,
    LastExceptionFromRip: 0,
};

/// A context of which only the stack and the instruction are known.
pub(super) const fn at(instruction: u64, stack: u64) -> CONTEXT {
    CONTEXT {
        Rip: instruction,
        Rsp: stack,
        ..EMPTY
    }
}

/// The thread as it was interrupted.
pub(super) fn capture(interrupted: &Interrupted<'_, '_>) -> CONTEXT {
    let from = interrupted.registers();
    let mut context = CONTEXT {
        SegCs: from.cs,
        SegSs: from.ss,
        EFlags: from.eflags as u32,
        Rax: from.rax,
        Rcx: from.rcx,
        Rdx: from.rdx,
        Rbx: from.rbx,
        Rsp: from.rsp,
        Rbp: from.rbp,
        Rsi: from.rsi,
        Rdi: from.rdi,
        R8: from.r8,
        R9: from.r9,
        R10: from.r10,
        R11: from.r11,
        R12: from.r12,
        R13: from.r13,
        R14: from.r14,
        R15: from.r15,
        Rip: from.rip,
        ..EMPTY
    };
    if let Some(state) = interrupted.extended_state().get(..PROGRAMS_PART) {
        context.FltSave.0[..PROGRAMS_PART].copy_from_slice(state);
        let mxcsr = [0, 1, 2, 3].map(|byte| state[MXCSR + byte]);
        context.MxCsr = u32::from_le_bytes(mxcsr);
    }
    context
}

/// Lets the thread go on with what a handler made of it.
pub(super) fn restore(context: &CONTEXT, interrupted: &mut Interrupted<'_, '_>) {
    restore_registers(context, interrupted.registers_mut());
    let state = interrupted.extended_state_mut();
    let Some(programs) = state.get_mut(..PROGRAMS_PART) else {
        return;
    };
    let wanted = &context.FltSave.0[..PROGRAMS_PART];
    if programs != wanted {
        programs.copy_from_slice(wanted);
        if let Some(bits) = state.get_mut(STATE_BITS) {
            *bits |= LEGACY_STATES;
        }
    }
}

fn restore_registers(from: &CONTEXT, to: &mut Registers) {
    to.eflags = to.eflags & !0xFFFF_FFFF | u64::from(from.EFlags);
    to.rax = from.Rax;
    to.rcx = from.Rcx;
    to.rdx = from.Rdx;
    to.rbx = from.Rbx;
    to.rsp = from.Rsp;
    to.rbp = from.Rbp;
    to.rsi = from.Rsi;
    to.rdi = from.Rdi;
    to.r8 = from.R8;
    to.r9 = from.R9;
    to.r10 = from.R10;
    to.r11 = from.R11;
    to.r12 = from.R12;
    to.r13 = from.R13;
    to.r14 = from.R14;
    to.r15 = from.R15;
    to.rip = from.Rip;
}
