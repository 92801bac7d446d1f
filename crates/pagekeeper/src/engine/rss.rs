//! What the kernel says of the whole process's memory, for the price of one short read: more of it since the last count is
//! no less than what has come in.

use std::io::Read as _;

/// Pages in the mappings of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rss {
    /// Pages of files, libraries and shared memory included.
    pub(crate) of_files: u64,
    /// All others.
    pub(crate) anonymous: u64,
}

impl Rss {
    /// Now; nothing where `/proc` does not say.
    pub(crate) fn now() -> Self {
        let mut text = [0; 128];
        let read =
            std::fs::File::open("/proc/self/statm").and_then(|mut file| file.read(&mut text));
        read.ok()
            .and_then(|length| core::str::from_utf8(&text[..length]).ok())
            .and_then(Self::parse)
            .unwrap_or_default()
    }

    /// size resident shared ...
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_ascii_whitespace().skip(1);
        let mut next = || numbers.next()?.parse::<u64>().ok();
        let (resident, of_files) = (next()?, next()?);
        Some(Self {
            of_files,
            anonymous: resident.saturating_sub(of_files),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_understood() {
        assert_eq!(
            Rss::parse("900 130 30 5 0 200 0\n"),
            Some(Rss {
                of_files: 30,
                anonymous: 100
            })
        );
        assert_eq!(Rss::parse("900 130"), None);
        assert_eq!(Rss::parse("900 many 3"), None);
    }

    #[test]
    fn memory_that_is_touched_is_seen() {
        let before = Rss::now();
        assert!(before.of_files > 0 && before.anonymous > 0);
        let memory = vec![1_u8; 64 << 20];
        let more = Rss::now().anonymous.saturating_sub(before.anonymous);
        assert!(more > (50 << 20) / 4096, "{more}");
        drop(memory);
    }
}
