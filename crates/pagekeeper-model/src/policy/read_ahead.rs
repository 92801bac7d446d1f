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
            start: u64::MAX,
            end: u64::MAX,
            step: 0,
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
        let clock = self.clock;
        for stream in &mut self.streams {
            let length = stream.end.wrapping_sub(stream.start);
            // Pages behind the window may be present already: the next fault may come up to one window later.
            let upwards = page >= stream.end && page - stream.end < length;
            let downwards = self.directions == Directions::Both
                && page < stream.start
                && stream.start - page <= length;
            if upwards || downwards {
                stream.step = (stream.step + 1).min(WINDOWS.len() - 1);
                return Self::advance(stream, page, downwards, clock, self.longest);
            }
        }
        // A fault inside a window that was just brought in (evicted at once, or another thread's): no news.
        let mut oldest = 0;
        for (at, stream) in self.streams.iter().enumerate() {
            if stream.last_heard < self.streams[oldest].last_heard {
                oldest = at;
            }
        }
        let stream = &mut self.streams[oldest];
        stream.step = 0;
        Self::advance(stream, page, false, clock, self.longest)
    }

    fn advance(
        stream: &mut Stream,
        page: u64,
        downwards: bool,
        clock: u64,
        longest: u64,
    ) -> Window {
        let length = WINDOWS[stream.step].min(longest);
        if downwards {
            stream.end = page + 1;
            stream.start = stream.end.saturating_sub(length);
        } else {
            stream.start = page;
            stream.end = page.saturating_add(length);
        }
        stream.last_heard = clock;
        let (start, end) = (PageNumber::new(stream.start), PageNumber::new(stream.end));
        Window {
            range: PageRange::between(start, end),
            downwards,
        }
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
