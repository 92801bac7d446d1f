//! At most three runs, held in place: a committed stretch with a reserved one on each side.

use core::num::NonZeroU8;

/// Runs that fit.
pub(super) const FEW: usize = 3;

/// A short list of runs: first page and byte.
#[derive(Clone, Copy)]
pub(super) struct Runs {
    runs: [(u64, u8); FEW + 2],
    count: usize,
}

impl Runs {
    const fn new() -> Self {
        Self {
            runs: [(0, 0); FEW + 2],
            count: 0,
        }
    }

    /// Adds a run behind the others; one that continues the last is swallowed.
    fn push(&mut self, start: u64, state: u8) {
        if self.count > 0 && self.runs[self.count - 1].1 == state {
            return;
        }
        self.runs[self.count] = (start, state);
        self.count += 1;
    }

    pub(super) fn as_slice(&self) -> &[(u64, u8)] {
        &self.runs[..self.count]
    }
}

/// See the module text. The first run begins where the map does, so that only the later starts are kept. The
/// count is never zero, which leaves room to tell this form from the other without a byte of its own.
#[derive(Clone, Copy)]
pub(super) struct Few {
    starts: [u64; FEW - 1],
    states: [u8; FEW],
    count: NonZeroU8,
}

impl Few {
    #[inline]
    pub(super) const fn uniform(state: u8) -> Self {
        Self {
            starts: [0; FEW - 1],
            states: [state; FEW],
            count: NonZeroU8::MIN,
        }
    }

    /// `runs` must hold one to three runs.
    pub(super) fn from_runs(runs: &[(u64, u8)]) -> Self {
        let mut few = Self::uniform(runs[0].1);
        for (at, &(start, state)) in runs.iter().enumerate().skip(1) {
            few.starts[at - 1] = start;
            few.states[at] = state;
        }
        few.count = NonZeroU8::new(runs.len() as u8).unwrap_or(NonZeroU8::MIN);
        few
    }

    #[inline]
    fn later_starts(&self) -> &[u64] {
        &self.starts[..usize::from(self.count.get()) - 1]
    }

    #[inline]
    pub(super) fn run(&self, page: u64, map_end: u64) -> (u8, u64) {
        let starts = self.later_starts();
        let at = starts.iter().take_while(|&&start| start <= page).count();
        (self.states[at], starts.get(at).copied().unwrap_or(map_end))
    }

    /// Sets `from..to`; hands the runs back when they do not fit any more.
    pub(super) fn set(
        &mut self,
        map_start: u64,
        map_end: u64,
        from: u64,
        to: u64,
        state: u8,
    ) -> Result<(), Runs> {
        if self.grow_into_next(from, to, state, map_end) {
            return Ok(());
        }
        let mut runs = Runs::new();
        let mut start = map_start;
        let mut placed = false;
        for at in 0..usize::from(self.count.get()) {
            let end = self.later_starts().get(at).copied().unwrap_or(map_end);
            if start < from {
                runs.push(start, self.states[at]);
            }
            if !placed && end > from {
                runs.push(from, state);
                placed = true;
            }
            if end > to {
                runs.push(start.max(to), self.states[at]);
            }
            start = end;
        }
        if runs.count > FEW {
            return Err(runs);
        }
        *self = Self::from_runs(runs.as_slice());
        Ok(())
    }

    /// The growing array: the last committed run takes a few pages of the run behind it. Only one boundary
    /// moves.
    #[inline]
    fn grow_into_next(&mut self, from: u64, to: u64, state: u8, map_end: u64) -> bool {
        for at in 0..usize::from(self.count.get()) - 1 {
            if self.starts[at] == from && self.states[at] == state {
                let end = self.later_starts().get(at + 1).copied().unwrap_or(map_end);
                if to < end {
                    self.starts[at] = to;
                    return true;
                }
            }
        }
        false
    }
}
