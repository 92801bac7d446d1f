//! What each page of a view is to the kernel: runs of pages with one mode.

use std::collections::BTreeMap;

use pagekeeper_model::{BaseProtection, Protection};
use pagekeeper_sys::map::Access;
use pagekeeper_units::{PageNumber, PageRange};

/// How a page of a view is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    /// `None`: reserved, nobody has committed it in the section yet.
    pub(super) protection: Option<Protection>,
    /// Mapped private: the first write copies it.
    pub(super) is_private: bool,
    /// Locked in memory by the program.
    pub(super) is_locked: bool,
}

impl Mode {
    /// Whether what is written to the pages goes to the file.
    pub(super) fn writes_to_file(self) -> bool {
        !self.is_private && self.wants_shared_writes()
    }

    /// What the processor may do.
    pub(super) fn access(self) -> Access {
        let Some(protection) = self.protection.filter(|it| !it.is_guard()) else {
            return Access::NONE;
        };
        match protection.base() {
            BaseProtection::NoAccess => Access::NONE,
            BaseProtection::ReadOnly => Access::READ,
            BaseProtection::ReadWrite | BaseProtection::WriteCopy => Access::READ_WRITE,
            BaseProtection::Execute | BaseProtection::ExecuteRead => Access::READ | Access::EXECUTE,
            BaseProtection::ExecuteReadWrite | BaseProtection::ExecuteWriteCopy => {
                Access::READ_WRITE | Access::EXECUTE
            }
        }
    }

    /// The mode of a page under a new protection. A page that was told to be copied stays private, and shared writing is
    /// asked of no image; where it is asked of a page that is private, whether it was copied decides.
    pub(super) fn under(self, protection: Option<Protection>) -> Self {
        let copies = protection.is_some_and(Protection::is_write_copy);
        Self {
            protection,
            is_private: self.is_private || copies,
            is_locked: self.is_locked,
        }
    }

    /// Whether writes are to reach all that share the page.
    pub(super) fn wants_shared_writes(self) -> bool {
        self.protection.is_some_and(|protection| {
            matches!(
                protection.base(),
                BaseProtection::ReadWrite | BaseProtection::ExecuteReadWrite
            )
        })
    }
}

/// Runs that cover a range without gaps: first page → the page behind the last, and the mode.
#[derive(Debug, Default)]
pub(super) struct Modes {
    runs: BTreeMap<PageNumber, (PageNumber, Mode)>,
}

impl Modes {
    pub(super) fn uniform(range: PageRange, mode: Mode) -> Self {
        Self {
            runs: BTreeMap::from([(range.start(), (range.end(), mode))]),
        }
    }

    /// The runs inside `range`, clipped to it, upwards.
    pub(super) fn inside(&self, range: PageRange) -> Vec<(PageRange, Mode)> {
        let below = self.runs.range(..range.start()).next_back();
        below
            .into_iter()
            .chain(self.runs.range(range.start()..range.end()))
            .map(|(start, (end, mode))| {
                (PageRange::between(*start, *end).intersection(range), *mode)
            })
            .filter(|(part, _)| !part.is_empty())
            .collect()
    }

    /// The first run inside `range`, clipped to it. Allocates nothing.
    pub(super) fn first(&self, range: PageRange) -> Option<(PageRange, Mode)> {
        let (start, (end, mode)) = self.runs.range(..=range.start()).next_back()?;
        let part = PageRange::between(*start, *end).intersection(range);
        (!part.is_empty()).then_some((part, *mode))
    }

    #[cfg(test)]
    fn at(&self, page: PageNumber) -> Option<Mode> {
        let (_, (end, mode)) = self.runs.range(..=page).next_back()?;
        (page < *end).then_some(*mode)
    }

    /// Gives all of `range`, which lies inside of what is covered, one mode.
    pub(super) fn set(&mut self, range: PageRange, mode: Mode) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start(), range.end());
        while let Some((&from, &(to, old))) = self.runs.range(..end).next_back() {
            if to < start || (to == start && old != mode) {
                break;
            }
            self.runs.remove(&from);
            if old == mode {
                start = start.min(from);
                end = end.max(to);
            } else {
                if to > range.end() {
                    self.runs.insert(range.end(), (to, old));
                }
                if from < range.start() {
                    self.runs.insert(from, (range.start(), old));
                    break;
                }
            }
        }
        if let Some(&(to, above)) = self.runs.get(&end)
            && above == mode
        {
            self.runs.remove(&end);
            end = to;
        }
        self.runs.insert(start, (end, mode));
    }

    /// Bytes that the record takes, about.
    pub(super) fn record_bytes(&self) -> usize {
        self.runs.len() * 48
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pagekeeper_units::PageCount;

    fn mode(protection: Protection) -> Mode {
        Mode {
            protection: Some(protection),
            is_private: false,
            is_locked: false,
        }
    }

    fn range(from: u64, to: u64) -> PageRange {
        PageRange::between(PageNumber::new(from), PageNumber::new(to))
    }

    #[test]
    fn runs_split_and_join_like_a_table_of_pages() {
        let kinds = [
            mode(Protection::READ_ONLY),
            mode(Protection::READ_WRITE),
            mode(Protection::NO_ACCESS),
        ];
        let mut modes = Modes::uniform(range(100, 164), kinds[0]);
        let mut table = [kinds[0]; 64];
        let mut seed = 0x9E37_79B9_u64;
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let from = seed % 64;
            let to = (from + 1 + (seed >> 8) % 16).min(64);
            let kind = kinds[(seed >> 16) as usize % 3];
            modes.set(range(100 + from, 100 + to), kind);
            table[from as usize..to as usize].fill(kind);
            for (at, expected) in table.iter().enumerate() {
                assert_eq!(modes.at(PageNumber::new(100 + at as u64)), Some(*expected));
            }
            let runs = modes.inside(range(100, 164));
            for (at, _) in table.iter().enumerate() {
                let rest = range(100 + at as u64, 164);
                assert_eq!(modes.first(rest), modes.inside(rest).first().copied());
            }
            let pages: PageCount = runs.iter().map(|(part, _)| part.count()).sum();
            assert_eq!(pages, PageCount::new(64));
            assert!(runs.windows(2).all(|two| two[0].1 != two[1].1), "joined");
        }
    }
}
