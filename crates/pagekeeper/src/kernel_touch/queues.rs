//! Message queues and semaphores of System V and POSIX.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::{c_char, c_int, c_long, c_uint, c_void};

use libc::{mode_t, mq_attr, mqd_t, msqid_ds, shmid_ds, timespec};

use super::wrap::touches;

/// Longer messages are refused by the kernel's default limits; with higher ones they fail here.
const MESSAGE_MOST: usize = 16 << 20;
/// Operations of one `semop`: the kernel's limit is far below.
const OPERATIONS_MOST: usize = 1 << 16;
/// `struct sembuf`.
const OPERATION: usize = 6;

/// What a control command fills or reads; a removal has no argument.
const fn control(command: c_int, size: usize) -> usize {
    if command == libc::IPC_RMID { 0 } else { size }
}

/// The type in front of a message's text, and the text.
fn message(size: usize) -> usize {
    size.min(MESSAGE_MOST) + size_of::<c_long>()
}

/// The attributes count only where a queue may be made.
const fn attributes(flags: c_int) -> usize {
    if flags & libc::O_CREAT != 0 {
        size_of::<mq_attr>()
    } else {
        0
    }
}

touches! { "queues";
    fn msgsnd(queue: c_int, text: *const c_void, size: usize, flags: c_int) -> c_int { read text[message(size)] }
    fn msgrcv(queue: c_int, text: *mut c_void, size: usize, kind: c_long, flags: c_int) -> isize { fill text[message(size)] }
    fn msgctl(queue: c_int, command: c_int, facts: *mut msqid_ds) -> c_int { fill facts[control(command, size_of::<msqid_ds>())] }
    fn semop(set: c_int, operations: *mut c_void, count: usize) -> c_int { read operations[count.min(OPERATIONS_MOST) * OPERATION] }
    fn semtimedop(set: c_int, operations: *mut c_void, count: usize, time: *const timespec) -> c_int { read operations[count.min(OPERATIONS_MOST) * OPERATION], read time }
    fn shmctl(segment: c_int, command: c_int, facts: *mut shmid_ds) -> c_int { fill facts[control(command, size_of::<shmid_ds>())] }
    fn mq_open(name: *const c_char, flags: c_int, mode: mode_t, facts: *mut mq_attr) -> mqd_t { path name, read facts[attributes(flags)] }
    fn mq_unlink(name: *const c_char) -> c_int { path name }
    fn mq_send(queue: mqd_t, text: *const c_char, size: usize, priority: c_uint) -> c_int { read text[size.min(MESSAGE_MOST)] }
    fn mq_timedsend(queue: mqd_t, text: *const c_char, size: usize, priority: c_uint, moment: *const timespec) -> c_int { read text[size.min(MESSAGE_MOST)], read moment }
    fn mq_receive(queue: mqd_t, text: *mut c_char, size: usize, priority: *mut c_uint) -> isize { fill text[size.min(MESSAGE_MOST)], fill priority }
    fn mq_timedreceive(queue: mqd_t, text: *mut c_char, size: usize, priority: *mut c_uint, moment: *const timespec) -> isize { fill text[size.min(MESSAGE_MOST)], fill priority, read moment }
    fn mq_getattr(queue: mqd_t, facts: *mut mq_attr) -> c_int { fill facts }
    fn mq_setattr(queue: mqd_t, new: *const mq_attr, old: *mut mq_attr) -> c_int { read new, fill old }
}
