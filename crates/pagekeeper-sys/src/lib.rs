//! The only system calls of Pagekeeper.
//!
//! Floor 1: typed, thin, without policy. rustix makes the calls (its raw backend never passes
//! through libc, so a preloaded object that interposes `mmap` does not meet itself), linux-raw-sys
//! has the kernel's numbers and structs, and what neither has is bound here by hand. Errors are the
//! kernel's own numbers, [`Errno`]. What the fault path calls allocates nothing, formats nothing
//! and leaves `errno` alone.
//!
//! | module | what |
//! |---|---|
//! | [`map`] | reserving, protecting, advising; tables and byte areas that cost nothing until used |
//! | [`userfaultfd`] | answering page faults, moving pages out and in |
//! | [`pagemap`] | which pages are in memory, which were written |
//! | [`disk`] | batches of whole transfers: io_uring, its twin, and one that fails on demand |
//! | [`mod@file`] | page files: creating, allocating, direct I/O, the page cache |
//! | [`handle`] | a descriptor in use, ordinary or kept |
//! | [`lock`] | locks and wait words that a fault handler may use |
//! | [`descriptor`] | descriptors that survive the program's closing and replacing |
//! | [`seccomp`] | making the kernel refuse chosen calls, for tests and `doctor` |
//! | [`rlimit`] | the process's limits |
//! | [`shared_file`] | a file in memory by which a process tells others what it does |
//! | [`signal`] | SIGBUS and SIGSEGV: ours answered, everybody else's left working; leaving the signal frame |
//! | [`barrier`] | a memory barrier on all threads |
//! | [`checked_copy`] | copies from and to addresses that may be bad |
//! | [`announce`] | abstract sockets whose names say something, found in `/proc/net/unix` |
//! | [`cgroup`] | memory limits of control groups, both versions |
//! | [`cpu`] | processors |
//! | [`memory_info`] | the machine's memory, and settings that bite |
//! | [`perf`] | page-fault counters |
//! | [`prctl`] | small facts about the own process |
//! | [`probe`] | what this kernel lets this process do; switching features off |
//! | [`process`] | other processes: which there are, whose they are, what they did |
//! | [`process_madvise`] | advice about many ranges in one call |
//! | [`thread`] | what a thread of ours asks for itself: its own descriptors, a short time slice |
//! | [`time`] | the monotonic clock and pauses |
//! | [`procmap`] | the kernel's map of a process, and its sums |

pub mod announce;
pub mod barrier;
pub mod cgroup;
pub mod checked_copy;
pub mod cpu;
pub mod descriptor;
pub mod disk;
pub mod file;
pub mod handle;
pub mod lock;
pub mod map;
pub mod memory_info;
pub mod pagemap;
pub mod perf;
pub mod prctl;
pub mod probe;
pub mod process;
pub mod process_madvise;
pub mod procmap;
mod raw;
pub mod rlimit;
pub mod seccomp;
pub mod shared_file;
pub mod signal;
mod text;
pub mod thread;
pub mod time;
pub mod userfaultfd;

pub use rustix::io::Errno;
