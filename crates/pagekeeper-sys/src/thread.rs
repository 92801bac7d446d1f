//! What a thread of ours asks for itself: its number, descriptors of its own, a short time slice.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: bare system calls about the calling thread: its number, its descriptor table, its scheduling"
)]

use core::mem::size_of;
use core::time::Duration;

use linux_raw_sys::general::{
    __NR_close_range, __NR_gettid, __NR_sched_getattr, __NR_sched_setattr,
};

use crate::{Errno, raw};

/// `CLOSE_RANGE_UNSHARE`.
const UNSHARE: usize = 2;

/// The calling thread's number (`gettid`). Windows: `GetCurrentThreadId`. May be asked in the fault handler.
#[inline]
pub fn number() -> u32 {
    // SAFETY: Touches no memory.
    unsafe { raw::call(__NR_gettid, []) }.unwrap_or(0) as u32
}

/// Gives the calling thread an empty descriptor table of its own. So the program's closing and replacing
/// (`close_range`, `dup2`) cannot hit what this thread opens, and this thread cannot close a file of the program.
///
/// For threads that we have just started: a thread that uses descriptors of the program loses them.
///
/// # Errors
/// `ENOSYS` before 5.9, `ENOMEM`, what a filter gives; then the table is still the common one.
pub fn leave_descriptor_table() -> Result<(), Errno> {
    let arguments = [0, u32::MAX as usize, UNSHARE];
    // SAFETY: Changes this thread's table only.
    unsafe { raw::call(__NR_close_range, arguments) }.map(drop)
}

/// The kernel's `struct sched_attr`, first version.
#[repr(C)]
#[derive(Clone, Copy)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}
const _: () = assert!(size_of::<Attributes>() == 48);

const POLICY_NORMAL: u32 = 0;
const POLICY_BATCH: u32 = 3;
const POLICY_IDLE: u32 = 5;

/// The nice value of a thread that others wait for, where it may be had.
const FAVOURED: i32 = -10;

/// Asks to be run soon after waking up, before threads that use their time up: by short time slices (6.12; no
/// privilege; the kernel takes 0.1 to 100 ms), and where the process may (`CAP_SYS_NICE`, `RLIMIT_NICE`) by a
/// better nice value. Says whether it was given that.
///
/// Where it is not, policy and nice value stay what they are: they are the user's.
///
/// # Errors
/// `EINVAL`, `EPERM`, what a filter gives.
pub fn ask_to_run_soon(slice: Duration) -> Result<bool, Errno> {
    let now = attributes()?;
    let wanted = Attributes {
        flags: 0,
        runtime: slice.as_nanos() as u64,
        ..now
    };
    let favoured = Attributes {
        policy: POLICY_NORMAL,
        nice: now.nice.min(FAVOURED),
        ..wanted
    };
    match now.policy {
        POLICY_NORMAL | POLICY_BATCH | POLICY_IDLE => set_attributes(&favoured)
            .map(|()| true)
            .or_else(|_| set_attributes(&wanted).map(|()| false)),
        // A real-time policy is better than anything that could be asked for.
        _ => Ok(true),
    }
}

fn set_attributes(wanted: &Attributes) -> Result<(), Errno> {
    let arguments = [0, core::ptr::from_ref(wanted).expose_provenance(), 0];
    // SAFETY: The kernel reads the struct, whose size is in it.
    unsafe { raw::call(__NR_sched_setattr, arguments) }.map(drop)
}

/// The calling thread's scheduling.
fn attributes() -> Result<Attributes, Errno> {
    let mut now = Attributes {
        size: 0,
        policy: 0,
        flags: 0,
        nice: 0,
        priority: 0,
        runtime: 0,
        deadline: 0,
        period: 0,
    };
    let size = size_of::<Attributes>();
    let arguments = [0, (&raw mut now).expose_provenance(), size, 0];
    // SAFETY: The kernel writes at most `size` bytes.
    unsafe { raw::call(__NR_sched_getattr, arguments) }?;
    now.size = size as u32;
    Ok(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_thread_that_leaves_the_table_closes_nothing_of_the_others() {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        let number = file.as_raw_fd();
        let left = std::thread::spawn(move || {
            leave_descriptor_table()
                .map(|()| !std::path::Path::new(&format!("/proc/thread-self/fd/{number}")).exists())
        });
        match left.join().unwrap() {
            Ok(is_gone_there) => assert!(is_gone_there),
            Err(errno) => println!("skipped, because close_range gives {errno}"),
        }
        assert!(file.metadata().is_ok());
    }

    #[test]
    fn a_thread_is_favoured_or_stays_what_it_is() {
        std::thread::spawn(|| {
            let before = attributes().unwrap();
            match ask_to_run_soon(Duration::from_micros(100)) {
                Ok(true) => assert!(attributes().unwrap().nice <= FAVOURED),
                Ok(false) => assert_eq!(attributes().unwrap().nice, before.nice),
                Err(errno) => println!("skipped, because sched_setattr gives {errno}"),
            }
        })
        .join()
        .unwrap();
    }
}
