//! Patterns: in which order pages are touched.

use serde::{Deserialize, Serialize};

use crate::contender::Use;
use crate::random::Random;
use crate::zipf::Zipf;

/// A pattern.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Pattern {
    /// Every page as likely as any other.
    Uniform,
    /// Zipf's distribution with exponent 0.99, hot pages scattered.
    Zipf,
    /// One page after the other, from the start again at the end; each thread in a part of its own.
    Sequential,
    /// Three accesses of four uniform in a hot set of half the RAM, the fourth a step of a scan of the rest.
    HotScan,
}

impl Pattern {
    pub(crate) const ALL: [Self; 4] = [Self::Uniform, Self::Zipf, Self::Sequential, Self::HotScan];

    /// The name that `--only` looks for.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
            Self::Sequential => "sequential",
            Self::HotScan => "hot-scan",
        }
    }

    /// One sentence for the documentation.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Uniform => "each access to a page drawn uniformly from all pages",
            Self::Zipf => {
                "each access to a page drawn from Zipf's distribution with exponent 0.99 over all pages, ranks spread over the address range"
            }
            Self::Sequential => {
                "each access to the next page, from the start again at the end, each thread in a part of its own"
            }
            Self::HotScan => {
                "three of four accesses to a page drawn uniformly from a hot set half as large as the RAM, the fourth to the next page of a scan of the rest"
            }
        }
    }

    /// What the kernel is told about it.
    pub(crate) const fn advice(self) -> Use {
        match self {
            Self::Sequential => Use::Sequential,
            _ => Use::Random,
        }
    }
}

/// Whether pages are only looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// One word of the page is read and compared.
    Read,
    /// One word of the page is increased.
    Update,
}

impl Mode {
    pub(crate) const ALL: [Self; 2] = [Self::Read, Self::Update];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
        }
    }
}

/// Draws the pages for one thread.
pub(crate) struct Chooser<'a> {
    pattern: Pattern,
    pages: u64,
    hot: u64,
    zipf: &'a Zipf,
    /// This thread's part of the pages, and the next of them, for scans.
    part: std::ops::Range<u64>,
    next: u64,
    step: u64,
}

impl<'a> Chooser<'a> {
    /// For thread `thread` of `threads`. `hot` pages are the hot set.
    pub(crate) fn new(
        pattern: Pattern,
        pages: u64,
        hot: u64,
        zipf: &'a Zipf,
        (thread, threads): (u64, u64),
    ) -> Self {
        let hot = hot.clamp(1, pages.saturating_sub(1).max(1));
        let first = if pattern == Pattern::HotScan {
            hot.min(pages - 1)
        } else {
            0
        };
        let width = pages - first;
        let start = first + width * thread / threads;
        let end = (first + width * (thread + 1) / threads).max(start + 1);
        Self {
            pattern,
            pages,
            hot,
            zipf,
            part: start..end,
            next: start,
            step: 0,
        }
    }

    #[inline]
    pub(crate) fn next(&mut self, random: &mut Random) -> u64 {
        match self.pattern {
            Pattern::Uniform => random.below(self.pages),
            Pattern::Zipf => self.zipf.place(self.zipf.rank(random.unit())),
            Pattern::Sequential => self.scan(),
            Pattern::HotScan => {
                self.step += 1;
                if self.step.is_multiple_of(4) {
                    self.scan()
                } else {
                    random.below(self.hot)
                }
            }
        }
    }

    #[inline]
    fn scan(&mut self) -> u64 {
        let page = self.next;
        self.next = if page + 1 < self.part.end {
            page + 1
        } else {
            self.part.start
        };
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::test_seed;

    #[test]
    fn pages_stay_inside_with_any_number_of_pages() {
        let mut random = Random::new(test_seed());
        for pages in [1, 2, 3, 5, 64, 1_000] {
            let zipf = Zipf::new(pages);
            for pattern in Pattern::ALL {
                for threads in 1..=3 {
                    for thread in 0..threads {
                        let mut chooser =
                            Chooser::new(pattern, pages, pages / 2, &zipf, (thread, threads));
                        for _ in 0..500 {
                            let page = chooser.next(&mut random);
                            assert!(
                                page < pages,
                                "{pattern:?}, {pages} pages, {thread}/{threads}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn two_threads_scan_all_pages_once() {
        let zipf = Zipf::new(101);
        let mut random = Random::new(1);
        let mut seen = [0; 101];
        for thread in 0..2 {
            let mut chooser = Chooser::new(Pattern::Sequential, 101, 1, &zipf, (thread, 2));
            let part = chooser.part.clone();
            for _ in part {
                seen[chooser.next(&mut random) as usize] += 1;
            }
        }
        assert!(seen.iter().all(|&count| count == 1));
    }

    #[test]
    fn beside_the_hot_set_the_rest_is_scanned() {
        let zipf = Zipf::new(100);
        let mut random = Random::new(test_seed());
        let mut chooser = Chooser::new(Pattern::HotScan, 100, 20, &zipf, (0, 1));
        let mut scanned = Vec::new();
        let mut hot = 0;
        for _ in 0..400 {
            match chooser.next(&mut random) {
                page if page < 20 => hot += 1,
                page => scanned.push(page),
            }
        }
        assert_eq!(hot, 300);
        assert_eq!(&scanned[..80], (20..100).collect::<Vec<_>>());
    }
}
