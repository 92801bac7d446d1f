//! What a user may say about page files: where, how large, how.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pagekeeper_units::ByteCount;

use super::PageFileError;

/// Where page files lie.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Places {
    /// One file, in `TMPDIR` when that is on a disk, else in `/var/tmp`.
    #[default]
    Default,
    /// No page file: what does not fit into RAM is refused.
    None,
    /// One file in each folder, or by each name, in order of preference.
    List(Vec<PathBuf>),
}

impl Places {
    /// Reads the value of `PAGEKEEPER_PAGE_FILE`: folders or files separated by colons, or `none`.
    ///
    /// # Errors
    /// [`PageFileError::EmptyPlace`] for an empty text or entry.
    ///
    /// ```
    /// use pagekeeper_store::page_file::Places;
    /// assert_eq!(Places::parse("none".as_ref()), Ok(Places::None));
    /// let both = vec!["/fast".into(), "/slow/pages.bin".into()];
    /// assert_eq!(Places::parse("/fast:/slow/pages.bin".as_ref()), Ok(Places::List(both)));
    /// assert!(Places::parse("/fast::/slow".as_ref()).is_err());
    /// ```
    pub fn parse(text: &OsStr) -> Result<Self, PageFileError> {
        if text.as_bytes().eq_ignore_ascii_case(b"none") {
            return Ok(Self::None);
        }
        let entries: Vec<_> = text.as_bytes().split(|&byte| byte == b':').collect();
        if entries.iter().any(|entry| entry.trim_ascii().is_empty()) {
            return Err(PageFileError::EmptyPlace(
                text.to_string_lossy().into_owned(),
            ));
        }
        let paths = entries
            .into_iter()
            .map(|entry| PathBuf::from(OsStr::from_bytes(entry)));
        Ok(Self::List(paths.collect()))
    }
}

/// Whether transfers go past the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DirectIoChoice {
    /// Where the file system really can (found out by doing), else through the cache.
    #[default]
    WhenPossible,
    /// Always through the page cache, as the mapped engine needs it.
    Never,
}

/// How transfers reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IoChoice {
    /// io_uring where the kernel allows it, else positioned reads and writes. Who waits for a single read stays awake
    /// where that pays: see [`Uring::watching`](pagekeeper_sys::disk::Uring::watching).
    #[default]
    RingWhenPossible,
    /// The same, but who waits sleeps.
    RingAsleep,
    /// Positioned reads and writes.
    Positioned,
}

/// The settings of a space's page files. The sizes are for each file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageFileSettings {
    /// Where they lie (`PAGEKEEPER_PAGE_FILE`).
    pub places: Places,
    /// Space allocated at once (`PAGEKEEPER_PAGE_FILE_INITIAL`), rounded up to pages. Default: none.
    pub initial: ByteCount,
    /// Size up to which a file grows (`PAGEKEEPER_PAGE_FILE_MAX`), rounded down to pages. `None`:
    /// half the free space there, at most 64 GiB.
    pub maximum: Option<ByteCount>,
    /// Whether transfers go past the page cache.
    pub direct_io: DirectIoChoice,
    /// How transfers reach the disk.
    pub io: IoChoice,
    /// Accepts RAM file systems, which are refused otherwise. For tests, and for those who know why.
    pub allow_ram_disk: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_split_at_colons_and_keep_their_order() {
        let parse = |text: &str| Places::parse(text.as_ref());
        let list = |paths: &[&str]| Ok(Places::List(paths.iter().map(PathBuf::from).collect()));
        assert_eq!(parse("/a"), list(&["/a"]));
        assert_eq!(parse("/b:/a/with space"), list(&["/b", "/a/with space"]));
        assert_eq!(parse("None"), Ok(Places::None));
        assert_eq!(parse("./none"), list(&["./none"]));
        for text in ["", ":", "/a:", ":/a", "/a::/b", "/a: :/b"] {
            assert_eq!(
                parse(text),
                Err(PageFileError::EmptyPlace(text.into())),
                "{text}"
            );
        }
    }

    #[test]
    fn a_name_that_is_no_text_is_a_name_all_the_same() {
        let name = OsStr::from_bytes(b"/a\xFF");
        assert_eq!(Places::parse(name), Ok(Places::List(vec![name.into()])));
    }
}
