//! Functions that take paths.

// Longer than 500 lines because it is a table of calls, one case each.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::{Case, folder};

use crate::touch_support::{errno, int};

pub(crate) fn cases() -> Vec<(&'static str, Case)> {
    let mut all = Vec::new();
    let mut add =
        |names: &[&'static str], case: Case| all.extend(names.iter().map(|name| (*name, case)));
    add(
        &["open", "open64", "openat", "openat64", "creat", "creat64"],
        OPEN,
    );
    add(
        &[
            "stat",
            "stat64",
            "lstat",
            "lstat64",
            "fstat",
            "fstat64",
            "fstatat",
            "fstatat64",
        ],
        STAT,
    );
    add(
        &[
            "__xstat",
            "__xstat64",
            "__lxstat",
            "__lxstat64",
            "__fxstat",
            "__fxstat64",
        ],
        STAT,
    );
    add(&["statx"], STATX);
    add(&["statfs", "statfs64", "fstatfs", "fstatfs64"], STATFS);
    add(&["statvfs", "statvfs64", "fstatvfs", "fstatvfs64"], STATFS);
    add(&["readlink", "readlinkat"], READLINK);
    add(
        &[
            "access",
            "faccessat",
            "eaccess",
            "euidaccess",
            "pathconf",
            "opendir",
        ],
        LOOK,
    );
    add(&["unlink", "unlinkat", "remove", "rmdir"], UNLINK);
    add(
        &[
            "rename",
            "renameat",
            "renameat2",
            "link",
            "linkat",
            "symlink",
            "symlinkat",
        ],
        TWO_PATHS,
    );
    add(
        &["mkdir", "mkdirat", "mkfifo", "mkfifoat", "mknod", "mknodat"],
        MAKE,
    );
    add(&["chdir", "chroot"], CHANGE_FOLDER);
    add(
        &[
            "chmod",
            "fchmodat",
            "chown",
            "lchown",
            "fchownat",
            "truncate",
            "truncate64",
        ],
        CHANGE,
    );
    add(
        &[
            "utime",
            "utimes",
            "lutimes",
            "futimes",
            "utimensat",
            "futimens",
        ],
        TIMES,
    );
    add(&["getcwd"], GETCWD);
    add(&["realpath"], REALPATH);
    add(&["getdents64"], GETDENTS);
    add(
        &[
            "getxattr",
            "lgetxattr",
            "fgetxattr",
            "setxattr",
            "lsetxattr",
            "fsetxattr",
        ],
        ATTRIBUTES,
    );
    add(
        &[
            "listxattr",
            "llistxattr",
            "flistxattr",
            "removexattr",
            "lremovexattr",
            "fremovexattr",
        ],
        ATTRIBUTES,
    );
    add(&["name_to_handle_at"], HANDLE);
    add(&["inotify_add_watch"], WATCH);
    add(
        &["copy_file_range", "splice", "sendfile", "sendfile64"],
        OFFSETS,
    );
    add(&["mkstemp", "mkstemp64", "mkostemp", "mkostemp64"], MKSTEMP);
    add(&["fopen", "fopen64", "freopen", "freopen64"], FOPEN);
    all
}

const AT: i32 = libc::AT_FDCWD;

/// A file with eleven bytes in a folder of its own.
fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = folder();
    let path = folder.path().join("a name that is not short");
    std::fs::write(&path, b"eleven byte").expect("written");
    (folder, path)
}

const OPEN: Case = |name, paged| {
    let (_folder, path) = file();
    let at = paged.path(&path);
    paged.out();
    let descriptor = int(match name {
        "creat" | "creat64" => call!(name, at, 0o600),
        "openat" | "openat64" => call!(name, AT, at, libc::O_RDONLY | libc::O_CLOEXEC),
        _ => call!(name, at, libc::O_RDONLY | libc::O_CLOEXEC),
    });
    assert!(descriptor >= 0, "{name}: {}", errno());
    // SAFETY: ours.
    unsafe { libc::close(descriptor) };
    let missing = paged.path(&path.with_file_name("missing"));
    paged.out();
    if name.starts_with("open") && !name.contains("at") {
        assert_eq!(int(call!(name, missing, libc::O_RDONLY)), -1);
        assert_eq!(errno(), libc::ENOENT);
    }
};

const STAT: Case = |name, paged| {
    let (_folder, path) = file();
    let open = File::open(&path).expect("open");
    let at = paged.path(&path);
    let status = paged.room(size_of::<libc::stat>()).cast::<libc::stat>();
    paged.out();
    let result = match name.trim_end_matches("64") {
        "fstat" => call!(name, open.as_raw_fd(), status),
        "fstatat" => call!(name, AT, at, status, 0),
        "__xstat" | "__lxstat" => call!(name, 1, at, status),
        "__fxstat" => call!(name, 1, open.as_raw_fd(), status),
        _ => call!(name, at, status),
    };
    assert_eq!(int(result), 0, "{name}: {}", errno());
    assert_eq!(paged.get(status).st_size, 11);
    assert_eq!(
        paged.get(status).st_ino,
        path.metadata().expect("there").ino()
    );
};

const STATX: Case = |name, paged| {
    let (_folder, path) = file();
    let at = paged.path(&path);
    let status = paged.room(size_of::<libc::statx>()).cast::<libc::statx>();
    paged.out();
    assert_eq!(int(call!(name, AT, at, 0, 0xFFF_usize, status)), 0);
    assert_eq!(paged.get(status).stx_size, 11);
};

const STATFS: Case = |name, paged| {
    let (_folder, path) = file();
    let open = File::open(&path).expect("open");
    let at = paged.path(&path);
    let status = paged.room(size_of::<libc::statfs>()).cast::<u64>();
    paged.out();
    let result = if name.starts_with('f') {
        call!(name, open.as_raw_fd(), status)
    } else {
        call!(name, at, status)
    };
    assert_eq!(int(result), 0, "{name}: {}", errno());
    assert_ne!(paged.get(status), 0);
};

const READLINK: Case = |name, paged| {
    let (folder, path) = file();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let at = paged.path(&link);
    let target = paged.room(4096);
    paged.out();
    let length = match name {
        "readlink" => call!(name, at, target, 4096_usize),
        _ => call!(name, AT, at, target, 4096_usize),
    };
    assert_eq!(
        paged.slice(target, length as usize),
        path.to_str().expect("plain").as_bytes()
    );
};

const LOOK: Case = |name, paged| {
    let (folder, path) = file();
    let at = paged.path(if name == "opendir" {
        folder.path()
    } else {
        &path
    });
    paged.out();
    match name {
        "faccessat" => assert_eq!(int(call!(name, AT, at, libc::R_OK, 0)), 0),
        "pathconf" => assert_eq!(call!(name, at, libc::_PC_NAME_MAX), 255),
        "opendir" => {
            let opened = call!(name, at);
            assert_ne!(opened, 0);
            // SAFETY: just opened.
            unsafe { libc::closedir(core::ptr::with_exposed_provenance_mut(opened as usize)) };
        }
        _ => assert_eq!(int(call!(name, at, libc::R_OK)), 0),
    }
};

const UNLINK: Case = |name, paged| {
    let (folder, path) = file();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("a folder");
    let at = paged.path(if name == "rmdir" { &inner } else { &path });
    paged.out();
    let result = if name == "unlinkat" {
        call!(name, AT, at, 0)
    } else {
        call!(name, at)
    };
    assert_eq!(int(result), 0);
    let gone = if name == "rmdir" { inner } else { path };
    assert!(!gone.exists());
};

const TWO_PATHS: Case = |name, paged| {
    let (folder, path) = file();
    let other = folder.path().join("other");
    let (from, to) = (paged.path(&path), paged.path(&other));
    paged.out();
    let result = match name {
        "renameat" => call!(name, AT, from, AT, to),
        "renameat2" | "linkat" => call!(name, AT, from, AT, to, 0),
        "symlinkat" => call!(name, from, AT, to),
        _ => call!(name, from, to),
    };
    assert_eq!(int(result), 0, "{name}: {}", errno());
    assert_eq!(std::fs::read(&other).expect("there"), b"eleven byte");
};

const MAKE: Case = |name, paged| {
    let folder = folder();
    let path = folder.path().join("made");
    let at = paged.path(&path);
    paged.out();
    let mode = if name.starts_with("mknod") {
        libc::S_IFIFO | 0o600
    } else {
        0o700
    } as usize;
    let result = if name.ends_with("at") {
        call!(name, AT, at, mode, 0)
    } else {
        call!(name, at, mode, 0)
    };
    assert_eq!(int(result), 0, "{name}: {}", errno());
    assert!(path.exists());
};

const CHANGE_FOLDER: Case = |name, paged| {
    let before = std::env::current_dir().expect("a folder");
    let at = paged.text(if name == "chroot" {
        "/no such folder"
    } else {
        "/"
    });
    paged.out();
    let result = int(call!(name, at));
    if name == "chroot" {
        assert_eq!((result, errno() != libc::EFAULT), (-1, true));
    } else {
        assert_eq!(result, 0);
        assert_eq!(
            std::env::current_dir().expect("a folder"),
            PathBuf::from("/")
        );
    }
    std::env::set_current_dir(before).expect("back");
};

const CHANGE: Case = |name, paged| {
    let (_folder, path) = file();
    let at = paged.path(&path);
    paged.out();
    let result = match name {
        "chmod" => call!(name, at, 0o640),
        "fchmodat" => call!(name, AT, at, 0o640, 0),
        "chown" | "lchown" => call!(name, at, -1, -1),
        "fchownat" => call!(name, AT, at, -1, -1, 0),
        _ => call!(name, at, 5_usize),
    };
    assert_eq!(int(result), 0, "{name}: {}", errno());
    let metadata = path.metadata().expect("there");
    assert!(!name.contains("chmod") || metadata.mode() & 0o777 == 0o640);
    assert!(!name.contains("truncate") || metadata.len() == 5);
};

const TIMES: Case = |name, paged| {
    let (_folder, path) = file();
    let open = File::options().write(true).open(&path).expect("open");
    let at = paged.path(&path);
    let pair = paged.value([1_000_000_i64, 0, 2_000_000, 0]);
    let short = paged.value([1_000_000_i64, 2_000_000]);
    paged.out();
    let result = match name {
        "utime" => call!(name, at, short),
        "futimes" | "futimens" => call!(name, open.as_raw_fd(), pair),
        "utimensat" => call!(name, AT, at, pair, 0),
        _ => call!(name, at, pair),
    };
    assert_eq!(int(result), 0, "{name}: {}", errno());
    assert_eq!(path.metadata().expect("there").mtime(), 2_000_000);
};

const GETCWD: Case = |name, paged| {
    let at = paged.room(4096);
    paged.out();
    assert_eq!(
        call!(name, at, 4096_usize) as usize,
        at.addr(),
        "the caller's pointer comes back"
    );
    let text = paged.slice(at, 4096);
    let expected = std::env::current_dir().expect("a folder");
    assert!(text.starts_with(expected.to_str().expect("plain").as_bytes()));
};

const REALPATH: Case = |name, paged| {
    let (_folder, path) = file();
    let at = paged.path(
        &path
            .parent()
            .expect("a folder")
            .join("./a name that is not short"),
    );
    let resolved = paged.room(4096);
    paged.out();
    assert_eq!(
        call!(name, at, resolved) as usize,
        resolved.addr(),
        "the caller's pointer comes back"
    );
    assert!(
        paged.slice(resolved, 4096).starts_with(
            path.canonicalize()
                .expect("there")
                .to_str()
                .expect("plain")
                .as_bytes()
        )
    );
};

const GETDENTS: Case = |name, paged| {
    let (folder, _path) = file();
    let open = File::open(folder.path()).expect("open");
    let entries = paged.room(32_768);
    paged.out();
    let length = call!(name, open.as_raw_fd(), entries, 32_768_usize);
    assert!(length > 0);
    let text = paged.slice(entries, length as usize);
    assert!(
        text.windows(24)
            .any(|part| part == b"a name that is not short")
    );
};

const ATTRIBUTES: Case = |name, paged| {
    let (_folder, path) = file();
    let open = File::open(&path).expect("open");
    let at = paged.path(&path);
    let key = paged.text("user.kind");
    let value = paged.bytes(b"ordinary");
    let list = paged.room(1000);
    paged.out();
    let first = if name.starts_with('f') {
        open.as_raw_fd() as usize
    } else {
        at.expose_provenance()
    };
    let kind = if name.starts_with('f') {
        "fsetxattr"
    } else {
        "setxattr"
    };
    if call!(kind, first, key, value, 8_usize, 0) != 0 {
        assert_eq!(errno(), libc::EOPNOTSUPP);
        println!("{name}: only its refusal was seen, because the file system has no attributes");
        return;
    }
    paged.out();
    match name.trim_start_matches(['l', 'f']) {
        "setxattr" => assert_eq!(int(call!(name, first, key, value, 4_usize, 0)), 0),
        "getxattr" => {
            assert_eq!(call!(name, first, key, list, 1000_usize), 8);
            assert_eq!(paged.slice(list, 8), b"ordinary");
        }
        "removexattr" => assert_eq!(int(call!(name, first, key)), 0),
        _ => {
            let length = call!(name, first, list, 1000_usize);
            assert!(paged.slice(list, length as usize).starts_with(b"user.kind"));
        }
    }
};

const HANDLE: Case = |name, paged| {
    let (_folder, path) = file();
    let at = paged.path(&path);
    let handle = paged.room(136);
    let mount = paged.value(-7_i32);
    // SAFETY: room for the head.
    unsafe { handle.cast::<u32>().write(128) };
    paged.out();
    if int(call!(name, AT, at, handle, mount, 0)) == 0 {
        assert_ne!(paged.get(mount), -7);
    } else {
        assert_eq!(errno(), libc::EOPNOTSUPP);
    }
};

const WATCH: Case = |name, paged| {
    let (_folder, path) = file();
    let at = paged.path(&path);
    paged.out();
    // SAFETY: makes a descriptor and closes it.
    unsafe {
        let watcher = libc::inotify_init1(libc::IN_CLOEXEC);
        assert!(int(call!(name, watcher, at, libc::IN_MODIFY as usize)) >= 0);
        libc::close(watcher);
    }
};

const OFFSETS: Case = |name, paged| {
    let (folder, path) = file();
    let from = File::open(&path).expect("open");
    let target = folder.path().join("target");
    let to = File::options()
        .write(true)
        .create_new(true)
        .open(&target)
        .expect("open");
    let offset = paged.value(7_i64);
    let other = paged.value(0_i64);
    paged.out();
    let moved = match name {
        "copy_file_range" => call!(
            name,
            from.as_raw_fd(),
            offset,
            to.as_raw_fd(),
            other,
            4_usize,
            0
        ),
        "splice" => {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            let moved = call!(
                name,
                from.as_raw_fd(),
                offset,
                writer.as_raw_fd(),
                0_usize,
                4_usize,
                0
            );
            assert_eq!(
                call!(
                    name,
                    reader.as_raw_fd(),
                    0_usize,
                    to.as_raw_fd(),
                    other,
                    4_usize,
                    0
                ),
                4
            );
            moved
        }
        _ => call!(name, to.as_raw_fd(), from.as_raw_fd(), offset, 4_usize),
    };
    assert_eq!(moved, 4, "{name}: {}", errno());
    assert_eq!(paged.get(offset), 11);
    assert_eq!(std::fs::read(&target).expect("there"), b"byte");
};

const MKSTEMP: Case = |name, paged| {
    let folder = folder();
    let at = paged.path(&folder.path().join("nameXXXXXX"));
    paged.out();
    let descriptor = int(call!(name, at, 0));
    assert!(descriptor >= 0, "{name}: {}", errno());
    // SAFETY: ours.
    unsafe { libc::close(descriptor) };
    let made = folder
        .path()
        .read_dir()
        .expect("a folder")
        .next()
        .expect("a file")
        .expect("a name")
        .path();
    let text = made.to_str().expect("plain").as_bytes();
    assert_eq!(paged.slice(at, text.len()), text, "the name comes back");
};

const FOPEN: Case = |name, paged| {
    let (_folder, path) = file();
    let at = paged.path(&path);
    let mode = paged.text("r");
    paged.out();
    // SAFETY: streams of our own.
    unsafe {
        let before = libc::fopen(c"/dev/null".as_ptr(), c"r".as_ptr());
        let opened = if name.starts_with("fre") {
            call!(name, at, mode, before)
        } else {
            call!(name, at, mode)
        };
        assert_ne!(opened, 0);
        let stream: *mut libc::FILE = core::ptr::with_exposed_provenance_mut(opened as usize);
        assert_eq!(libc::fgetc(stream), i32::from(b'e'));
        libc::fclose(stream);
        if stream != before {
            libc::fclose(before);
        }
    }
};
