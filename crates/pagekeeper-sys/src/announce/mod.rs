//! Announcements: an abstract local socket whose *name* is the message.
//!
//! Such a name lives exactly as long as the socket, and the socket as long as a process holds it: nothing is left after
//! any death. Everybody in the same network namespace can read all names in `/proc/net/unix`, and anybody can bind any
//! name: a name is a hint where to look, never a proof.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: bare socket calls on structs of ours; rustix's net feature is not used"
)]

use core::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::Errno;

/// The longest name in bytes: the kernel's 108, less the zero in front.
pub const LONGEST_NAME: usize = 107;

/// How many may ask for the owner of a name before the kernel turns them away: nobody accepts them.
const BACKLOG: i32 = 1024;

/// A bound name. Dropping it takes the name away.
#[derive(Debug)]
pub struct Announcement {
    socket: OwnedFd,
}

impl Announcement {
    /// Binds `name` (without the zero in front), closed on exec.
    ///
    /// # Errors
    /// `EADDRINUSE` when somebody has the name; `EINVAL` for a name that is too long or empty; `EMFILE`,
    /// `EAFNOSUPPORT` without local sockets, and whatever a filter says.
    pub fn bind(name: &[u8]) -> Result<Self, Errno> {
        let socket = socket()?;
        let (address, length) = address_of(name)?;
        // SAFETY: The kernel reads `length` bytes of a struct that is larger.
        let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
        check(result)?;
        Ok(Self { socket })
    }

    /// The same, and [`owner_of`] can tell who holds the name.
    ///
    /// # Errors
    /// As [`Announcement::bind`].
    pub fn bind_with_owner(name: &[u8]) -> Result<Self, Errno> {
        let bound = Self::bind(name)?;
        // SAFETY: Touches no memory.
        check(unsafe { libc::listen(bound.socket.as_raw_fd(), BACKLOG) })?;
        Ok(bound)
    }
}

impl From<Announcement> for OwnedFd {
    fn from(announcement: Announcement) -> Self {
        announcement.socket
    }
}

/// The user whose process holds a name that was bound with [`Announcement::bind_with_owner`].
///
/// # Errors
/// `ECONNREFUSED` when nobody does, or not that way; `EAGAIN` when too many ask at once.
pub fn owner_of(name: &[u8]) -> Result<u32, Errno> {
    let socket = socket()?;
    let (address, length) = address_of(name)?;
    // SAFETY: As in `bind`.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) })?;
    let mut found = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: The kernel fills at most `size` bytes of a struct of that size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut size,
        )
    };
    check(result)?;
    Ok(found.uid)
}

/// Every bound abstract name that begins with `prefix`. Bytes that are no text are replaced, so names of ours are text.
///
/// # Errors
/// `ENOENT`, `EACCES` without `/proc/net/unix`.
pub fn names(prefix: &str) -> Result<Vec<String>, Errno> {
    let list = std::fs::read("/proc/net/unix")
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let mut found: Vec<String> = String::from_utf8_lossy(&list)
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(7))
        .filter_map(|name| name.strip_prefix('@'))
        .filter(|name| name.starts_with(prefix))
        .map(str::to_owned)
        .collect();
    // A socket that listens is shown once, each connection to it once more.
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn socket() -> Result<OwnedFd, Errno> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: Touches no memory.
    let number = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
    check(number)?;
    // SAFETY: The kernel just made the number for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn address_of(name: &[u8]) -> Result<(libc::sockaddr_un, libc::socklen_t), Errno> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(Errno::INVAL);
    }
    // SAFETY: All zeros are a value of this struct.
    let mut address: libc::sockaddr_un = unsafe { core::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in address.sun_path[1..].iter_mut().zip(name) {
        *to = *from as libc::c_char;
    }
    let length = offset_of!(libc::sockaddr_un, sun_path) + 1 + name.len();
    Ok((address, length as libc::socklen_t))
}

fn check(result: i32) -> Result<(), Errno> {
    if result >= 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(what: &str) -> String {
        format!("pagekeeper-test/{}/{what}", std::process::id())
    }

    #[test]
    fn a_name_is_found_while_it_is_held_and_only_then() {
        let own = name("one");
        let held = Announcement::bind(own.as_bytes()).unwrap();
        assert_eq!(
            Announcement::bind(own.as_bytes()).err(),
            Some(Errno::ADDRINUSE)
        );
        assert_eq!(names(&own).unwrap(), std::slice::from_ref(&own));
        drop(held);
        assert!(names(&own).unwrap().is_empty());
        drop(Announcement::bind(own.as_bytes()).unwrap());
    }

    #[test]
    fn the_holder_is_known_by_user() {
        let own = name("owned");
        assert_eq!(owner_of(own.as_bytes()).err(), Some(Errno::CONNREFUSED));
        let held = Announcement::bind_with_owner(own.as_bytes()).unwrap();
        let user = rustix::process::geteuid().as_raw();
        assert_eq!(owner_of(own.as_bytes()), Ok(user));
        drop(held);
    }

    #[test]
    fn impossible_names_are_refused() {
        assert_eq!(Announcement::bind(b"").err(), Some(Errno::INVAL));
        assert_eq!(Announcement::bind(&[b'a'; 108]).err(), Some(Errno::INVAL));
        assert!(Announcement::bind(&[b'a'; LONGEST_NAME]).is_ok());
    }
}
