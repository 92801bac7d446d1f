//! Physical pages: frames that a program owns apart from addresses, and maps into windows itself.
//! Windows: address windowing (`MEM_PHYSICAL`, `AllocateUserPhysicalPages`, `MapUserPhysicalPages`).
//!
//! Frames are pages of one nameless file in RAM; a window is a reservation with an arena of its own, in whose place they
//! are mapped. They are charged when they are allocated, never paged by Pagekeeper, and keep their contents wherever they
//! are mapped. A window's pages count as reserved to every other operation; a fault where no frame is mapped is an access
//! violation.
//!
//! Source: windows-memory-behaviour.md 11.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: maps frames into windows, where the program has nothing else"
)]

use std::collections::{BTreeMap, BTreeSet};

use pagekeeper_model::{FreeRequest, Protection, Refusal, ReserveRequest};
use pagekeeper_sys::file::{self, AllocateHow};
use pagekeeper_sys::handle::Handle;
use pagekeeper_sys::map::{self, Access, Treatment};
use pagekeeper_units::{PAGE_SIZE, PAGES_PER_GRANULE, PageCount, PageNumber, PageRange};

use super::{Core, Request, Shared, Space};
use crate::engine::EngineKind;
use crate::error::{EngineError, Error};

/// How a window looks where no frame is mapped.
const TREATMENT: Treatment = Treatment::NOT_INHERITED;
/// So often another address is tried when somebody takes the one that was found.
const TRIES: usize = 16;

/// Frames and windows of a space.
#[derive(Default)]
pub(crate) struct Physical {
    file: Option<Handle>,
    /// By number less one.
    frames: Vec<Frame>,
    free: Vec<usize>,
    windows: BTreeMap<PageNumber, PageRange>,
    /// Which frame is mapped at a page.
    mapped: BTreeMap<PageNumber, usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    Free,
    Owned { at: Option<PageNumber> },
}

/// A page of a window, and the frame that shall be there, or nothing.
type Placement = (PageNumber, Option<usize>);

impl Physical {
    /// The window that holds `page`.
    pub(crate) fn window_at(&self, page: PageNumber) -> Option<PageRange> {
        let (_, window) = self.windows.range(..=page).next_back()?;
        window.contains(page).then_some(*window)
    }

    pub(crate) fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// A window goes; its frames stay, mapped nowhere.
    pub(crate) fn forget_window(&mut self, window: PageRange) {
        if self.windows.remove(&window.start()).is_some() {
            let pages: Vec<_> = self
                .mapped
                .range(window.start()..window.end())
                .map(|(page, _)| *page)
                .collect();
            for page in pages {
                self.record((page, None));
            }
        }
    }

    fn record(&mut self, (page, frame): Placement) {
        if let Some(before) = self.mapped.remove(&page) {
            self.frames[before] = Frame::Owned { at: None };
        }
        if let Some(frame) = frame {
            self.frames[frame] = Frame::Owned { at: Some(page) };
            self.mapped.insert(page, frame);
        }
    }

    /// Whether these placements are possible, all of them: pages in windows, frames that are owned and mapped nowhere else.
    fn allows(&self, placements: &[Placement]) -> bool {
        let pages: BTreeSet<_> = placements.iter().map(|(page, _)| *page).collect();
        let frames: BTreeSet<_> = placements.iter().filter_map(|(_, frame)| *frame).collect();
        let named = placements.iter().filter(|(_, frame)| frame.is_some());
        let usable = |frame: usize| match self.frames.get(frame) {
            Some(Frame::Owned { at: None }) => true,
            Some(Frame::Owned { at: Some(page) }) => pages.contains(page),
            Some(Frame::Free) | None => false,
        };
        pages.len() == placements.len()
            && frames.len() == named.count()
            && pages.iter().all(|page| self.window_at(*page).is_some())
            && frames.iter().all(|frame| usable(*frame))
    }
}

impl Space {
    /// Reserves a window of `size` bytes, in which only frames can be mapped. Windows: `MEM_RESERVE | MEM_PHYSICAL`.
    ///
    /// # Errors
    /// As [`crate::ReservationBuilder::build`]; `ConflictingAddresses` also inside of an arena of ours.
    pub fn reserve_window(&self, at: Option<u64>, size: u64) -> Result<PageRange, Error> {
        self.shared().reserve_window(at, size)
    }

    /// Allocates up to `count` frames of zeros; fewer where no more can be promised. Returns their numbers.
    /// Windows: `AllocateUserPhysicalPages`.
    ///
    /// # Errors
    /// `CommitmentLimit` where not even one can be had.
    pub fn allocate_frames(&self, count: usize) -> Result<Vec<usize>, Error> {
        let request = Request::new("allocate frames", 0, 0);
        let mut core = self.shared().enter(request)?;
        let available = core.model.commit_account().available();
        let count = PageCount::new(count as u64).min(available);
        if count.is_zero() {
            return Err(request.refused(Refusal::CommitmentLimit {
                wanted: PageCount::ONE,
                available,
            }));
        }
        let found = core
            .take_frames(count.as_usize())
            .map_err(|errno| kernel(request, "memfd_create", errno))?;
        let charge = PageCount::new(found.len() as u64);
        core.model
            .commit_account_mut()
            .charge(charge)
            .map_err(|refusal| request.refused(refusal))?;
        Ok(found.into_iter().map(|frame| frame + 1).collect())
    }

    /// Frees frames, unmapping them first; returns how many, up to the first number that is none.
    /// Windows: `FreeUserPhysicalPages`.
    ///
    /// # Safety
    /// No reference into memory where they are mapped is alive.
    pub unsafe fn free_frames(&self, numbers: &[usize]) -> usize {
        let mut core = self.shared().core();
        let mut freed = 0;
        for number in numbers {
            let Some(frame) = number.checked_sub(1) else {
                break;
            };
            let Some(Frame::Owned { at }) = core.physical.frames.get(frame).copied() else {
                break;
            };
            if let Some(page) = at
                && core.place(&[(page, None)]).is_err()
            {
                break;
            }
            core.give_frame(frame);
            freed += 1;
        }
        core.model
            .commit_account_mut()
            .refund(PageCount::new(freed as u64));
        freed
    }

    /// Maps frames into windows, each at the page of an address; number 0 unmaps what is there. What was mapped there before is
    /// replaced. All or nothing. Windows: `MapUserPhysicalPages`, `MapUserPhysicalPagesScatter`.
    ///
    /// # Errors
    /// `NotPhysical` for a page outside of windows, a number that is no frame of ours, a frame that is mapped elsewhere, a page
    /// or a frame that is named twice.
    ///
    /// # Safety
    /// No reference into the pages is alive: other memory is there afterwards.
    pub unsafe fn map_frames(&self, wanted: &[(u64, usize)]) -> Result<(), Error> {
        let address = wanted.first().map_or(0, |(address, _)| *address);
        let request = Request::new(
            "map frames",
            address,
            wanted.len() as u64 * PAGE_SIZE as u64,
        );
        let mut core = self.shared().enter(request)?;
        let mut placements: Vec<Placement> = wanted
            .iter()
            .map(|(address, number)| (PageNumber::containing(*address), number.checked_sub(1)))
            .collect();
        if !core.physical.allows(&placements) {
            return Err(request.refused(Refusal::NotPhysical { address }));
        }
        placements.sort_unstable();
        core.place(&placements)
            .map_err(|errno| kernel(request, "mmap", errno))
    }
}

impl Shared {
    fn reserve_window(&self, at: Option<u64>, size: u64) -> Result<PageRange, Error> {
        let request = Request::new("reserve a window", at.unwrap_or(0), size);
        let tag = self.engine_tag(EngineKind::Resident, None)?;
        let mut last = request.refused(Refusal::NoHole {
            pages: PageCount::holding(size),
        });
        for _ in 0..TRIES {
            let address = match at {
                Some(address) => address,
                None => hole_for(request)?,
            };
            let wanted = ReserveRequest {
                protection: Protection::READ_WRITE,
                ..ReserveRequest::at(address, size, tag)
            };
            match self.reserve(&wanted) {
                Ok(range) => return self.make_window(request, range),
                Err(error) if at.is_some() => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A window must have an arena of its own: engines open shared ones in pieces that would cover it.
    fn make_window(&self, request: Request, range: PageRange) -> Result<PageRange, Error> {
        let mut core = self.core();
        if core.fixed_arenas.contains(&range.start()) {
            core.physical.windows.insert(range.start(), range);
            return Ok(range);
        }
        drop(core);
        self.free(range.address(), 0, FreeRequest::Release)?;
        Err(request.refused(Refusal::ConflictingAddresses {
            allocation: range.start(),
        }))
    }
}

impl Core {
    /// Refuses what only ordinary memory allows.
    pub(crate) fn refuse_in_window(&self, request: Request) -> Result<(), Error> {
        let address = request.address;
        let page = PageNumber::containing(address);
        if self.physical.has_windows() && self.physical.window_at(page).is_some() {
            return Err(request.refused(Refusal::InWindow { address }));
        }
        Ok(())
    }

    /// Maps and records sorted placements, runs of neighbours in one call. Where the kernel refuses, none of them is mapped any
    /// more.
    fn place(&mut self, placements: &[Placement]) -> Result<(), pagekeeper_sys::Errno> {
        let mut result = Ok(());
        let follows = |one: &Placement, next: &Placement| {
            let frames = match (one.1, next.1) {
                (None, None) => true,
                (Some(one), Some(next)) => one + 1 == next,
                _ => false,
            };
            frames && one.0.plus(PageCount::ONE) == next.0
        };
        for run in placements.chunk_by(follows) {
            let (first, frame) = run[0];
            let range = PageRange::new(first, PageCount::new(run.len() as u64));
            result = result.and_then(|()| self.physical.map_run(range, frame));
            run.iter()
                .for_each(|placement| self.physical.record(*placement));
        }
        if result.is_err() {
            for (page, _) in placements {
                let _ = self
                    .physical
                    .map_run(PageRange::new(*page, PageCount::ONE), None);
                self.physical.record((*page, None));
            }
        }
        result
    }

    fn take_frames(&mut self, count: usize) -> Result<Vec<usize>, pagekeeper_sys::Errno> {
        let physical = &mut self.physical;
        if physical.file.is_none() {
            let mut file = Handle::from(file::create_in_memory("pagekeeper-frames")?);
            file.keep()?;
            physical.file = Some(file);
        }
        let Some(file) = &physical.file else {
            return Ok(Vec::new());
        };
        let again = count.min(physical.free.len());
        let mut found = physical.free.split_off(physical.free.len() - again);
        found.reverse();
        // Their room went with their contents.
        let page = PAGE_SIZE as u64;
        found.retain(|frame| {
            let offset = *frame as u64 * page;
            let is_there =
                file::allocate(file, offset, page, page, AllocateHow::Best).done_bytes == page;
            if !is_there {
                physical.free.push(*frame);
            }
            is_there
        });
        let first = physical.frames.len();
        let more = (count - again) as u64 * PAGE_SIZE as u64;
        let step = 2 << 20;
        let end = (first * PAGE_SIZE) as u64;
        let got =
            file::allocate(file, end, more, step, AllocateHow::Best).done_bytes / PAGE_SIZE as u64;
        let fresh = first..first + got as usize;
        physical.frames.extend(fresh.clone().map(|_| Frame::Free));
        found.extend(fresh);
        for frame in &found {
            physical.frames[*frame] = Frame::Owned { at: None };
        }
        Ok(found)
    }

    fn give_frame(&mut self, frame: usize) {
        let physical = &mut self.physical;
        physical.frames[frame] = Frame::Free;
        if let Some(file) = &physical.file {
            // Its contents go with it; whoever gets it next finds zeros.
            let offset = (frame * PAGE_SIZE) as u64;
            if file::punch(file, offset, PAGE_SIZE as u64).is_ok() {
                physical.free.push(frame);
            }
        }
    }
}

impl Physical {
    fn map_run(&self, range: PageRange, first: Option<usize>) -> Result<(), pagekeeper_sys::Errno> {
        match (first, &self.file) {
            (Some(frame), Some(file)) => {
                let offset = (frame * PAGE_SIZE) as u64;
                // SAFETY: the range lies in a window, which is ours; the caller answers for references into it.
                unsafe { map::map_file_shared_over(range, file, offset, Access::READ_WRITE) }
            }
            // SAFETY: as above.
            _ => unsafe { map::reserve_over(range, Access::NONE, TREATMENT) },
        }
    }
}

/// An address where the request fits and nothing is, for the moment.
fn hole_for(request: Request) -> Result<u64, Error> {
    let pages = PageCount::holding(request.size);
    if pages.is_zero() {
        return Err(request.refused(Refusal::SizeZero));
    }
    let room = PageCount::new(pages.get().saturating_add(PAGES_PER_GRANULE));
    let found = map::reserve(room, Access::NONE, TREATMENT)
        .map_err(|_| request.refused(Refusal::NoHole { pages }))?;
    Ok(found.range().start().round_up_to_granule().address())
}

fn kernel(request: Request, call: &'static str, errno: pagekeeper_sys::Errno) -> Error {
    request.failed(EngineError::Kernel { call, errno })
}
