//! One io_uring, bound by hand over bare system calls.
//!
//! The usual crate goes through libc's `mmap` and `syscall`, which a preloaded object interposes and
//! which write `errno`; and of the whole interface we need four operations. A ring belongs to one
//! thread at a time (the caller holds its lock), and is empty whenever nobody holds it.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: shares queue memory with the kernel, as its io_uring interface lays out"
)]

use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering, fence};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use linux_raw_sys::general::{__NR_io_uring_enter, __NR_io_uring_register, __NR_io_uring_setup};
use linux_raw_sys::io_uring as c;
use pagekeeper_units::PageCount;

use super::polling::Polling;
use super::{Direction, RawBuffer, Request};
use crate::handle::Handle;
use crate::map::{self, Access, Advice, Mapping, Purpose};
use crate::{Errno, raw};

/// What became of one submitted operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Completion {
    /// The number that was given when it was put in.
    pub(super) number: u64,
    /// Bytes done, or why not.
    pub(super) result: Result<usize, Errno>,
}

/// How a caller waits for what it put in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting<'a> {
    /// Asleep until the last is done.
    Asleep,
    /// Awake at first, as long as that pays.
    Awake(&'a Polling),
}

/// A ring with a file registered as number 0.
#[derive(Debug)]
pub(super) struct Ring {
    descriptor: Handle,
    queues: Mapping,
    entries: Mapping,
    layout: Layout,
    /// Put in, but not yet handed to the kernel.
    pending: u32,
    /// The kernel refused a call that cannot be refused: not to be used again.
    broken: bool,
}

/// Offsets into the shared memory.
#[derive(Debug, Clone, Copy)]
struct Layout {
    submission_head: usize,
    submission_tail: usize,
    submission_mask: u32,
    submission_count: u32,
    completion_head: usize,
    completion_tail: usize,
    completion_mask: u32,
    completions: usize,
}

impl Ring {
    /// Sets a ring of `count` entries up and registers `file` with it.
    ///
    /// # Errors
    /// `ENOSYS` or `EPERM` where io_uring is switched off, `ENOMEM`, `EMFILE`.
    pub(super) fn new(count: u32, file: BorrowedFd<'_>) -> Result<Self, Errno> {
        // Completions need no interrupt of the submitting thread, which waits for them anyway; and
        // no index array. Older kernels (before 6.6, 5.19) refuse these flags.
        let modern = c::IORING_SETUP_COOP_TASKRUN | c::IORING_SETUP_CLAMP;
        let attempts = [modern, c::IORING_SETUP_CLAMP];
        let mut result = Err(Errno::INVAL);
        for flags in attempts {
            result = setup(count, flags);
            if !matches!(result, Err(Errno::INVAL)) {
                break;
            }
        }
        let (descriptor, parameters) = result?;
        let ring = Self::map(descriptor, &parameters)?;
        ring.register(file)?;
        Ok(ring)
    }

    fn map(descriptor: OwnedFd, parameters: &c::io_uring_params) -> Result<Self, Errno> {
        if parameters.features & c::IORING_FEAT_SINGLE_MMAP == 0
            || parameters.features & c::IORING_FEAT_SUBMIT_STABLE == 0
        {
            return Err(Errno::NOSYS);
        }
        let (submission, completion) = (&parameters.sq_off, &parameters.cq_off);
        let submission_length =
            submission.array as usize + parameters.sq_entries as usize * size_of::<u32>();
        let completion_length = completion.cqes as usize
            + parameters.cq_entries as usize * size_of::<c::io_uring_cqe>();
        let queue_pages = PageCount::holding(submission_length.max(completion_length) as u64);
        let entry_length = parameters.sq_entries as usize * size_of::<c::io_uring_sqe>();
        let entry_pages = PageCount::holding(entry_length as u64);
        let access = Access::READ_WRITE;
        let queues = map::map_file(
            queue_pages,
            &descriptor,
            u64::from(c::IORING_OFF_SQ_RING),
            access,
        )?
        .held_for(Purpose::Buffers);
        let entries = map::map_file(
            entry_pages,
            &descriptor,
            u64::from(c::IORING_OFF_SQES),
            access,
        )?
        .held_for(Purpose::Buffers);
        for mapping in [&queues, &entries] {
            // SAFETY: Only a later child is concerned: it must not submit into our ring.
            unsafe { map::advise(mapping.range(), Advice::DoNotInherit)? };
        }
        let ring = Self {
            layout: Layout {
                submission_head: submission.head as usize,
                submission_tail: submission.tail as usize,
                submission_mask: parameters.sq_entries - 1,
                submission_count: parameters.sq_entries,
                completion_head: completion.head as usize,
                completion_tail: completion.tail as usize,
                completion_mask: parameters.cq_entries - 1,
                completions: completion.cqes as usize,
            },
            descriptor: descriptor.into(),
            queues,
            entries,
            pending: 0,
            broken: false,
        };
        // The index array always points entry i at slot i.
        for index in 0..parameters.sq_entries {
            // SAFETY: Inside the mapping; nobody else uses the ring yet.
            unsafe {
                ring.queues
                    .base()
                    .add(submission.array as usize)
                    .cast::<u32>()
                    .add(index as usize)
                    .write(index);
            }
        }
        Ok(ring)
    }

    fn register(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        let files: [RawFd; 1] = [file.as_raw_fd()];
        let argument = [
            self.descriptor.as_raw_fd() as usize,
            c::io_uring_register_op::IORING_REGISTER_FILES as usize,
            files.as_ptr().expose_provenance(),
            1,
        ];
        // SAFETY: The kernel reads one number from the array.
        unsafe { raw::call(__NR_io_uring_register, argument)? };
        Ok(())
    }

    /// Keeps the descriptor safe from the program.
    pub(super) fn keep(&mut self) -> Result<(), Errno> {
        self.descriptor.keep()
    }

    /// Puts an unrelated file under the ring's descriptor number.
    #[cfg(test)]
    pub(super) fn replace_descriptor_for_test(&mut self) {
        use std::os::fd::IntoRawFd;
        let other = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: The number is this ring's; the duplicate is given away at once.
        let mut number = unsafe { OwnedFd::from_raw_fd(self.descriptor.as_raw_fd()) };
        rustix::io::dup2(&other, &mut number).unwrap();
        let _ = number.into_raw_fd();
    }

    #[cfg(test)]
    pub(super) fn number_for_test(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    /// Operations that fit at once.
    pub(super) fn capacity(&self) -> usize {
        self.layout.submission_count as usize
    }

    /// Whether it may still be used.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    #[inline]
    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: The kernel's layout: an aligned 32-bit word inside the mapping, written by the
        // kernel and by us with atomic accesses only.
        unsafe { AtomicU32::from_ptr(self.queues.base().add(offset).cast()) }
    }

    /// Puts a transfer in. `false` when the ring is full.
    ///
    /// # Safety
    /// The request and its buffers must stay until its completion was taken.
    pub(super) unsafe fn push(&mut self, request: &Request<'_>, number: u64) -> bool {
        let buffers = request.raw_buffers();
        let (code, address, length) = match (request.direction(), buffers) {
            (Direction::Read, [one]) => {
                (c::io_uring_op::IORING_OP_READ, one.base.cast(), one.length)
            }
            (Direction::Write, [one]) => {
                (c::io_uring_op::IORING_OP_WRITE, one.base.cast(), one.length)
            }
            (Direction::Read, many) => (
                c::io_uring_op::IORING_OP_READV,
                many.as_ptr().cast_mut(),
                many.len(),
            ),
            (Direction::Write, many) => (
                c::io_uring_op::IORING_OP_WRITEV,
                many.as_ptr().cast_mut(),
                many.len(),
            ),
        };
        // SAFETY: The caller's promise.
        unsafe { self.put(code, address, length, request.offset(), number) }
    }

    /// Puts an operation in that does nothing, to see whether the ring turns.
    pub(super) fn push_nothing(&mut self, number: u64) -> bool {
        let code = c::io_uring_op::IORING_OP_NOP;
        // SAFETY: Touches no memory.
        unsafe { self.put(code, ptr::null_mut(), 0, 0, number) }
    }

    unsafe fn put(
        &mut self,
        code: c::io_uring_op,
        address: *mut RawBuffer,
        length: usize,
        offset: u64,
        number: u64,
    ) -> bool {
        let (Ok(length), true) = (
            u32::try_from(length),
            self.pending < self.layout.submission_count,
        ) else {
            return false;
        };
        let tail_word = self.layout.submission_tail;
        // Only we write the tail.
        let tail = self.word(tail_word).load(Ordering::Relaxed);
        let slot = (tail & self.layout.submission_mask) as usize;
        // SAFETY: All-zero is a valid entry (no operation).
        let mut entry: c::io_uring_sqe = unsafe { core::mem::zeroed() };
        entry.opcode = code as u8;
        entry.user_data = number;
        if !matches!(code, c::io_uring_op::IORING_OP_NOP) {
            entry.flags = 1 << c::io_uring_sqe_flags_bit::IOSQE_FIXED_FILE_BIT as u8;
            entry.fd = 0;
            entry.__bindgen_anon_1.off = offset;
            entry.__bindgen_anon_2.addr = address.expose_provenance() as u64;
            entry.len = length;
        }
        // SAFETY: The slot lies inside the mapping, and the kernel is done with it: no more than
        // the ring's entries are ever put in before it has taken them all.
        unsafe {
            self.entries
                .base()
                .cast::<c::io_uring_sqe>()
                .add(slot)
                .write(entry);
        }
        self.word(tail_word)
            .store(tail.wrapping_add(1), Ordering::Release);
        self.pending += 1;
        true
    }

    /// Hands what was put in to the kernel and waits until all that it took is done; each completion
    /// goes to `each`. Says how many it took: the rest, the last ones put in, was taken back.
    pub(super) fn submit_and_wait(
        &mut self,
        waiting: Waiting<'_>,
        mut each: impl FnMut(Completion),
    ) -> u32 {
        let mut taken = 0;
        let mut done = 0;
        // Submit. A kernel short of memory may take only some.
        while self.pending > 0 {
            let wait_for = match waiting {
                Waiting::Asleep => self.pending,
                Waiting::Awake(_) => 0,
            };
            match self.enter(self.pending, wait_for) {
                Ok(0) => break,
                Ok(count) => {
                    let count = count.min(self.pending);
                    taken += count;
                    self.pending -= count;
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    // Busy rings and short memory pass; everything else means that the descriptor
                    // is no ring of ours any more.
                    self.broken |= !matches!(errno, Errno::AGAIN | Errno::BUSY | Errno::NOMEM);
                    break;
                }
            }
        }
        if self.pending > 0 {
            self.take_back();
        }
        if let Waiting::Awake(polling) = waiting
            && taken > 0
        {
            polling.watch(|| self.has_completion());
        }
        // Reap. The buffers are in the kernel's hands until the last completion is there.
        loop {
            done += self.reap(&mut each);
            if done >= taken {
                return taken;
            }
            match self.enter(0, taken - done) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => {
                    // Nobody to wait with: completions still arrive in the shared memory whenever
                    // this thread enters the kernel, so enter it and look again.
                    self.broken = true;
                    rustix::thread::sched_yield();
                }
            }
        }
    }

    /// Without a polling kernel thread the kernel looks at the queue only while we are in it, so
    /// what it has not taken can be taken back.
    fn take_back(&mut self) {
        let head = self
            .word(self.layout.submission_head)
            .load(Ordering::Acquire);
        self.word(self.layout.submission_tail)
            .store(head, Ordering::Release);
        self.pending = 0;
    }

    fn enter(&self, submit: u32, wait_for: u32) -> Result<u32, Errno> {
        match self.enter_once(submit, wait_for) {
            // What a ring answers.
            result @ (Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY | Errno::NOMEM)) => {
                result
            }
            // What something else under its number might.
            Err(errno) => match self.descriptor.take_back_if_lost() {
                // Taken back just now; or another thread did so between our call and our look.
                Ok(taken) if taken || matches!(errno, Errno::BADF | Errno::OPNOTSUPP) => {
                    self.enter_once(submit, wait_for)
                }
                _ => Err(errno),
            },
        }
    }

    fn enter_once(&self, submit: u32, wait_for: u32) -> Result<u32, Errno> {
        // SAFETY: What the kernel does to memory was promised when the entries were put in.
        let count = unsafe {
            raw::call(
                __NR_io_uring_enter,
                [
                    self.descriptor.as_raw_fd() as usize,
                    submit as usize,
                    wait_for as usize,
                    c::IORING_ENTER_GETEVENTS as usize,
                    0,
                    0,
                ],
            )?
        };
        Ok(count as u32)
    }

    fn has_completion(&self) -> bool {
        let head = self.word(self.layout.completion_head);
        let tail = self.word(self.layout.completion_tail);
        tail.load(Ordering::Acquire) != head.load(Ordering::Relaxed)
    }

    /// Takes the completions that are there.
    fn reap(&self, each: &mut impl FnMut(Completion)) -> u32 {
        let head_word = self.word(self.layout.completion_head);
        let head = head_word.load(Ordering::Relaxed);
        let tail = self
            .word(self.layout.completion_tail)
            .load(Ordering::Acquire);
        let count = tail.wrapping_sub(head);
        for step in 0..count {
            let slot = (head.wrapping_add(step) & self.layout.completion_mask) as usize;
            // SAFETY: Inside the mapping; the kernel has written it, as the tail says, and leaves
            // it alone until the head moves on.
            let entry = unsafe {
                self.queues
                    .base()
                    .add(self.layout.completions)
                    .add(slot * size_of::<c::io_uring_cqe>())
                    .cast::<RawCompletion>()
                    .read()
            };
            each(Completion {
                number: entry.number,
                result: usize::try_from(entry.result)
                    .map_err(|_| Errno::from_raw_os_error(entry.result.wrapping_neg())),
            });
        }
        head_word.store(tail, Ordering::Release);
        // What the kernel wrote into the buffers is seen by whoever takes the results.
        fence(Ordering::Acquire);
        count
    }
}

/// The fixed part of `io_uring_cqe` (the binding ends in a flexible array and cannot be copied).
#[repr(C)]
struct RawCompletion {
    number: u64,
    result: i32,
    flags: u32,
}
const _: () = assert!(size_of::<RawCompletion>() == size_of::<c::io_uring_cqe>());

fn setup(count: u32, flags: u32) -> Result<(OwnedFd, c::io_uring_params), Errno> {
    // SAFETY: All-zero parameters are the documented default.
    let mut parameters: c::io_uring_params = unsafe { core::mem::zeroed() };
    parameters.flags = flags;
    let argument = [count as usize, (&raw mut parameters).expose_provenance()];
    // SAFETY: The kernel fills the struct and returns a new descriptor (close-on-exec).
    let descriptor = unsafe {
        let number = raw::call(__NR_io_uring_setup, argument)?;
        OwnedFd::from_raw_fd(number as RawFd)
    };
    Ok((descriptor, parameters))
}
