//! Small questions to the kernel, and small answers: times, limits, names, children.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: stands in for libc's functions of the same names"
)]

use core::ffi::{c_char, c_int, c_uint, c_void};

use libc::{
    clockid_t, cpu_set_t, gid_t, id_t, idtype_t, itimerspec, itimerval, pid_t, rlimit, rusage,
    sched_param, siginfo_t, sysinfo as Facts, time_t, timespec, timeval, timex, tms, uid_t,
    utsname,
};

use super::wrap::touches;

/// `getentropy` gives no more, and says so when asked for more.
const ENTROPY_MOST: usize = 256;

touches! { "facts";
    fn nanosleep(time: *const timespec, rest: *mut timespec) -> c_int { read time, fill rest }
    fn clock_nanosleep(clock: clockid_t, flags: c_int, time: *const timespec, rest: *mut timespec) -> super::real::ErrorNumber { read time, fill rest }
    fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int { fill time }
    fn clock_getres(clock: clockid_t, time: *mut timespec) -> c_int { fill time }
    fn clock_settime(clock: clockid_t, time: *const timespec) -> c_int { read time }
    fn gettimeofday(time: *mut timeval, zone: *mut c_void) -> c_int { fill time, fill zone[8] }
    fn settimeofday(time: *const timeval, zone: *const c_void) -> c_int { read time, read zone[8] }
    fn time(time: *mut time_t) -> time_t { fill time }
    fn times(times: *mut tms) -> libc::clock_t { fill times }
    fn adjtimex(adjustment: *mut timex) -> c_int { fill adjustment }
    fn getitimer(which: c_int, now: *mut itimerval) -> c_int { fill now }
    fn setitimer(which: c_int, new: *const itimerval, old: *mut itimerval) -> c_int { read new, fill old }
    fn timer_create(clock: clockid_t, event: *mut libc::sigevent, timer: *mut libc::timer_t) -> c_int { read event, fill timer }
    fn pthread_setname_np(thread: libc::pthread_t, name: *const c_char) -> super::real::ErrorNumber { text name }
    fn pthread_getname_np(thread: libc::pthread_t, name: *mut c_char, size: usize) -> super::real::ErrorNumber { fill name[size.min(64)] }
    fn pthread_setaffinity_np(thread: libc::pthread_t, size: usize, processors: *const cpu_set_t) -> super::real::ErrorNumber { read processors[size.min(1 << 16)] }
    fn pthread_getaffinity_np(thread: libc::pthread_t, size: usize, processors: *mut cpu_set_t) -> super::real::ErrorNumber { fill processors[size.min(1 << 16)] }
    fn timer_settime(timer: *mut c_void, flags: c_int, new: *const itimerspec, old: *mut itimerspec) -> c_int { read new, fill old }
    fn timer_gettime(timer: *mut c_void, now: *mut itimerspec) -> c_int { fill now }
    fn timerfd_settime(descriptor: c_int, flags: c_int, new: *const itimerspec, old: *mut itimerspec) -> c_int { read new, fill old }
    fn timerfd_gettime(descriptor: c_int, now: *mut itimerspec) -> c_int { fill now }
    fn getrusage(who: c_int, usage: *mut rusage) -> c_int { fill usage }
    fn uname(names: *mut utsname) -> c_int { fill names }
    fn sysinfo(facts: *mut Facts) -> c_int { fill facts }
    fn getrlimit(which: c_uint, limit: *mut rlimit) -> c_int { fill limit }
    fn getrlimit64(which: c_uint, limit: *mut rlimit) -> c_int { fill limit }
    fn setrlimit(which: c_uint, limit: *const rlimit) -> c_int { read limit }
    fn setrlimit64(which: c_uint, limit: *const rlimit) -> c_int { read limit }
    fn prlimit(process: pid_t, which: c_uint, new: *const rlimit, old: *mut rlimit) -> c_int { read new, fill old }
    fn prlimit64(process: pid_t, which: c_uint, new: *const rlimit, old: *mut rlimit) -> c_int { read new, fill old }
    fn getgroups(count: c_int, groups: *mut gid_t) -> c_int { fill groups[usize::try_from(count).unwrap_or(0) * size_of::<gid_t>()] }
    fn setgroups(count: usize, groups: *const gid_t) -> c_int { read groups[count.min(65_536) * size_of::<gid_t>()] }
    fn getresuid(real: *mut uid_t, effective: *mut uid_t, saved: *mut uid_t) -> c_int { fill real, fill effective, fill saved }
    fn getresgid(real: *mut gid_t, effective: *mut gid_t, saved: *mut gid_t) -> c_int { fill real, fill effective, fill saved }
    fn wait(status: *mut c_int) -> pid_t { fill status }
    fn waitpid(process: pid_t, status: *mut c_int, options: c_int) -> pid_t { fill status }
    fn wait3(status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t { fill status, fill usage }
    fn wait4(process: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t { fill status, fill usage }
    fn waitid(kind: idtype_t, id: id_t, information: *mut siginfo_t, options: c_int) -> c_int { fill information }
    fn sched_setparam(process: pid_t, parameters: *const sched_param) -> c_int { read parameters }
    fn sched_getparam(process: pid_t, parameters: *mut sched_param) -> c_int { fill parameters }
    fn sched_setscheduler(process: pid_t, policy: c_int, parameters: *const sched_param) -> c_int { read parameters }
    fn sched_rr_get_interval(process: pid_t, interval: *mut timespec) -> c_int { fill interval }
    fn sched_setaffinity(process: pid_t, size: usize, processors: *const cpu_set_t) -> c_int { read processors[size.min(1 << 16)] }
    fn sched_getaffinity(process: pid_t, size: usize, processors: *mut cpu_set_t) -> c_int { fill processors[size.min(1 << 16)] }
    fn getcpu(processor: *mut c_uint, node: *mut c_uint) -> c_int { fill processor, fill node }
    fn gethostname(name: *mut c_char, size: usize) -> c_int { fill name[size.min(4096)] }
    fn sethostname(name: *const c_char, size: usize) -> c_int { read name[size.min(4096)] }
    fn getdomainname(name: *mut c_char, size: usize) -> c_int { fill name[size.min(4096)] }
    fn getentropy(bytes: *mut c_void, size: usize) -> c_int { fill bytes[size.min(ENTROPY_MOST + 1)] }
}
