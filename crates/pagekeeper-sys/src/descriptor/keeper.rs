//! The keeper: a thread with a descriptor table of its own, holding a second reference to every kept file.
//!
//! It starts by leaving the program's table (`close_range` with `CLOSE_RANGE_UNSHARE`, from number 0 on, so that
//! it never holds a file of the program), blocks every signal and answers requests on a local datagram socket that
//! only its own table has. Nothing that the program closes can reach it.
//!
//! **How does anybody talk to it,** when any descriptor in the program's table may vanish? By address: the socket
//! has a name that the kernel chose (abstract, gone with the socket), and a request comes from a fresh socket made
//! for it. Requests and answers carry the sender's process number, vouched for by the kernel; strangers are
//! refused.
//!
//! Taking back goes by `pidfd_getfd` on the keeper's thread (Linux 6.9), which needs nobody's help, and before 6.9,
//! or where that is forbidden, by a request.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: system calls that change the thread's descriptor table"
)]

use std::os::fd::RawFd;
use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};

use linux_raw_sys::general::{__NR_close_range, __NR_pidfd_getfd, __NR_pidfd_open};

use super::message::{Address, Request, Socket, Word};
use super::{close, duplicate_from};
use crate::Errno;
use crate::lock::SignalsBlocked;
use crate::raw;

/// The keeper's stack in bytes; it needs some hundred of them besides what libc puts there.
const STACK_BYTES: usize = 64 << 10;

/// Kept files get numbers from here on in the keeper's table, so that nothing that writes to the standard
/// outputs can reach one.
const LOWEST_KEPT: RawFd = 16;

/// `CLOSE_RANGE_UNSHARE`: the thread gets a descriptor table of its own first.
const CLOSE_RANGE_UNSHARE: usize = 2;

/// `PIDFD_THREAD`: the descriptor is for the thread, not for its process.
const PIDFD_THREAD: usize = 0o200;

/// The running keeper.
#[derive(Clone, Copy, Debug)]
struct Keeper {
    process: i32,
    thread: i32,
    address: Address,
}

/// Taken when a descriptor is kept, in user context only.
static KEEPER: Mutex<Option<Keeper>> = Mutex::new(None);

/// Set in tests, to take descriptors back by request only, as on kernels before 6.9.
#[cfg(test)]
pub(super) static WITHOUT_PIDFD: core::sync::atomic::AtomicBool =
    core::sync::atomic::AtomicBool::new(false);

/// A file in the keeper's table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    keeper: Keeper,
    number: RawFd,
}

impl Kept {
    /// The keeper's thread number.
    pub(super) fn thread(&self) -> i32 {
        self.keeper.thread
    }

    /// The number in the keeper's table.
    pub(super) fn number(&self) -> RawFd {
        self.number
    }
}

/// Gives the keeper a reference to `number`.
pub(super) fn keep(number: RawFd) -> Result<Kept, Errno> {
    let keeper = running()?;
    let socket = Socket::new()?;
    socket.send(&keeper.address, Request::Keep.word(0), Some(number))?;
    let answer = socket.receive(keeper.process, true)?;
    Ok(Kept {
        keeper,
        number: answer.word.number()?,
    })
}

/// Takes a reference back: a new number in this thread's table, closed on exec. Allocates nothing.
pub(super) fn take(kept: &Kept) -> Result<RawFd, Errno> {
    #[cfg(test)]
    if WITHOUT_PIDFD.load(core::sync::atomic::Ordering::Relaxed) {
        return take_by_message(kept);
    }
    take_by_pidfd(kept).or_else(|_| take_by_message(kept))
}

fn take_by_pidfd(kept: &Kept) -> Result<RawFd, Errno> {
    // SAFETY: Neither call touches memory; the first number is ours and closed again.
    unsafe {
        let thread =
            raw::call(__NR_pidfd_open, [kept.keeper.thread as usize, PIDFD_THREAD])? as RawFd;
        let number = raw::call(__NR_pidfd_getfd, [thread as usize, kept.number as usize, 0]);
        close(thread);
        number.map(|number| number as RawFd)
    }
}

fn take_by_message(kept: &Kept) -> Result<RawFd, Errno> {
    let socket = Socket::new()?;
    let request = Request::Take.word(kept.number);
    socket.send(&kept.keeper.address, request, None)?;
    let answer = socket.receive(kept.keeper.process, true)?;
    answer.word.number()?;
    answer.descriptor.ok_or(Errno::BADF)
}

/// Tells the keeper to let the file go.
pub(super) fn release(kept: &Kept) {
    // A forked child's copy is its own business: the parent's keeper would not answer.
    if kept.keeper.process != std::process::id() as i32 {
        return;
    }
    if let Ok(socket) = Socket::new() {
        let request = Request::Release.word(kept.number);
        if socket.send(&kept.keeper.address, request, None).is_ok() {
            // Waiting for the answer makes closing a file's last reference something to rely on.
            let _ = socket.receive(kept.keeper.process, true);
        }
    }
}

/// The record of the running keeper, held.
pub(super) fn hold() -> impl Sized {
    KEEPER
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The keeper of this process, started if there is none. A forked child has its parent's entry and starts its own.
fn running() -> Result<Keeper, Errno> {
    let mut place = KEEPER
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let process = std::process::id() as i32;
    match *place {
        Some(keeper) if keeper.process == process => Ok(keeper),
        _ => {
            let keeper = start(process)?;
            *place = Some(keeper);
            Ok(keeper)
        }
    }
}

fn start(process: i32) -> Result<Keeper, Errno> {
    let (sender, receiver) = sync_channel(1);
    // The new thread inherits the mask and never changes it.
    let blocked = SignalsBlocked::new();
    let spawned = std::thread::Builder::new()
        .name(super::KEEPER_NAME.into())
        .stack_size(STACK_BYTES)
        .spawn(move || run(process, sender));
    drop(blocked);
    spawned.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
    receiver.recv().map_err(|_| Errno::AGAIN)?
}

/// The keeper's life: until the process ends.
fn run(process: i32, started: SyncSender<Result<Keeper, Errno>>) {
    match prepare(process) {
        Err(error) => {
            let _ = started.send(Err(error));
        }
        Ok((socket, keeper)) => {
            let _ = started.send(Ok(keeper));
            drop(started);
            loop {
                // Whatever went wrong with one request concerns that request only.
                let _ = serve(&socket, process);
            }
        }
    }
}

/// Leaves the program's descriptor table and makes the socket.
fn prepare(process: i32) -> Result<(Socket, Keeper), Errno> {
    // SAFETY: Changes this thread's table only; the thread uses no descriptor of the program.
    unsafe {
        raw::call(
            __NR_close_range,
            [0, u32::MAX as usize, CLOSE_RANGE_UNSHARE],
        )?;
    }
    // Unconnected sockets stand where the standard streams were: a message written there fails, and no kept file
    // can ever have such a number.
    for _ in 0..3 {
        Socket::new()?.leak();
    }
    let socket = Socket::new()?;
    socket.wait_for_ever()?;
    let keeper = Keeper {
        process,
        thread: rustix::thread::gettid().as_raw_nonzero().get(),
        address: socket.address()?,
    };
    Ok((socket, keeper))
}

/// Answers one request.
fn serve(socket: &Socket, process: i32) -> Result<(), Errno> {
    let message = socket.receive(process, false)?;
    let (word, descriptor) = match message.word.request() {
        Some((Request::Keep, _)) => match message.descriptor {
            Some(low) => {
                let kept = duplicate_from(low, LOWEST_KEPT);
                close(low);
                (Word::of_result(kept), None)
            }
            None => (Word::of_result(Err(Errno::BADF)), None),
        },
        Some((Request::Take, number)) if number >= LOWEST_KEPT => {
            (Word::of_result(Ok(number)), Some(number))
        }
        Some((Request::Release, number)) if number >= LOWEST_KEPT => {
            close(number);
            (Word::of_result(Ok(number)), None)
        }
        _ => (Word::of_result(Err(Errno::INVAL)), None),
    };
    let sent = socket.send(&message.sender, word, descriptor);
    if descriptor.is_some() && sent == Err(Errno::BADF) {
        return socket.send(&message.sender, Word::of_result(Err(Errno::BADF)), None);
    }
    sent
}
