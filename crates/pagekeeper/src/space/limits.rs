//! The working set's limits. Windows: `SetProcessWorkingSetSizeEx`, `GetProcessWorkingSetSizeEx`.
//!
//! Source: windows-memory-behaviour.md 10.2; a hard maximum is the RAM budget (product.md).

use std::sync::atomic::Ordering;

use pagekeeper_model::{WorkingSetChange, WorkingSetLimits};

use super::{Request, Space};
use crate::error::{Error, SettingsError};
use crate::settings;

impl Space {
    /// Minimum and maximum of the working set, each hard or soft. Soft ones only say how much may be locked.
    pub fn working_set_limits(&self) -> WorkingSetLimits {
        *self.shared().core().model.working_set()
    }

    /// Sets the limits, in bytes; flags are `QUOTA_LIMITS_HARDWS_...`. Both sizes `u64::MAX` take every page out of the
    /// working set and change no limit.
    ///
    /// A hard maximum becomes the RAM budget (at least what the engines in use need to work); when it becomes soft
    /// again, the budget from before comes back.
    ///
    /// # Errors
    /// `WorkingSetLimits`, `WorkingSetFlags`; `MaximumReached` of the page files where what is committed would not fit any more.
    pub fn set_working_set_limits(
        &self,
        minimum_bytes: u64,
        maximum_bytes: u64,
        flags: u32,
    ) -> Result<(), Error> {
        let request = Request::new("set the working set's limits", 0, maximum_bytes);
        let shared = self.shared();
        let mut core = shared.enter(request)?;
        let mut limits = *core.model.working_set();
        let available = settings::available_memory().pages();
        let change = limits
            .set(minimum_bytes, maximum_bytes, flags, available)
            .map_err(|refusal| request.refused(refusal))?;
        if change == WorkingSetChange::Trim {
            drop(core);
            self.trim();
            return Ok(());
        }
        let budget = core.ledger.ram();
        let wanted = if limits.has_hard_maximum() {
            limits.maximum()
        } else {
            core.soft_budget.unwrap_or(budget)
        };
        if wanted != budget {
            let granted = match core.ledger.set_ram(wanted) {
                Err(Error::Settings(SettingsError::BudgetTooSmall { least, .. })) => {
                    core.ledger.set_ram(least.pages())?;
                    least.pages()
                }
                other => other.map(|()| wanted)?,
            };
            core.refresh_limit();
            shared.wanted_ram.store(granted.get(), Ordering::Relaxed);
        }
        core.soft_budget = limits
            .has_hard_maximum()
            .then(|| core.soft_budget.unwrap_or(budget));
        *core.model.working_set_mut() = limits;
        Ok(())
    }
}
