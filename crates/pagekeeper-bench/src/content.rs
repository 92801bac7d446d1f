//! What the pages hold: every word can be computed from its place, so that every page can be checked without a copy.
//!
//! Two kinds of data: *compressible*, a table of 64-byte records of which 8 bytes are random and the rest is text from a
//! small vocabulary, small numbers and zeros; and *incompressible*, random bytes throughout. Word 1 of each page is a
//! counter: an update adds one to it.

use crate::random::{Random, mix};

/// Words of 8 bytes in a page.
pub(crate) const WORDS: usize = 512;
/// The word that updates count in.
pub(crate) const COUNTER: usize = 1;
/// Words in a record of compressible data.
const RECORD: usize = 8;
/// Random words that pages are made of: small enough to stay in the processor's cache.
const POOL: usize = 8 * WORDS;

/// One of the two kinds of data.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DataKind {
    Compressible,
    Incompressible,
}

impl DataKind {
    pub(crate) const ALL: [Self; 2] = [Self::Compressible, Self::Incompressible];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Compressible => "compressible",
            Self::Incompressible => "incompressible",
        }
    }
}

/// The contents of all pages.
pub(crate) struct Content {
    kind: DataKind,
    seed: u64,
    random: Vec<u64>,
    text: Vec<u64>,
}

impl Content {
    pub(crate) fn new(kind: DataKind, seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            kind,
            seed,
            random: (0..POOL).map(|_| random.next()).collect(),
            text: (0..POOL)
                .map(|index| text_word(index, &mut random))
                .collect(),
        }
    }

    /// Word `word` of page `page`, with its counter at nought.
    #[inline]
    pub(crate) fn word(&self, page: u64, word: usize) -> u64 {
        if word == COUNTER {
            return 0;
        }
        let place = self.place(page) + word;
        match self.kind {
            DataKind::Compressible if !word.is_multiple_of(RECORD) => self.text[place % POOL],
            _ => self.random[place % POOL] ^ self.mask(page),
        }
    }

    /// Writes the contents of page `page`.
    #[inline]
    pub(crate) fn fill(&self, page: u64, words: &mut [u64; WORDS]) {
        let start = self.place(page);
        let mask = self.mask(page);
        match self.kind {
            DataKind::Incompressible => {
                for (word, random) in words.iter_mut().zip(&self.random[start..]) {
                    *word = random ^ mask;
                }
            }
            DataKind::Compressible => {
                words.copy_from_slice(&self.text[start..start + WORDS]);
                for (word, random) in words.iter_mut().zip(&self.random[start..]).step_by(RECORD) {
                    *word = random ^ mask;
                }
            }
        }
        words[COUNTER] = 0;
    }

    /// Where in the tables a page begins.
    #[inline]
    fn place(&self, page: u64) -> usize {
        (mix(page ^ self.seed) as usize % (POOL / WORDS)) * WORDS
    }

    /// What makes a page's random words its own.
    #[inline]
    fn mask(&self, page: u64) -> u64 {
        mix(page
            .wrapping_add(self.seed)
            .wrapping_mul(0xD134_2543_DE82_EF95))
    }

    /// How many times smaller lz4 makes these pages, one by one.
    pub(crate) fn lz4_ratio(&self) -> f64 {
        const SAMPLES: u64 = 256;
        let mut page = [0_u64; WORDS];
        let mut packed = 0;
        for number in 0..SAMPLES {
            self.fill(number * 977, &mut page);
            let bytes: Vec<u8> = page.iter().flat_map(|word| word.to_le_bytes()).collect();
            packed += lz4_flex::block::compress(&bytes).len().min(bytes.len());
        }
        (SAMPLES as usize * WORDS * 8) as f64 / packed as f64
    }
}

/// A word of the fields that do not differ much from record to record: three of text, a number, three of zeros.
fn text_word(index: usize, random: &mut Random) -> u64 {
    const VOCABULARY: [&[u8; 8]; 16] = [
        b"account ",
        b"balance ",
        b"cabinet ",
        b"daylight",
        b"evening ",
        b"forward ",
        b"general ",
        b"harbour ",
        b"islands ",
        b"journey ",
        b"kitchen ",
        b"library ",
        b"morning ",
        b"nothing ",
        b"ordinary",
        b"payment ",
    ];
    match index % RECORD {
        1..=3 => u64::from_le_bytes(*VOCABULARY[random.below(16) as usize]),
        4 => random.below(100),
        _ => 0,
    }
}

/// What one update of `page` adds to the sum by which lost updates are found.
#[inline]
pub(crate) fn weight(page: u64) -> u64 {
    mix(page) | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_its_words_say() {
        for kind in DataKind::ALL {
            let content = Content::new(kind, 7);
            for page in [0, 1, 12_345, u64::MAX] {
                let mut words = [1; WORDS];
                content.fill(page, &mut words);
                for (index, &word) in words.iter().enumerate() {
                    assert_eq!(
                        word,
                        content.word(page, index),
                        "{kind:?}, page {page}, word {index}"
                    );
                }
            }
        }
    }

    #[test]
    fn pages_differ() {
        for kind in DataKind::ALL {
            let content = Content::new(kind, 7);
            let mut firsts: Vec<u64> = (0..10_000).map(|page| content.word(page, 0)).collect();
            firsts.sort_unstable();
            firsts.dedup();
            assert_eq!(firsts.len(), 10_000, "{kind:?}");
        }
    }

    #[test]
    fn ratios_are_what_the_tables_claim() {
        let compressible = Content::new(DataKind::Compressible, 7).lz4_ratio();
        assert!((4.0..=6.0).contains(&compressible), "{compressible}");
        assert!(Content::new(DataKind::Incompressible, 7).lz4_ratio() < 1.01);
    }
}
