//! Which pages of a process are in memory, as far as the kernel says it.

use super::kernel_view::Pages;

/// What says which pages are in memory. Opened for the first look at regions: a list of all processes needs none, and a
/// descriptor for each would be more than a process may have.
#[derive(Debug)]
pub(super) enum PageMap {
    Unopened,
    Open(Pages),
    /// The kernel does not say it.
    Refused,
}

impl PageMap {
    /// Opens it, if that was not tried before.
    pub(super) fn open(&mut self, pid: u32) {
        if matches!(self, Self::Unopened) {
            *self = Pages::of(pid).map_or(Self::Refused, Self::Open);
        }
    }

    pub(super) const fn get(&self) -> Option<&Pages> {
        match self {
            Self::Open(pages) => Some(pages),
            Self::Unopened | Self::Refused => None,
        }
    }
}
