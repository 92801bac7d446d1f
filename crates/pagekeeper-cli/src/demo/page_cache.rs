//! The page cache of page files, as the kernel counts it.
//!
//! Page files have no names. They are found among the descriptors of the process as files that were deleted
//! from the beginning, opened once more through `/proc/self/fd`, and counted with `cachestat`, or with
//! `mincore` on kernels before 6.5.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use pagekeeper::ByteCount;
use pagekeeper_sys::file::cache_state;
use pagekeeper_sys::map::{Access, map_file};
use pagekeeper_sys::pagemap::resident_pages;

/// Which file, whatever its name.
type Identity = (u64, u64);

/// Nameless files of the process that were there before, and those that came since.
#[derive(Debug, Default)]
pub(super) struct PageFiles {
    /// Not page files: inherited, or standard output to a deleted file.
    others: HashSet<Identity>,
    files: Vec<(Identity, File)>,
    /// A page file could not be counted.
    failed: bool,
}

impl PageFiles {
    /// Nameless files that are open now are not page files; those that come later are.
    pub(super) fn none_yet() -> Self {
        let others = nameless_files()
            .into_iter()
            .map(|(identity, _)| identity)
            .collect();
        Self {
            others,
            ..Self::default()
        }
    }

    /// Looks for page files that have come.
    pub(super) fn look(&mut self) {
        for (identity, number) in nameless_files() {
            if self.others.contains(&identity)
                || self.files.iter().any(|(known, _)| *known == identity)
            {
                continue;
            }
            match File::open(format!("/proc/self/fd/{number}")) {
                Ok(file) => self.files.push((identity, file)),
                Err(_) => self.failed = true,
            }
        }
    }

    /// Bytes of them in the page cache.
    pub(super) fn cached_bytes(&mut self) -> u64 {
        let mut total = 0;
        for (_, file) in &self.files {
            match cached_bytes(file) {
                Some(bytes) => total += bytes,
                None => self.failed = true,
            }
        }
        total
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.files.len()
    }

    /// Whether every one could be counted every time.
    pub(super) fn all_counted(&self) -> bool {
        !self.failed
    }
}

fn cached_bytes(file: &File) -> Option<u64> {
    if let Ok(state) = cache_state(file, 0, 0) {
        return Some(state.cached_pages << 12);
    }
    let length = ByteCount::new(file.metadata().ok()?.len());
    if length == ByteCount::ZERO {
        return Some(0);
    }
    // A mapping that nobody touches counts nothing by itself.
    let mapping = map_file(length.pages(), file, 0, Access::READ).ok()?;
    Some(resident_pages(mapping.range()).ok()?.bytes().get())
}

/// Open regular files without a name, with a descriptor of each.
fn nameless_files() -> Vec<(Identity, u32)> {
    let Ok(folder) = fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    let mut found: Vec<(Identity, u32)> = Vec::new();
    for entry in folder.flatten() {
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        // Follows the link to the file itself.
        if let (Some(number), Ok(file)) = (number, fs::metadata(entry.path()))
            && file.is_file()
            && file.nlink() == 0
            && fs::read_link(entry.path()).is_ok_and(|link| !is_memory_file(&link))
        {
            let identity = (file.dev(), file.ino());
            if !found.iter().any(|(known, _)| *known == identity) {
                found.push((identity, number));
            }
        }
    }
    found
}

/// Files of `memfd_create` are memory already, and counted as such.
fn is_memory_file(link: &std::path::Path) -> bool {
    link.as_os_str().as_encoded_bytes().starts_with(b"/memfd:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_nameless_file_is_found_and_counted() {
        let mut before = tempfile::tempfile_in("/var/tmp").expect("a file");
        before.write_all(&[1; 40_960]).expect("written");
        let mut files = PageFiles::none_yet();
        let count = files.count();
        let mut file = tempfile::tempfile_in("/var/tmp").expect("a file");
        file.write_all(&[1; 1 << 20]).expect("written");
        files.look();
        files.look();
        // Other tests of this process may have nameless files of their own.
        assert!(files.count() > count && files.all_counted());
        assert!(
            files.cached_bytes() >= 1 << 20,
            "just written, so still cached"
        );
        assert_eq!(cached_bytes(&before), Some(40_960));
    }
}
