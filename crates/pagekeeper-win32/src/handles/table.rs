//! The table: which number stands for what, with which rights.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::constants::{
    ERROR_ACCESS_DENIED, ERROR_INVALID_HANDLE, PROCESS_ALL_ACCESS, THREAD_ALL_ACCESS,
};
use crate::errors::Code;
use crate::files::{File, runtime};
use crate::handles::{CURRENT_PROCESS, CURRENT_THREAD};
use crate::notification::Notification;
use crate::sections::Mapping;
use crate::types::{DWORD, HANDLE};

/// Between two handles, as on Windows: the two lowest bits are the program's own.
const STEP: usize = 4;

/// What a handle can stand for.
#[derive(Clone, Debug)]
pub(crate) enum Object {
    /// The own process: there is no other.
    Process,
    /// The thread that asked for it.
    Thread,
    /// Whether memory is low, or plenty.
    Notification(Arc<Notification>),
    /// An open file.
    File(Arc<File>),
    /// A section.
    Section(Arc<Mapping>),
}

impl Object {
    /// Whether both are the same object, not only equal ones.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Process, Self::Process) | (Self::Thread, Self::Thread) => true,
            (Self::Notification(one), Self::Notification(two)) => Arc::ptr_eq(one, two),
            (Self::File(one), Self::File(two)) => Arc::ptr_eq(one, two),
            (Self::Section(one), Self::Section(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }
}

/// One open handle.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// What it stands for.
    pub(crate) object: Object,
    /// What may be done with it: rights of the object's kind, generic ones already replaced by theirs.
    pub(crate) access: DWORD,
}

impl Entry {
    /// Refuses unless the handle has all of these rights.
    pub(crate) fn needs(&self, rights: DWORD) -> Result<(), Code> {
        if self.access & rights == rights {
            Ok(())
        } else {
            Err(Code(ERROR_ACCESS_DENIED))
        }
    }
}

static TABLE: Mutex<BTreeMap<usize, Entry>> = Mutex::new(BTreeMap::new());

fn with_table<R>(work: impl FnOnce(&mut BTreeMap<usize, Entry>) -> R) -> R {
    work(&mut TABLE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The key of a handle; 0 for none.
fn key(handle: HANDLE) -> usize {
    handle.addr() & !(STEP - 1)
}

/// Opens a handle: the lowest number that is free.
pub(crate) fn insert(object: Object, access: DWORD) -> HANDLE {
    with_table(|table| {
        let mut number = STEP;
        for used in table.keys() {
            if *used != number {
                break;
            }
            number += STEP;
        }
        table.insert(number, Entry { object, access });
        core::ptr::without_provenance_mut(number)
    })
}

/// What a handle stands for; pseudo handles too, with all rights.
pub(crate) fn entry(handle: HANDLE) -> Result<Entry, Code> {
    let pseudo = |object, access| Ok(Entry { object, access });
    match handle.addr() {
        CURRENT_PROCESS => pseudo(Object::Process, PROCESS_ALL_ACCESS),
        CURRENT_THREAD => pseudo(Object::Thread, THREAD_ALL_ACCESS),
        _ => with_table(|table| table.get(&key(handle)).cloned()).ok_or(Code(ERROR_INVALID_HANDLE)),
    }
}

/// Takes a handle out of the table and does nothing else: what it stood for is gone already.
pub(crate) fn forget(handle: HANDLE) {
    drop(with_table(|table| table.remove(&key(handle))));
}

/// Makes an open handle stand for something else; what it stood for is let go.
pub(crate) fn replace(handle: HANDLE, object: Object) -> Result<(), Code> {
    let before = with_table(|table| {
        let entry = table
            .get_mut(&key(handle))
            .ok_or(Code(ERROR_INVALID_HANDLE))?;
        Ok::<_, Code>(core::mem::replace(&mut entry.object, object))
    })?;
    // Outside of the lock: letting a file go may take long.
    drop(before);
    Ok(())
}

/// Closes a handle of the table. The object goes with its last handle, and when no call uses it any more.
pub(crate) fn close(handle: HANDLE) -> Result<(), Code> {
    let entry = with_table(|table| table.remove(&key(handle)));
    let entry = entry.ok_or(Code(ERROR_INVALID_HANDLE))?;
    runtime::close_descriptor(&entry.object);
    Ok(())
}

/// The handles whose objects the question picks, lowest first.
pub(crate) fn find(is_wanted: impl Fn(&Object) -> bool) -> Option<HANDLE> {
    with_table(|table| {
        table
            .iter()
            .find(|(_, entry)| is_wanted(&entry.object))
            .map(|(number, _)| core::ptr::without_provenance_mut(*number))
    })
}

/// Everything that is still open, taken out: at the end of the process, which closes all handles.
pub(crate) fn close_all() {
    drop(with_table(core::mem::take));
}
