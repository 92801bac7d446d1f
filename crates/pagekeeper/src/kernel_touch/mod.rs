//! The kernel's touches: libc's functions, replaced by ours, so that buffers in memory of the inline engine may be out.
//!
//! The inline engine's pages are brought in by the thread that touches them. The kernel does not fault like that: a
//! system call that is given a page that is out fails with `EFAULT`. So this module exports, under libc's own
//! names, every function through which a caller's pointer reaches the kernel: the program that links the library
//! (statically, as Rust programs do) calls ours, its standard library included.
//!
//! Each asks first whether an argument lies in an inline arena; if not, libc's function is called at once. Otherwise:
//!
//! * **structs, strings and results** are copied to ordinary memory and back ([`scratch`]);
//! * **long buffers** are brought in and pinned part by part, or go through a bounce buffer ([`transfer`]);
//! * **locks** are pinned while somebody waits in the kernel ([`locks`]).
//!
//! Rights are looked at first: `read(2)` into a read-only page fails with `EFAULT` and takes nothing from the file.
//! `docs/kernel-touches.md` has the table, and what is not covered.
//!
//! All functions are `extern "C-unwind"`, because some are cancellation points, and a cancelled thread unwinds through
//! them (and lets go of its pins on the way).

mod c11_threads;
mod checked;
mod descriptors;
mod facts;
mod file_io;
mod locks;
mod messages;
mod paths;
mod polling;
mod process;
mod queues;
mod random;
mod raw_syscall;
mod reach;
mod real;
mod returned;
mod scratch;
mod semaphores;
mod signals;
mod sockets;
mod stdio;
mod transfer;
mod vectored;
mod wrap;

use self::real::Slot;

/// A libc function that the library stands in front of.
#[derive(Clone, Copy)]
pub struct KernelTouch {
    /// Its name, which is also that of our function.
    pub name: &'static str,
    /// Its family: `file`, `stdio`, `locks`, ...
    pub family: &'static str,
    /// Which of its arguments are looked after.
    pub what: &'static str,
    slot: &'static Slot,
    wrapper: *const (),
}

#[allow(
    unsafe_code,
    reason = "UNSAFETY: shares function addresses between threads"
)]
// SAFETY: the pointer is a function's address and is never read through.
unsafe impl Sync for KernelTouch {}
#[allow(
    unsafe_code,
    reason = "UNSAFETY: sends function addresses between threads"
)]
// SAFETY: as above.
unsafe impl Send for KernelTouch {}

impl KernelTouch {
    /// The address of our function.
    pub fn wrapper(&self) -> usize {
        self.wrapper.addr()
    }

    /// The address of libc's function, if this libc has it.
    pub fn real(&self) -> Option<usize> {
        let address = self.slot.address();
        (!address.is_null()).then(|| address.addr())
    }
}

impl core::fmt::Debug for KernelTouch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({}: {})", self.name, self.family, self.what)
    }
}

/// The families, each with its own file.
static FAMILIES: &[&[KernelTouch]] = &[
    file_io::TABLE,
    vectored::TABLE,
    paths::TABLE,
    returned::TABLE,
    facts::TABLE,
    random::TABLE,
    stdio::TABLE,
    sockets::TABLE,
    messages::TABLE,
    polling::TABLE,
    locks::TABLE,
    semaphores::TABLE,
    c11_threads::TABLE,
    signals::TABLE,
    process::TABLE,
    descriptors::TABLE,
    queues::TABLE,
    checked::TABLE,
    raw_syscall::TABLE,
];

/// Every function that the library stands in front of.
fn table() -> impl Iterator<Item = &'static KernelTouch> {
    FAMILIES.iter().copied().flatten()
}

/// The libc functions that the library replaces in this program, so that the kernel may be given memory of the inline
/// engine that is out. `docs/kernel-touches.md` tells what each does.
///
/// ```
/// assert!(pagekeeper::kernel_touches().iter().any(|touch| touch.name == "read"));
/// ```
pub fn kernel_touches() -> Vec<&'static KernelTouch> {
    table().collect()
}
