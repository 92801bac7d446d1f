//! From a place that a user names to an open, nameless file there.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pagekeeper_sys::file::{self, FileError, FileSystemKind};
use pagekeeper_sys::rlimit;
use pagekeeper_units::{ByteCount, PAGE_SIZE};

use super::{PageFileError, PageFileSettings, Places};

/// The default maximum is half the free space and at most this.
const DEFAULT_MAX: ByteCount = ByteCount::gib(64);

/// Less than this is no page file.
const SMALLEST_MAX: ByteCount = ByteCount::mib(1);

/// Where page files go when nobody says where and `TMPDIR` is in RAM.
const DISK_FOLDER: &str = "/var/tmp";

/// A page file that exists but holds nothing yet.
#[derive(Debug)]
pub(super) struct NewFile {
    pub(super) file: OwnedFd,
    pub(super) place: PathBuf,
    pub(super) initial: ByteCount,
    pub(super) maximum: ByteCount,
}

/// The places that the settings mean, in order of preference.
pub(super) fn resolve(places: &Places) -> Vec<PathBuf> {
    match places {
        Places::Default => vec![default_folder(std::env::var_os("TMPDIR").as_deref())],
        Places::None => Vec::new(),
        Places::List(paths) => paths.clone(),
    }
}

fn default_folder(temporary: Option<&OsStr>) -> PathBuf {
    let on_disk = |path: &PathBuf| {
        path.is_dir() && file::file_system(path).is_ok_and(|fs| fs.kind != FileSystemKind::Ram)
    };
    temporary
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .filter(on_disk)
        .unwrap_or_else(|| DISK_FOLDER.into())
}

/// Makes a page file at `place` and settles its sizes.
pub(super) fn create(place: &Path, settings: &PageFileSettings) -> Result<NewFile, PageFileError> {
    refuse_missing_folder(place)?;
    // Before anything is written: the first byte beyond the limit would raise SIGXFSZ.
    let limit = ByteCount::new(rlimit::file_size_bytes());
    if limit < SMALLEST_MAX {
        return Err(PageFileError::FileSizeLimit {
            place: place.to_owned(),
            limit,
        });
    }
    refuse_ram_disk(place, settings)?;
    let file = file::create(place)?.file;
    let kernel = |errno| PageFileError::Kernel {
        place: place.to_owned(),
        errno,
    };
    let file_system = file::file_system_of(&file).map_err(kernel)?;
    if file_system.kind == FileSystemKind::Ram && !settings.allow_ram_disk {
        return Err(PageFileError::RamDisk(place.to_owned()));
    }
    let free = ByteCount::new(file_system.free_bytes);
    let maximum = match settings.maximum {
        Some(maximum) if maximum < SMALLEST_MAX => return Err(PageFileError::TooSmall(maximum)),
        Some(maximum) => maximum,
        None => ByteCount::new(free.get() / 2).min(DEFAULT_MAX),
    };
    if maximum < SMALLEST_MAX {
        return Err(FileError::Full(place.to_owned()).into());
    }
    let maximum = ByteCount::new(maximum.get() / PAGE_SIZE as u64 * PAGE_SIZE as u64);
    let initial = settings.initial.pages().bytes();
    if initial > maximum {
        return Err(PageFileError::InitialAboveMaximum { initial, maximum });
    }
    Ok(NewFile {
        file,
        place: place.to_owned(),
        initial,
        maximum,
    })
}

/// A name that stands for nothing is a file to be made when it has a dot in it. Without one it is
/// taken for a folder that was mistyped: a page file in the folder above would be a surprise.
fn refuse_missing_folder(place: &Path) -> Result<(), PageFileError> {
    let names_file = place
        .file_name()
        .is_some_and(|name| name.as_bytes().contains(&b'.'))
        && !place.as_os_str().as_bytes().ends_with(b"/");
    if !names_file
        && place
            .symlink_metadata()
            .is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
    {
        return Err(PageFileError::FolderMissing(place.to_owned()));
    }
    Ok(())
}

/// Looks at the file system before anything is created there, as far as it can be told.
fn refuse_ram_disk(place: &Path, settings: &PageFileSettings) -> Result<(), PageFileError> {
    let folder = if place.is_dir() {
        Some(place)
    } else {
        place.parent()
    };
    let in_ram = folder
        .filter(|folder| !folder.as_os_str().is_empty())
        .and_then(|folder| file::file_system(folder).ok())
        .is_some_and(|file_system| file_system.kind == FileSystemKind::Ram);
    if in_ram && !settings.allow_ram_disk && !is_special(place) {
        return Err(PageFileError::RamDisk(place.to_owned()));
    }
    Ok(())
}

/// Devices lie on a RAM file system too; that they are devices is the better answer.
fn is_special(place: &Path) -> bool {
    place
        .metadata()
        .is_ok_and(|found| !found.is_dir() && !found.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn settings() -> PageFileSettings {
        PageFileSettings {
            maximum: Some(ByteCount::mib(8)),
            ..PageFileSettings::default()
        }
    }

    fn refusal(place: &Path) -> PageFileError {
        let error = create(place, &settings()).unwrap_err();
        println!("{error}");
        assert_eq!(error.to_string().lines().count(), 1);
        error
    }

    fn is_root() -> bool {
        fs::read_to_string("/proc/self/status")
            .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t0")))
    }

    #[test]
    fn the_default_folder_is_on_a_disk() {
        assert_eq!(default_folder(None), Path::new(DISK_FOLDER));
        assert_eq!(default_folder(Some("".as_ref())), Path::new(DISK_FOLDER));
        assert_eq!(
            default_folder(Some("/dev/shm".as_ref())),
            Path::new(DISK_FOLDER)
        );
        assert_eq!(
            default_folder(Some("/does/not/exist".as_ref())),
            Path::new(DISK_FOLDER)
        );
        let folder = tempfile::tempdir_in(DISK_FOLDER).unwrap();
        assert_eq!(
            default_folder(Some(folder.path().as_os_str())),
            folder.path()
        );
    }

    #[test]
    fn nothing_is_visible_in_the_folder() {
        let folder = tempfile::tempdir_in(DISK_FOLDER).unwrap();
        let in_folder = create(folder.path(), &settings()).unwrap();
        let by_name = create(&folder.path().join("pages.bin"), &settings()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(in_folder.maximum, ByteCount::mib(8));
        assert_eq!(by_name.initial, ByteCount::ZERO);
    }

    #[test]
    fn a_missing_folder_is_refused_and_not_taken_for_a_file() {
        let folder = tempfile::tempdir_in(DISK_FOLDER).unwrap();
        for name in ["missing", "missing.d/", "missing/pages.bin"] {
            let place = folder.path().join(name);
            assert!(
                matches!(
                    refusal(&place),
                    PageFileError::FolderMissing(_)
                        | PageFileError::File(FileError::FolderMissing(_))
                ),
                "{name}"
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_there_is_never_overwritten() {
        let folder = tempfile::tempdir_in(DISK_FOLDER).unwrap();
        let full = folder.path().join("letters.txt");
        fs::write(&full, "dear reader").unwrap();
        assert!(matches!(
            refusal(&full),
            PageFileError::File(FileError::NotEmpty(_))
        ));
        assert_eq!(fs::read_to_string(&full).unwrap(), "dear reader");
        let device = refusal(Path::new("/dev/null"));
        assert!(
            matches!(device, PageFileError::File(FileError::Device(_))),
            "{device:?}"
        );
        assert!(Path::new("/dev/null").exists());
    }

    #[test]
    fn an_empty_file_is_taken_over() {
        let folder = tempfile::tempdir_in(DISK_FOLDER).unwrap();
        let empty = folder.path().join("empty.bin");
        fs::write(&empty, "").unwrap();
        create(&empty, &settings()).unwrap();
        assert!(!empty.exists());
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_is_refused() {
        let folder = tempfile::tempdir_in(DISK_FOLDER).unwrap();
        let file = folder.path().join("file.txt");
        fs::write(&file, "x").unwrap();
        let below = refusal(&file.join("pages.bin"));
        assert!(
            matches!(below, PageFileError::File(FileError::NotAFolder(_))),
            "{below:?}"
        );
    }

    #[test]
    fn ram_disks_are_refused_unless_allowed() {
        let shm = Path::new("/dev/shm");
        if file::file_system(shm).map(|fs| fs.kind) != Ok(FileSystemKind::Ram) {
            println!("skipped, because /dev/shm is no RAM file system");
            return;
        }
        assert_eq!(refusal(shm), PageFileError::RamDisk(shm.into()));
        let named = shm.join("pagekeeper-test.bin");
        assert_eq!(refusal(&named), PageFileError::RamDisk(named.clone()));
        assert!(!named.exists());
        let allowed = PageFileSettings {
            allow_ram_disk: true,
            ..settings()
        };
        assert!(create(shm, &allowed).is_ok());
    }

    #[test]
    fn a_folder_without_permission_is_refused() {
        if is_root() {
            println!("skipped, because root may write everywhere");
            return;
        }
        let refused = refusal(Path::new("/usr"));
        assert!(matches!(
            refused,
            PageFileError::File(FileError::NoPermission(_) | FileError::ReadOnly(_))
        ));
    }

    #[test]
    fn a_file_system_without_files_of_ones_own_is_refused() {
        let refused = create(Path::new("/proc"), &settings()).unwrap_err();
        println!("{refused}");
        assert!(matches!(refused, PageFileError::File(_)), "{refused:?}");
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        let folder = tempfile::tempdir_in(DISK_FOLDER).unwrap();
        let try_sizes = |initial, maximum| {
            let settings = PageFileSettings {
                initial,
                maximum,
                ..settings()
            };
            create(folder.path(), &settings).map(|new| (new.initial, new.maximum))
        };
        let (mib, page) = (ByteCount::mib(1), ByteCount::new(4096));
        assert_eq!(
            try_sizes(page, Some(page)),
            Err(PageFileError::TooSmall(page))
        );
        assert_eq!(
            try_sizes(ByteCount::ZERO, Some(ByteCount::ZERO)),
            Err(PageFileError::TooSmall(ByteCount::ZERO))
        );
        assert_eq!(
            try_sizes(ByteCount::mib(2), Some(mib)),
            Err(PageFileError::InitialAboveMaximum {
                initial: ByteCount::mib(2),
                maximum: mib
            })
        );
        let odd = ByteCount::new((1 << 20) + 5);
        assert_eq!(try_sizes(ByteCount::new(5), Some(odd)), Ok((page, mib)));
        let (_, default) = try_sizes(ByteCount::ZERO, None).unwrap();
        let free = file::file_system(folder.path()).unwrap().free_bytes;
        assert!(default <= DEFAULT_MAX && default.get() <= free / 2 + (free / 8));
    }
}
