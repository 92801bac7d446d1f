//! A descriptor in use: an ordinary one, or one that is kept safe from the program.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::Errno;
use crate::descriptor::{KeptDescriptor, Lost};

/// The descriptor behind a userfaultfd, a ring or a page file.
#[derive(Debug)]
pub enum Handle {
    /// Nobody else knows its number (tests, short-lived files).
    Plain(OwnedFd),
    /// The program may close or replace it; that is noticed, and it is taken back.
    Kept(KeptDescriptor),
}

impl Handle {
    /// Moves it to a high number and has a second reference held (see [`crate::descriptor`]).
    ///
    /// # Errors
    /// `EMFILE` and whatever the kernel says; it stays as it was then.
    pub fn keep(&mut self) -> Result<(), Errno> {
        if let Self::Plain(descriptor) = self {
            let copy = rustix::io::fcntl_dupfd_cloexec(&*descriptor, 3)?;
            *self = Self::Kept(KeptDescriptor::keep(copy)?);
        }
        Ok(())
    }

    /// Whether a second reference is held, so that it can be taken back when it is lost.
    pub fn is_backed(&self) -> bool {
        matches!(self, Self::Kept(kept) if kept.is_backed())
    }

    /// Makes sure that the number still stands for our file: `true` when it did not and was taken
    /// back. An ordinary one is believed. Allocates nothing.
    ///
    /// # Errors
    /// It is lost for good: the process must not go on as if nothing had happened.
    #[inline]
    pub fn take_back_if_lost(&self) -> Result<bool, Lost> {
        match self {
            Self::Kept(kept) if !kept.verify() => kept.recover().map(|()| true),
            _ => Ok(false),
        }
    }
}

impl From<OwnedFd> for Handle {
    fn from(descriptor: OwnedFd) -> Self {
        Self::Plain(descriptor)
    }
}

impl From<KeptDescriptor> for Handle {
    fn from(kept: KeptDescriptor) -> Self {
        Self::Kept(kept)
    }
}

impl AsFd for Handle {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(descriptor) => descriptor.as_fd(),
            Self::Kept(kept) => kept.as_fd(),
        }
    }
}

impl AsRawFd for Handle {
    #[inline]
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
