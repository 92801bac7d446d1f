//! The checked variants of `_FORTIFY_SOURCE`; queues; walks over folders and other calls with a path inside.

use std::ffi::CString;
use std::os::fd::AsRawFd;

use super::{Case, folder, noise};
use crate::touch_support::{errno, int};

const LENGTH: usize = 100_000;
const AT: i32 = libc::AT_FDCWD;

pub(crate) fn cases() -> Vec<(&'static str, Case)> {
    let mut all = Vec::new();
    let mut add =
        |names: &[&'static str], case: Case| all.extend(names.iter().map(|name| (*name, case)));
    add(&["__read_chk", "__pread_chk", "__pread64_chk"], READ);
    add(&["__recv_chk", "__recvfrom_chk"], RECEIVE);
    add(&["__fread_chk", "__fread_unlocked_chk"], FREAD);
    add(&["__readlink_chk", "__readlinkat_chk"], READLINK);
    add(&["__getcwd_chk", "__getwd_chk", "__realpath_chk"], FOLDER);
    add(&["__poll_chk", "__ppoll_chk"], POLL);
    add(
        &[
            "__getgroups_chk",
            "__gethostname_chk",
            "__getdomainname_chk",
        ],
        ASK,
    );
    add(&["ttyname_r", "__ttyname_r_chk"], TERMINAL);
    add(
        &["__open_2", "__open64_2", "__openat_2", "__openat64_2"],
        OPEN,
    );
    add(&["msgsnd", "msgrcv", "msgctl"], MESSAGES);
    add(&["semop", "semtimedop"], SEMAPHORES);
    add(&["shmctl"], SEGMENT);
    add(
        &[
            "mq_open",
            "mq_unlink",
            "mq_send",
            "mq_timedsend",
            "mq_receive",
            "mq_timedreceive",
            "mq_getattr",
            "mq_setattr",
        ],
        QUEUE,
    );
    add(
        &["mkstemps", "mkstemps64", "mkostemps", "mkostemps64"],
        NAME_WITH_TAIL,
    );
    add(&["mkdtemp"], FOLDER_MADE);
    add(&["memfd_create"], MEMORY_FILE);
    add(&["mount", "umount", "umount2"], MOUNT);
    add(
        &[
            "scandir",
            "scandir64",
            "glob",
            "glob64",
            "ftw",
            "ftw64",
            "nftw",
            "nftw64",
        ],
        WALK,
    );
    add(&["timer_create"], TIMER);
    add(&["pthread_setname_np", "pthread_getname_np"], THREAD_NAME);
    add(
        &["pthread_setaffinity_np", "pthread_getaffinity_np"],
        THREAD_PROCESSORS,
    );
    all
}

fn text_of(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|byte| *byte == 0).expect("a zero");
    std::str::from_utf8(&bytes[..end]).expect("plain")
}

const READ: Case = |name, paged| {
    let folder = folder();
    let path = folder.path().join("file");
    let bytes = noise(LENGTH, 1);
    std::fs::write(&path, &bytes).expect("written");
    let file = std::fs::File::open(&path).expect("open");
    let buffer = paged.room(LENGTH);
    paged.out();
    let read = if name == "__read_chk" {
        call!(name, file.as_raw_fd(), buffer, LENGTH, LENGTH)
    } else {
        call!(name, file.as_raw_fd(), buffer, LENGTH, 0_usize, LENGTH)
    };
    assert_eq!(read, LENGTH as isize);
    assert!(paged.slice(buffer, LENGTH) == bytes);
};

const RECEIVE: Case = |name, paged| {
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let bytes = noise(9000, 2);
    sender
        .send_to(&bytes, receiver.local_addr().expect("an address"))
        .expect("sent");
    let buffer = paged.room(10_000);
    let address = paged.room(128);
    let length = paged.value(128_u32);
    paged.out();
    let socket = receiver.as_raw_fd();
    let arrived = if name == "__recv_chk" {
        call!(name, socket, buffer, 10_000_usize, 10_000_usize, 0)
    } else {
        call!(
            name,
            socket,
            buffer,
            10_000_usize,
            10_000_usize,
            0,
            address,
            length
        )
    };
    assert_eq!(arrived, 9000, "{}", errno());
    assert!(paged.slice(buffer, 9000) == bytes);
    if name == "__recvfrom_chk" {
        assert_eq!(
            paged.get(length),
            size_of::<libc::sockaddr_in>() as u32,
            "the sender's address"
        );
    }
};

const FREAD: Case = |name, paged| {
    let folder = folder();
    let path = folder.path().join("file");
    let bytes = noise(LENGTH, 3);
    std::fs::write(&path, &bytes).expect("written");
    let path = CString::new(path.to_str().expect("plain")).expect("plain");
    let buffer = paged.room(LENGTH);
    paged.out();
    // SAFETY: a stream of our own.
    unsafe {
        let stream = libc::fopen(path.as_ptr(), c"r".as_ptr());
        let items = call!(name, buffer, LENGTH, 1000_usize, LENGTH / 1000, stream);
        assert_eq!(items as usize, LENGTH / 1000);
        libc::fclose(stream);
    }
    assert!(paged.slice(buffer, LENGTH) == bytes);
};

const READLINK: Case = |name, paged| {
    let folder = folder();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("where it leads", &link).expect("a link");
    let at = paged.path(&link);
    let target = paged.room(4096);
    paged.out();
    let length = if name == "__readlink_chk" {
        call!(name, at, target, 4096_usize, 4096_usize)
    } else {
        call!(name, AT, at, target, 4096_usize, 4096_usize)
    };
    assert_eq!(paged.slice(target, length as usize), b"where it leads");
};

const FOLDER: Case = |name, paged| {
    let at = paged.path(std::path::Path::new("/proc/../usr/."));
    let result = paged.room(4096);
    paged.out();
    let back = match name {
        "__getcwd_chk" => call!(name, result, 4096_usize, 4096_usize),
        "__getwd_chk" => call!(name, result, 4096_usize),
        _ => call!(name, at, result, 4096_usize),
    };
    assert_eq!(back as usize, result.addr());
    let here = std::env::current_dir().expect("a folder");
    let should = if name == "__realpath_chk" {
        "/usr"
    } else {
        here.to_str().expect("plain")
    };
    assert_eq!(text_of(&paged.slice(result, 4096)), should);
};

const POLL: Case = |name, paged| {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut &writer, b"!").expect("written");
    let entry = paged.value(libc::pollfd {
        fd: reader.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    let time = paged.value([5_i64, 0]);
    let mask = paged.value([u64::MAX; 16]);
    paged.out();
    let room = size_of::<libc::pollfd>();
    let ready = if name == "__poll_chk" {
        call!(name, entry, 1, 5000, room)
    } else {
        call!(name, entry, 1, time, mask, room)
    };
    assert_eq!(int(ready), 1, "{}", errno());
    assert_eq!(paged.get(entry).revents, libc::POLLIN);
};

const ASK: Case = |name, paged| {
    let room = paged.room(65_536 * 4);
    paged.out();
    let result = match name {
        "__getgroups_chk" => call!(name, 65_536, room, 65_536 * 4_usize),
        _ => call!(name, room, 256_usize, 256_usize),
    };
    assert!(int(result) >= 0, "{name}: {}", errno());
    if name == "__gethostname_chk" {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
        assert_eq!(text_of(&paged.slice(room, 256)), kernel.trim());
    }
};

const TERMINAL: Case = |name, paged| {
    // SAFETY: a terminal pair of our own.
    unsafe {
        let main = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        if main < 0 || libc::grantpt(main) != 0 || libc::unlockpt(main) != 0 {
            println!("{name}: skipped, because there are no terminals here");
            return;
        }
        let mut expected = [0; 128];
        libc::ptsname_r(main, expected.as_mut_ptr().cast(), expected.len());
        let other = libc::open(
            expected.as_ptr().cast(),
            libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC,
        );
        let room = paged.room(256);
        paged.out();
        let result = int(call!(name, other, room, 256_usize, 256_usize));
        assert_eq!(result, 0, "{name}");
        assert_eq!(text_of(&paged.slice(room, 256)), text_of(&expected));
        libc::close(other);
        libc::close(main);
    }
};

const OPEN: Case = |name, paged| {
    let at = paged.text("/dev/null");
    paged.out();
    let descriptor = int(if name.contains("at") {
        call!(name, AT, at, libc::O_RDONLY | libc::O_CLOEXEC)
    } else {
        call!(name, at, libc::O_RDONLY | libc::O_CLOEXEC)
    });
    assert!(descriptor >= 0, "{name}: {}", errno());
    // SAFETY: ours.
    unsafe { libc::close(descriptor) };
};

const MESSAGES: Case = |name, paged| {
    // SAFETY: a queue of our own, and a message as the call wants it.
    unsafe {
        let queue = libc::msgget(libc::IPC_PRIVATE, 0o600);
        assert!(queue >= 0, "{}", errno());
        let mut bytes = 1_i64.to_ne_bytes().to_vec();
        bytes.extend(noise(5000, 4));
        let out = paged.bytes(&bytes);
        let room = paged.room(bytes.len());
        let facts = paged.room(size_of::<libc::msqid_ds>());
        paged.out();
        if name == "msgsnd" {
            assert_eq!(int(call!(name, queue, out, 5000_usize, 0)), 0);
        } else {
            assert_eq!(libc::msgsnd(queue, bytes.as_ptr().cast(), 5000, 0), 0);
        }
        if name == "msgctl" {
            assert_eq!(int(call!(name, queue, libc::IPC_STAT, facts)), 0);
            assert_eq!((*facts.cast::<libc::msqid_ds>()).msg_qnum, 1);
        }
        let arrived = call!("msgrcv", queue, room, 5000_usize, 0_usize, 0);
        assert_eq!(arrived, 5000);
        assert!(paged.slice(room, bytes.len()) == bytes);
        assert_eq!(libc::msgctl(queue, libc::IPC_RMID, std::ptr::null_mut()), 0);
    }
};

const SEMAPHORES: Case = |name, paged| {
    // SAFETY: a set of our own.
    unsafe {
        let set = libc::semget(libc::IPC_PRIVATE, 1, 0o600);
        assert!(set >= 0, "{}", errno());
        // Up by two, down by one: number, operation, flags.
        let operations = paged.value([0_i16, 2, 0, 0, -1, 0]);
        let time = paged.value([1_i64, 0]);
        paged.out();
        assert_eq!(int(call!(name, set, operations, 2_usize, time)), 0);
        assert_eq!(libc::semctl(set, 0, libc::GETVAL), 1);
        libc::semctl(set, 0, libc::IPC_RMID);
    }
};

const SEGMENT: Case = |name, paged| {
    // SAFETY: a segment of our own.
    unsafe {
        let segment = libc::shmget(libc::IPC_PRIVATE, 5000, 0o600);
        assert!(segment >= 0, "{}", errno());
        let facts = paged.room(size_of::<libc::shmid_ds>());
        paged.out();
        assert_eq!(int(call!(name, segment, libc::IPC_STAT, facts)), 0);
        assert_eq!((*facts.cast::<libc::shmid_ds>()).shm_segsz, 5000);
        libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut());
    }
};

const QUEUE: Case = |name, paged| {
    let label = format!("/pagekeeper {} {name}", std::process::id());
    let at = paged.text(&label);
    let mut attributes = [0_i64; 8];
    (attributes[1], attributes[2]) = (4, 1000);
    let facts = paged.value(attributes);
    let old = paged.value([0_i64; 8]);
    let bytes = noise(1000, 6);
    let (out, room) = (paged.bytes(&bytes), paged.room(1000));
    let priority = paged.value(0_u32);
    // Long ago or far ahead is all the same: nothing has to be waited for.
    let moment = paged.value([i64::from(i32::MAX), 0]);
    paged.out();
    let flags = libc::O_CREAT | libc::O_RDWR | libc::O_CLOEXEC;
    let queue = int(call!("mq_open", at, flags, 0o600, facts));
    if queue < 0 && errno() == libc::ENOSYS {
        println!("{name}: skipped, because this kernel has no message queues");
        return;
    }
    assert!(queue >= 0, "{name}: {}", errno());
    paged.out();
    let sent = if name.contains("timed") {
        call!("mq_timedsend", queue, out, 1000_usize, 3, moment)
    } else {
        call!("mq_send", queue, out, 1000_usize, 3)
    };
    assert_eq!(int(sent), 0, "{name}: {}", errno());
    paged.out();
    assert_eq!(int(call!("mq_getattr", queue, old)), 0);
    assert_eq!(paged.get(old)[..4], [0, 4, 1000, 1]);
    paged.out();
    assert_eq!(int(call!("mq_setattr", queue, facts, old)), 0);
    let arrived = if name.contains("timed") {
        call!("mq_timedreceive", queue, room, 1000_usize, priority, moment)
    } else {
        call!("mq_receive", queue, room, 1000_usize, priority)
    };
    assert_eq!(arrived, 1000, "{name}: {}", errno());
    assert!(paged.slice(room, 1000) == bytes);
    assert_eq!(paged.get(priority), 3);
    // SAFETY: ours.
    unsafe { libc::close(queue) };
    paged.out();
    assert_eq!(int(call!("mq_unlink", at)), 0);
};

const NAME_WITH_TAIL: Case = |name, paged| {
    let folder = folder();
    let at = paged.path(&folder.path().join("nameXXXXXX.txt"));
    paged.out();
    let descriptor = int(call!(name, at, 4, libc::O_CLOEXEC));
    assert!(descriptor >= 0, "{name}: {}", errno());
    // SAFETY: ours.
    unsafe { libc::close(descriptor) };
    assert!(std::path::Path::new(text_of(&paged.slice(at, 4096))).exists());
};

const FOLDER_MADE: Case = |name, paged| {
    let folder = folder();
    let at = paged.path(&folder.path().join("nameXXXXXX"));
    paged.out();
    assert_eq!(call!(name, at) as usize, at.addr());
    assert!(std::path::Path::new(text_of(&paged.slice(at, 4096))).is_dir());
};

const MEMORY_FILE: Case = |name, paged| {
    let at = paged.text("a name");
    paged.out();
    let descriptor = int(call!(name, at, libc::MFD_CLOEXEC as i32));
    assert!(descriptor >= 0, "{}", errno());
    let link = std::fs::read_link(format!("/proc/self/fd/{descriptor}")).expect("open");
    assert_eq!(link.to_str(), Some("/memfd:a name (deleted)"));
    // SAFETY: ours.
    unsafe { libc::close(descriptor) };
};

/// Nothing is mounted: the kernel looks at the strings, and then says no.
const MOUNT: Case = |name, paged| {
    let folder = folder();
    let at = paged.path(&folder.path().join("nothing here"));
    let kind = paged.text("no such file system");
    let data = paged.text("no such option");
    paged.out();
    let result = if name == "mount" {
        call!(name, at, at, kind, 0_usize, data)
    } else {
        call!(name, at, 0)
    };
    assert_eq!(int(result), -1);
    assert!(
        [libc::ENOENT, libc::EPERM].contains(&errno()),
        "{name}: {}",
        errno()
    );
};

/// How often `visit` was called.
static VISITS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

extern "C" fn visit() -> i32 {
    VISITS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    0
}

const WALK: Case = |name, paged| {
    let folder = folder();
    std::fs::write(folder.path().join("file"), b"1").expect("written");
    let at = paged.path(folder.path());
    // Without anything to expand, so that the kernel gets the caller's string.
    let pattern = paged.path(&folder.path().join("file"));
    paged.out();
    let mut found = [0_usize; 16];
    VISITS.store(0, std::sync::atomic::Ordering::Relaxed);
    let function = visit as *const () as usize;
    let result = int(match name {
        "scandir" | "scandir64" => call!(name, at, found.as_mut_ptr(), 0_usize, 0_usize),
        "glob" | "glob64" => call!(name, pattern, 0, 0_usize, found.as_mut_ptr()),
        "ftw" | "ftw64" => call!(name, at, function, 8),
        _ => call!(name, at, function, 8, 0),
    });
    match name {
        "scandir" | "scandir64" => assert_eq!(result, 3, "{name}: {}", errno()),
        "glob" | "glob64" => assert_eq!((result, found[0]), (0, 1), "{name}: {}", errno()),
        _ => assert_eq!(
            (result, VISITS.load(std::sync::atomic::Ordering::Relaxed)),
            (0, 2),
            "{name}: {}",
            errno()
        ),
    }
};

const TIMER: Case = |name, paged| {
    // SAFETY: a description of no signal, a timer of our own.
    unsafe {
        let mut event: libc::sigevent = core::mem::zeroed();
        event.sigev_notify = libc::SIGEV_NONE;
        let event = paged.value(event);
        let timer = paged.value(usize::MAX);
        paged.out();
        let result = call!(name, libc::CLOCK_MONOTONIC, event, timer);
        assert_eq!(int(result), 0, "{}", errno());
        let timer = core::ptr::with_exposed_provenance_mut(paged.get(timer));
        assert_eq!(libc::timer_delete(timer), 0);
    }
};

const THREAD_NAME: Case = |_, paged| {
    let new = paged.text("fifteen letters");
    let now = paged.room(64);
    paged.out();
    // SAFETY: this thread.
    let own = unsafe { libc::pthread_self() } as usize;
    assert_eq!(int(call!("pthread_setname_np", own, new)), 0);
    assert_eq!(int(call!("pthread_getname_np", own, now, 64_usize)), 0);
    assert_eq!(text_of(&paged.slice(now, 64)), "fifteen letters");
};

const THREAD_PROCESSORS: Case = |_, paged| {
    let set = paged.room(128);
    paged.out();
    // SAFETY: this thread.
    let own = unsafe { libc::pthread_self() } as usize;
    assert_eq!(int(call!("pthread_getaffinity_np", own, 128_usize, set)), 0);
    assert!(paged.slice(set, 128).iter().any(|byte| *byte != 0));
    paged.out();
    assert_eq!(int(call!("pthread_setaffinity_np", own, 128_usize, set)), 0);
};
