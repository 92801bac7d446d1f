//! The memory of views as Rust values.
//!
//! | who may change it | what is safe to hold | how |
//! |---|---|---|
//! | this view alone: no name, no file, no other view, no section left | `&[T]`, `&mut [T]` | [`ExclusiveView`] |
//! | other views, other processes | `&[AtomicU64]` and its siblings; copies | [`View::atomics`], `read_at`, `write_at` |
//! | nobody, for as long as the caller says so | `&[T]`, `&mut [T]` | [`View::as_slice`], [`View::as_mut_slice`]: unsafe |
//!
//! A copy-on-write view is no exception: what was not written yet follows the file.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: turns addresses of views into slices; the text above says when that is right"
)]

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicI64, AtomicU64};

use pagekeeper_model::{Access, RegionState};

use super::View;
use crate::paged_vec::Plain;

/// Atomics of whole bytes of which any bits are a value: what may be shared with others, whoever they are.
///
/// # Safety
/// Such a type only.
pub unsafe trait AtomicWord: Sync + 'static {}

macro_rules! atomic {
    ($($type:ty),*) => {$(
        // SAFETY: an atomic integer.
        unsafe impl AtomicWord for $type {}
    )*};
}
// Of one size only: safe code could otherwise reach the same bytes as atomics of two sizes at once, which no memory model defines.
atomic!(AtomicU64, AtomicI64);

impl View {
    /// The view as atomics, as many as fit. `None` where any of its pages cannot be written now.
    ///
    /// Later [`View::protect`] may take rights away: then an access is an access violation, as of any pointer.
    ///
    /// ```
    /// use core::sync::atomic::{AtomicU64, Ordering};
    /// use pagekeeper::{ByteCount, Section, Space};
    /// let space = Space::builder().ram(ByteCount::mib(16)).build()?;
    /// let section = Section::anonymous(&space, ByteCount::kib(64)).build()?;
    /// let (one, other) = (section.view().build()?, section.view().build()?);
    /// let counters = one.atomics::<AtomicU64>().unwrap();
    /// counters[7].fetch_add(5, Ordering::Relaxed);
    /// assert_eq!(other.atomics::<AtomicU64>().unwrap()[7].load(Ordering::Relaxed), 5);
    /// # Ok::<(), pagekeeper::Error>(())
    /// ```
    pub fn atomics<A: AtomicWord>(&self) -> Option<&[A]> {
        let range = self.pages();
        let mut at = range.start();
        while at < range.end() {
            let region = self.space().query(at.address()).ok()?;
            match region.state {
                RegionState::Committed(protection)
                    if protection.allows(Access::Write) && !protection.is_guard() => {}
                _ => return None,
            }
            at = region.range.end();
        }
        let count = self.size().get() as usize / size_of::<A>();
        // SAFETY: committed and writable; atomics may change under one's hands; page-aligned; unmapped only by
        // dropping `self`, or by who promised that no reference is alive.
        Some(unsafe { core::slice::from_raw_parts(self.base().cast::<A>(), count) })
    }

    /// The view as plain values, as many as fit.
    ///
    /// # Safety
    /// While the slice lives, every page can be read, and nobody changes the bytes: through no view, in no process, not through
    /// the file, nor by cutting it.
    pub unsafe fn as_slice<T: Plain>(&self) -> &[T] {
        const { assert!(align_of::<T>() <= 4096) };
        let count = self.size().get() as usize / size_of::<T>().max(1);
        // SAFETY: The caller's promise; page-aligned, and any bits are a value.
        unsafe { core::slice::from_raw_parts(self.base().cast::<T>(), count) }
    }

    /// The same, to be written.
    ///
    /// # Safety
    /// As [`View::as_slice`]; every page can be written, and nobody reads the bytes through anything else but the slice.
    pub unsafe fn as_mut_slice<T: Plain>(&mut self) -> &mut [T] {
        const { assert!(align_of::<T>() <= 4096) };
        let count = self.size().get() as usize / size_of::<T>().max(1);
        // SAFETY: As above, exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.base().cast::<T>(), count) }
    }
}

/// The only view of a section that nobody else can map: an ordinary slice, larger than RAM if need be, on which system
/// calls work. Made by [`super::Section::into_exclusive`].
///
/// ```
/// use pagekeeper::{ByteCount, Section, Space};
/// let space = Space::builder().ram(ByteCount::mib(16)).build()?;
/// let section = Section::anonymous(&space, ByteCount::mib(4)).build()?;
/// let mut numbers = section.into_exclusive::<u64>()?.expect("nobody else has it");
/// numbers[1000] = 7;
/// assert_eq!(numbers.iter().sum::<u64>(), 7);
/// # Ok::<(), pagekeeper::Error>(())
/// ```
#[derive(Debug)]
pub struct ExclusiveView<T: Plain> {
    view: View,
    elements: PhantomData<T>,
}

impl<T: Plain> ExclusiveView<T> {
    /// The caller has made sure that there is, and will be, no other view.
    pub(super) fn new(view: View) -> Option<Self> {
        let is_whole =
            size_of::<T>() > 0 && view.size().get().is_multiple_of(size_of::<T>() as u64);
        is_whole.then_some(Self {
            view,
            elements: PhantomData,
        })
    }
}

impl<T: Plain> Deref for ExclusiveView<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: The only view, committed and read-write, and `view` is lent to nobody who could change it.
        unsafe { self.view.as_slice() }
    }
}

impl<T: Plain> DerefMut for ExclusiveView<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: As above.
        unsafe { self.view.as_mut_slice() }
    }
}
