//! Advice about many ranges in one call.
//!
//! [`Batched`] hands the kernel an array of ranges (`process_madvise` on the own process, for every
//! advice since 6.13, addressed without a descriptor since 6.14, so that a forked child can never
//! reach its parent's memory with it). [`OneByOne`] is its twin for everything older.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: some advice throws contents away; the caller owns the ranges"
)]

use core::fmt::Debug;

use linux_raw_sys::general::__NR_process_madvise;
use pagekeeper_units::{PageCount, PageNumber, PageRange};

use crate::map::{Access, Advice, Treatment, advise, byte_length, reserve};
use crate::probe::{Feature, Features};
use crate::{Errno, raw};

/// The own thread, as a descriptor number that needs no descriptor (`PIDFD_SELF_THREAD`).
const SELF: isize = -10000;

/// Ranges that the kernel takes in one call (`UIO_MAXIOV`).
const MOST: usize = 1024;

/// A range, laid out as the kernel wants it (`struct iovec`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct AdviceRange {
    address: usize,
    length: usize,
}

impl AdviceRange {
    /// The pages of `range`.
    #[inline]
    pub fn new(range: PageRange) -> Self {
        Self {
            address: range.address() as usize,
            length: byte_length(range),
        }
    }

    /// The pages again.
    #[inline]
    pub fn range(self) -> PageRange {
        let start = PageNumber::containing(self.address as u64);
        PageRange::new(start, PageCount::holding(self.length as u64))
    }
}

/// How far a batch came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[must_use]
pub struct BatchProgress {
    /// Whole ranges done from the start of the array.
    pub done_ranges: usize,
    /// Why it stopped there; part of that range may be done.
    pub error: Option<Errno>,
}

/// Gives one piece of advice about many ranges.
pub trait BatchAdvise: Send + Sync + Debug {
    /// Gives the kernel `advice` about each of `ranges`, in order, until one fails.
    ///
    /// # Safety
    /// As for [`advise`], for every range.
    unsafe fn advise_all(&self, ranges: &[AdviceRange], advice: Advice) -> BatchProgress;

    /// What it is, for people.
    fn name(&self) -> &'static str;
}

/// The best that this kernel has.
pub fn batch_advice(features: &Features) -> &'static dyn BatchAdvise {
    if features.has(Feature::ProcessMadvise) {
        &Batched(())
    } else {
        &OneByOne
    }
}

/// One system call for up to 1,024 ranges.
#[derive(Debug, Clone, Copy)]
pub struct Batched(());

impl Batched {
    /// Finds out, by discarding two pages of its own, whether the kernel can.
    ///
    /// # Errors
    /// `EINVAL` or `EBADF` on older kernels, `ENOSYS` or `EPERM` under a filter; `EIO` when the call
    /// claims success and did nothing.
    pub fn probe() -> Result<Self, Errno> {
        let memory = reserve(
            PageCount::new(3),
            Access::READ_WRITE,
            Treatment::NO_HUGE_PAGES,
        )?;
        let page = |index: usize| {
            memory
                .base()
                .wrapping_add(index * pagekeeper_units::PAGE_SIZE)
        };
        // SAFETY: The three pages are ours, readable and writable.
        unsafe {
            for index in 0..3 {
                page(index).write_volatile(1);
            }
            let ranges = [0, 2]
                .map(|index| AdviceRange::new(PageRange::new(memory.page(index), PageCount::ONE)));
            let progress = Self(()).advise_all(&ranges, Advice::Discard);
            if let Some(errno) = progress.error {
                return Err(errno);
            }
            let seen = [0, 1, 2].map(|index| page(index).read_volatile());
            if seen == [0, 1, 0] {
                Ok(Self(()))
            } else {
                Err(Errno::IO)
            }
        }
    }
}

impl BatchAdvise for Batched {
    unsafe fn advise_all(&self, ranges: &[AdviceRange], advice: Advice) -> BatchProgress {
        let mut done = 0;
        while let Some(batch) = ranges.get(done..done + (ranges.len() - done).min(MOST))
            && !batch.is_empty()
        {
            let argument = [
                SELF as usize,
                batch.as_ptr().expose_provenance(),
                batch.len(),
                advice as usize,
                0,
            ];
            // SAFETY: The kernel reads the array; the effect is the caller's duty.
            let result = unsafe { raw::call(__NR_process_madvise, argument) };
            let mut bytes = match result {
                Ok(0) => {
                    return BatchProgress {
                        done_ranges: done,
                        error: Some(Errno::AGAIN),
                    };
                }
                Ok(bytes) => bytes,
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    return BatchProgress {
                        done_ranges: done,
                        error: Some(errno),
                    };
                }
            };
            // The kernel counts bytes. A range done in part is done again from its start, which all
            // advice allows.
            let before = done;
            for range in batch {
                if bytes < range.length {
                    break;
                }
                bytes -= range.length;
                done += 1;
            }
            if done == before {
                // SAFETY: As above; the single call gives the reason, or does it.
                match unsafe { advise(batch[0].range(), advice) } {
                    Ok(()) => done += 1,
                    Err(errno) => {
                        return BatchProgress {
                            done_ranges: done,
                            error: Some(errno),
                        };
                    }
                }
            }
        }
        BatchProgress {
            done_ranges: done,
            error: None,
        }
    }

    fn name(&self) -> &'static str {
        "process_madvise"
    }
}

/// One system call a range.
#[derive(Debug, Clone, Copy, Default)]
pub struct OneByOne;

impl BatchAdvise for OneByOne {
    unsafe fn advise_all(&self, ranges: &[AdviceRange], advice: Advice) -> BatchProgress {
        for (index, range) in ranges.iter().enumerate() {
            // SAFETY: The caller's duty.
            if let Err(errno) = unsafe { advise(range.range(), advice) } {
                return BatchProgress {
                    done_ranges: index,
                    error: Some(errno),
                };
            }
        }
        BatchProgress {
            done_ranges: ranges.len(),
            error: None,
        }
    }

    fn name(&self) -> &'static str {
        "madvise"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both twins do the same to the same ranges.
    fn discards_what_it_is_told(advice: &dyn BatchAdvise) {
        let count = 2 * MOST as u64 + 7;
        let pages = PageCount::new(2 * count);
        let memory = reserve(pages, Access::READ_WRITE, Treatment::NO_HUGE_PAGES).unwrap();
        let byte = |index: u64| memory.base().wrapping_add(index as usize * 4096);
        // SAFETY: Inside the mapping.
        unsafe {
            (0..2 * count).for_each(|index| byte(index).write_volatile(7));
            let even: Vec<_> = (0..count)
                .map(|index| {
                    AdviceRange::new(PageRange::new(memory.page(2 * index), PageCount::ONE))
                })
                .collect();
            let progress = advice.advise_all(&even, Advice::Discard);
            assert_eq!(progress.error, None);
            assert_eq!(progress.done_ranges, even.len());
            for index in 0..2 * count {
                let wanted = if index % 2 == 0 { 0 } else { 7 };
                assert_eq!(byte(index).read_volatile(), wanted, "page {index}");
            }
        }
    }

    #[test]
    fn one_by_one_discards() {
        discards_what_it_is_told(&OneByOne);
    }

    #[test]
    fn a_batch_discards() {
        match Batched::probe() {
            Ok(batched) => discards_what_it_is_told(&batched),
            Err(errno) => println!("skipped, because process_madvise on oneself gives {errno}"),
        }
    }

    #[test]
    fn a_hole_stops_both_at_the_same_range() {
        let twins: [Option<Box<dyn BatchAdvise>>; 2] = [
            Some(Box::new(OneByOne)),
            Batched::probe().ok().map(|batched| Box::new(batched) as _),
        ];
        for advice in twins.into_iter().flatten() {
            let treatment = Treatment::empty();
            let memory = reserve(PageCount::new(4), Access::READ_WRITE, treatment).unwrap();
            let good = PageRange::new(memory.page(0), PageCount::new(2));
            // Far from where the kernel places anything.
            let hole = PageRange::new(PageNumber::new(1 << 30), PageCount::ONE);
            let ranges = [AdviceRange::new(good), AdviceRange::new(hole)];
            // SAFETY: Ours, but for the hole, where nothing is.
            let progress = unsafe { advice.advise_all(&ranges, Advice::Discard) };
            assert_eq!(progress.done_ranges, 1, "{}", advice.name());
            assert_eq!(progress.error, Some(Errno::NOMEM), "{}", advice.name());
        }
    }
}
