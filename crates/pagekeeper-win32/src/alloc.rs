//! Reserve, commit, reset. Windows: `VirtualAlloc`, `VirtualAllocEx`.
//!
//! Source: windows-memory-behaviour.md 4.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: exports C names, changes memory by address"
)]

use core::ffi::c_void;
use core::ptr;

use pagekeeper::{AddressLimits, ByteCount, Protection, RegionType, ReplaceRequest, Space};

use crate::constants::{
    ERROR_ACCESS_DENIED, ERROR_GEN_FAILURE, ERROR_INVALID_ADDRESS, ERROR_INVALID_PARAMETER,
    ERROR_PRIVILEGE_NOT_HELD, ERROR_WORKING_SET_QUOTA, MEM_COMMIT, MEM_LARGE_PAGES, MEM_PHYSICAL,
    MEM_REPLACE_PLACEHOLDER, MEM_RESERVE, MEM_RESERVE_PLACEHOLDER, MEM_RESET, MEM_RESET_UNDO,
    MEM_TOP_DOWN, MEM_WRITE_WATCH, PROCESS_VM_OPERATION,
};
use crate::errors::Code;
use crate::last_error::or;
use crate::types::{DWORD, HANDLE, SIZE_T};
use crate::{process, space};

const PAGE_MASK: u64 = 0xFFF;
/// What `GetLargePageMinimum` says.
const LARGE_PAGE: u64 = 2 << 20;
const BAD: Code = Code(ERROR_INVALID_PARAMETER);

/// `VirtualAlloc`
#[unsafe(no_mangle)]
pub extern "C" fn VirtualAlloc(
    address: *mut c_void,
    size: SIZE_T,
    kind: DWORD,
    protection: DWORD,
) -> *mut c_void {
    let process = process::GetCurrentProcess();
    VirtualAllocEx(process, address, size, kind, protection)
}

/// `VirtualAllocEx`, for the own process.
#[unsafe(no_mangle)]
pub extern "C" fn VirtualAllocEx(
    process: HANDLE,
    address: *mut c_void,
    size: SIZE_T,
    kind: DWORD,
    protection: DWORD,
) -> *mut c_void {
    let request = Request::new(address, size, kind, protection);
    let result = request.and_then(|request| {
        process::check_for(process, PROCESS_VM_OPERATION)?;
        request.carry_out(None)
    });
    or(result, ptr::null_mut())
}

/// `GetLargePageMinimum`: every x86-64 processor has pages of 2 MiB.
#[unsafe(no_mangle)]
pub extern "C" fn GetLargePageMinimum() -> SIZE_T {
    LARGE_PAGE as SIZE_T
}

/// What the flags ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `MEM_RESERVE`, and `MEM_COMMIT` with it; or `MEM_COMMIT` at an address that the system chooses.
    Reserve { commit: bool },
    /// `MEM_RESERVE | MEM_PHYSICAL`.
    Window,
    /// `MEM_RESERVE | MEM_RESERVE_PLACEHOLDER`.
    Placeholder,
    /// `MEM_RESERVE | MEM_REPLACE_PLACEHOLDER`, and `MEM_COMMIT` with it.
    Replace { commit: bool },
    /// `MEM_COMMIT` at an address.
    Commit,
    /// `MEM_RESET`.
    Reset,
    /// `MEM_RESET_UNDO`.
    UndoReset,
}

/// A call whose arguments are in order, as far as they can be judged by themselves.
pub(crate) struct Request {
    address: u64,
    size: u64,
    kind: Kind,
    top_down: bool,
    write_watch: bool,
    large_pages: bool,
    protection: Protection,
}

impl Request {
    /// Checks flags, address, size and protection, in this order.
    pub(crate) fn new(
        address: *mut c_void,
        size: SIZE_T,
        flags: DWORD,
        protection: DWORD,
    ) -> Result<Self, Code> {
        let kind = kind_of(flags, address.is_null())?;
        Self::of_kind(kind, address, size, flags, protection)
    }

    /// The same for a call that knows placeholders.
    pub(crate) fn with_placeholders(
        address: *mut c_void,
        size: SIZE_T,
        flags: DWORD,
        protection: DWORD,
    ) -> Result<Self, Code> {
        let kind = match placeholder_kind_of(flags)? {
            Some(kind) => kind,
            None => kind_of(flags, address.is_null())?,
        };
        Self::of_kind(kind, address, size, flags, protection)
    }

    fn of_kind(
        kind: Kind,
        address: *mut c_void,
        size: SIZE_T,
        flags: DWORD,
        protection: DWORD,
    ) -> Result<Self, Code> {
        let address = address.addr() as u64;
        if size == 0 {
            return Err(BAD);
        }
        let large_pages = flags & MEM_LARGE_PAGES != 0;
        if large_pages && !(address | size as u64).is_multiple_of(LARGE_PAGE) {
            return Err(BAD);
        }
        let protection = Protection::from_windows(protection)?;
        protection.check_private()?;
        if kind == Kind::Window && protection != Protection::READ_WRITE {
            return Err(BAD);
        }
        Ok(Self {
            address,
            size: size as u64,
            kind,
            top_down: flags & MEM_TOP_DOWN != 0,
            write_watch: flags & MEM_WRITE_WATCH != 0,
            large_pages,
            protection,
        })
    }

    /// Whether the caller says where.
    pub(crate) fn has_address(&self) -> bool {
        self.address != 0
    }

    /// Does it; `limits` say where a reservation may lie.
    pub(crate) fn carry_out(&self, limits: Option<AddressLimits>) -> Result<*mut c_void, Code> {
        let space = space::get()?;
        let start = match self.kind {
            Kind::Reserve { commit } => self.reserve(space, commit, limits)?,
            Kind::Placeholder => self.reserve(space, false, limits)?,
            Kind::Replace { commit } => {
                let wanted = ReplaceRequest {
                    address: self.address,
                    size: self.size,
                    protection: self.protection,
                    commit,
                    write_watch: self.write_watch,
                };
                space.replace_placeholder_at(&wanted)?.address()
            }
            Kind::Window => {
                let at = self.has_address().then_some(self.address);
                space.reserve_window(at, self.size)?.address()
            }
            Kind::Commit => self.commit(space)?,
            Kind::Reset => {
                // SAFETY: the caller says that the contents are of no interest.
                unsafe { space.reset_at(self.address, self.size) }?
            }
            Kind::UndoReset => {
                if !space.undo_reset_at(self.address, self.size)? {
                    return Err(Code(ERROR_GEN_FAILURE));
                }
                self.address & !PAGE_MASK
            }
        };
        Ok(ptr::with_exposed_provenance_mut(start as usize))
    }

    fn reserve(
        &self,
        space: &Space,
        commit: bool,
        limits: Option<AddressLimits>,
    ) -> Result<u64, Code> {
        let mut builder = space.reserve(ByteCount::new(self.size));
        if self.kind == Kind::Placeholder {
            builder = builder.placeholder();
        }
        builder = builder.protection(self.protection);
        if self.has_address() {
            builder = builder.at(self.address);
        }
        if self.top_down {
            builder = builder.top_down();
        }
        if self.write_watch {
            builder = builder.write_watch();
        }
        if commit {
            builder = builder.committed();
        }
        if let Some(limits) = limits {
            builder = builder.within(limits);
        }
        if !self.large_pages {
            return Ok(builder.build_detached()?.address());
        }
        let made = builder.large_pages().build_detached();
        let range = made.map_err(|error| match Code::from(error) {
            // The kernel lets this user lock no more: what Windows calls a privilege.
            Code(ERROR_WORKING_SET_QUOTA) => Code(ERROR_PRIVILEGE_NOT_HELD),
            code => code,
        })?;
        Ok(range.address())
    }

    fn commit(&self, space: &Space) -> Result<u64, Code> {
        space
            .commit_at(self.address, self.size, self.protection)
            .map_err(|error| match Code::from(error) {
                Code(ERROR_INVALID_ADDRESS) if is_view(space, self.address) => {
                    Code(ERROR_ACCESS_DENIED)
                }
                code => code,
            })?;
        Ok(self.address & !PAGE_MASK)
    }
}

/// Whether a file or an image is mapped there: such memory is refused with another number.
fn is_view(space: &Space, address: u64) -> bool {
    let kind = space.query(address).ok().and_then(|region| region.kind);
    matches!(kind, Some(RegionType::Mapped | RegionType::Image))
}

/// Reads the allocation type.
fn kind_of(flags: DWORD, anywhere: bool) -> Result<Kind, Code> {
    if flags == MEM_RESERVE | MEM_PHYSICAL {
        return Ok(Kind::Window);
    }
    let reset = MEM_RESET | MEM_RESET_UNDO;
    if flags
        & !(MEM_COMMIT | MEM_RESERVE | MEM_TOP_DOWN | MEM_WRITE_WATCH | MEM_LARGE_PAGES | reset)
        != 0
    {
        return Err(BAD);
    }
    let both = MEM_RESERVE | MEM_COMMIT;
    if flags & MEM_WRITE_WATCH != 0 && flags & MEM_RESERVE == 0
        || flags & MEM_LARGE_PAGES != 0 && flags & both != both
    {
        return Err(BAD);
    }
    if flags & reset != 0 {
        return match flags {
            MEM_RESET => Ok(Kind::Reset),
            MEM_RESET_UNDO => Ok(Kind::UndoReset),
            _ => Err(BAD),
        };
    }
    let commit = flags & MEM_COMMIT != 0;
    if flags & MEM_RESERVE != 0 || commit && anywhere {
        Ok(Kind::Reserve { commit })
    } else if commit {
        Ok(Kind::Commit)
    } else {
        Err(BAD)
    }
}

/// Reads an allocation type with a placeholder flag; `None` where it has none.
fn placeholder_kind_of(flags: DWORD) -> Result<Option<Kind>, Code> {
    let others = flags & !(MEM_RESERVE_PLACEHOLDER | MEM_REPLACE_PLACEHOLDER);
    let commit = flags & MEM_COMMIT != 0;
    let (kind, allowed) = match flags ^ others {
        0 => return Ok(None),
        MEM_RESERVE_PLACEHOLDER => (Kind::Placeholder, MEM_RESERVE | MEM_TOP_DOWN),
        MEM_REPLACE_PLACEHOLDER => (
            Kind::Replace { commit },
            MEM_RESERVE | MEM_COMMIT | MEM_TOP_DOWN | MEM_WRITE_WATCH,
        ),
        _ => return Err(BAD),
    };
    if flags & MEM_RESERVE == 0 || others & !allowed != 0 {
        return Err(BAD);
    }
    Ok(Some(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_windows_reads_them() {
        let reserve = Kind::Reserve { commit: false };
        let both = Kind::Reserve { commit: true };
        for (flags, anywhere, wanted) in [
            (MEM_RESERVE, true, Some(reserve)),
            (MEM_RESERVE, false, Some(reserve)),
            (MEM_RESERVE | MEM_COMMIT, false, Some(both)),
            (MEM_COMMIT, true, Some(both)),
            (MEM_COMMIT, false, Some(Kind::Commit)),
            (MEM_COMMIT | MEM_TOP_DOWN, true, Some(both)),
            (MEM_RESET, false, Some(Kind::Reset)),
            (MEM_RESET | MEM_COMMIT, false, None),
            (MEM_RESET | MEM_RESET_UNDO, false, None),
            (MEM_RESET | MEM_TOP_DOWN, false, None),
            (MEM_RESERVE | MEM_WRITE_WATCH, true, Some(reserve)),
            (MEM_COMMIT | MEM_WRITE_WATCH, true, None),
            (MEM_WRITE_WATCH, true, None),
            (MEM_RESERVE | MEM_COMMIT | MEM_LARGE_PAGES, true, Some(both)),
            (MEM_RESERVE | MEM_LARGE_PAGES, true, None),
            (MEM_RESERVE | MEM_PHYSICAL, true, Some(Kind::Window)),
            (MEM_RESERVE | MEM_COMMIT | MEM_PHYSICAL, true, None),
            (MEM_PHYSICAL, true, None),
            (MEM_TOP_DOWN, true, None),
            (0, true, None),
            (0x4000_0000, true, None),
            (MEM_RESERVE | 0x4_0000, true, None),
            (MEM_RESERVE | 0x4000, true, None),
        ] {
            assert_eq!(kind_of(flags, anywhere).ok(), wanted, "{flags:#x}");
        }
    }
}
