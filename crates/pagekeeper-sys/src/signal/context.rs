//! What the kernel hands a handler: the signal's information and the interrupted registers.
//!
//! The kernel's own layouts. libc's `ucontext_t` is larger than what the kernel writes (968 bytes against
//! 304), so copying one from a frame would read past its end.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads the extended state that the kernel placed beside the registers"
)]

use linux_raw_sys::general::{BUS_MCEERR_AO, SS_AUTODISARM, SS_DISABLE};

use super::calls::{SIGNAL_BUS, SignalSet};

/// The signal's information in the kernel's layout (`siginfo_t`, 128 bytes).
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct SigInfo {
    /// Which signal.
    pub signal: i32,
    /// Unused on Linux.
    pub errno: i32,
    /// Why: above zero from the kernel (`SEGV_*`, `BUS_*`), else sent by a program (`SI_*`).
    pub code: i32,
    padding: i32,
    /// What follows depends on the code: for a fault the address.
    pub fields: [u64; 14],
}

impl SigInfo {
    /// The address of a fault.
    #[inline]
    pub fn address(&self) -> usize {
        self.fields[0] as usize
    }

    /// Whether this thread's instruction caused it, rather than a program that sent it or the kernel's
    /// advice about broken memory elsewhere.
    #[inline]
    pub fn is_fault(&self) -> bool {
        self.code > 0 && !(self.signal == SIGNAL_BUS && self.code == BUS_MCEERR_AO as i32)
    }
}

/// An alternate signal stack's settings (`stack_t`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SignalStack {
    /// Lowest address.
    pub base: usize,
    /// `SS_*` flags.
    pub flags: i32,
    /// Size in bytes.
    pub size: usize,
}

impl SignalStack {
    /// Whether `address` lies inside, and the stack is in use at all.
    pub fn contains(&self, address: usize) -> bool {
        self.flags as u32 & SS_DISABLE == 0 && address.wrapping_sub(self.base) < self.size
    }

    /// Whether the kernel takes the stack away for the time of a handler.
    pub(super) fn disarms(&self) -> bool {
        self.flags as u32 & SS_AUTODISARM != 0
    }
}

/// The interrupted thread's registers (`struct sigcontext`). Changing them changes what the thread goes on
/// with.
#[derive(Clone, Debug)]
#[repr(C)]
#[allow(missing_docs, reason = "the processor's own names")]
pub struct Registers {
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rsp: u64,
    pub rip: u64,
    pub eflags: u64,
    pub cs: u16,
    pub gs: u16,
    pub fs: u16,
    pub ss: u16,
    /// The processor's error code: bit 0 page present, 1 write, 2 user, 4 instruction fetch.
    pub error_code: u64,
    /// The exception's number: 14 is a page fault.
    pub trap: u64,
    old_mask: u64,
    /// The fault's address as the processor gave it.
    pub cr2: u64,
    pub(super) extended: *mut u8,
    reserved: [u64; 8],
}

/// The interrupted thread's state (`struct ucontext` of the kernel).
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Context {
    flags: u64,
    link: usize,
    /// The thread's alternate stack at the time of the fault.
    pub stack: SignalStack,
    /// The general registers.
    pub registers: Registers,
    /// The thread's real signal mask, which comes back when the thread goes on.
    pub mask: SignalSet,
}

/// Where the extended state says how large it is (`struct _fpx_sw_bytes`, in the legacy area's spare bytes).
const SOFTWARE_BYTES_OFFSET: usize = 464;
/// `FP_XSTATE_MAGIC1`.
const MAGIC_ONE: u32 = 0x4650_5853;
/// Size in bytes of the legacy area (fxsave), which is all there is without the magic word.
const LEGACY_SIZE: usize = 512;
/// More than any processor has (AMX brings it to about 11 KiB). A size above it is not believed.
const LARGEST_SIZE: usize = 64 << 10;
/// Where the x87 control word lies.
const CONTROL_WORD_OFFSET: usize = 0;
/// Where MXCSR lies.
const MXCSR_OFFSET: usize = 24;

impl Context {
    /// The x87, SSE, AVX and further state as the processor's xsave wrote it, with the kernel's magic words;
    /// empty if there is none or its size is not believable.
    pub fn extended_state(&self) -> &[u8] {
        let (start, length) = self.extended_range();
        if length == 0 {
            return &[];
        }
        // SAFETY: The kernel placed so many bytes there, in the frame that this context belongs to and
        // outlives the borrow.
        unsafe { core::slice::from_raw_parts(start, length) }
    }

    /// As [`Context::extended_state`], to change. The magic words and the header must stay consistent, or
    /// the kernel kills the process when the thread goes on.
    pub fn extended_state_mut(&mut self) -> &mut [u8] {
        let (start, length) = self.extended_range();
        if length == 0 {
            return &mut [];
        }
        // SAFETY: As above; the context is borrowed exclusively and owns its frame.
        unsafe { core::slice::from_raw_parts_mut(start, length) }
    }

    /// Start and size in bytes of the extended state.
    pub(super) fn extended_range(&self) -> (*mut u8, usize) {
        let start = self.registers.extended;
        if start.is_null() {
            return (start, 0);
        }
        // SAFETY: The legacy area is always there, and the offset lies inside it.
        let (magic, size) = unsafe {
            let software = start.add(SOFTWARE_BYTES_OFFSET).cast::<u32>();
            (software.read_unaligned(), software.add(1).read_unaligned())
        };
        let size = size as usize;
        match magic {
            MAGIC_ONE if (LEGACY_SIZE..=LARGEST_SIZE).contains(&size) => (start, size),
            MAGIC_ONE => (start, 0),
            _ => (start, LEGACY_SIZE),
        }
    }

    /// The thread's x87 control word and MXCSR; the processor's initial ones if there is no state.
    pub(super) fn floating_control(&self) -> (u16, u32) {
        let start = self.registers.extended;
        if start.is_null() {
            return (0x37F, 0x1F80);
        }
        // SAFETY: Both lie in the legacy area, which is always there.
        unsafe {
            (
                start
                    .add(CONTROL_WORD_OFFSET)
                    .cast::<u16>()
                    .read_unaligned(),
                start.add(MXCSR_OFFSET).cast::<u32>().read_unaligned(),
            )
        }
    }
}

/// One fault, as the [`super::FaultHandler`] sees it.
#[derive(Debug)]
pub struct FaultInfo<'a> {
    pub(super) info: &'a SigInfo,
    pub(super) context: &'a mut Context,
}

impl FaultInfo<'_> {
    /// SIGBUS or SIGSEGV.
    #[inline]
    pub fn signal(&self) -> i32 {
        self.info.signal
    }

    /// The kernel's reason (`SEGV_MAPERR`, `BUS_ADRERR`, ...).
    #[inline]
    pub fn code(&self) -> i32 {
        self.info.code
    }

    /// The address that was touched. Zero for an address that is no address (not canonical).
    #[inline]
    pub fn address(&self) -> usize {
        self.info.address()
    }

    /// Whether it was a write.
    #[inline]
    pub fn is_write(&self) -> bool {
        self.context.registers.error_code & 2 != 0
    }

    /// Whether it was the fetch of an instruction.
    #[inline]
    pub fn is_instruction_fetch(&self) -> bool {
        self.context.registers.error_code & 16 != 0
    }

    /// Whether the page was there and refused the access (protection), rather than absent.
    #[inline]
    pub fn was_present(&self) -> bool {
        self.context.registers.error_code & 1 != 0
    }

    /// The address of the faulting instruction.
    #[inline]
    pub fn instruction_pointer(&self) -> usize {
        self.context.registers.rip as usize
    }

    /// All that the kernel said about the signal.
    pub fn information(&self) -> &SigInfo {
        self.info
    }

    /// The interrupted state.
    pub fn context(&self) -> &Context {
        self.context
    }

    /// The interrupted state, to change: the thread goes on with what is in it then.
    pub fn context_mut(&mut self) -> &mut Context {
        self.context
    }
}

const _: () = assert!(size_of::<SigInfo>() == 128);
const _: () = assert!(size_of::<Registers>() == 256);
const _: () = assert!(size_of::<Context>() == 304);
