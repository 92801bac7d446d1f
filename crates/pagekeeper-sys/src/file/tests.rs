//! Page files on the real file system, and every refusal.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::Errno;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pk-file-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn length(file: impl AsFd) -> (u64, u64) {
    let found = rustix::fs::fstat(file).unwrap();
    (found.st_size as u64, found.st_blocks as u64 * 512)
}

fn temporary() -> std::os::fd::OwnedFd {
    create_in_folder(&std::env::temp_dir()).unwrap().file
}

#[test]
fn page_files_leave_no_name() {
    let folder = Folder::new("nameless");
    let by_folder = create(&folder.0).unwrap();
    let unlinked = super::create::create_and_unlink(&folder.0).unwrap();
    let by_name = create(&folder.at("pages")).unwrap();
    fs::write(folder.at("empty"), "").unwrap();
    let taken_over = create(&folder.at("empty")).unwrap();
    assert_eq!(folder.names(), [""; 0]);
    assert_eq!(unlinked.origin, Origin::Unlinked);
    assert_eq!(by_name.origin, Origin::Unlinked);
    assert_eq!(taken_over.origin, Origin::TakenOver);
    for created in [by_folder, unlinked, by_name, taken_over] {
        let found = rustix::fs::fstat(&created.file).unwrap();
        assert_eq!(found.st_nlink, 0, "{:?}", created.origin);
        if created.origin != Origin::TakenOver {
            assert_eq!(found.st_mode & 0o777, 0o600);
        }
        rustix::io::pwrite(&created.file, b"page", 0).unwrap();
    }
}

#[test]
fn what_may_hold_data_is_refused_in_one_clear_line() {
    let folder = Folder::new("refusals");
    fs::write(folder.at("full"), "x").unwrap();
    std::os::unix::fs::symlink(folder.at("nowhere"), folder.at("link")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, folder.at("pipe"), fifo, mode, 0).unwrap();
    let path = |name: &str| folder.at(name);
    let cases: [(PathBuf, FileError); 6] = [
        (path("full"), FileError::NotEmpty(path("full"))),
        (
            path("link"),
            FileError::NotOrdinary(path("link"), "symbolic link"),
        ),
        (path("pipe"), FileError::NotOrdinary(path("pipe"), "pipe")),
        ("/dev/null".into(), FileError::Device("/dev/null".into())),
        (path("no/pages"), FileError::FolderMissing(path("no"))),
        (path("full/pages"), FileError::NotAFolder(path("full"))),
    ];
    for (path, wanted) in cases {
        let error = create(&path).unwrap_err();
        assert_eq!(error, wanted);
        let line = error.to_string();
        assert!(!line.contains('\n') && line.len() > 20, "{line}");
    }
    assert_eq!(fs::read(folder.at("full")).unwrap(), b"x");
    let missing = create_in_folder(&folder.at("no")).unwrap_err();
    assert_eq!(missing, FileError::FolderMissing(folder.at("no")));
    let mut names = folder.names();
    names.sort();
    assert_eq!(names, ["full", "link", "pipe"]);
}

#[test]
fn a_file_that_another_process_locked_is_in_use() {
    let folder = Folder::new("locked");
    let path = folder.at("pages");
    let other = fs::File::create(&path).unwrap();
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(create(&path).unwrap_err(), FileError::InUse(path.clone()));
    assert!(path.exists());
}

#[test]
fn a_folder_without_permission_is_refused() {
    if rustix::process::geteuid().is_root() {
        return println!("skipped, because root may write anywhere");
    }
    for path in ["/proc", "/", "/root"] {
        let error = create(Path::new(path)).unwrap_err();
        let known = matches!(
            error,
            FileError::NoPermission(_) | FileError::FolderMissing(_) | FileError::ReadOnly(_)
        );
        assert!(known, "{path}: {error:?}");
    }
}

#[test]
fn allocated_room_is_really_there() {
    for how in [AllocateHow::Best, AllocateHow::WriteZeros] {
        let file = temporary();
        rustix::io::pwrite(&file, b"kept", 4096).unwrap();
        let allocated = allocate(&file, 0, 3 << 20, 1 << 20, how);
        assert_eq!((allocated.done_bytes, allocated.error), (3 << 20, None));
        let (size, blocks) = length(&file);
        assert_eq!(size, 3 << 20, "{how:?}");
        assert!(blocks >= 3 << 20, "{how:?}: {blocks}");
        let mut bytes = [0; 5];
        rustix::io::pread(&file, &mut bytes[..], 4096).unwrap();
        assert_eq!(&bytes, b"kept\0", "{how:?}");
    }
}

#[test]
fn punched_room_goes_back_and_reads_as_zero() {
    let file = temporary();
    let _ = allocate(&file, 0, 1 << 20, 1 << 20, AllocateHow::Best);
    rustix::io::pwrite(&file, b"gone", 65536).unwrap();
    match punch(&file, 65536, 4096) {
        Err(Errno::OPNOTSUPP) => return println!("skipped, because this file system cannot punch"),
        other => other.unwrap(),
    }
    let mut bytes = [1; 4];
    rustix::io::pread(&file, &mut bytes[..], 65536).unwrap();
    assert_eq!(bytes, [0; 4]);
    assert_eq!(length(&file).0, 1 << 20);
    rustix::io::pwrite(&file, b"also", 0).unwrap();
    if zero_range(&file, 0, 4096).is_ok() {
        rustix::io::pread(&file, &mut bytes[..], 0).unwrap();
        assert_eq!(bytes, [0; 4]);
    }
    truncate(&file, 4096).unwrap();
    assert_eq!(length(&file).0, 4096);
}

/// Runs one of the tests below in a process of its own, which may limit itself.
fn alone(name: &str) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("file::tests::{name}"), "--nocapture"])
        .env("PAGEKEEPER_TEST_ALONE", name)
        .status()
        .unwrap();
    assert!(status.success(), "{name}: {status}");
}

fn is_alone(name: &str) -> bool {
    std::env::var("PAGEKEEPER_TEST_ALONE").is_ok_and(|value| value == name)
}

/// Over RLIMIT_FSIZE a careless call is killed by SIGXFSZ; ours is refused.
#[test]
fn the_file_size_limit_refuses_and_does_not_kill() {
    const NAME: &str = "the_file_size_limit_refuses_and_does_not_kill";
    if !is_alone(NAME) {
        return alone(NAME);
    }
    let limit = rustix::process::Rlimit {
        current: Some(2 << 20),
        maximum: Some(2 << 20),
    };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    let file = temporary();
    for how in [AllocateHow::Best, AllocateHow::WriteZeros] {
        let allocated = allocate(&file, 0, 8 << 20, 1 << 20, how);
        assert_eq!(
            (allocated.done_bytes, allocated.error),
            (2 << 20, Some(Errno::FBIG))
        );
    }
    assert_eq!(truncate(&file, 3 << 20), Err(Errno::FBIG));
    truncate(&file, 1 << 20).unwrap();
    let allocated = allocate(&file, u64::MAX - 5, 4096, 4096, AllocateHow::Best);
    assert_eq!(
        (allocated.done_bytes, allocated.error),
        (0, Some(Errno::FBIG))
    );
}

/// A full file system: a small one of its own, as root.
#[test]
fn a_full_file_system_says_how_far_it_came() {
    let folder = Folder::new("small");
    let mount = |arguments: &[&str]| Command::new("mount").args(arguments).status();
    let point = folder.0.to_str().unwrap();
    let mounted = rustix::process::geteuid().is_root()
        && mount(&["-t", "tmpfs", "-o", "size=4m", "pk-test", point])
            .is_ok_and(|status| status.success());
    if !mounted {
        return println!("skipped, because a file system can only be mounted by root");
    }
    let result = std::panic::catch_unwind(|| {
        let file = create(Path::new(point)).unwrap().file;
        assert_eq!(file_system_of(&file).unwrap().kind, FileSystemKind::Ram);
        for how in [AllocateHow::Best, AllocateHow::WriteZeros] {
            let allocated = allocate(&file, 0, 8 << 20, 1 << 20, how);
            assert_eq!(allocated.error, Some(Errno::NOSPC), "{how:?}");
            assert_eq!(allocated.done_bytes, 4 << 20, "{how:?}");
            truncate(&file, 0).unwrap();
        }
    });
    let unmounted = Command::new("umount").arg(point).status().unwrap();
    assert!(unmounted.success());
    result.unwrap();
}

#[test]
fn kinds_of_file_systems_are_told_apart() {
    assert_eq!(
        file_system(Path::new("/no/such")).unwrap_err(),
        Errno::NOENT
    );
    let here = file_system(&std::env::temp_dir()).unwrap();
    assert!(here.free_bytes <= here.total_bytes && here.block_bytes >= 512);
    match file_system(Path::new("/dev/shm")) {
        Ok(found) => assert_eq!(found.kind, FileSystemKind::Ram),
        Err(errno) => println!("skipped the RAM file system, because /dev/shm gives {errno}"),
    }
}

#[test]
fn direct_io_is_found_by_doing_and_leaves_the_flags() {
    let file = temporary();
    let before = rustix::fs::fcntl_getfl(&file).unwrap();
    let found = probe_direct(&file, 0);
    assert_eq!(rustix::fs::fcntl_getfl(&file).unwrap(), before);
    if found != DirectIo::Works {
        return println!("skipped, because this file system refuses direct I/O: {found:?}");
    }
    let direct = reopen(&file, true).unwrap();
    let mut page = AlignedPage::new();
    page.bytes_mut().fill(7);
    assert_eq!(rustix::io::pwrite(&direct, page.bytes(), 8192), Ok(4096));
    let mut byte = [0];
    rustix::io::pread(&file, &mut byte[..], 8192).unwrap();
    assert_eq!(byte, [7], "both descriptors see one file");
    let unaligned = rustix::io::pwrite(&direct, &page.bytes()[1..9], 3);
    assert!(unaligned.is_err(), "{unaligned:?}");
    assert_eq!(rustix::fs::fcntl_getfl(&file).unwrap(), before);
}

#[test]
fn the_page_cache_can_be_written_counted_and_emptied() {
    let file = temporary();
    let pages = 256;
    let bytes = vec![1; pages * 4096];
    // Page by page: one large write may come to lie in one large folio, which is only dropped whole.
    for (index, page) in bytes.chunks(4096).enumerate() {
        rustix::io::pwrite(&file, page, index as u64 * 4096).unwrap();
    }
    let state = match cache_state(&file, 0, 0) {
        Ok(state) => state,
        Err(errno) => return println!("skipped, because cachestat gives {errno}"),
    };
    assert_eq!(state.cached_pages, pages as u64);
    write_out(&file, 0, 0, WriteOut::Start).unwrap();
    write_out(&file, 0, bytes.len() as u64, WriteOut::AndWait).unwrap();
    let state = cache_state(&file, 0, 0).unwrap();
    assert_eq!((state.dirty_pages, state.writeback_pages), (0, 0));
    if file_system_of(&file).unwrap().kind == FileSystemKind::Ram {
        return println!("skipped the rest, because the temporary folder is in RAM");
    }
    forget(&file, 0, bytes.len() as u64 / 2).unwrap();
    let state = cache_state(&file, 0, 0).unwrap();
    assert_eq!(state.cached_pages, pages as u64 / 2);
    prefetch(&file, 0, 0).unwrap();
    assert_eq!(write_error(&file), Ok(()));
    let (read, _write) = rustix::pipe::pipe().unwrap();
    assert_eq!(write_error(&read), Err(Errno::SPIPE));
    assert_eq!(write_out(&read, 0, 0, WriteOut::Start), Err(Errno::SPIPE));
    assert_eq!(forget(&read, 0, 0), Err(Errno::SPIPE));
}
