//! A part of a section in the address space. Windows: `MapViewOfFile`.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: copies from and to memory that others may change, by instructions of which the compiler knows nothing"
)]

use std::sync::Arc;

use pagekeeper_model::{Access, AllocationKind, BaseProtection, Protection, Refusal, RegionInfo};
use pagekeeper_sys::checked_copy::copy_checked;
use pagekeeper_units::{ByteCount, PAGE_SIZE, PAGES_PER_GRANULE, PageRange};

use super::{Inner, Section};
use crate::error::{EngineError, Error};
use crate::space::{Request, Space, ViewRequest};

/// Views begin at multiples of this.
const GRANULE: u64 = PAGES_PER_GRANULE * PAGE_SIZE as u64;
/// How often a copy that met a page on its way out is tried again.
const ATTEMPTS: u32 = 10_000;

/// What a view shall be like. Made by [`Section::view`].
#[derive(Clone, Debug)]
#[must_use = "nothing is mapped until `build` is called"]
pub struct ViewBuilder<'section> {
    section: &'section Section,
    protection: Protection,
    offset: u64,
    size: u64,
    at: Option<u64>,
    replace: bool,
}

impl<'section> ViewBuilder<'section> {
    /// All of the section, as it allows most.
    pub(super) fn new(section: &'section Section) -> Self {
        Self {
            section,
            protection: section.inner.protection,
            offset: 0,
            size: 0,
            at: None,
            replace: false,
        }
    }

    /// What its pages may ever allow, and allow at first. WRITECOPY and EXECUTE_WRITECOPY: the first write to a page copies
    /// it, and the copy is this view's alone; all of such a view is charged against the commit limit.
    pub fn protection(mut self, protection: Protection) -> Self {
        self.protection = protection;
        self
    }

    /// Where in the section it begins, in bytes: a multiple of 64 KiB.
    pub fn offset(mut self, bytes: u64) -> Self {
        self.offset = bytes;
        self
    }

    /// Its size in bytes; 0 for all up to the section's end.
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// At this address, a multiple of 64 KiB; refused when any page there is taken.
    pub fn at(mut self, address: u64) -> Self {
        self.at = Some(address);
        self
    }

    /// In the place of the placeholder at this address: exactly all of it, so its size has to be the placeholder's. Address and
    /// offset may be multiples of a page then. [`Space::unmap_to_placeholder_at`] brings the placeholder back;
    /// [`Space::unmap_at`], or dropping the [`View`], frees its place. Images cannot be mapped so.
    ///
    /// Windows: `MapViewOfFile3(MEM_REPLACE_PLACEHOLDER)`.
    pub fn replacing_placeholder(mut self, address: u64) -> Self {
        self.at = Some(address);
        self.replace = true;
        self
    }

    /// Maps it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the rule: `SectionForbids`, `ViewMisaligned`, `OutsideSection`, `ConflictingAddresses`,
    /// `CommitmentLimit`, `NoHole`; in the place of a placeholder `NotAllocated`, `NotPlaceholder`, `NotWholePlaceholder`,
    /// `ImageInPlaceholder`.
    pub fn build(self) -> Result<View, Error> {
        let inner = Arc::clone(&self.section.inner);
        let size = self.bytes()?;
        let range = self.build_detached()?;
        Ok(View {
            space: inner.space.clone(),
            range,
            size,
            kind: inner.kind,
        })
    }

    /// Maps it, and leaves it to the space: it stays until [`Space::unmap_at`].
    ///
    /// # Errors
    /// As [`ViewBuilder::build`].
    pub fn build_detached(self) -> Result<PageRange, Error> {
        let inner: &Inner = &self.section.inner;
        let size = self.bytes()?;
        let protection = self.protection.in_allocation(inner.protection);
        let pages = match inner.kind {
            // A right to execute has to be asked for page by page.
            AllocationKind::ImageView if protection == Protection::EXECUTE_WRITE_COPY => {
                Protection::WRITE_COPY
            }
            AllocationKind::ImageView => protection.copied_on_write(),
            _ => protection,
        };
        inner.space.shared().map_view(ViewRequest {
            source: Arc::clone(&inner.source),
            offset: self.offset,
            size,
            at: self.at,
            protection,
            pages,
            kind: inner.kind,
            replace: self.replace,
        })
    }

    fn request(&self) -> Request {
        Request::new("map", self.at.unwrap_or(0), self.size)
    }

    /// Checks the geometry and the rights; its size in bytes.
    fn bytes(&self) -> Result<u64, Error> {
        let inner = &self.section.inner;
        let refused = |refusal| Err(self.request().refused(refusal));
        if self.protection.is_guard() || self.protection.base() == BaseProtection::Execute {
            return refused(Refusal::ProtectionInvalid {
                value: self.protection.to_windows(),
            });
        }
        if self.protection.check_view(inner.protection).is_err() {
            return refused(Refusal::SectionForbids {
                view: self.protection,
                section: inner.protection,
            });
        }
        let outside = Refusal::OutsideSection {
            offset: self.offset,
            size: self.size,
            section: inner.size,
        };
        let unit = if self.replace {
            PAGE_SIZE as u64
        } else {
            GRANULE
        };
        if !self.offset.is_multiple_of(unit) {
            return refused(Refusal::ViewMisaligned { value: self.offset });
        }
        let Some(rest) = inner.size.checked_sub(self.offset).filter(|rest| *rest > 0) else {
            return refused(outside);
        };
        match self.size {
            0 => Ok(rest),
            size if size > rest => refused(outside),
            size => Ok(size),
        }
    }
}

/// A view; unmapped when dropped.
///
/// Its memory may change at any time under one's hands: through other views, in other processes too, and through the file. So
/// no safe function lends a reference to it; safe are copies ([`View::read_at`], [`View::write_at`]) and atomics
/// ([`View::atomics`]). Who knows more may say so with [`View::as_slice`]. The one view that nobody can share is
/// [`crate::ExclusiveView`].
#[derive(Debug)]
pub struct View {
    space: Space,
    range: PageRange,
    size: u64,
    kind: AllocationKind,
}

impl View {
    /// The address of its first byte: a multiple of 64 KiB, or of a page in the place of a placeholder.
    pub fn base(&self) -> *mut u8 {
        core::ptr::with_exposed_provenance_mut(self.range.address() as usize)
    }

    /// Its size in bytes, as it was asked for.
    pub fn size(&self) -> ByteCount {
        ByteCount::new(self.size)
    }

    /// Its pages.
    pub fn pages(&self) -> PageRange {
        self.range
    }

    /// What it is a view of.
    pub fn kind(&self) -> AllocationKind {
        self.kind
    }

    /// The space that it is mapped in.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Copies bytes out, from `offset` on. Others may write meanwhile: then each byte is an old or a new one.
    ///
    /// # Errors
    /// `OutsideSection` where the view ends before; `NotAccessible` for pages that may not be read, or whose file cannot be
    /// (it was cut, or its disk failed).
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<(), Error> {
        let from = self.part("read", offset, bytes.len())?;
        self.copy(bytes.as_mut_ptr(), from, bytes.len(), Access::Read)
    }

    /// Copies bytes in, from `offset` on. Others that read meanwhile see each byte old or new.
    ///
    /// # Errors
    /// As [`View::read_at`], for pages that may not be written.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let to = self.part("write", offset, bytes.len())?;
        self.copy(to, bytes.as_ptr(), bytes.len(), Access::Write)
    }

    fn part(&self, operation: &'static str, offset: u64, length: usize) -> Result<*mut u8, Error> {
        let end = offset.checked_add(length as u64);
        if end.is_some_and(|end| end <= self.size) {
            return Ok(self.base().wrapping_add(offset as usize));
        }
        let request = Request::new(operation, self.range.address(), length as u64);
        Err(request.refused(Refusal::OutsideSection {
            offset,
            size: length as u64,
            section: self.size,
        }))
    }

    /// Copies, and where a page does not let it, finds out whether that is for good.
    fn copy(
        &self,
        to: *mut u8,
        from: *const u8,
        length: usize,
        access: Access,
    ) -> Result<(), Error> {
        let mut done = 0;
        for _ in 0..ATTEMPTS {
            // SAFETY: Both ranges were checked; the side that is a view's may fault, which the handler knows of, and
            // nobody has a reference into it (or has promised that nobody writes).
            let left = unsafe {
                copy_checked(
                    to.wrapping_add(done),
                    from.wrapping_add(done),
                    length - done,
                )
            };
            done = length - left;
            if left == 0 {
                return Ok(());
            }
            let side = match access {
                Access::Write => to.cast_const(),
                _ => from,
            };
            let address = side.wrapping_add(done).addr() as u64;
            if self.space.access(address, access) != crate::Verdict::Ok {
                break;
            }
            // It may be: the page was on its way out, or was committed this moment. Or its file cannot be read.
            self.space.shared().wait_for_access(address);
            std::thread::yield_now();
        }
        let request = Request::new("copy", self.range.address(), length as u64);
        Err(request.refused(Refusal::NotAccessible {
            page: pagekeeper_units::PageNumber::containing(self.range.address() + done as u64),
        }))
    }

    /// Writes changed pages from `offset` on to the file: starts that, or waits until they are at the device. Size 0 means to
    /// the view's end. See [`Space::flush_view_at`].
    ///
    /// # Errors
    /// As [`Space::flush_view_at`].
    pub fn flush(&self, offset: u64, size: u64, durable: bool) -> Result<(), Error> {
        let address = self.range.address().saturating_add(offset);
        self.space.flush_view_at(address, size, durable)
    }

    /// Changes what pages allow, within what the view was mapped for; returns what the first allowed. See
    /// [`Space::protect_at`].
    ///
    /// # Errors
    /// `ProtectionNotForView`, `LeavesAllocation`, `CommitmentLimit`.
    pub fn protect(
        &self,
        offset: u64,
        size: u64,
        protection: Protection,
    ) -> Result<Protection, Error> {
        let address = self.range.address().saturating_add(offset);
        self.space.protect_at(address, size, protection)
    }

    /// Commits pages of a reserved section, for all its views. See [`Space::commit_at`].
    ///
    /// # Errors
    /// `CommitmentLimit`, `ProtectionNotForView`, `LeavesAllocation`, `CommitInFile`.
    pub fn commit(&self, offset: u64, size: u64, protection: Protection) -> Result<(), Error> {
        let address = self.range.address().saturating_add(offset);
        self.space.commit_at(address, size, protection)
    }

    /// What the page at `offset` is, and how far pages are like it.
    ///
    /// # Errors
    /// As [`Space::query`].
    pub fn query(&self, offset: u64) -> Result<RegionInfo, Error> {
        self.space
            .query(self.range.address().saturating_add(offset))
    }

    /// Unmaps it, and says what went wrong, which dropping does not.
    ///
    /// # Errors
    /// `ForkedChild`: a child has no views of its parent.
    pub fn unmap(self) -> Result<(), Error> {
        let view = core::mem::ManuallyDrop::new(self);
        let result = view.space.shared().unmap(view.range.address(), false);
        // SAFETY: Read once, from a value that is not dropped.
        drop(unsafe { core::ptr::read(&raw const view.space) });
        result
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let unmapped = self.space.shared().unmap(self.range.address(), false);
        let in_child = matches!(
            unmapped,
            Err(Error::Engine {
                cause: EngineError::ForkedChild,
                ..
            })
        );
        debug_assert!(
            in_child || unmapped.is_ok(),
            "a view was unmapped by somebody else: {unmapped:?}"
        );
    }
}
