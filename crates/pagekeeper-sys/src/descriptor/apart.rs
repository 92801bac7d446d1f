//! Descriptors apart: files in a table of ours that the program does not have.
//!
//! A program's descriptor table is the program's. It closes numbers that it never opened (`closefrom`), replaces them (`dup2`), hands
//! them on to its children (`fork`). And the other way round: *closing* any descriptor of a file drops the record locks (`fcntl`)
//! that the program has on that file, because those belong to the table. So whatever opens files of the program's for itself
//! must do that in another table.
//!
//! One thread of the process (the *worker*) leaves the program's table when it starts, and holds these descriptors. Calls that need one run
//! there, as a job, one after the other; jobs are single system calls on local files. Threads that the worker starts
//! ([`start`]) share its table, so they use the numbers directly, and may wait for disks.
//!
//! What maps a file needs its descriptor for the call only; the mapping is the whole process's.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: takes over descriptor numbers of a table that only this module closes numbers in"
)]

use core::cell::Cell;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{Mode, OFlags};

use super::message::{Address, Request, Socket};
use crate::lock::SignalsBlocked;
use crate::{Errno, thread};

/// What the worker is called.
pub const WORKER_NAME: &str = "pagekeeper-fil";
/// Its stack in bytes.
const STACK_BYTES: usize = 256 << 10;
/// Numbers below stand for nothing that could be written to: something may print an error there.
const STANDARD_STREAMS: usize = 3;

type Job = Box<dyn FnOnce() + Send>;

/// The running worker.
struct Worker {
    process: u32,
    thread: u32,
    jobs: Sender<Job>,
}

/// Held for a look-up and the start; user context only.
static WORKER: Mutex<Option<Worker>> = Mutex::new(None);
static ON_START: OnceLock<fn()> = OnceLock::new();

thread_local! {
    /// Whether this thread has the table.
    static IS_APART: Cell<bool> = const { Cell::new(false) };
}

/// A file under a number in the table apart. Dropping it closes the number; in a forked child, which does not have it, that does
/// nothing.
#[derive(Debug)]
pub struct ApartDescriptor {
    process: u32,
    thread: u32,
    number: RawFd,
}

/// What the worker calls when it starts (the first caller's wins): it must never wait for anybody who waits for a job.
pub fn on_start(hook: fn()) {
    let _ = ON_START.set(hook);
}

/// Does `work` with the table apart, and waits for it.
///
/// # Errors
/// `EAGAIN` where no thread can be started.
pub fn run<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Errno> {
    if IS_APART.get() {
        return Ok(work());
    }
    let (sender, receiver) = sync_channel(1);
    let job = move || {
        let _ = sender.send(work());
    };
    {
        let worker = running()?;
        let jobs = &worker.as_ref().ok_or(Errno::AGAIN)?.jobs;
        jobs.send(Box::new(job)).map_err(|_| Errno::SRCH)?;
    }
    receiver.recv().map_err(|_| Errno::SRCH)
}

/// Starts a thread that has the table, deaf to all signals. Says whether that worked.
pub fn start(name: &'static str, stack_bytes: usize, body: impl FnOnce() + Send + 'static) -> bool {
    let spawn = move || {
        std::thread::Builder::new()
            .name(name.into())
            .stack_size(stack_bytes)
            // From the worker, so it has the worker's table, and its mask.
            .spawn(move || {
                IS_APART.set(true);
                body();
            })
            .is_ok()
    };
    run(spawn).unwrap_or(false)
}

impl ApartDescriptor {
    /// A second descriptor of an opening of the program's.
    ///
    /// # Errors
    /// `EBADF`, `EMFILE`, `EAGAIN` without threads; what a filter says.
    pub fn carry(file: BorrowedFd<'_>) -> Result<Self, Errno> {
        if IS_APART.get() {
            let own = rustix::io::fcntl_dupfd_cloexec(file, 0)?;
            return Self::adopt(own);
        }
        let process = std::process::id() as i32;
        // By message, which needs neither `/proc` nor the right to look into a process.
        let (to, receiver) = run(|| -> Result<(Address, RawFd), Errno> {
            let socket = Socket::new()?;
            Ok((socket.address()?, socket.into_number()))
        })??;
        let own = Socket::new();
        let sent = own.and_then(|own| own.send(&to, Request::Keep.word(0), Some(file.as_raw_fd())));
        run(move || {
            let receiver = Socket::from_number(receiver);
            sent?;
            let number = receiver.receive(process, true)?.descriptor;
            // SAFETY: The kernel just made the number for us, in this thread's table.
            let owned = unsafe { OwnedFd::from_raw_fd(number.ok_or(Errno::BADF)?) };
            Self::adopt(owned)
        })?
    }

    /// Takes over a descriptor of the calling thread's table: on a thread apart as it is; elsewhere it is carried over and
    /// closed, which is right only for files that are ours alone.
    ///
    /// # Errors
    /// As [`ApartDescriptor::carry`].
    pub fn adopt(descriptor: OwnedFd) -> Result<Self, Errno> {
        use std::os::fd::AsFd;
        if !IS_APART.get() {
            return Self::carry(descriptor.as_fd());
        }
        Ok(Self {
            process: std::process::id(),
            thread: worker_thread().unwrap_or_else(thread::number),
            number: descriptor.into_raw_fd(),
        })
    }

    /// Does `work` with the descriptor, which is good there only, and waits for it.
    ///
    /// # Errors
    /// `EBADF` in a forked child; `ESRCH` should the worker be gone.
    pub fn with<R: Send + 'static>(
        &self,
        work: impl FnOnce(BorrowedFd<'_>) -> R + Send + 'static,
    ) -> Result<R, Errno> {
        if self.process != std::process::id() {
            return Err(Errno::BADF);
        }
        let number = self.number;
        // SAFETY: Open in that table as long as `self`, which outlives the call; nobody else closes numbers there.
        run(move || work(unsafe { BorrowedFd::borrow_raw(number) }))
    }

    /// Where other processes of the user find it: `/proc/THREAD/fd/NUMBER`.
    pub fn place(&self) -> (u32, u32) {
        (self.thread, self.number as u32)
    }
}

impl Drop for ApartDescriptor {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            return;
        }
        let number = self.number;
        // Waited for: afterwards a name is gone, a lock is free.
        let _ = run(move || super::close(number));
    }
}

/// The record of the worker, held.
pub(super) fn hold() -> impl Sized {
    WORKER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn worker_thread() -> Option<u32> {
    // A job may ask while the thread that waits for it holds nothing.
    let worker = WORKER.lock().unwrap_or_else(PoisonError::into_inner);
    worker.as_ref().map(|worker| worker.thread)
}

fn running() -> Result<MutexGuard<'static, Option<Worker>>, Errno> {
    let mut place = WORKER.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if place
        .as_ref()
        .is_none_or(|worker| worker.process != process)
    {
        // A forked child has its parent's entry.
        *place = Some(start_worker(process)?);
    }
    Ok(place)
}

fn start_worker(process: u32) -> Result<Worker, Errno> {
    let (jobs, work) = channel();
    let (sender, receiver) = sync_channel(1);
    // The new thread inherits the mask and never changes it.
    let blocked = SignalsBlocked::new();
    let spawned = std::thread::Builder::new()
        .name(WORKER_NAME.into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            if let Some(hook) = ON_START.get() {
                hook();
            }
            prepare();
            let _ = sender.send(thread::number());
            serve(&work);
        });
    drop(blocked);
    spawned.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
    let thread = receiver.recv().map_err(|_| Errno::AGAIN)?;
    Ok(Worker {
        process,
        thread,
        jobs,
    })
}

/// Leaves the program's table. Where that is refused (before 5.9, a filter) the numbers are the program's after all, with the
/// weaknesses of such.
fn prepare() {
    IS_APART.set(true);
    if thread::leave_descriptor_table().is_err() {
        return;
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    for _ in 0..STANDARD_STREAMS {
        if let Ok(nothing) = rustix::fs::open("/", flags, Mode::empty()) {
            let _ = nothing.into_raw_fd();
        }
    }
}

fn serve(work: &Receiver<Job>) {
    while let Ok(job) = work.recv() {
        // Whoever waits for it learns by the channel that is dropped.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;
    use crate::file;

    #[test]
    fn what_is_apart_is_out_of_the_programs_reach_and_the_same_file() {
        let own = file::create_in_memory("apart").unwrap();
        file::write_at(&own, b"here", 0).unwrap();
        let apart = ApartDescriptor::carry(own.as_fd()).unwrap();
        drop(own);
        let (thread, number) = apart.place();
        assert!(number >= STANDARD_STREAMS as u32);
        let mut bytes = [0; 4];
        let read = apart
            .with(move |file| file::read_at(file, &mut bytes, 0).map(|_| bytes))
            .unwrap();
        assert_eq!(read, Ok(*b"here"));
        let path = format!("/proc/{thread}/fd/{number}");
        assert_eq!(std::fs::read(&path).unwrap(), b"here");
        drop(apart);
        assert!(std::fs::read(&path).is_err(), "closed");
        let (sender, receiver) = channel();
        assert!(start("apart-test", 64 << 10, move || {
            let made = file::create_in_memory("one").map(ApartDescriptor::adopt);
            let _ = sender.send(made);
        }));
        let made = receiver.recv().unwrap().unwrap().unwrap();
        assert!(made.with(|file| file::facts(file).is_ok()).unwrap());
    }

    /// Record locks of a table go with the first closing of the file in that table.
    #[test]
    fn closing_a_file_apart_leaves_the_programs_record_locks() {
        let path = std::env::temp_dir().join(format!("pagekeeper-locked-{}", std::process::id()));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .unwrap();
        let locked = || {
            // Asked by a thread with a table of its own: another owner.
            let path = path.clone();
            std::thread::spawn(move || {
                thread::leave_descriptor_table().unwrap();
                let other = File::options().read(true).write(true).open(path).unwrap();
                rustix::fs::fcntl_lock(&other, rustix::fs::FlockOperation::NonBlockingLockExclusive)
                    .is_err()
            })
            .join()
            .unwrap()
        };
        rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .unwrap();
        assert!(locked());
        let apart = ApartDescriptor::carry(file.as_fd()).unwrap();
        let reopened = apart
            .with(|file| file::reopen_alike(file).and_then(ApartDescriptor::adopt))
            .unwrap()
            .unwrap();
        drop(apart);
        drop(reopened);
        assert!(locked(), "a closing apart is none of the program's");
        drop(file.try_clone().unwrap());
        let is_still_locked = locked();
        std::fs::remove_file(&path).unwrap();
        assert!(!is_still_locked, "the test sees what it is about");
    }
}
