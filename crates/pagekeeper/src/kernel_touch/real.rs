//! The functions that ours stand in front of.
//!
//! Found by `dlsym(RTLD_NEXT)` and remembered. The first call of any of them, which comes early in a program's life, looks
//! all of them up, so that nothing is looked up later in a signal handler or under somebody's lock. (Finding a
//! name that exists allocates nothing in glibc 2.34 and later.) In a static program nobody stands behind us and the
//! loader cannot be asked: there the whole module is left out (`target-feature=+crt-static`). A name that an older
//! glibc lacks fails with `ENOSYS`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: asks the loader, reads and writes errno"
)]

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// Where a real function is, once found.
pub(crate) struct Slot {
    /// The name, ending in a zero byte.
    name: &'static str,
    address: AtomicPtr<c_void>,
}

impl Slot {
    /// `name` ends in a zero byte.
    pub(crate) const fn new(name: &'static str) -> Self {
        Self {
            name,
            address: AtomicPtr::new(core::ptr::null_mut()),
        }
    }

    /// The real function's address; null when there is none.
    #[inline]
    pub(crate) fn address(&self) -> *mut c_void {
        let address = self.address.load(Ordering::Relaxed);
        if address.is_null() {
            self.find()
        } else {
            address
        }
    }

    #[cold]
    fn find(&self) -> *mut c_void {
        let address = self.look_up();
        if !ALL_FOUND.swap(true, Ordering::Relaxed) {
            for touch in super::table() {
                touch.slot.look_up();
            }
        }
        address
    }

    fn look_up(&self) -> *mut c_void {
        let Ok(name) = CStr::from_bytes_with_nul(self.name.as_bytes()) else {
            return core::ptr::null_mut();
        };
        let errno = errno();
        // SAFETY: the name is a C string; the loader answers with an address or null.
        let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr().cast::<c_char>()) };
        set_errno(errno);
        self.address.store(address, Ordering::Relaxed);
        address
    }
}

/// Whether the whole table was looked up.
static ALL_FOUND: AtomicBool = AtomicBool::new(false);

/// This thread's errno.
#[inline]
pub(crate) fn errno() -> c_int {
    // SAFETY: libc's place for this thread.
    unsafe { *libc::__errno_location() }
}

/// Sets this thread's errno.
#[inline]
pub(crate) fn set_errno(number: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = number };
}

/// How a kind of function says that it failed.
pub(crate) trait Failure {
    /// The result of a function that failed with `number`; sets errno.
    fn failed(number: c_int) -> Self;
}

impl Failure for c_int {
    fn failed(number: c_int) -> Self {
        set_errno(number);
        -1
    }
}

impl Failure for isize {
    fn failed(number: c_int) -> Self {
        set_errno(number);
        -1
    }
}

impl Failure for i64 {
    fn failed(number: c_int) -> Self {
        set_errno(number);
        -1
    }
}

impl Failure for usize {
    fn failed(number: c_int) -> Self {
        set_errno(number);
        0
    }
}

impl<T> Failure for *mut T {
    fn failed(number: c_int) -> Self {
        set_errno(number);
        core::ptr::null_mut()
    }
}

/// The result of functions that return the error number itself (`pthread_*`, `posix_spawn`).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErrorNumber(pub(crate) c_int);

impl Failure for ErrorNumber {
    fn failed(number: c_int) -> Self {
        Self(number)
    }
}
