//! The regular files under a folder, in an order that depends on their names only.
//!
//! A folder's files come first, sorted by name, then its folders. Symbolic links are not followed, other
//! file systems are not entered. What is kept is the names of the folders still to be visited and of
//! one folder's files: a million files cost no more than the largest folder.

use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::text::Names;

/// A walk that is under way.
#[derive(Debug)]
pub(super) struct Walk {
    device: u64,
    /// Folders to visit, the next one last.
    pending: Names,
    folder: PathBuf,
    files: Names,
    /// Files of `folder` by name, from `next` on still to be handed out.
    order: Vec<u32>,
    next: usize,
    unreadable_folders: u64,
}

impl Walk {
    /// Begins at `root`, which may be a symbolic link.
    ///
    /// # Errors
    /// When `root` is missing, no folder, or cannot be read.
    pub(super) fn begin(root: &Path) -> io::Result<Self> {
        let found = fs::metadata(root)?;
        if !found.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let mut walk = Self {
            device: found.dev(),
            pending: Names::default(),
            folder: root.to_owned(),
            files: Names::default(),
            order: Vec::new(),
            next: 0,
            unreadable_folders: 0,
        };
        walk.visit()?;
        Ok(walk)
    }

    /// The next file: its folder and its name.
    pub(super) fn next_file(&mut self) -> Option<(&Path, &OsStr)> {
        while self.next == self.order.len() {
            let mut path = Vec::new();
            if !self.pending.pop(&mut path) {
                return None;
            }
            self.folder = PathBuf::from(std::ffi::OsString::from_vec(path));
            if self.visit().is_err() {
                self.unreadable_folders += 1;
            }
        }
        let number = self.order[self.next] as usize;
        self.next += 1;
        Some((&self.folder, OsStr::from_bytes(self.files.get(number))))
    }

    /// Folders that could not be read so far.
    pub(super) fn unreadable_folders(&self) -> u64 {
        self.unreadable_folders
    }

    /// Reads `folder`: its files into `files`, its folders onto `pending`.
    fn visit(&mut self) -> io::Result<()> {
        self.files.clear();
        self.order.clear();
        self.next = 0;
        if fs::symlink_metadata(&self.folder)
            .is_ok_and(|found| found.is_dir() && found.dev() != self.device)
        {
            return Ok(());
        }
        let mut folders = Names::default();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_file() {
                push(&mut self.files, &entry)?;
            } else if kind.is_dir() {
                push(&mut folders, &entry)?;
            }
        }
        self.order = sorted(&self.files);
        // Backwards, because the last one is taken first.
        for number in sorted(&folders).into_iter().rev() {
            let path = self
                .folder
                .join(OsStr::from_bytes(folders.get(number as usize)));
            self.pending
                .push(path.as_os_str().as_bytes())
                .ok_or(io::ErrorKind::OutOfMemory)?;
        }
        Ok(())
    }
}

fn push(names: &mut Names, entry: &DirEntry) -> io::Result<()> {
    let pushed = names.push(entry.file_name().as_bytes());
    pushed.map(drop).ok_or(io::ErrorKind::OutOfMemory.into())
}

fn sorted(names: &Names) -> Vec<u32> {
    let mut order: Vec<u32> = (0..names.len() as u32).collect();
    order.sort_unstable_by(|&one, &other| names.get(one as usize).cmp(names.get(other as usize)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(root: &Path) -> Vec<String> {
        let mut walk = Walk::begin(root).expect("a folder");
        let mut found = Vec::new();
        while let Some((folder, name)) = walk.next_file() {
            let path = folder.join(name);
            found.push(
                path.strip_prefix(root)
                    .expect("below")
                    .display()
                    .to_string(),
            );
        }
        found
    }

    #[test]
    fn files_come_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for name in ["b/2", "b/1", "a/x/deep", "z", "a/y"] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("below")).expect("made");
            fs::write(path, name).expect("written");
        }
        std::os::unix::fs::symlink(root.join("z"), root.join("link")).expect("linked");
        std::os::unix::fs::symlink(root, root.join("loop")).expect("linked");
        assert_eq!(walked(root), ["z", "a/y", "a/x/deep", "b/1", "b/2"]);
        assert_eq!(walked(&root.join("loop/a")), ["y", "x/deep"]);
    }

    #[test]
    fn what_is_no_folder_is_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let kind = |path: &Path| Walk::begin(path).expect_err("no folder").kind();
        assert_eq!(kind(file.path()), io::ErrorKind::NotADirectory);
        assert_eq!(kind(Path::new("/no/such/folder")), io::ErrorKind::NotFound);
    }
}
