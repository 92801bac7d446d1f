//! Buffers in copy-on-write views that a system call fills.
//!
//! While pages of such a view leave, nobody may write to them ([`trim`](super::trim), [`move_out`](super::move_out)). An
//! instruction that does faults and waits. The kernel does not wait: the call fails with `EFAULT` or ends short, and a datagram is lost. So
//! the wrappers of `kernel_touch` ask here, and let the kernel fill a bounce buffer; what they copy they copy by instructions.
//!
//! Asked before every wrapped call that fills something: the first answer is two loads ([`may_be`]). The second takes the book, and
//! allocates nothing, since it may be asked in a signal handler. A thread that is inside of a space, or a handler that
//! interrupted one there, is told that all is well: it may have the book itself.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pagekeeper_sys::map::Access;
use pagekeeper_units::{PageCount, PageRange};

use super::Core;
use super::book::Book;
use crate::inside::{self, Inside};

/// Every engine of views in the process.
static ENGINES: Mutex<Vec<Weak<Core>>> = Mutex::new(Vec::new());
/// From the first page that was ever copied on write to the last.
static SPAN: Span = Span::new();

/// A span of pages that only grows.
struct Span {
    start: AtomicU64,
    /// 0: there are none.
    end: AtomicU64,
}

impl Span {
    const fn new() -> Self {
        Self {
            start: AtomicU64::new(u64::MAX),
            end: AtomicU64::new(0),
        }
    }

    fn is_empty(&self) -> bool {
        self.end.load(Ordering::Relaxed) == 0
    }

    fn add(&self, pages: PageRange) {
        self.start.fetch_min(pages.start().get(), Ordering::Relaxed);
        self.end.fetch_max(pages.end().get(), Ordering::Relaxed);
    }

    fn touches(&self, range: PageRange) -> bool {
        range.start().get() < self.end.load(Ordering::Relaxed)
            && range.end().get() > self.start.load(Ordering::Relaxed)
    }

    fn clear(&self) {
        self.start.store(u64::MAX, Ordering::Relaxed);
        self.end.store(0, Ordering::Relaxed);
    }
}

/// What is known of the first pages of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// So many pages, at least one, are not copied on write: the kernel can be trusted with them.
    Elsewhere(PageCount),
    /// So many are, and may be written.
    Copied(PageCount),
    /// The first is, and may not be written.
    Forbidden,
}

fn engines() -> MutexGuard<'static, Vec<Weak<Core>>> {
    ENGINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the list as it is across a fork, so that the child finds its lock free.
pub(crate) fn hold() -> impl Sized {
    let inside = Inside::enter();
    (engines(), inside)
}

/// In a forked child: the parent's views are not here.
pub(crate) fn forget_all() {
    SPAN.clear();
    if let Ok(mut engines) = ENGINES.try_lock() {
        engines.clear();
    }
}

/// Enters an engine.
pub(super) fn enter(core: &Arc<Core>) {
    let _inside = Inside::enter();
    let mut engines = engines();
    engines.retain(|engine| engine.strong_count() > 0);
    engines.push(Arc::downgrade(core));
}

/// Pages are about to be copied on write.
pub(super) fn note(pages: PageRange) {
    SPAN.add(pages);
}

/// Whether there may be any such page in the process.
#[inline]
pub(crate) fn any() -> bool {
    !SPAN.is_empty()
}

/// Whether pages of `range` may be such ones. Whoever has an address in a view got it after [`note`] was called.
#[inline]
pub(crate) fn may_be(range: PageRange) -> bool {
    SPAN.touches(range)
}

/// Looks at the first pages of `range`, which is not empty.
pub(crate) fn first_stretch(range: PageRange) -> Stretch {
    if !may_be(range) || inside::is_inside() {
        return Stretch::Elsewhere(range.count());
    }
    let _inside = Inside::enter();
    let mut elsewhere = range.count();
    for core in engines().iter().filter_map(Weak::upgrade) {
        match core.book().first_stretch(range) {
            Stretch::Elsewhere(count) => elsewhere = elsewhere.min(count),
            known => return known,
        }
    }
    Stretch::Elsewhere(elsewhere)
}

/// The stretches of `range`, one after the other.
pub(crate) fn stretches(range: PageRange) -> impl Iterator<Item = Stretch> {
    let mut from = range.start();
    core::iter::from_fn(move || {
        let rest = PageRange::between(from, range.end());
        if rest.is_empty() {
            return None;
        }
        let stretch = first_stretch(rest);
        from = from.plus(match stretch {
            Stretch::Elsewhere(count) | Stretch::Copied(count) => count,
            Stretch::Forbidden => PageCount::ONE,
        });
        Some(stretch)
    })
}

impl Book {
    fn first_stretch(&self, range: PageRange) -> Stretch {
        let Some(view) = self.at(range.start()) else {
            let next = self.views.range(range.start()..range.end()).next();
            let end = next.map_or(range.end(), |(start, _)| *start);
            return Stretch::Elsewhere(end.since(range.start()));
        };
        let run = view.modes.first(range.intersection(view.range));
        match run {
            Some((run, mode)) if !mode.is_private => Stretch::Elsewhere(run.count()),
            Some((run, mode)) if mode.access().contains(Access::WRITE) => {
                Stretch::Copied(run.count())
            }
            Some(_) => Stretch::Forbidden,
            None => Stretch::Elsewhere(PageCount::ONE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pagekeeper_units::PageNumber;

    #[test]
    fn a_span_holds_what_was_added_and_nothing_below_or_above() {
        let pages = |from, to| PageRange::between(PageNumber::new(from), PageNumber::new(to));
        let span = Span::new();
        assert!(span.is_empty() && !span.touches(pages(0, 1 << 40)));
        span.add(pages(100, 110));
        span.add(pages(300, 310));
        assert!(!span.is_empty());
        for (range, expected) in [
            (pages(1, 100), false),
            (pages(1, 101), true),
            (pages(200, 201), true),
            (pages(309, 400), true),
            (pages(310, 400), false),
        ] {
            assert_eq!(span.touches(range), expected, "{range:?}");
        }
        span.clear();
        assert!(span.is_empty() && !span.touches(pages(100, 110)));
    }
}
