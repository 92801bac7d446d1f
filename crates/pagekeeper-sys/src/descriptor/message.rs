//! Datagrams between the program's threads and the keeper: a word, perhaps a descriptor, and the sender's
//! process number as the kernel vouches for it.
//!
//! By bare system calls: the fault path sends them, and `sendmsg` and `recvmsg` will be wrapped by this project.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: socket calls with pointers to structs on the stack"
)]

use core::mem::{MaybeUninit, size_of};
use std::os::fd::RawFd;

use linux_raw_sys::general::{
    __NR_bind, __NR_getsockname, __NR_recvmsg, __NR_sendmsg, __NR_setsockopt, __NR_socket,
};

use super::close;
use crate::Errno;
use crate::raw;

/// An answer takes microseconds; this long without one means that there is no keeper any more.
const PATIENCE_SECONDS: i64 = 10;

/// What a thread asks the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Keep the descriptor that comes along; the answer is the keeper's number.
    Keep = 1,
    /// Send the file with this number.
    Take = 2,
    /// Close the file with this number.
    Release = 3,
}

impl Request {
    /// The request about the keeper's `number`.
    pub(super) fn word(self, number: RawFd) -> Word {
        Word((self as i64) << 32 | i64::from(number as u32))
    }
}

/// What a datagram says: a request, or an answer (a number, or a negative error).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(i64);

impl Word {
    pub(super) fn of_result(result: Result<RawFd, Errno>) -> Self {
        Self(match result {
            Ok(number) => i64::from(number),
            Err(error) => -i64::from(error.raw_os_error()),
        })
    }

    /// As a request.
    pub(super) fn request(self) -> Option<(Request, RawFd)> {
        let request = match self.0 >> 32 {
            1 => Request::Keep,
            2 => Request::Take,
            3 => Request::Release,
            _ => return None,
        };
        Some((request, self.0 as u32 as RawFd))
    }

    /// As an answer.
    pub(super) fn number(self) -> Result<RawFd, Errno> {
        if self.0 < 0 {
            Err(Errno::from_raw_os_error((-self.0) as i32))
        } else {
            Ok(self.0 as RawFd)
        }
    }
}

/// The address of a local socket, as the kernel chose it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    address: libc::sockaddr_un,
    length: u32,
}

/// A datagram as it came in.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) word: Word,
    pub(super) descriptor: Option<RawFd>,
    pub(super) sender: Address,
}

/// A local datagram socket with an abstract name, closed when dropped.
#[derive(Debug)]
pub(super) struct Socket {
    number: RawFd,
}

/// Room for the two control messages that can come along: a descriptor and the sender's numbers.
#[repr(C, align(8))]
struct Control {
    bytes: [u8; CONTROL_BYTES],
}

const HEADER_BYTES: usize = size_of::<libc::cmsghdr>();
const DESCRIPTOR_BYTES: usize = HEADER_BYTES + size_of::<RawFd>();
const CONTROL_BYTES: usize = HEADER_BYTES + 8 + HEADER_BYTES + size_of::<libc::ucred>() + 4;

impl Socket {
    /// A socket with an address, waiting for an answer for some seconds at most.
    pub(super) fn new() -> Result<Self, Errno> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // SAFETY: Touches no memory.
        let number =
            unsafe { raw::call(__NR_socket, [libc::AF_UNIX as usize, kind as usize, 0]) }? as RawFd;
        let socket = Self { number };
        socket.set_option(libc::SO_PASSCRED, &1_i32)?;
        socket.set_patience(PATIENCE_SECONDS)?;
        // An address of the family alone asks the kernel for a name.
        let family = libc::AF_UNIX as libc::sa_family_t;
        // SAFETY: The kernel reads two bytes.
        unsafe {
            raw::call(
                __NR_bind,
                [
                    number as usize,
                    (&raw const family) as usize,
                    size_of::<libc::sa_family_t>(),
                ],
            )?;
        }
        Ok(socket)
    }

    /// Waits without a limit from now on.
    pub(super) fn wait_for_ever(&self) -> Result<(), Errno> {
        self.set_patience(0)
    }

    /// The number alone, which stays open.
    pub(super) fn into_number(self) -> RawFd {
        let number = self.number;
        core::mem::forget(self);
        number
    }

    /// The socket behind [`Socket::into_number`].
    pub(super) fn from_number(number: RawFd) -> Self {
        Self { number }
    }

    /// Leaves the socket open for ever.
    pub(super) fn leak(self) {
        core::mem::forget(self);
    }

    fn set_patience(&self, seconds: i64) -> Result<(), Errno> {
        let time = libc::timeval {
            tv_sec: seconds,
            tv_usec: 0,
        };
        self.set_option(libc::SO_RCVTIMEO, &time)?;
        self.set_option(libc::SO_SNDTIMEO, &time)
    }

    fn set_option<T>(&self, option: i32, value: &T) -> Result<(), Errno> {
        // SAFETY: The kernel reads the value.
        unsafe {
            raw::call(
                __NR_setsockopt,
                [
                    self.number as usize,
                    libc::SOL_SOCKET as usize,
                    option as usize,
                    core::ptr::from_ref(value) as usize,
                    size_of::<T>(),
                ],
            )
        }
        .map(|_| ())
    }

    /// The name that the kernel chose.
    pub(super) fn address(&self) -> Result<Address, Errno> {
        // SAFETY: All zero is a valid address of this kind.
        let mut address = unsafe { MaybeUninit::<libc::sockaddr_un>::zeroed().assume_init() };
        let mut length = size_of::<libc::sockaddr_un>() as u32;
        // SAFETY: The kernel writes at most `length` bytes to the address, and the length.
        unsafe {
            raw::call(
                __NR_getsockname,
                [
                    self.number as usize,
                    (&raw mut address) as usize,
                    (&raw mut length) as usize,
                ],
            )?;
        }
        Ok(Address { address, length })
    }

    /// Sends a datagram, perhaps with a descriptor.
    pub(super) fn send(
        &self,
        to: &Address,
        word: Word,
        descriptor: Option<RawFd>,
    ) -> Result<(), Errno> {
        let mut control = Control {
            bytes: [0; CONTROL_BYTES],
        };
        let mut part = libc::iovec {
            iov_base: (&raw const word).cast_mut().cast(),
            iov_len: size_of::<Word>(),
        };
        let mut name = to.address;
        let mut header = header_for(&mut name, to.length, &mut part, &mut control);
        header.msg_controllen = 0;
        if let Some(number) = descriptor {
            let message = libc::cmsghdr {
                cmsg_len: DESCRIPTOR_BYTES,
                cmsg_level: libc::SOL_SOCKET,
                cmsg_type: libc::SCM_RIGHTS,
            };
            let start = control.bytes.as_mut_ptr();
            // SAFETY: The buffer is aligned and has room for the header and the number.
            unsafe {
                start.cast::<libc::cmsghdr>().write(message);
                start.add(HEADER_BYTES).cast::<RawFd>().write(number);
            }
            header.msg_controllen = DESCRIPTOR_BYTES;
        }
        let header = (&raw const header) as usize;
        // SAFETY: The header points to live variables with their sizes.
        retry(|| unsafe {
            raw::call(
                __NR_sendmsg,
                [self.number as usize, header, libc::MSG_NOSIGNAL as usize],
            )
        })
        .map(|_| ())
    }

    /// Receives a datagram of process `from`; others' are refused and thrown away, with whatever they brought. With
    /// `keep_waiting` a stranger's datagram is passed over, otherwise it is `EPERM` once it was answered.
    pub(super) fn receive(&self, from: i32, keep_waiting: bool) -> Result<Received, Errno> {
        loop {
            let (received, process) = self.receive_any()?;
            if process == from {
                return Ok(received);
            }
            if let Some(number) = received.descriptor {
                close(number);
            }
            if !keep_waiting {
                let refusal = Word::of_result(Err(Errno::PERM));
                let _ = self.send(&received.sender, refusal, None);
                return Err(Errno::PERM);
            }
        }
    }

    /// Receives a datagram, and the number of the process that sent it.
    fn receive_any(&self) -> Result<(Received, i32), Errno> {
        let mut word = Word(0);
        // SAFETY: All zero is a valid address of this kind.
        let mut name = unsafe { MaybeUninit::<libc::sockaddr_un>::zeroed().assume_init() };
        let mut control = Control {
            bytes: [0; CONTROL_BYTES],
        };
        let mut part = libc::iovec {
            iov_base: (&raw mut word).cast(),
            iov_len: size_of::<Word>(),
        };
        let length = size_of::<libc::sockaddr_un>() as u32;
        let mut header = header_for(&mut name, length, &mut part, &mut control);
        let pointer = (&raw mut header) as usize;
        // SAFETY: The header points to live variables with their sizes.
        let size = retry(|| unsafe {
            raw::call(
                __NR_recvmsg,
                [
                    self.number as usize,
                    pointer,
                    libc::MSG_CMSG_CLOEXEC as usize,
                ],
            )
        })?;
        let (descriptor, process) = control.read(header.msg_controllen);
        let received = Received {
            word: if size == size_of::<Word>() {
                word
            } else {
                Word(0)
            },
            descriptor,
            sender: Address {
                address: name,
                length: header.msg_namelen,
            },
        };
        Ok((received, process))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        close(self.number);
    }
}

impl Control {
    /// The descriptor and the sender's process number, in the `length` bytes that the kernel wrote.
    fn read(&self, length: usize) -> (Option<RawFd>, i32) {
        let (mut descriptor, mut process) = (None, 0);
        let mut offset = 0;
        while offset + HEADER_BYTES <= length.min(CONTROL_BYTES) {
            // SAFETY: The header lies inside the buffer; offsets are multiples of 8.
            let message = unsafe {
                self.bytes
                    .as_ptr()
                    .add(offset)
                    .cast::<libc::cmsghdr>()
                    .read()
            };
            let data = offset + HEADER_BYTES;
            let has = |size: usize| {
                message.cmsg_len >= HEADER_BYTES + size && data + size <= CONTROL_BYTES
            };
            match message.cmsg_type {
                libc::SCM_RIGHTS if has(size_of::<RawFd>()) => {
                    // SAFETY: Checked just now; aligned to 8.
                    descriptor =
                        Some(unsafe { self.bytes.as_ptr().add(data).cast::<RawFd>().read() });
                }
                libc::SCM_CREDENTIALS if has(size_of::<libc::ucred>()) => {
                    // SAFETY: Checked just now; aligned to 8.
                    let sender =
                        unsafe { self.bytes.as_ptr().add(data).cast::<libc::ucred>().read() };
                    process = sender.pid;
                }
                _ => {}
            }
            if message.cmsg_len < HEADER_BYTES {
                break;
            }
            offset += (message.cmsg_len + 7) & !7;
        }
        (descriptor, process)
    }
}

/// The header of a datagram with one part.
fn header_for(
    name: &mut libc::sockaddr_un,
    name_length: u32,
    part: &mut libc::iovec,
    control: &mut Control,
) -> libc::msghdr {
    // SAFETY: All zero is a valid header.
    let mut header = unsafe { MaybeUninit::<libc::msghdr>::zeroed().assume_init() };
    header.msg_name = core::ptr::from_mut(name).cast();
    header.msg_namelen = name_length;
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header.msg_control = control.bytes.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES;
    header
}

/// Calls again while a signal interrupts.
fn retry(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;

    #[test]
    fn words_and_descriptors_arrive_with_their_sender() {
        let (one, two) = (Socket::new().expect("one"), Socket::new().expect("two"));
        let file = File::open("/dev/zero").expect("a device");
        let word = Request::Take.word(77);
        let to = two.address().expect("an address");
        one.send(&to, word, Some(file.as_raw_fd())).expect("sent");
        let received = two
            .receive(std::process::id() as i32, true)
            .expect("received");
        assert_eq!(received.word.request(), Some((Request::Take, 77)));
        let number = received.descriptor.expect("a descriptor");
        assert_ne!(number, file.as_raw_fd());
        close(number);
        two.send(&received.sender, Word::of_result(Err(Errno::IO)), None)
            .expect("answered");
        let answer = one
            .receive(std::process::id() as i32, true)
            .expect("answer");
        assert_eq!(answer.word.number(), Err(Errno::IO));
        assert!(answer.descriptor.is_none());
    }

    #[test]
    fn strangers_are_refused() {
        let (one, two) = (Socket::new().expect("one"), Socket::new().expect("two"));
        let to = two.address().expect("an address");
        one.send(&to, Request::Take.word(16), None).expect("sent");
        assert_eq!(two.receive(1, false).err(), Some(Errno::PERM));
        let answer = one
            .receive(std::process::id() as i32, true)
            .expect("answer");
        assert_eq!(answer.word.number(), Err(Errno::PERM));
    }

    #[test]
    fn nonsense_is_no_request() {
        assert_eq!(Word(0).request(), None);
        assert_eq!(Word(-5).request(), None);
        assert_eq!(Word(9 << 32).request(), None);
    }
}
