//! What the pages hold: every word can be computed from its place, so that every page can be checked without a copy.
//!
//! Two kinds of data: *compressible*, a table of 128-byte records of which 16 bytes are random and the rest is text from a
//! few phrases, small numbers and zeros; and *incompressible*, random bytes throughout. Word 1 of each page is a
//! counter: an update adds one to it.

use crate::random::{Random, mix};

/// Words of 8 bytes in a page.
pub(crate) const WORDS: usize = 512;
/// The word that updates count in.
pub(crate) const COUNTER: usize = 1;
/// Words in a record of compressible data.
const RECORD: usize = 16;
/// Of them, random: the first ones.
const RANDOM: usize = 2;
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
            text: text(&mut random),
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
            DataKind::Compressible if word % RECORD >= RANDOM => self.text[place % POOL],
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
                let records = words.chunks_exact_mut(RECORD);
                for (record, random) in records.zip(self.random[start..].chunks_exact(RECORD)) {
                    for (word, random) in record.iter_mut().zip(&random[..RANDOM]) {
                        *word = random ^ mask;
                    }
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

/// The fields that records share with others: text that belongs together, a small number, zeros.
fn text(random: &mut Random) -> Vec<u64> {
    const PHRASES: [&[u8; 24]; 4] = [
        b"account, balance, closed",
        b"forward to the general  ",
        b"kitchen and library     ",
        b"ordinary payment, late  ",
    ];
    let mut words = Vec::with_capacity(POOL);
    while words.len() < POOL {
        let kind = random.below(PHRASES.len() as u64);
        let phrase = PHRASES[kind as usize];
        words.extend([0; RANDOM]);
        words.extend(phrase.chunks_exact(8).map(|part| {
            part.iter()
                .rev()
                .fold(0, |word, &letter| word << 8 | u64::from(letter))
        }));
        words.push(kind);
        words.extend([0; RECORD - RANDOM - 4]);
    }
    words
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
