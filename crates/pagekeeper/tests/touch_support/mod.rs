//! Memory of the inline engine whose pages are out, and calls of wrapped functions by name.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    unsafe_code,
    reason = "UNSAFETY: calls libc's functions with pointers, which is what is tested"
)]

use std::ffi::CString;
use std::path::Path;

use pagekeeper::{
    ByteCount, EngineKind, Protection, Reservation, Residence, Space, kernel_touches,
};

pub(crate) const PAGE: usize = 4096;

/// A region of the inline engine in a small budget.
pub(crate) struct Paged {
    pub(crate) space: Space,
    pub(crate) region: Reservation,
    pressure: Reservation,
    used: usize,
}

impl Paged {
    /// `size` bytes of region in a budget of `ram`.
    pub(crate) fn new(ram: ByteCount, size: ByteCount) -> Self {
        let space = Space::builder()
            .ram(ram)
            .engine(EngineKind::Inline)
            .page_file_maximum(ByteCount::gib(2))
            .build()
            .expect("a space");
        let make = |size| {
            let region = space.reserve(size).build().expect("address space");
            region.commit(.., Protection::READ_WRITE).expect("room");
            region
        };
        let region = make(size);
        let pressure = make(ram);
        Self {
            space,
            region,
            pressure,
            used: 0,
        }
    }

    /// A region for small things.
    pub(crate) fn small() -> Self {
        Self::new(ByteCount::mib(1), ByteCount::mib(16))
    }

    /// Forgets everything that was placed.
    pub(crate) fn reset(&mut self) {
        self.used = 0;
    }

    /// Places bytes so that they begin eight bytes before the end of a page.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> *mut u8 {
        let at = self.room(bytes.len());
        // SAFETY: `room` gives committed memory that nobody else has.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
        at
    }

    /// Room of so many bytes, zeroed.
    pub(crate) fn room(&mut self, length: usize) -> *mut u8 {
        let at = self.region.base().wrapping_add(self.used + PAGE - 8);
        self.used += (length + PAGE - 8).next_multiple_of(PAGE) + PAGE;
        assert!(
            self.used as u64 <= self.region.size().get(),
            "the region is full"
        );
        // SAFETY: committed memory of ours.
        unsafe { core::ptr::write_bytes(at, 0, length) };
        at
    }

    /// A value.
    pub(crate) fn value<T: Copy>(&mut self, value: T) -> *mut T {
        let at = self.room(size_of::<T>()).cast::<T>();
        // SAFETY: room for it, and aligned to eight bytes.
        unsafe { at.write(value) };
        at
    }

    /// A C string.
    pub(crate) fn text(&mut self, text: &str) -> *mut u8 {
        self.bytes(
            CString::new(text)
                .expect("no zero inside")
                .as_bytes_with_nul(),
        )
    }

    /// A path.
    pub(crate) fn path(&mut self, path: &Path) -> *mut u8 {
        self.text(path.to_str().expect("plain names"))
    }

    /// Sends everything that was placed out of memory, and makes sure that it is out.
    pub(crate) fn out(&self) {
        self.region.trim(..);
        let end = self.used as u64;
        for round in 0..20 {
            if end == 0
                || !self
                    .region
                    .residence(..end)
                    .iter()
                    .any(|(_, where_now)| *where_now == Residence::Resident)
            {
                return;
            }
            for page in 0..self.pressure.size().get() as usize / PAGE {
                // SAFETY: committed memory of ours.
                unsafe {
                    self.pressure
                        .base()
                        .add(page * PAGE)
                        .cast::<usize>()
                        .write_volatile(page ^ round)
                };
            }
            self.region.trim(..);
        }
        panic!(
            "a page stays in memory: is it pinned? {:?}",
            self.region.residence(..end)
        );
    }

    /// Reads a value back.
    pub(crate) fn get<T: Copy>(&self, at: *const T) -> T {
        // SAFETY: placed before.
        unsafe { at.read_unaligned() }
    }

    /// Reads bytes back.
    pub(crate) fn slice(&self, at: *const u8, length: usize) -> Vec<u8> {
        // SAFETY: placed before.
        unsafe { core::slice::from_raw_parts(at, length) }.to_vec()
    }
}

/// An argument of a call.
pub(crate) trait Word {
    fn word(self) -> usize;
}
impl<T> Word for *mut T {
    fn word(self) -> usize {
        self.expose_provenance()
    }
}
impl<T> Word for *const T {
    fn word(self) -> usize {
        self.expose_provenance()
    }
}
impl Word for usize {
    fn word(self) -> usize {
        self
    }
}
impl Word for i32 {
    fn word(self) -> usize {
        self as isize as usize
    }
}

/// Calls a wrapped function by its name, as C would: up to eight integer or pointer arguments.
pub(crate) fn call_words(name: &str, words: &[usize]) -> isize {
    let touch = kernel_touches()
        .into_iter()
        .find(|touch| touch.name == name)
        .expect("in the table");
    let word = |index: usize| words.get(index).copied().unwrap_or(0);
    // SAFETY: the address is a function's, the arguments are the test's.
    unsafe {
        let function: unsafe extern "C" fn(
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
        ) -> isize = core::mem::transmute(touch.wrapper());
        function(
            word(0),
            word(1),
            word(2),
            word(3),
            word(4),
            word(5),
            word(6),
            word(7),
        )
    }
}

/// `call!("read", fd, buffer, 10)`.
#[macro_export]
macro_rules! call {
    ($name:expr $(, $argument:expr)* $(,)?) => {
        $crate::touch_support::call_words($name, &[$($crate::touch_support::Word::word($argument)),*])
    };
}

/// This thread's errno.
pub(crate) fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// What a function that returns an `int` says in the lower half of the register.
pub(crate) fn int(result: isize) -> i32 {
    result as i32
}
