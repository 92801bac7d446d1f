//! How many pages come in at one fault: one at random, up to 1 MiB in sequence.
//!
//! A few streams are followed at once, because several threads scan at once. A fault where a stream was expected to go
//! on enlarges its window (4 KiB, 64 KiB, 1 MiB); any other fault begins a stream of one page and takes the place of
//! the one that was not heard of for longest.

use pagekeeper_units::{PageCount, PageNumber, PageRange};

/// Streams followed at once.
const STREAMS: usize = 8;
/// The window after one, two, three and more faults in sequence, in pages.
const WINDOWS: [u64; 3] = [1, 16, 256];

/// Which way a stream may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directions {
    /// Only towards higher addresses.
    Up,
    /// Either way.
    Both,
}

/// The pages that a fault should bring in; the page that faulted is the first of them when the stream goes up, the
/// last when it goes down. The caller clips it to what is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The pages.
    pub range: PageRange,
    /// Whether the stream goes towards lower addresses.
    pub downwards: bool,
}

#[derive(Clone, Copy)]
struct Stream {
    /// First page of the last window.
    start: u64,
    /// The page behind it.
    end: u64,
    /// Index into [`WINDOWS`].
    step: usize,
    downwards: bool,
    last_heard: u64,
}

/// See the module text. Holds no heap memory.
pub struct ReadAhead {
    streams: [Stream; STREAMS],
    directions: Directions,
    longest: u64,
    clock: u64,
}

impl ReadAhead {
    /// Follows streams in the given directions, with windows of at most `longest` pages (at least 1).
    pub const fn new(directions: Directions, longest: PageCount) -> Self {
        let unheard = Stream {
            start: 0,
            end: 0,
            step: 0,
            downwards: false,
            last_heard: 0,
        };
        let longest = if longest.is_zero() { 1 } else { longest.get() };
        Self {
            streams: [unheard; STREAMS],
            directions,
            longest,
            clock: 0,
        }
    }

    /// Sets the largest window, for instance when the budget changes.
    pub fn set_longest(&mut self, longest: PageCount) {
        self.longest = longest.get().max(1);
    }

    /// A fault at `page`: what to bring in.
    pub fn fault(&mut self, page: PageNumber) -> Window {
        self.clock += 1;
        let page = page.get();
        let mut oldest = 0;
        let mut oldest_heard = u64::MAX;
        let mut goes_on = None;
        for (at, stream) in self.streams.iter().enumerate() {
            if let Some(news) = stream.news(page, self.directions) {
                goes_on = Some((at, news));
                break;
            }
            if stream.last_heard < oldest_heard {
                (oldest, oldest_heard) = (at, stream.last_heard);
            }
        }
        let (at, news) = goes_on.unwrap_or((oldest, News::Begins));
        let Some(stream) = self.streams.get_mut(at) else {
            return Window {
                range: PageRange::new(PageNumber::new(page), PageCount::ONE),
                downwards: false,
            };
        };
        stream.last_heard = self.clock;
        stream.advance(page, news, self.longest)
    }
}

/// What a fault says about a stream.
#[derive(Clone, Copy)]
enum News {
    /// It begins here.
    Begins,
    /// It went on behind its window: more at once from now on.
    GoesOn { downwards: bool },
    /// It went on inside its window, of which the caller brought in only a part: as much as before.
    GoesOnInside,
    /// The page that faulted last faulted again (another thread, or taken away at once).
    Again,
}

impl Stream {
    fn news(&self, page: u64, directions: Directions) -> Option<News> {
        let length = self.end.wrapping_sub(self.start);
        let last = if self.downwards {
            self.end.wrapping_sub(1)
        } else {
            self.start
        };
        if length == 0 {
            None
        } else if page == last {
            Some(News::Again)
        } else if page >= self.start && page < self.end {
            Some(News::GoesOnInside)
        } else if page >= self.end && page - self.end < length {
            // Pages behind the window may be present already: the next fault may come up to one window later.
            Some(News::GoesOn { downwards: false })
        } else if directions == Directions::Both && page < self.start && self.start - page <= length
        {
            Some(News::GoesOn { downwards: true })
        } else {
            None
        }
    }

    fn advance(&mut self, page: u64, news: News, longest: u64) -> Window {
        match news {
            News::Begins => (self.step, self.downwards) = (0, false),
            News::GoesOn { downwards } => {
                self.step = (self.step + 1).min(WINDOWS.len() - 1);
                self.downwards = downwards;
            }
            News::GoesOnInside => {}
            News::Again => return self.window(page, 1).1,
        }
        let length = WINDOWS.get(self.step).copied().unwrap_or(1).min(longest);
        let ((start, end), window) = self.window(page, length);
        (self.start, self.end) = (start, end);
        window
    }

    /// The window of `length` pages that `page` begins in the stream's direction.
    fn window(&self, page: u64, length: u64) -> ((u64, u64), Window) {
        let (start, end) = if self.downwards {
            ((page + 1).saturating_sub(length), page + 1)
        } else {
            (page, page.saturating_add(length))
        };
        let range = PageRange::between(PageNumber::new(start), PageNumber::new(end));
        (
            (start, end),
            Window {
                range,
                downwards: self.downwards,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(read_ahead: &mut ReadAhead, pages: &[u64]) -> Vec<u64> {
        pages
            .iter()
            .map(|&p| read_ahead.fault(PageNumber::new(p)).range.count().get())
            .collect()
    }

    #[test]
    fn sequence_grows_and_random_does_not() {
        let mut read_ahead = ReadAhead::new(Directions::Up, PageCount::new(256));
        assert_eq!(
            sizes(&mut read_ahead, &[100, 101, 117, 373, 629]),
            [1, 16, 256, 256, 256]
        );
        assert_eq!(
            sizes(&mut read_ahead, &[9000, 7000, 5000, 9500]),
            [1, 1, 1, 1]
        );
    }

    /// The caller stops at an extent's end, so that the next fault comes inside the window that was asked for.
    #[test]
    fn a_window_that_was_cut_short_does_not_end_the_stream() {
        let mut read_ahead = ReadAhead::new(Directions::Both, PageCount::new(256));
        assert_eq!(
            sizes(&mut read_ahead, &[100, 101, 117, 181, 245]),
            [1, 16, 256, 256, 256]
        );
        assert_eq!(
            sizes(&mut read_ahead, &[245]),
            [1],
            "the same page again is no progress"
        );
        assert_eq!(sizes(&mut read_ahead, &[309, 565]), [256, 256]);
        let mut down = ReadAhead::new(Directions::Both, PageCount::new(256));
        assert_eq!(
            sizes(&mut down, &[9000, 8999, 8983, 8900]),
            [1, 16, 256, 256]
        );
        assert!(down.fault(PageNumber::new(8800)).downwards);
    }

    #[test]
    fn streams_do_not_disturb_each_other() {
        let mut read_ahead = ReadAhead::new(Directions::Up, PageCount::new(256));
        let mut next = [10_000u64, 20_000, 30_000, 40_000];
        for round in 0..4 {
            for page in &mut next {
                let window = read_ahead.fault(PageNumber::new(*page)).range;
                assert_eq!(window.count().get(), [1, 16, 256, 256][round]);
                *page = window.end().get();
            }
        }
    }

    #[test]
    fn downwards_only_where_asked() {
        let mut up = ReadAhead::new(Directions::Up, PageCount::new(256));
        assert_eq!(sizes(&mut up, &[1000, 999, 998]), [1, 1, 1]);
        let mut both = ReadAhead::new(Directions::Both, PageCount::new(256));
        assert_eq!(both.fault(PageNumber::new(1000)).range.count().get(), 1);
        let window = both.fault(PageNumber::new(999));
        assert!(window.downwards);
        assert_eq!(
            window.range,
            PageRange::new(PageNumber::new(984), PageCount::new(16))
        );
        // At the bottom of the address space the window is cut short.
        assert_eq!(sizes(&mut both, &[3, 2]), [1, 3]);
    }

    #[test]
    fn a_small_budget_shortens_the_window() {
        let mut read_ahead = ReadAhead::new(Directions::Up, PageCount::new(256));
        read_ahead.set_longest(PageCount::new(8));
        assert_eq!(sizes(&mut read_ahead, &[100, 101, 109]), [1, 8, 8]);
        read_ahead.set_longest(PageCount::ZERO);
        assert_eq!(sizes(&mut read_ahead, &[117, 118]), [1, 1]);
    }
}
