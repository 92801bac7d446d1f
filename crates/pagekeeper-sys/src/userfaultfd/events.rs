//! What a descriptor in message mode reports.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: reads the kernel's message union and takes over a descriptor in it"
)]

use core::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use linux_raw_sys::general as c;
use pagekeeper_units::{PageNumber, PageRange};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::{OpenedBy, Userfaultfd};
use crate::Errno;

/// Messages read in one call.
const BATCH: usize = 16;
const MESSAGE_LENGTH: usize = size_of::<c::uffd_msg>();

/// One message of the kernel.
#[derive(Debug)]
pub enum Event {
    /// A thread waits for a page.
    Fault {
        /// The address, to the byte with [`super::UffdFeatures::EXACT_ADDRESS`], else to the page.
        address: u64,
        /// It wants to write.
        write: bool,
        /// The page is there but write-protected.
        write_protected: bool,
        /// The page is in the page cache but not mapped.
        minor: bool,
        /// The thread, with [`super::UffdFeatures::THREAD_ID`], else 0.
        thread: u32,
    },
    /// The process forked; the child's copy of the ranges is answered through this descriptor.
    Fork(Userfaultfd),
    /// A range moved by `mremap`.
    Remap {
        /// First page before.
        from: PageNumber,
        /// The range now.
        to: PageRange,
    },
    /// Pages were dropped by `madvise`: they hold zeros now.
    Remove(PageRange),
    /// A range was unmapped.
    Unmap(PageRange),
    /// A kind of message that this version does not know.
    Unknown(u8),
}

/// Room for the messages of one read.
pub struct EventBuffer {
    bytes: [MaybeUninit<u8>; BATCH * MESSAGE_LENGTH],
}

impl core::fmt::Debug for EventBuffer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EventBuffer").finish_non_exhaustive()
    }
}

impl Default for EventBuffer {
    fn default() -> Self {
        Self {
            bytes: [const { MaybeUninit::uninit() }; BATCH * MESSAGE_LENGTH],
        }
    }
}

impl Userfaultfd {
    /// Waits until a message can be read, at most `milliseconds` (`None`: for ever). `false` when
    /// the time is over.
    ///
    /// # Errors
    /// `EINTR`, or what polling gives.
    pub fn wait(&self, milliseconds: Option<u64>) -> Result<bool, Errno> {
        let timeout = milliseconds.map(|milliseconds| Timespec {
            tv_sec: (milliseconds / 1000) as i64,
            tv_nsec: (milliseconds % 1000 * 1_000_000) as i64,
        });
        let mut polled = [PollFd::new(self, PollFlags::IN)];
        Ok(rustix::event::poll(&mut polled, timeout.as_ref())? > 0)
    }

    /// Reads the messages that are there and hands each to `each`; says how many there were.
    ///
    /// Read **all** of them before answering faults: while one that is no fault is unread, every
    /// resolving call answers `EAGAIN`. None there is `Ok(0)`.
    ///
    /// # Errors
    /// What reading gives; `EINVAL` in SIGBUS mode before the handshake.
    pub fn read_events(
        &self,
        buffer: &mut EventBuffer,
        mut each: impl FnMut(Event),
    ) -> Result<usize, Errno> {
        let (filled, _) = match rustix::io::read(self, &mut buffer.bytes[..]) {
            Err(Errno::AGAIN) => return Ok(0),
            other => other?,
        };
        let mut count = 0;
        for message in filled.chunks_exact(MESSAGE_LENGTH) {
            // SAFETY: The kernel wrote a whole message; the type is packed, so any address will do,
            // and every bit pattern is a value of its integers.
            let message = unsafe { message.as_ptr().cast::<c::uffd_msg>().read_unaligned() };
            each(self.decode(&message));
            count += 1;
        }
        Ok(count)
    }

    fn decode(&self, message: &c::uffd_msg) -> Event {
        let argument = message.arg;
        // SAFETY: All members of the union are integers and were filled by the kernel; which one
        // means something is told by the event number.
        unsafe {
            match u32::from(message.event) {
                c::UFFD_EVENT_PAGEFAULT => {
                    let flags = argument.pagefault.flags as u32;
                    Event::Fault {
                        address: argument.pagefault.address,
                        write: flags & c::UFFD_PAGEFAULT_FLAG_WRITE != 0,
                        write_protected: flags & c::UFFD_PAGEFAULT_FLAG_WP != 0,
                        minor: flags & c::UFFD_PAGEFAULT_FLAG_MINOR != 0,
                        thread: argument.pagefault.feat.ptid,
                    }
                }
                c::UFFD_EVENT_FORK => {
                    let descriptor = OwnedFd::from_raw_fd(argument.fork.ufd as RawFd);
                    let opened_by: OpenedBy = self.opened_by();
                    Event::Fork(Self::from_descriptor(
                        descriptor,
                        self.features(),
                        opened_by,
                    ))
                }
                c::UFFD_EVENT_REMAP => Event::Remap {
                    from: PageNumber::containing(argument.remap.from),
                    to: PageRange::touched_by(argument.remap.to, argument.remap.len)
                        .unwrap_or_default(),
                },
                c::UFFD_EVENT_REMOVE | c::UFFD_EVENT_UNMAP => {
                    let range = PageRange::between(
                        PageNumber::containing(argument.remove.start),
                        PageNumber::containing(argument.remove.end),
                    );
                    if u32::from(message.event) == c::UFFD_EVENT_REMOVE {
                        Event::Remove(range)
                    } else {
                        Event::Unmap(range)
                    }
                }
                _ => Event::Unknown(message.event),
            }
        }
    }
}
