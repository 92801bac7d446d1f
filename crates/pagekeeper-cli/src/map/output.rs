//! The file that a map is written to: whole or not at all, and its user's alone.

use std::io::Write as _;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::failure::Failure;

/// A file that takes the place of what is there when it is whole. Until then it lies beside it under another name, and goes
/// when it is dropped. Only its user may read it, like `/proc/PID/maps`: it shows where everything lies.
#[derive(Debug)]
pub(super) struct Output<'path> {
    path: &'path Path,
    file: NamedTempFile,
}

impl<'path> Output<'path> {
    /// Begins: what cannot be written is said before long work rather than after it.
    ///
    /// # Errors
    /// Where no file can be made in the folder, or the path is a folder.
    pub(super) fn begin(path: &'path Path) -> Result<Self, Failure> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        if path.is_dir() {
            return Err(Failure::Broken(format!(
                "{}: it is a folder",
                path.display()
            )));
        }
        let file = NamedTempFile::with_prefix_in(".pagekeeper-", folder);
        let file = file.map_err(|error| unwritable(path, &error))?;
        Ok(Self { path, file })
    }

    /// Writes it, and lets it take its place.
    ///
    /// # Errors
    /// A full disk, a folder that has gone. What was there before stays.
    pub(super) fn finish(mut self, text: &str) -> Result<(), Failure> {
        self.file
            .write_all(text.as_bytes())
            .map_err(|error| unwritable(self.path, &error))?;
        self.file
            .persist(self.path)
            .map(drop)
            .map_err(|failed| unwritable(self.path, &failed.error))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Broken(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.svg");
        fs::write(&path, "before").unwrap();
        let begun = Output::begin(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        drop(begun);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        Output::begin(&path).unwrap().finish("after").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        for bad in [folder.path().to_owned(), folder.path().join("no/map.svg")] {
            assert!(Output::begin(&bad).is_err(), "{}", bad.display());
        }
    }
}
