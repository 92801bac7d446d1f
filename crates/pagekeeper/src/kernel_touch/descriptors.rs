//! Closing and replacing descriptors: ours are no business of the program.
//!
//! A program that closes everything (`close_range(3, ~0)`, daemons do it) passes ours over; one that puts a file where
//! ours is (`dup2`) gets the number, and ours moves away first. A forked child may do as it likes: it has nothing of ours.
//! What goes past these functions (a raw system call) is noticed before the next transfer and taken back.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::{c_int, c_uint, c_ulong, c_void};

use pagekeeper_sys::descriptor;

use super::reach::{ErrnoKept, fail, reaches_filled};
use super::scratch::StandIns;
use super::wrap::{real, rows};
use crate::fork;

rows! { "descriptors";
    close: "nothing; ours are not closed";
    close_range: "nothing; ours are passed over";
    closefrom: "nothing; ours are passed over";
    dup2: "nothing; ours give way";
    dup3: "nothing; ours give way";
    fcntl: "the lock or owner of those commands that have one";
    fcntl64: "the lock or owner of those commands that have one";
    ioctl: "what the request's number says it points to";
}

fn is_ours(number: c_int) -> bool {
    descriptor::is_own_number(number) && !fork::is_child()
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn close(number: c_int) -> c_int {
    let real = real!(close: (c_int) -> c_int);
    if is_ours(number) {
        return fail(libc::EBADF);
    }
    // SAFETY: the caller's number.
    unsafe { real(number) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn close_range(
    first: c_uint,
    last: c_uint,
    flags: c_int,
) -> c_int {
    const MARK_ONLY: c_int = 4;
    const UNSHARE: c_int = 2;
    let real = real!(close_range: (c_uint, c_uint, c_int) -> c_int);
    // Ours are closed on exec anyway.
    if flags & MARK_ONLY != 0 || first > last || fork::is_child() {
        // SAFETY: the caller's range.
        return unsafe { real(first, last, flags) };
    }
    // With a table of its own the thread leaves the others' in peace; only the first call may say so.
    let mut flags = flags;
    let mut next = first;
    loop {
        let ours = descriptor::own_numbers()
            .filter_map(|number| c_uint::try_from(number).ok())
            .filter(|number| (next..=last).contains(number))
            .min();
        let end = ours.map_or(Some(last), |number| number.checked_sub(1));
        if let Some(end) = end.filter(|end| next <= *end) {
            // SAFETY: numbers of the program.
            let result = unsafe { real(next, end, flags) };
            if result != 0 {
                return result;
            }
            flags &= !UNSHARE;
        }
        match ours {
            Some(number) if number < last => next = number + 1,
            _ => return 0,
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn closefrom(lowest: c_int) {
    let address = slots::closefrom.address();
    let has_ours = descriptor::own_numbers().any(|number| number >= lowest);
    if has_ours && !fork::is_child() {
        // SAFETY: the caller's range.
        if unsafe { close_range(lowest.max(0) as c_uint, c_uint::MAX, 0) } == 0 {
            return;
        }
        // An old kernel: one by one.
        let _kept = ErrnoKept::new();
        // SAFETY: asks for a limit; closes the program's numbers.
        unsafe {
            let most = libc::sysconf(libc::_SC_OPEN_MAX).clamp(0, 1 << 20) as c_int;
            for number in lowest.max(0)..most {
                close(number);
            }
        }
        return;
    }
    if !address.is_null() {
        // SAFETY: libc's function has this type.
        unsafe {
            core::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn(c_int)>(address)(lowest)
        }
    }
}

/// Makes room under `number`; the error number where that is impossible.
fn make_room(number: c_int) -> Result<(), c_int> {
    if !is_ours(number) {
        return Ok(());
    }
    descriptor::vacate(number).map_err(|errno| errno.raw_os_error())
}

/// Whether `number` is open, so that nothing is moved for a call that will fail.
fn is_open(number: c_int) -> bool {
    let _kept = ErrnoKept::new();
    // SAFETY: asks for flags.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn dup2(from: c_int, to: c_int) -> c_int {
    let real = real!(dup2: (c_int, c_int) -> c_int);
    if from != to
        && is_open(from)
        && let Err(number) = make_room(to)
    {
        return fail(number);
    }
    // SAFETY: the caller's numbers.
    unsafe { real(from, to) }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
    let real = real!(dup3: (c_int, c_int, c_int) -> c_int);
    if from != to
        && flags & !libc::O_CLOEXEC == 0
        && is_open(from)
        && let Err(number) = make_room(to)
    {
        return fail(number);
    }
    // SAFETY: the caller's numbers.
    unsafe { real(from, to, flags) }
}

/// Calls with a stand-in for `length` bytes behind an argument that is a pointer for some commands.
unsafe fn with_pointer(argument: usize, length: usize, call: impl FnOnce(usize) -> c_int) -> c_int {
    let pointer: *mut u8 = core::ptr::with_exposed_provenance_mut(argument);
    if length == 0 || !reaches_filled(pointer, length) {
        return call(argument);
    }
    let mut stand_ins = StandIns::new();
    // SAFETY: the caller's promises about the command's argument.
    unsafe {
        let stand_in = match stand_ins.output(pointer, length) {
            // What only the kernel reads may lie in a page that may not be written.
            Err(libc::EFAULT) => stand_ins.input(pointer, length),
            other => other,
        };
        match stand_in {
            Ok(stand_in) => {
                let result = call(stand_in.expose_provenance());
                let _kept = ErrnoKept::new();
                stand_ins.copy_back();
                result
            }
            Err(number) => fail(number),
        }
    }
}

/// Bytes behind the argument of a command.
fn behind_command(command: c_int) -> usize {
    match command {
        libc::F_GETLK
        | libc::F_SETLK
        | libc::F_SETLKW
        | libc::F_OFD_GETLK
        | libc::F_OFD_SETLK
        | libc::F_OFD_SETLKW => size_of::<libc::flock>(),
        // F_SETOWN_EX, F_GETOWN_EX; F_GET_RW_HINT and the three after it.
        15 | 16 | 1035..=1038 => 8,
        // F_GETOWNER_UIDS.
        17 => 8,
        _ => 0,
    }
}

macro_rules! fcntl_like {
    ($($name:ident)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name(number: c_int, command: c_int, argument: usize) -> c_int {
            let real = real!($name: (c_int, c_int, usize) -> c_int);
            // SAFETY: the caller's promises, passed on.
            unsafe {
                with_pointer(argument, behind_command(command), |argument| real(number, command, argument))
            }
        }
    )* };
}

fcntl_like! { fcntl fcntl64 }

/// Bytes behind the argument of a request: in the number itself for all that were made in the last decades, else from
/// a list of those in common use. What points further is not followed.
fn behind_request(request: c_ulong) -> usize {
    const SIZE_SHIFT: u32 = 16;
    const SIZE_MASK: c_ulong = 0x3FFF;
    const DIRECTION_MASK: c_ulong = 0xC000_0000;
    if request & DIRECTION_MASK != 0 {
        return ((request >> SIZE_SHIFT) & SIZE_MASK) as usize;
    }
    match request {
        // Terminals: TCGETS to TCSETSF, then TCGETA to TCSETAF.
        0x5401..=0x5404 => 60,
        0x5405..=0x5408 => 18,
        // Groups, window size, modem lines, bytes waiting, line discipline, sessions.
        0x540F | 0x5410 | 0x5411 | 0x5415..=0x5418 | 0x541B | 0x5423 | 0x5424 | 0x5429 => 4,
        libc::TIOCGWINSZ | libc::TIOCSWINSZ => 8,
        // FIONBIO, FIOASYNC, FIOQSIZE.
        0x5421 | 0x5452 => 4,
        0x5460 => 8,
        // Block devices: sector sizes, read-only, read-ahead; older ones hold a long.
        0x125D..=0x127F => 8,
        // Interfaces and addresses (struct ifreq); SIOCGIFCONF points further.
        0x8900..=0x8907 => 16,
        0x8910..=0x89FF => 40,
        _ => 0,
    }
}

#[unsafe(no_mangle)]
pub(super) unsafe extern "C-unwind" fn ioctl(
    number: c_int,
    request: c_ulong,
    argument: usize,
) -> c_int {
    let real = real!(ioctl: (c_int, c_ulong, usize) -> c_int);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        with_pointer(argument, behind_request(request), |argument| {
            real(number, request, argument)
        })
    }
}
