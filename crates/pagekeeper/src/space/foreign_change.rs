//! Memory that Pagekeeper did not make: its protection can be changed, and it can be locked. Windows makes no
//! difference between such memory and its own; here the kernel does it.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: changes the protection of memory that somebody else made"
)]

use pagekeeper_model::{AddressSpace, Protection, Refusal, RegionInfo, RegionState};
use pagekeeper_sys::Errno;
use pagekeeper_sys::map;
use pagekeeper_units::{PageNumber, PageRange};

use super::{Request, Space, foreign};
use crate::error::{EngineError, Error};

impl Space {
    /// Changes the protection of program text, libraries, stacks or memory of malloc (`mprotect`); returns that of the
    /// first page before. The range must be mapped, and belong to one allocation as [`Space::query`] shows it.
    ///
    /// Windows: `VirtualProtect`.
    ///
    /// # Errors
    /// `NotAllocated`, `LeavesAllocation`, `NotCommitted`; `ProtectionInvalid` for guards and write-copy, which the
    /// kernel cannot give to such memory; what the kernel says.
    ///
    /// # Safety
    /// Whoever made the memory agrees.
    pub unsafe fn protect_foreign_at(
        &self,
        address: u64,
        size: u64,
        protection: Protection,
    ) -> Result<Protection, Error> {
        let request = Request::new("protect", address, size);
        let (range, first) = self.foreign_range(request)?;
        let RegionState::Committed(old) = first.state else {
            return Err(request.refused(Refusal::NotCommitted {
                page: range.start(),
            }));
        };
        let access = access_of(protection).ok_or_else(|| {
            request.refused(Refusal::ProtectionInvalid {
                value: protection.to_windows(),
            })
        })?;
        // SAFETY: the range is mapped and not ours; the caller answers for its owner.
        unsafe { map::protect(range, access) }
            .map_err(|errno| kernel(request, "mprotect", errno))?;
        Ok(old)
    }

    /// Keeps foreign pages in RAM, or lets them go (`mlock`, `munlock`). Windows: `VirtualLock`, `VirtualUnlock`.
    ///
    /// # Errors
    /// As [`Space::protect_foreign_at`]; `LockedTooMuch` beyond `RLIMIT_MEMLOCK`.
    pub fn lock_foreign_at(&self, address: u64, size: u64, keep: bool) -> Result<(), Error> {
        let request = Request::new("lock", address, size);
        let (range, _) = self.foreign_range(request)?;
        let done = if keep {
            map::lock(range)
        } else {
            map::unlock(range)
        };
        done.map_err(|errno| match errno {
            Errno::NOMEM | Errno::PERM | Errno::AGAIN => request.failed(EngineError::LockedTooMuch),
            other => kernel(request, "mlock", other),
        })
    }

    /// The pages of a request that lies in one allocation of the kernel's map, and what the first is.
    fn foreign_range(&self, request: Request) -> Result<(PageRange, RegionInfo), Error> {
        let (address, size) = (request.address, request.size);
        let refused = |refusal| Err(request.refused(refusal));
        let range = match PageRange::touched_by(address, size) {
            _ if size == 0 => return refused(Refusal::SizeZero),
            Some(range) => range,
            None => return refused(Refusal::EndsPastAddressSpace { address, size }),
        };
        let core = self.shared().enter(request)?;
        let foreign = foreign::mappings();
        let look = |model: &AddressSpace, page: PageNumber| {
            model
                .query(page.address(), &foreign)
                .map_err(|refusal| request.refused(refusal))
        };
        let first = look(&core.model, range.start())?;
        let Some((base, _)) = first.allocation else {
            return refused(Refusal::NotAllocated { address });
        };
        let mut region = first;
        while region.range.end() < range.end() {
            region = look(&core.model, region.range.end())?;
            if region.allocation.map(|(base, _)| base) != Some(base) {
                let allocation = PageRange::between(base, region.range.start());
                return refused(Refusal::LeavesAllocation { allocation });
            }
        }
        Ok((range, first))
    }
}

/// What the kernel calls a protection; `None` for what it cannot give.
fn access_of(protection: Protection) -> Option<map::Access> {
    use pagekeeper_model::BaseProtection as Base;
    if protection.is_guard() {
        return None;
    }
    Some(match protection.base() {
        Base::NoAccess => map::Access::NONE,
        Base::ReadOnly => map::Access::READ,
        Base::ReadWrite | Base::WriteCopy => map::Access::READ_WRITE,
        Base::Execute | Base::ExecuteRead => map::Access::READ | map::Access::EXECUTE,
        Base::ExecuteReadWrite | Base::ExecuteWriteCopy => {
            map::Access::READ_WRITE | map::Access::EXECUTE
        }
    })
}

fn kernel(request: Request, call: &'static str, errno: Errno) -> Error {
    request.failed(EngineError::Kernel { call, errno })
}
