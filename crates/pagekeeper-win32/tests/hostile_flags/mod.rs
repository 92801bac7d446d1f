//! Flags for hostile calls.

use pagekeeper_win32::types::DWORD;

/// Every bit alone, every pair, nothing, everything.
pub(crate) fn flag_words() -> Vec<DWORD> {
    let mut words = vec![0, u32::MAX];
    for one in 0..32 {
        words.push(1 << one);
        words.extend((one + 1..32).map(|other| 1 << one | 1 << other));
    }
    words
}
