//! Functions that take paths, and those that say something about files.
//!
//! `open` and its like are variadic in C. On x86-64 a variadic argument travels as any other, so a third parameter that
//! the caller did not give holds something that nobody looks at.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::{c_char, c_int, c_long, c_uint, c_void};

use libc::{
    FILE, dev_t, gid_t, mode_t, off_t, stat as Status, statfs as FileSystem,
    statvfs as FileSystemV, statx as StatusX, timespec, timeval, uid_t, utimbuf,
};

use super::wrap::touches;

/// Extended attributes are at most so long.
const ATTRIBUTE_MOST: usize = 64 << 10;
/// Directory entries are read into buffers of a few KiB; larger ones are filled in part, as the kernel may.
const ENTRIES_MOST: usize = 256 << 10;
/// File handles are at most so long, with their head.
const HANDLE_MOST: usize = 8 + 128;

touches! { "file";
    fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int { path path }
    fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int { path path }
    fn openat(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int { path path }
    fn openat64(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int { path path }
    fn creat(path: *const c_char, mode: mode_t) -> c_int { path path }
    fn creat64(path: *const c_char, mode: mode_t) -> c_int { path path }
    fn opendir(path: *const c_char) -> *mut c_void { path path }
    fn stat(path: *const c_char, status: *mut Status) -> c_int { path path, fill status }
    fn stat64(path: *const c_char, status: *mut Status) -> c_int { path path, fill status }
    fn lstat(path: *const c_char, status: *mut Status) -> c_int { path path, fill status }
    fn lstat64(path: *const c_char, status: *mut Status) -> c_int { path path, fill status }
    fn fstat(descriptor: c_int, status: *mut Status) -> c_int { fill status }
    fn fstat64(descriptor: c_int, status: *mut Status) -> c_int { fill status }
    fn fstatat(folder: c_int, path: *const c_char, status: *mut Status, flags: c_int) -> c_int { path path, fill status }
    fn fstatat64(folder: c_int, path: *const c_char, status: *mut Status, flags: c_int) -> c_int { path path, fill status }
    fn __xstat(version: c_int, path: *const c_char, status: *mut Status) -> c_int { path path, fill status }
    fn __xstat64(version: c_int, path: *const c_char, status: *mut Status) -> c_int { path path, fill status }
    fn __lxstat(version: c_int, path: *const c_char, status: *mut Status) -> c_int { path path, fill status }
    fn __lxstat64(version: c_int, path: *const c_char, status: *mut Status) -> c_int { path path, fill status }
    fn __fxstat(version: c_int, descriptor: c_int, status: *mut Status) -> c_int { fill status }
    fn __fxstat64(version: c_int, descriptor: c_int, status: *mut Status) -> c_int { fill status }
    fn statx(folder: c_int, path: *const c_char, flags: c_int, mask: c_uint, status: *mut StatusX) -> c_int { path path, fill status }
    fn statfs(path: *const c_char, status: *mut FileSystem) -> c_int { path path, fill status }
    fn statfs64(path: *const c_char, status: *mut FileSystem) -> c_int { path path, fill status }
    fn fstatfs(descriptor: c_int, status: *mut FileSystem) -> c_int { fill status }
    fn fstatfs64(descriptor: c_int, status: *mut FileSystem) -> c_int { fill status }
    fn statvfs(path: *const c_char, status: *mut FileSystemV) -> c_int { path path, fill status }
    fn statvfs64(path: *const c_char, status: *mut FileSystemV) -> c_int { path path, fill status }
    fn fstatvfs(descriptor: c_int, status: *mut FileSystemV) -> c_int { fill status }
    fn fstatvfs64(descriptor: c_int, status: *mut FileSystemV) -> c_int { fill status }
    fn readlink(path: *const c_char, target: *mut c_char, size: usize) -> isize { path path, fill target[size.min(libc::PATH_MAX as usize)] }
    fn readlinkat(folder: c_int, path: *const c_char, target: *mut c_char, size: usize) -> isize { path path, fill target[size.min(libc::PATH_MAX as usize)] }
    fn access(path: *const c_char, mode: c_int) -> c_int { path path }
    fn faccessat(folder: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int { path path }
    fn eaccess(path: *const c_char, mode: c_int) -> c_int { path path }
    fn euidaccess(path: *const c_char, mode: c_int) -> c_int { path path }
    fn unlink(path: *const c_char) -> c_int { path path }
    fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int { path path }
    fn remove(path: *const c_char) -> c_int { path path }
    fn rename(from: *const c_char, to: *const c_char) -> c_int { path from, path to }
    fn renameat(folder: c_int, from: *const c_char, other: c_int, to: *const c_char) -> c_int { path from, path to }
    fn renameat2(folder: c_int, from: *const c_char, other: c_int, to: *const c_char, flags: c_uint) -> c_int { path from, path to }
    fn mkdir(path: *const c_char, mode: mode_t) -> c_int { path path }
    fn mkdirat(folder: c_int, path: *const c_char, mode: mode_t) -> c_int { path path }
    fn mkfifo(path: *const c_char, mode: mode_t) -> c_int { path path }
    fn mkfifoat(folder: c_int, path: *const c_char, mode: mode_t) -> c_int { path path }
    fn mknod(path: *const c_char, mode: mode_t, device: dev_t) -> c_int { path path }
    fn mknodat(folder: c_int, path: *const c_char, mode: mode_t, device: dev_t) -> c_int { path path }
    fn rmdir(path: *const c_char) -> c_int { path path }
    fn link(from: *const c_char, to: *const c_char) -> c_int { path from, path to }
    fn linkat(folder: c_int, from: *const c_char, other: c_int, to: *const c_char, flags: c_int) -> c_int { path from, path to }
    fn symlink(target: *const c_char, path: *const c_char) -> c_int { path target, path path }
    fn symlinkat(target: *const c_char, folder: c_int, path: *const c_char) -> c_int { path target, path path }
    fn chdir(path: *const c_char) -> c_int { path path }
    fn chroot(path: *const c_char) -> c_int { path path }
    fn chmod(path: *const c_char, mode: mode_t) -> c_int { path path }
    fn fchmodat(folder: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int { path path }
    fn chown(path: *const c_char, user: uid_t, group: gid_t) -> c_int { path path }
    fn lchown(path: *const c_char, user: uid_t, group: gid_t) -> c_int { path path }
    fn fchownat(folder: c_int, path: *const c_char, user: uid_t, group: gid_t, flags: c_int) -> c_int { path path }
    fn truncate(path: *const c_char, length: off_t) -> c_int { path path }
    fn truncate64(path: *const c_char, length: off_t) -> c_int { path path }
    fn pathconf(path: *const c_char, name: c_int) -> c_long { path path }
    fn utime(path: *const c_char, times: *const utimbuf) -> c_int { path path, read times }
    fn utimes(path: *const c_char, times: *const timeval) -> c_int { path path, read times[2 * size_of::<timeval>()] }
    fn lutimes(path: *const c_char, times: *const timeval) -> c_int { path path, read times[2 * size_of::<timeval>()] }
    fn futimes(descriptor: c_int, times: *const timeval) -> c_int { read times[2 * size_of::<timeval>()] }
    fn utimensat(folder: c_int, path: *const c_char, times: *const timespec, flags: c_int) -> c_int { path path, read times[2 * size_of::<timespec>()] }
    fn futimens(descriptor: c_int, times: *const timespec) -> c_int { read times[2 * size_of::<timespec>()] }
    fn getdents64(descriptor: c_int, entries: *mut c_void, size: usize) -> isize { fill entries[size.min(ENTRIES_MOST)] }
    fn getxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: usize) -> isize { path path, text name, fill value[size.min(ATTRIBUTE_MOST)] }
    fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: usize) -> isize { path path, text name, fill value[size.min(ATTRIBUTE_MOST)] }
    fn fgetxattr(descriptor: c_int, name: *const c_char, value: *mut c_void, size: usize) -> isize { text name, fill value[size.min(ATTRIBUTE_MOST)] }
    fn setxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: usize, flags: c_int) -> c_int { path path, text name, read value[size.min(ATTRIBUTE_MOST)] }
    fn lsetxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: usize, flags: c_int) -> c_int { path path, text name, read value[size.min(ATTRIBUTE_MOST)] }
    fn fsetxattr(descriptor: c_int, name: *const c_char, value: *const c_void, size: usize, flags: c_int) -> c_int { text name, read value[size.min(ATTRIBUTE_MOST)] }
    fn listxattr(path: *const c_char, list: *mut c_char, size: usize) -> isize { path path, fill list[size.min(ATTRIBUTE_MOST)] }
    fn llistxattr(path: *const c_char, list: *mut c_char, size: usize) -> isize { path path, fill list[size.min(ATTRIBUTE_MOST)] }
    fn flistxattr(descriptor: c_int, list: *mut c_char, size: usize) -> isize { fill list[size.min(ATTRIBUTE_MOST)] }
    fn removexattr(path: *const c_char, name: *const c_char) -> c_int { path path, text name }
    fn lremovexattr(path: *const c_char, name: *const c_char) -> c_int { path path, text name }
    fn fremovexattr(descriptor: c_int, name: *const c_char) -> c_int { text name }
    fn name_to_handle_at(folder: c_int, path: *const c_char, handle: *mut c_void, mount: *mut c_int, flags: c_int) -> c_int { path path, fill handle[HANDLE_MOST], fill mount }
    fn inotify_add_watch(descriptor: c_int, path: *const c_char, mask: u32) -> c_int { path path }
    fn copy_file_range(from: c_int, from_offset: *mut off_t, to: c_int, to_offset: *mut off_t, length: usize, flags: c_uint) -> isize { fill from_offset, fill to_offset }
    fn splice(from: c_int, from_offset: *mut off_t, to: c_int, to_offset: *mut off_t, length: usize, flags: c_uint) -> isize { fill from_offset, fill to_offset }
    fn sendfile(to: c_int, from: c_int, offset: *mut off_t, count: usize) -> isize { fill offset }
    fn sendfile64(to: c_int, from: c_int, offset: *mut off_t, count: usize) -> isize { fill offset }
    fn mkstemp(template: *mut c_char) -> c_int { fill template[super::scratch::mutable_text(template)] }
    fn mkstemp64(template: *mut c_char) -> c_int { fill template[super::scratch::mutable_text(template)] }
    fn mkostemp(template: *mut c_char, flags: c_int) -> c_int { fill template[super::scratch::mutable_text(template)] }
    fn mkostemp64(template: *mut c_char, flags: c_int) -> c_int { fill template[super::scratch::mutable_text(template)] }
    fn mkstemps(template: *mut c_char, tail: c_int) -> c_int { fill template[super::scratch::mutable_text(template)] }
    fn mkstemps64(template: *mut c_char, tail: c_int) -> c_int { fill template[super::scratch::mutable_text(template)] }
    fn mkostemps(template: *mut c_char, tail: c_int, flags: c_int) -> c_int { fill template[super::scratch::mutable_text(template)] }
    fn mkostemps64(template: *mut c_char, tail: c_int, flags: c_int) -> c_int { fill template[super::scratch::mutable_text(template)] }
    fn memfd_create(name: *const c_char, flags: c_uint) -> c_int { text name }
    fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: libc::c_ulong, data: *const c_void) -> c_int { path source, path target, text kind, text data }
    fn umount(target: *const c_char) -> c_int { path target }
    fn umount2(target: *const c_char, flags: c_int) -> c_int { path target }
    fn scandir(path: *const c_char, list: *mut c_void, filter: *mut c_void, compare: *mut c_void) -> c_int { path path }
    fn scandir64(path: *const c_char, list: *mut c_void, filter: *mut c_void, compare: *mut c_void) -> c_int { path path }
    fn glob(pattern: *const c_char, flags: c_int, failed: *mut c_void, found: *mut c_void) -> c_int { text pattern }
    fn glob64(pattern: *const c_char, flags: c_int, failed: *mut c_void, found: *mut c_void) -> c_int { text pattern }
    fn ftw(path: *const c_char, visit: *mut c_void, most: c_int) -> c_int { path path }
    fn ftw64(path: *const c_char, visit: *mut c_void, most: c_int) -> c_int { path path }
    fn nftw(path: *const c_char, visit: *mut c_void, most: c_int, flags: c_int) -> c_int { path path }
    fn nftw64(path: *const c_char, visit: *mut c_void, most: c_int, flags: c_int) -> c_int { path path }
    fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE { path path }
    fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE { path path }
    fn freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE { path path }
    fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE { path path }
}
