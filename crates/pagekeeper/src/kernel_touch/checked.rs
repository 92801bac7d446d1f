//! The checked variants that `_FORTIFY_SOURCE` puts into C programs instead of the functions themselves.
//!
//! Each gets the size of the caller's object besides, and ends the program when the call could go past it. Ours do the
//! same comparison: what fits goes the way of the plain function, with all that is done there; what does not fit goes to
//! libc's checked function, which says so and ends the program. The checked variants that only work in user space
//! (`__memcpy_chk`, `__fgets_chk`, ...) are left alone.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::{c_char, c_int, c_void};

use libc::{FILE, gid_t, nfds_t, off_t, pollfd, sigset_t, sockaddr, socklen_t, timespec};

use super::real::errno;
use super::wrap::{real, rows, touch};
use super::{facts, file_io, paths, polling, returned, sockets, stdio};

rows! { "checked";
    __read_chk: "as `read`";
    __pread_chk: "as `pread`";
    __pread64_chk: "as `pread64`";
    __recv_chk: "as `recv`";
    __recvfrom_chk: "as `recvfrom`";
    __fread_chk: "as `fread`";
    __fread_unlocked_chk: "as `fread_unlocked`";
    __readlink_chk: "as `readlink`";
    __readlinkat_chk: "as `readlinkat`";
    __getcwd_chk: "as `getcwd`";
    __getwd_chk: "as `getcwd`";
    __realpath_chk: "as `realpath`";
    __poll_chk: "as `poll`";
    __ppoll_chk: "as `ppoll`";
    __getgroups_chk: "as `getgroups`";
    __gethostname_chk: "as `gethostname`";
    __getdomainname_chk: "as `getdomainname`";
    ttyname_r: "the name";
    __ttyname_r_chk: "as `ttyname_r`";
    __open_2: "`path` (path)";
    __open64_2: "`path` (path)";
    __openat_2: "`path` (path)";
    __openat64_2: "`path` (path)";
}

/// Checked variants: the arguments, whether the call stays inside the object, and the plain function's call.
macro_rules! checked {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) -> $result:ty { $fits:expr => $plain:expr })*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C-unwind" fn $name($($argument: $type),*) -> $result {
            let real = real!($name: ($($type),*) -> $result);
            // SAFETY: the caller's promises, passed on.
            unsafe {
                if $fits { $plain } else { real($($argument),*) }
            }
        }
    )* };
}

/// Whether so many items fit.
fn fit(count: usize, size: usize, room: usize) -> bool {
    count.checked_mul(size).is_some_and(|bytes| bytes <= room)
}

checked! {
    fn __read_chk(descriptor: c_int, buffer: *mut c_void, count: usize, room: usize) -> isize {
        count <= room => file_io::read(descriptor, buffer, count)
    }
    fn __pread_chk(descriptor: c_int, buffer: *mut c_void, count: usize, offset: off_t, room: usize) -> isize {
        count <= room => file_io::pread(descriptor, buffer, count, offset)
    }
    fn __pread64_chk(descriptor: c_int, buffer: *mut c_void, count: usize, offset: off_t, room: usize) -> isize {
        count <= room => file_io::pread64(descriptor, buffer, count, offset)
    }
    fn __recv_chk(socket: c_int, buffer: *mut c_void, count: usize, room: usize, flags: c_int) -> isize {
        count <= room => sockets::recv(socket, buffer, count, flags)
    }
    fn __recvfrom_chk(socket: c_int, buffer: *mut c_void, count: usize, room: usize, flags: c_int, address: *mut sockaddr, length: *mut socklen_t) -> isize {
        count <= room => sockets::recvfrom(socket, buffer, count, flags, address, length)
    }
    fn __fread_chk(buffer: *mut c_void, room: usize, size: usize, items: usize, stream: *mut FILE) -> usize {
        fit(items, size, room) => stdio::fread(buffer, size, items, stream)
    }
    fn __fread_unlocked_chk(buffer: *mut c_void, room: usize, size: usize, items: usize, stream: *mut FILE) -> usize {
        fit(items, size, room) => stdio::fread_unlocked(buffer, size, items, stream)
    }
    fn __readlink_chk(path: *const c_char, target: *mut c_char, size: usize, room: usize) -> isize {
        size <= room => paths::readlink(path, target, size)
    }
    fn __readlinkat_chk(folder: c_int, path: *const c_char, target: *mut c_char, size: usize, room: usize) -> isize {
        size <= room => paths::readlinkat(folder, path, target, size)
    }
    fn __getcwd_chk(buffer: *mut c_char, size: usize, room: usize) -> *mut c_char {
        size <= room => returned::getcwd(buffer, size)
    }
    fn __realpath_chk(path: *const c_char, resolved: *mut c_char, room: usize) -> *mut c_char {
        room >= libc::PATH_MAX as usize => returned::realpath(path, resolved)
    }
    fn __poll_chk(all: *mut pollfd, count: nfds_t, time: c_int, room: usize) -> c_int {
        fit(count as usize, size_of::<pollfd>(), room) => polling::poll(all, count, time)
    }
    fn __ppoll_chk(all: *mut pollfd, count: nfds_t, time: *const timespec, mask: *const sigset_t, room: usize) -> c_int {
        fit(count as usize, size_of::<pollfd>(), room) => polling::ppoll(all, count, time, mask)
    }
    fn __getgroups_chk(count: c_int, groups: *mut gid_t, room: usize) -> c_int {
        usize::try_from(count).is_ok_and(|count| fit(count, size_of::<gid_t>(), room)) => facts::getgroups(count, groups)
    }
    fn __gethostname_chk(name: *mut c_char, size: usize, room: usize) -> c_int {
        size <= room => facts::gethostname(name, size)
    }
    fn __getdomainname_chk(name: *mut c_char, size: usize, room: usize) -> c_int {
        size <= room => facts::getdomainname(name, size)
    }
    fn __ttyname_r_chk(descriptor: c_int, name: *mut c_char, size: usize, room: usize) -> super::real::ErrorNumber {
        size <= room => ttyname_r(descriptor, name, size)
    }
}

touch! { fn ttyname_r(descriptor: c_int, name: *mut c_char, size: usize) -> super::real::ErrorNumber { fill name[size.min(libc::PATH_MAX as usize)] } }
touch! { fn __open_2(path: *const c_char, flags: c_int) -> c_int { path path } }
touch! { fn __open64_2(path: *const c_char, flags: c_int) -> c_int { path path } }
touch! { fn __openat_2(folder: c_int, path: *const c_char, flags: c_int) -> c_int { path path } }
touch! { fn __openat64_2(folder: c_int, path: *const c_char, flags: c_int) -> c_int { path path } }

/// `getwd` itself has a buffer of its own; this one gives the caller's to the kernel. A folder's name that does not fit
/// ends the program.
#[unsafe(no_mangle)]
unsafe extern "C-unwind" fn __getwd_chk(buffer: *mut c_char, room: usize) -> *mut c_char {
    let real = real!(__getwd_chk: (*mut c_char, usize) -> *mut c_char);
    // SAFETY: the caller's promises, passed on.
    unsafe {
        let result = returned::getcwd(buffer, room);
        if result.is_null() && errno() == libc::ERANGE {
            return real(buffer, room);
        }
        result
    }
}
