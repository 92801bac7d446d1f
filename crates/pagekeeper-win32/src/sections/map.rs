//! Mapping views. Windows: `MapViewOfFile`, `MapViewOfFileEx`, `MapViewOfFileFromApp`, `MapViewOfFile3`, `MapViewOfFile3FromApp`.
//!
//! Source: windows-memory-behaviour.md 12 and 13.2.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use core::ffi::c_void;
use core::ptr;

use pagekeeper::{AddressLimits, BaseProtection, Protection};

use crate::alloc2;
use crate::constants::{
    ERROR_ACCESS_DENIED, ERROR_INVALID_ADDRESS, ERROR_INVALID_PARAMETER, ERROR_MAPPED_ALIGNMENT,
    FILE_MAP_COPY, FILE_MAP_EXECUTE, FILE_MAP_READ, FILE_MAP_WRITE, MEM_REPLACE_PLACEHOLDER,
    MEM_RESERVE, PAGE_EXECUTE_READ, PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_WRITECOPY, PAGE_NOACCESS,
    PAGE_READONLY, PAGE_READWRITE, PAGE_WRITECOPY, PROCESS_VM_OPERATION, SECTION_MAP_EXECUTE,
    SECTION_MAP_READ, SECTION_MAP_WRITE,
};
use crate::errors::Code;
use crate::last_error::or;
use crate::process;
use crate::sections::create::check_for_app;
use crate::sections::{Mapping, mapping};
use crate::system_info::{GRANULARITY, HIGHEST_ADDRESS, PAGE_SIZE};
use crate::types::{DWORD, HANDLE, MEM_EXTENDED_PARAMETER, SIZE_T, ULONG};

const BAD: Code = Code(ERROR_INVALID_PARAMETER);
/// So often a place that somebody else takes meanwhile is looked for again.
const TRIES: usize = 16;

/// `MapViewOfFile`
#[unsafe(no_mangle)]
pub extern "C" fn MapViewOfFile(
    handle: HANDLE,
    access: DWORD,
    offset_high: DWORD,
    offset_low: DWORD,
    size: SIZE_T,
) -> *mut c_void {
    MapViewOfFileEx(
        handle,
        access,
        offset_high,
        offset_low,
        size,
        ptr::null_mut(),
    )
}

/// `MapViewOfFileEx`: at an address of the caller's choice.
#[unsafe(no_mangle)]
pub extern "C" fn MapViewOfFileEx(
    handle: HANDLE,
    access: DWORD,
    offset_high: DWORD,
    offset_low: DWORD,
    size: SIZE_T,
    base: *mut c_void,
) -> *mut c_void {
    let request = Request {
        handle,
        protection: of_access(access),
        offset: u64::from(offset_high) << 32 | u64::from(offset_low),
        size: size as u64,
        base: base.addr() as u64,
        limits: None,
        replace: false,
    };
    or(request.carry_out(), ptr::null_mut())
}

/// `MapViewOfFileFromApp`: the offset in one piece; nothing that could be executed.
#[unsafe(no_mangle)]
pub extern "C" fn MapViewOfFileFromApp(
    handle: HANDLE,
    access: ULONG,
    offset: u64,
    size: SIZE_T,
) -> *mut c_void {
    let protection = of_access(access);
    let request = Request {
        handle,
        protection,
        offset,
        size: size as u64,
        base: 0,
        limits: None,
        replace: false,
    };
    or(
        check_for_app(protection).and_then(|()| request.carry_out()),
        ptr::null_mut(),
    )
}

/// `MapViewOfFile3`: with a page protection, and requirements on the address. A NULL process is the own one.
#[unsafe(no_mangle)]
pub extern "C" fn MapViewOfFile3(
    handle: HANDLE,
    process: HANDLE,
    base: *mut c_void,
    offset: u64,
    size: SIZE_T,
    kind: ULONG,
    protection: ULONG,
    parameters: *mut MEM_EXTENDED_PARAMETER,
    count: ULONG,
) -> *mut c_void {
    let mapped = || {
        let limits = alloc2::limits(parameters, count, alloc2::What::View)?;
        // A view of memory that is only reserved is what SEC_RESERVE gives; the flag says nothing more.
        if kind & !(MEM_RESERVE | MEM_REPLACE_PLACEHOLDER) != 0
            || limits.is_some() && !base.is_null()
        {
            return Err(BAD);
        }
        let replace = kind & MEM_REPLACE_PLACEHOLDER != 0;
        if replace && base.is_null() {
            return Err(BAD);
        }
        if !process.is_null() {
            process::check_for(process, PROCESS_VM_OPERATION)?;
        }
        Request {
            handle,
            protection,
            offset,
            size: size as u64,
            base: base.addr() as u64,
            limits,
            replace,
        }
        .carry_out()
    };
    or(mapped(), ptr::null_mut())
}

/// `MapViewOfFile3FromApp`
#[unsafe(no_mangle)]
pub extern "C" fn MapViewOfFile3FromApp(
    handle: HANDLE,
    process: HANDLE,
    base: *mut c_void,
    offset: u64,
    size: SIZE_T,
    kind: ULONG,
    protection: ULONG,
    parameters: *mut MEM_EXTENDED_PARAMETER,
    count: ULONG,
) -> *mut c_void {
    match check_for_app(protection) {
        Ok(()) => MapViewOfFile3(
            handle, process, base, offset, size, kind, protection, parameters, count,
        ),
        refused => or(refused.map(|()| ptr::null_mut()), ptr::null_mut()),
    }
}

/// The page protection that `FILE_MAP_` flags ask for. Copy-on-write only where nothing else is asked for.
fn of_access(access: DWORD) -> DWORD {
    let executes = access & FILE_MAP_EXECUTE != 0;
    let (plain, executable) = match access & (FILE_MAP_COPY | FILE_MAP_WRITE | FILE_MAP_READ) {
        FILE_MAP_COPY => (PAGE_WRITECOPY, PAGE_EXECUTE_WRITECOPY),
        flags if flags & FILE_MAP_WRITE != 0 => (PAGE_READWRITE, PAGE_EXECUTE_READWRITE),
        flags if flags & FILE_MAP_READ != 0 => (PAGE_READONLY, PAGE_EXECUTE_READ),
        _ => (PAGE_NOACCESS, PAGE_NOACCESS),
    };
    if executes { executable } else { plain }
}

/// The rights that a view needs of the section's handle: whoever only writes need not be allowed to read.
fn needed(protection: Protection) -> DWORD {
    match protection.base() {
        BaseProtection::NoAccess | BaseProtection::ReadOnly | BaseProtection::WriteCopy => {
            SECTION_MAP_READ
        }
        BaseProtection::ReadWrite => SECTION_MAP_WRITE,
        BaseProtection::Execute
        | BaseProtection::ExecuteRead
        | BaseProtection::ExecuteWriteCopy => SECTION_MAP_READ | SECTION_MAP_EXECUTE,
        BaseProtection::ExecuteReadWrite => SECTION_MAP_WRITE | SECTION_MAP_EXECUTE,
    }
}

/// What is asked for.
struct Request {
    handle: HANDLE,
    protection: DWORD,
    offset: u64,
    size: u64,
    /// 0: wherever there is room.
    base: u64,
    limits: Option<AddressLimits>,
    /// In the place of the placeholder at `base`.
    replace: bool,
}

impl Request {
    fn carry_out(&self) -> Result<*mut c_void, Code> {
        let protection = Protection::from_windows(self.protection)?;
        if protection.is_guard() {
            return Err(BAD);
        }
        // Placeholders are split at pages, and what replaces them begins where they do.
        let unit = if self.replace { PAGE_SIZE } else { GRANULARITY };
        if !self.base.is_multiple_of(unit) || !self.offset.is_multiple_of(unit) {
            return Err(Code(ERROR_MAPPED_ALIGNMENT));
        }
        // No view is larger than the address space.
        let end = self.base.checked_add(self.size).ok_or(BAD)?;
        if end > HIGHEST_ADDRESS + 1 {
            return Err(BAD);
        }
        let (mapping, access) = mapping(self.handle)?;
        let needed = needed(protection);
        if access & needed != needed {
            return Err(Code(ERROR_ACCESS_DENIED));
        }
        // What the pages of an image allow is the image's matter.
        let protection = if mapping.is_image() {
            mapping.section.protection()
        } else {
            protection
        };
        match self.limits {
            None => self.map(&mapping, protection, self.base),
            Some(limits) => self.map_within(&mapping, protection, limits),
        }
    }

    fn map(
        &self,
        mapping: &Mapping,
        protection: Protection,
        base: u64,
    ) -> Result<*mut c_void, Code> {
        let mut view = mapping
            .section
            .view()
            .protection(protection)
            .offset(self.offset)
            .size(self.size);
        if self.replace {
            view = view.replacing_placeholder(base);
        } else if base != 0 {
            view = view.at(base);
        }
        let range = view.build_detached()?;
        Ok(ptr::with_exposed_provenance_mut(range.address() as usize))
    }

    /// A place within limits is found by reserving it for a moment.
    fn map_within(
        &self,
        mapping: &Mapping,
        protection: Protection,
        limits: AddressLimits,
    ) -> Result<*mut c_void, Code> {
        let rest = mapping.section.size().saturating_sub(self.offset);
        let size = if self.size == 0 { rest } else { self.size };
        let mut last = Code(ERROR_INVALID_ADDRESS);
        for _ in 0..TRIES {
            let base = alloc2::find_place(size, limits)?;
            match self.map(mapping, protection, base) {
                Err(Code(ERROR_INVALID_ADDRESS)) => last = Code(ERROR_INVALID_ADDRESS),
                other => return other,
            }
        }
        Err(last)
    }
}
