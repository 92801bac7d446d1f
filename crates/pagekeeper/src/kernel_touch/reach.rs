//! Does a pointer reach paged memory? Asked first in every wrapper, so it has to be quick.

use core::ffi::c_int;

use pagekeeper_units::{PAGE_SIZE, PageCount, PageNumber, PageRange};

use super::real::{Failure, errno, set_errno};
use crate::engine::inline::pin::{self, PinRefused, Stretch, Want};
use crate::engine::views::filled;
use crate::fork;
use crate::registry::{self, Reading};

/// Whether there is anything that a wrapper would have to do in this process.
#[inline]
pub(super) fn active() -> bool {
    (registry::has_inline() || filled::any()) && !fork::is_child()
}

/// Whether any of `length` bytes at `pointer` may lie in an inline arena.
#[inline]
pub(super) fn reaches<T: ?Sized>(pointer: *const T, length: usize) -> bool {
    let address = pointer.addr();
    if address < PAGE_SIZE || length == 0 {
        return false;
    }
    let pages = pages_of(address, length);
    registry::may_be_inline(pages) && reaches_arena(pages)
}

/// The longer answer: within the span of the inline arenas there is other memory too.
#[inline(never)]
fn reaches_arena(pages: PageRange) -> bool {
    !fork::is_child() && Reading::begin().touches_inline(pages)
}

/// Whether the kernel might be refused when it fills `length` bytes at `pointer`: also where they are copied on write in a
/// view, whose pages may be on their way out.
#[inline]
pub(super) fn reaches_filled<T: ?Sized>(pointer: *const T, length: usize) -> bool {
    let address = pointer.addr();
    if address < PAGE_SIZE || length == 0 {
        return false;
    }
    let pages = pages_of(address, length);
    (registry::may_be_inline(pages) && reaches_arena(pages))
        || (filled::may_be(pages) && reaches_copies(pages))
}

#[inline(never)]
fn reaches_copies(pages: PageRange) -> bool {
    !fork::is_child()
        && filled::stretches(pages).any(|stretch| !matches!(stretch, filled::Stretch::Elsewhere(_)))
}

/// The same as [`reaches`] or [`reaches_filled`], by what the kernel is to do with the bytes.
pub(super) fn reaches_wanted<T: ?Sized>(pointer: *const T, length: usize, want: Want) -> bool {
    match want {
        Want::Write => reaches_filled(pointer, length),
        Want::Read | Want::Execute => reaches(pointer, length),
    }
}

/// The pages of `length` (not 0) bytes at `address`; cut off at the end of the address space.
pub(super) fn pages_of(address: usize, length: usize) -> PageRange {
    let last = address.saturating_add(length.max(1) - 1);
    let end = PageNumber::containing(last as u64).plus(PageCount::ONE);
    PageRange::between(PageNumber::containing(address as u64), end)
}

/// The error number for a refusal.
pub(super) fn number_of(refused: PinRefused) -> c_int {
    match refused {
        PinRefused::Forbidden => libc::EFAULT,
        PinRefused::Lost => libc::EIO,
        PinRefused::Busy => libc::ENOMEM,
    }
}

/// Brings the inline pages of some bytes in once. Those that are copied on write in a view are looked at.
pub(super) fn admit(pointer: *const u8, length: usize, want: Want) -> Result<(), c_int> {
    if length == 0 {
        return Ok(());
    }
    let pages = pages_of(pointer.addr(), length);
    pin::admit(pages, want).map_err(number_of)?;
    let is_refused = |stretch| stretch == filled::Stretch::Forbidden;
    match want == Want::Write && filled::may_be(pages) && filled::stretches(pages).any(is_refused) {
        true => Err(libc::EFAULT),
        false => Ok(()),
    }
}

/// The first bytes of a buffer, as far as they are of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many bytes lie outside: the kernel can be trusted with them.
    Foreign(usize),
    /// So many bytes lie inside and allow the access, and `at_once` of them may be pinned for one call.
    Inline { length: usize, at_once: usize },
    /// So many bytes are copied on write in a view and allow writing, which is what is wanted: the kernel might be refused, an
    /// instruction waits.
    Copied(usize),
    /// The first byte may not be touched like that.
    Forbidden,
}

/// Looks at the first bytes of a buffer.
pub(super) fn first_piece(pointer: *const u8, length: usize, want: Want) -> Piece {
    let address = pointer.addr();
    let inside_page = address % PAGE_SIZE;
    let bytes = |pages: u64| {
        (pages as usize)
            .saturating_mul(PAGE_SIZE)
            .saturating_sub(inside_page)
            .min(length)
    };
    let pages = pages_of(address, length);
    match pin::first_stretch(pages, want) {
        Stretch::Foreign(count) if want == Want::Write => {
            match filled::first_stretch(PageRange::new(pages.start(), count)) {
                filled::Stretch::Elsewhere(count) => Piece::Foreign(bytes(count.get())),
                filled::Stretch::Copied(count) => Piece::Copied(bytes(count.get())),
                filled::Stretch::Forbidden => Piece::Forbidden,
            }
        }
        Stretch::Foreign(count) => Piece::Foreign(bytes(count.get())),
        Stretch::Forbidden => Piece::Forbidden,
        Stretch::Inline { count, at_once } => {
            let length = bytes(count.get());
            // Whole pages' worth, so that the kernel's direct I/O finds the next part aligned as the first.
            let at_once = (at_once as usize * PAGE_SIZE).min(length);
            Piece::Inline { length, at_once }
        }
    }
}

/// Leaves a wrapper with an error.
#[cold]
pub(super) fn fail<R: Failure>(number: c_int) -> R {
    R::failed(number)
}

/// Keeps errno as it is now until dropped: what a wrapper does around the real call must not show.
pub(super) struct ErrnoKept(c_int);

impl ErrnoKept {
    pub(super) fn new() -> Self {
        Self(errno())
    }
}

impl Drop for ErrnoKept {
    fn drop(&mut self) {
        set_errno(self.0);
    }
}
