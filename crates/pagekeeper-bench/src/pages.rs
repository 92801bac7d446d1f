//! The memory under test, as pages of known contents: filling, reading, updating and checking them.
#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is measured"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use pagekeeper_units::PAGE_SIZE;

use crate::content::{COUNTER, Content, WORDS, weight};

/// Pages from a base address on.
pub(crate) struct Pages<'a> {
    base: *mut u8,
    count: u64,
    content: &'a Content,
}

// SAFETY: 1. Threads share it for `read` and `update` only, which use atomic accesses. 2. `fill`, `sum` and `check` need
// the exclusive borrow.
unsafe impl Sync for Pages<'_> {}

/// What checking found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Check {
    /// Words that are not what was written.
    pub(crate) wrong_words: u64,
    /// The counters of all pages, weighted; to be compared with what the updaters added up.
    pub(crate) updates: u64,
}

impl<'a> Pages<'a> {
    /// # Safety
    /// `count` pages from `base` on must be readable and writable, aligned to pages, and nobody else's, for as long as
    /// this lives.
    pub(crate) unsafe fn new(base: *mut u8, count: u64, content: &'a Content) -> Self {
        Self {
            base,
            count,
            content,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Writes every page, upwards.
    pub(crate) fn fill(&mut self) {
        for page in 0..self.count {
            let content = self.content;
            content.fill(page, self.words_mut(page));
        }
    }

    /// Reads every word of every page, upwards.
    pub(crate) fn sum(&mut self) -> u64 {
        let mut sum = 0_u64;
        for page in 0..self.count {
            for &word in self.words_mut(page).iter() {
                sum = sum.wrapping_add(word);
            }
        }
        sum
    }

    /// Compares every word of every page.
    pub(crate) fn check(&mut self) -> Check {
        let mut expected = [0_u64; WORDS];
        let mut found = Check::default();
        for page in 0..self.count {
            self.content.fill(page, &mut expected);
            let words = self.words_mut(page);
            let counter = words[COUNTER];
            expected[COUNTER] = counter;
            if *words != expected {
                let pairs = words.iter().zip(&expected);
                found.wrong_words += pairs.filter(|(word, wanted)| word != wanted).count() as u64;
            }
            found.updates = found
                .updates
                .wrapping_add(counter.wrapping_mul(weight(page)));
        }
        found
    }

    /// Reads one word of a page; whether it is what was written.
    #[inline]
    pub(crate) fn read(&self, page: u64, word: usize) -> bool {
        // The counter changes; its neighbour does not.
        let word = if word == COUNTER { COUNTER + 1 } else { word };
        self.atomic(page, word).load(Ordering::Relaxed) == self.content.word(page, word)
    }

    /// Adds one to the counter of a page.
    #[inline]
    pub(crate) fn update(&self, page: u64) {
        self.atomic(page, COUNTER).fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    fn atomic(&self, page: u64, word: usize) -> &AtomicU64 {
        assert!(page < self.count && word < WORDS);
        // SAFETY: 1. Inside the pages, see `new`. 2. Aligned, as pages are. 3. All shared accesses are atomic.
        unsafe {
            AtomicU64::from_ptr(
                self.base
                    .add(page as usize * PAGE_SIZE)
                    .cast::<u64>()
                    .add(word),
            )
        }
    }

    #[inline]
    fn words_mut(&mut self, page: u64) -> &mut [u64; WORDS] {
        assert!(page < self.count);
        // SAFETY: 1. Inside the pages, see `new`. 2. The exclusive borrow keeps others away.
        unsafe {
            &mut *self
                .base
                .add(page as usize * PAGE_SIZE)
                .cast::<[u64; WORDS]>()
        }
    }
}

/// Single words anywhere in memory, for measurements that need no contents.
pub(crate) struct Words {
    base: *mut u64,
    count: u64,
}

// SAFETY: threads that share it can only load; storing needs the exclusive borrow.
unsafe impl Sync for Words {}

impl Words {
    /// # Safety
    /// `count` words from `base` on must be readable and writable, and nobody else's, for as long as this lives.
    pub(crate) unsafe fn new(base: *mut u8, count: u64) -> Self {
        Self {
            base: base.cast(),
            count,
        }
    }

    /// Loads a word; really, whoever ignores the result.
    #[inline]
    pub(crate) fn load(&self, index: u64) -> u64 {
        assert!(index < self.count);
        // SAFETY: inside, see `new`.
        unsafe { self.base.add(index as usize).read_volatile() }
    }

    /// Stores a word.
    #[inline]
    pub(crate) fn store(&mut self, index: u64, value: u64) {
        assert!(index < self.count);
        // SAFETY: inside, see `new`.
        unsafe { self.base.add(index as usize).write_volatile(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::DataKind;

    const COUNT: u64 = 16;

    fn memory() -> Vec<[u64; WORDS]> {
        vec![[0; WORDS]; COUNT as usize]
    }

    #[test]
    fn what_was_filled_and_updated_is_found() {
        let content = Content::new(DataKind::Compressible, 3);
        let mut memory = memory();
        // SAFETY: the vector's memory, used through `pages` only.
        let mut pages = unsafe { Pages::new(memory.as_mut_ptr().cast(), COUNT, &content) };
        pages.fill();
        assert_eq!(pages.check(), Check::default());
        for _ in 0..3 {
            pages.update(5);
        }
        pages.update(0);
        assert!((0..COUNT).all(|page| (0..WORDS).all(|word| pages.read(page, word))));
        let expected = weight(5).wrapping_mul(3).wrapping_add(weight(0));
        assert_eq!(
            pages.check(),
            Check {
                wrong_words: 0,
                updates: expected
            }
        );
    }

    #[test]
    fn a_changed_word_and_a_lost_update_are_noticed() {
        let content = Content::new(DataKind::Incompressible, 3);
        let mut memory = memory();
        // SAFETY: as above.
        let mut pages = unsafe { Pages::new(memory.as_mut_ptr().cast(), COUNT, &content) };
        pages.fill();
        pages.update(3);
        pages.words_mut(7)[100] ^= 1;
        pages.words_mut(3)[COUNTER] = 0;
        let found = pages.check();
        assert_eq!(found.wrong_words, 1);
        assert_ne!(found.updates, weight(3));
        assert!(!pages.read(7, 100) && pages.read(7, 101));
    }
}
