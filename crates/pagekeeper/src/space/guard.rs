//! The space lock, held.

use std::sync::MutexGuard;

use super::Core;
use crate::inside::Inside;

/// The space lock, held; its thread is inside meanwhile.
pub(crate) struct CoreGuard<'a> {
    core: MutexGuard<'a, Core>,
    _inside: Inside,
}

impl<'a> CoreGuard<'a> {
    pub(super) fn new(core: MutexGuard<'a, Core>, inside: Inside) -> Self {
        Self {
            core,
            _inside: inside,
        }
    }
}

impl core::ops::Deref for CoreGuard<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl core::ops::DerefMut for CoreGuard<'_> {
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.core
    }
}

impl Core {
    /// The commit limit follows budgets and page files.
    pub(crate) fn refresh_limit(&mut self) {
        let limit = self.ledger.commit_limit();
        self.model.commit_account_mut().set_limit(limit);
    }

    /// The commit limit follows a disk that fails or recovers.
    pub(crate) fn follow_files(&mut self) {
        if self.ledger.follow_files() {
            self.refresh_limit();
        }
    }
}
