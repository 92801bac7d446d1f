//! The commit charge: how much of the promised storage is given away.

use pagekeeper_units::PageCount;

use crate::Refusal;

/// Commit charge, limit and peak, in pages (`CommitTotal`, `CommitLimit`, `CommitPeak`).
///
/// A committed page is charged whether it is touched or not; that is what makes commit a promise. The limit
/// (RAM budget plus the page files' maximum sizes) may change while running and may fall below the charge: then
/// nothing is taken away, but nothing more is given until enough was returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitAccount {
    limit: PageCount,
    charged: PageCount,
    peak: PageCount,
}

impl CommitAccount {
    /// An account with nothing charged.
    pub const fn new(limit: PageCount) -> Self {
        Self {
            limit,
            charged: PageCount::ZERO,
            peak: PageCount::ZERO,
        }
    }

    /// The most that may be charged.
    pub const fn limit(&self) -> PageCount {
        self.limit
    }

    /// What is charged now.
    pub const fn charged(&self) -> PageCount {
        self.charged
    }

    /// The most that was ever charged at once. A refused charge does not count.
    pub const fn peak(&self) -> PageCount {
        self.peak
    }

    /// What may still be charged; zero where the limit was lowered below the charge.
    pub const fn available(&self) -> PageCount {
        self.limit.saturating_sub(self.charged)
    }

    /// Sets the limit; it may be below what is charged.
    pub fn set_limit(&mut self, limit: PageCount) {
        self.limit = limit;
    }

    /// Whether `pages` could be charged now.
    ///
    /// # Errors
    /// [`Refusal::CommitmentLimit`]. Charging nothing is never refused.
    #[inline]
    pub const fn check(&self, pages: PageCount) -> Result<(), Refusal> {
        let available = self.available();
        if pages.get() > available.get() {
            Err(Refusal::CommitmentLimit {
                wanted: pages,
                available,
            })
        } else {
            Ok(())
        }
    }

    /// Charges `pages`.
    ///
    /// # Errors
    /// [`Refusal::CommitmentLimit`]; nothing is charged then.
    #[inline]
    pub fn charge(&mut self, pages: PageCount) -> Result<(), Refusal> {
        self.check(pages)?;
        self.charge_unchecked(pages);
        Ok(())
    }

    /// Charges what was promised already (an applied plan), even if the limit fell meanwhile.
    #[inline]
    pub(crate) fn charge_unchecked(&mut self, pages: PageCount) {
        self.charged += pages;
        self.peak = self.peak.max(self.charged);
    }

    /// Returns `pages` of charge.
    ///
    /// # Panics
    /// In debug builds, when more is returned than was charged.
    #[inline]
    pub fn refund(&mut self, pages: PageCount) {
        debug_assert!(
            pages <= self.charged,
            "more commit charge returned than was taken"
        );
        self.charged = self.charged.saturating_sub(pages);
    }
}
