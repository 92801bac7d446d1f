//! Closing, duplicating, comparing. Windows: `CloseHandle`, `DuplicateHandle`, `CompareObjectHandles`, `GetHandleInformation`.

#![allow(unsafe_code, reason = "UNSAFETY: exports C names")]

use crate::constants::{
    DUPLICATE_CLOSE_SOURCE, DUPLICATE_SAME_ACCESS, ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER,
    ERROR_NOT_SAME_OBJECT, FALSE, PROCESS_DUP_HANDLE,
};
use crate::errors::Code;
use crate::handles::{Object, close, entry, insert, is_pseudo};
use crate::last_error::to_bool;
use crate::types::{BOOL, DWORD, HANDLE};
use crate::{files, memory, process, sections};

/// `CloseHandle`: a pseudo handle needs no closing, and that is no error.
#[unsafe(no_mangle)]
pub extern "C" fn CloseHandle(object: HANDLE) -> BOOL {
    to_bool(if is_pseudo(object) {
        Ok(())
    } else {
        close(object)
    })
}

/// `DuplicateHandle`, within the own process: another handle for the same object, of a pseudo handle a real one.
///
/// Nothing is inherited by child processes: a handle here is a number in this process's table.
#[unsafe(no_mangle)]
pub extern "C" fn DuplicateHandle(
    source_process: HANDLE,
    source: HANDLE,
    target_process: HANDLE,
    target: *mut HANDLE,
    access: DWORD,
    _inherit: BOOL,
    options: DWORD,
) -> BOOL {
    let own = process::check_for(source_process, PROCESS_DUP_HANDLE);
    let result = own.and_then(|()| {
        let result = duplicate(source, target_process, target, access, options);
        // Whatever comes of it, the source is closed when that is asked for.
        if options & DUPLICATE_CLOSE_SOURCE != 0 && !is_pseudo(source) {
            close(source)?;
        }
        result
    });
    to_bool(result)
}

fn duplicate(
    source: HANDLE,
    target_process: HANDLE,
    target: *mut HANDLE,
    access: DWORD,
    options: DWORD,
) -> Result<(), Code> {
    if options & !(DUPLICATE_CLOSE_SOURCE | DUPLICATE_SAME_ACCESS) != 0 {
        return Err(Code(ERROR_INVALID_PARAMETER));
    }
    let found = entry(source)?;
    if target.is_null() {
        // Only closing is asked for.
        return if options & DUPLICATE_CLOSE_SOURCE != 0 {
            Ok(())
        } else {
            process::check_for(target_process, PROCESS_DUP_HANDLE)
        };
    }
    process::check_for(target_process, PROCESS_DUP_HANDLE)?;
    memory::check_writable(target)?;
    let access = if options & DUPLICATE_SAME_ACCESS != 0 {
        found.access
    } else {
        wanted(&found.object, found.access, access)?
    };
    let made = insert(found.object, access);
    memory::write(target, &made).inspect_err(|_| {
        let _ = close(made);
    })
}

/// The rights of a duplicate that names its own. The program owns its process, sections and notifications and may have any right to
/// them; a file was opened for certain things, and no duplicate can do more.
fn wanted(object: &Object, has: DWORD, access: DWORD) -> Result<DWORD, Code> {
    match object {
        Object::File(_) => {
            let access = files::specific(access);
            if access & !has == 0 {
                Ok(access)
            } else {
                Err(Code(ERROR_ACCESS_DENIED))
            }
        }
        Object::Section(_) => Ok(sections::specific(access)),
        Object::Process | Object::Thread | Object::Notification(_) => Ok(access),
    }
}

/// `CompareObjectHandles`
#[unsafe(no_mangle)]
pub extern "C" fn CompareObjectHandles(first: HANDLE, second: HANDLE) -> BOOL {
    to_bool(compare(first, second))
}

fn compare(first: HANDLE, second: HANDLE) -> Result<(), Code> {
    if entry(first)?.object.is_same(&entry(second)?.object) {
        Ok(())
    } else {
        Err(Code(ERROR_NOT_SAME_OBJECT))
    }
}

/// `GetHandleInformation`: no handle is inherited, none is protected from closing.
#[unsafe(no_mangle)]
pub extern "C" fn GetHandleInformation(object: HANDLE, flags: *mut DWORD) -> BOOL {
    to_bool(entry(object).and_then(|_| memory::write(flags, &(FALSE as DWORD))))
}
