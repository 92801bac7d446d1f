//! Descriptors that the program closes and replaces. What closes everything runs in a child process: the test
//! starts itself again.

use super::*;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::Command;

/// Names the test that a child process has to carry out.
const CHILD: &str = "PAGEKEEPER_TEST_CHILD";

/// Runs `body` in a child process that runs nothing but the test `name`.
fn in_child(name: &str, body: fn()) {
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        body();
        // Not through the test harness's end: its descriptors may be gone.
        std::process::exit(77);
    }
    let path = format!("descriptor::tests::{name}");
    let output = Command::new(std::env::current_exe().expect("our own program"))
        .args([&path, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .output()
        .expect("the child starts");
    assert_eq!(
        output.status.code(),
        Some(77),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// An unlinked file with `text` in it.
fn file_with(text: &str) -> File {
    let path = std::env::temp_dir().join(format!(
        "pagekeeper-descriptor-{}-{text}",
        std::process::id()
    ));
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .expect("a scratch file");
    std::fs::remove_file(&path).expect("unlinked");
    file.write_all(text.as_bytes()).expect("written");
    file
}

fn text_of(kept: &KeptDescriptor) -> String {
    let file = File::from(kept.as_fd().try_clone_to_owned().expect("a duplicate"));
    let mut text = [0; 64];
    let size = file.read_at(&mut text, 0).expect("readable");
    String::from_utf8_lossy(&text[..size]).into_owned()
}

fn close_range_all() {
    // SAFETY: The point of the test; nobody uses a descriptor above 2 afterwards that was open before.
    unsafe { raw::call(436, [3, u32::MAX as usize, 0]) }.expect("closed");
}

/// Everything is closed from 3 on; what was kept comes back, more than once.
fn survives_closing() {
    let kept: Vec<_> = (0..5)
        .map(|index| {
            KeptDescriptor::keep(file_with(&format!("file {index}")).into()).expect("kept")
        })
        .collect();
    for _ in 0..3 {
        let numbers: Vec<_> = kept.iter().map(KeptDescriptor::number).collect();
        close_range_all();
        for (index, kept) in kept.iter().enumerate() {
            assert!(kept.is_backed() && !kept.verify(), "closed");
            assert_eq!(kept.recover(), Ok(()));
            assert!(kept.verify());
            assert_eq!(text_of(kept), format!("file {index}"));
            assert_eq!(kept.number(), numbers[index], "the old number was free");
        }
    }
    // And one that is kept only now still finds the keeper.
    let late = KeptDescriptor::keep(file_with("late").into()).expect("kept");
    close_range_all();
    assert_eq!(late.recover(), Ok(()));
    assert_eq!(text_of(&late), "late");
}

#[test]
fn closing_everything_loses_nothing() {
    in_child("closing_everything_loses_nothing", survives_closing);
}

#[test]
fn closing_everything_loses_nothing_before_linux_6_9() {
    in_child("closing_everything_loses_nothing_before_linux_6_9", || {
        keeper::WITHOUT_PIDFD.store(true, Ordering::Relaxed);
        survives_closing();
    });
}

#[test]
fn a_replaced_number_is_noticed_and_left_to_the_program() {
    in_child(
        "a_replaced_number_is_noticed_and_left_to_the_program",
        || {
            let kept = KeptDescriptor::keep(file_with("ours").into()).expect("kept");
            let number = kept.number();
            let theirs = file_with("theirs");
            // SAFETY: The point of the test.
            unsafe { assert_eq!(libc::dup2(theirs.as_raw_fd(), number), number) };
            assert!(!kept.verify());
            assert_eq!(kept.recover(), Ok(()));
            assert_ne!(kept.number(), number);
            assert!(is_own_number(kept.number()) && !is_own_number(number));
            assert_eq!(text_of(&kept), "ours");
            // Dropping ours leaves theirs alone.
            drop(kept);
            let theirs = identity_of(theirs.as_raw_fd()).expect("open");
            assert_eq!(identity_of(number), Ok(theirs));
        },
    );
}

#[test]
fn dropping_leaves_a_replaced_number_alone() {
    in_child("dropping_leaves_a_replaced_number_alone", || {
        let kept = KeptDescriptor::keep(file_with("ours").into()).expect("kept");
        let (number, theirs) = (kept.number(), file_with("theirs"));
        // SAFETY: The point of the test.
        unsafe { assert_eq!(libc::dup2(theirs.as_raw_fd(), number), number) };
        drop(kept);
        assert_eq!(identity_of(number), identity_of(theirs.as_raw_fd()));
    });
}

#[test]
fn a_daemon_keeps_its_files() {
    in_child("a_daemon_keeps_its_files", || {
        let kept = KeptDescriptor::keep(file_with("daemon").into()).expect("kept");
        // What old daemons do: every number one by one, then the standard streams anew.
        for number in 0..20_000 {
            close(number);
        }
        let null = std::ffi::CString::new("/dev/null").expect("no zero");
        for expected in 0..3 {
            // SAFETY: A valid path.
            assert_eq!(unsafe { libc::open(null.as_ptr(), libc::O_RDWR) }, expected);
        }
        assert_eq!(kept.recover(), Ok(()));
        assert_eq!(text_of(&kept), "daemon");
    });
}

#[test]
fn threads_recover_at_once() {
    in_child("threads_recover_at_once", || {
        let kept = KeptDescriptor::keep(file_with("shared").into()).expect("kept");
        for _ in 0..50 {
            close_range_all();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| assert_eq!(kept.recover(), Ok(())));
                }
            });
            assert_eq!(text_of(&kept), "shared");
            // One number for one file, however many threads asked.
            let identity = Ok(kept.identity());
            let open = (3..20_000).filter(|&number| identity_of(number) == identity);
            assert_eq!(open.count(), 1);
        }
    });
}

/// Userfaultfd if we may have one, else a timer, which has a file of its own kind.
fn special_file() -> OwnedFd {
    // SAFETY: Touches no memory. 1: user mode only.
    let made = unsafe { raw::call(323, [libc::O_CLOEXEC as usize | 1]) };
    match made {
        // SAFETY: The kernel just made it.
        Ok(number) => unsafe { OwnedFd::from_raw_fd(number as RawFd) },
        Err(error) => {
            println!("userfaultfd part skipped, because the kernel refuses it: {error}");
            file_with("instead").into()
        }
    }
}

#[test]
fn anonymous_files_are_told_apart() {
    in_child("anonymous_files_are_told_apart", || {
        let one = KeptDescriptor::keep(special_file()).expect("kept");
        let two = KeptDescriptor::keep(special_file()).expect("kept");
        assert!(one.verify() && two.verify());
        // SAFETY: The point of the test.
        unsafe { assert!(libc::dup2(two.number(), one.number()) >= 0) };
        assert!(!one.verify(), "another userfaultfd is not ours");
        assert_eq!(one.recover(), Ok(()));
        assert!(one.verify() && two.verify());

        // The kind that shares one inode with everybody.
        let event =
            || rustix::event::eventfd(3, rustix::event::EventfdFlags::CLOEXEC).expect("an event");
        let kept = KeptDescriptor::keep(event()).expect("kept");
        let other = event();
        assert!(kept.is_shared_inode && kept.verify());
        // SAFETY: The point of the test.
        unsafe { assert!(libc::dup2(other.as_raw_fd(), kept.number()) >= 0) };
        assert!(!kept.verify(), "another event is not ours");
        assert_eq!(kept.recover(), Ok(()));
        assert!(kept.verify());
    });
}

#[test]
fn the_keeper_holds_nothing_of_the_program() {
    in_child("the_keeper_holds_nothing_of_the_program", || {
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let kept = KeptDescriptor::keep(file_with("pipe").into()).expect("kept");
        assert!(kept.is_backed());
        drop(writer);
        let mut byte = [0];
        assert_eq!(rustix::io::read(&reader, &mut byte), Ok(0), "end of file");
        // Let go, the file's last reference is closed: the pipe ends.
        let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
        let kept = KeptDescriptor::keep(writer).expect("kept");
        drop(kept);
        assert_eq!(rustix::io::read(&reader, &mut byte), Ok(0), "end of file");
    });
}

#[test]
fn without_a_keeper_a_loss_is_reported() {
    in_child("without_a_keeper_a_loss_is_reported", || {
        let refusal = crate::seccomp::Refusal::of(41, Errno::ACCESS);
        crate::seccomp::refuse(&[refusal], crate::seccomp::Scope::Process).expect("a filter");
        let kept = KeptDescriptor::keep(file_with("alone").into()).expect("kept all the same");
        assert!(!kept.is_backed() && kept.verify());
        close(kept.number());
        assert_eq!(kept.recover(), Err(Lost(Errno::BADF)));
    });
}

#[test]
fn a_forked_child_is_refused_and_can_keep_its_own() {
    in_child("a_forked_child_is_refused_and_can_keep_its_own", || {
        let kept = KeptDescriptor::keep(file_with("parent").into()).expect("kept");
        // SAFETY: The child calls nothing that another thread could have locked: the only one is the keeper.
        match unsafe { libc::fork() } {
            0 => {
                close(kept.number());
                // By pidfd the kernel decides whether a child may reach into its parent; by message
                // the keeper refuses.
                let consistent = kept.recover().is_ok() == kept.verify();
                close(kept.number());
                keeper::WITHOUT_PIDFD.store(true, Ordering::Relaxed);
                let refused = consistent && kept.recover().is_err();
                let own = KeptDescriptor::keep(file_with("child").into()).expect("kept");
                close(own.number());
                let good = refused && own.recover().is_ok() && text_of(&own) == "child";
                // SAFETY: Ends the child without the harness.
                unsafe { libc::_exit(i32::from(!good)) };
            }
            child => {
                let mut status = 0;
                // SAFETY: Our own child.
                unsafe { libc::waitpid(child, &raw mut status, 0) };
                assert_eq!(status, 0, "the child was content");
                assert!(kept.verify());
            }
        }
    });
}

#[test]
fn numbers_are_high_listed_and_given_back() {
    // In a child, as other tests' threads take and free numbers meanwhile.
    in_child("numbers_are_high_listed_and_given_back", || {
        let kept = KeptDescriptor::keep(file_with("high").into()).expect("kept");
        let number = kept.number();
        assert!(number >= high_base(), "high: {number}");
        assert_eq!(own_numbers().collect::<Vec<_>>(), [number]);
        assert!(is_own_number(number) && kept.verify());
        assert_eq!(kept.recover(), Ok(()), "nothing to do");
        assert_eq!(kept.number(), number);
        drop(kept);
        assert!(!is_own_number(number) && !is_own_number(NONE));
        assert!(identity_of(number).is_err(), "closed");
        // A low limit leaves room above us, too.
        let limit = libc::rlimit {
            rlim_cur: 64,
            rlim_max: 64,
        };
        // SAFETY: A valid struct.
        unsafe { assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0) };
        assert_eq!(high_base(), 48);
        let kept = KeptDescriptor::keep(file_with("low").into()).expect("kept");
        assert!((48..64).contains(&kept.number()));
    });
}

#[test]
fn more_than_the_list_holds_is_refused() {
    in_child("more_than_the_list_holds_is_refused", || {
        let file = file_with("many");
        let mut kept = Vec::new();
        let error = loop {
            let copy = file.try_clone().expect("a duplicate");
            match KeptDescriptor::keep(copy.into()) {
                Ok(one) => kept.push(one),
                Err(error) => break error,
            }
        };
        assert_eq!((kept.len(), error), (MAXIMUM_KEPT, Errno::MFILE));
        kept.pop();
        KeptDescriptor::keep(file.into()).expect("a place is free again");
    });
}
