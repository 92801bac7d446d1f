//! What needs a process of its own: limits, sudden death, a small file system.
//!
//! A test starts this test program again with `PAGEKEEPER_TEST_CHILD` set and the name of a test
//! that does the child's part, and nothing in an ordinary run.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use super::*;

const CHILD: &str = "PAGEKEEPER_TEST_CHILD";

/// A shell that runs `before` and then this program's test `name` with `folder` as its argument.
fn child(name: &str, folder: &Path, before: &str) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{before} exec \"$0\" \"$@\"")])
        .arg(program)
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("page_file::tests::processes::{name}"))
        .env(CHILD, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// The argument, in a child.
fn in_child() -> Option<std::path::PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

fn assert_success(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{:?}: {text}", output.status);
    assert!(text.contains("1 passed"), "the child did not run: {text}");
}

#[test]
fn a_file_size_limit_is_a_refusal_and_no_signal() {
    let folder = folder();
    // In blocks of 512 bytes (POSIX sh): 4 MiB.
    let output = child(
        "child_with_a_file_size_limit",
        folder.path(),
        "ulimit -f 8192;",
    )
    .output()
    .unwrap();
    assert_success(&output);
}

#[test]
fn child_with_a_file_size_limit() {
    let Some(folder) = in_child() else {
        return;
    };
    let limit = pagekeeper_sys::rlimit::file_size_bytes();
    assert!(limit == 4 << 20 || limit == 8 << 20, "{limit}");
    let pages_allowed = limit / PAGE_SIZE as u64;
    let files = PageFiles::open(settings(&[&folder], 64)).unwrap();
    let refused = files
        .set_promised(PageCount::new(pages_allowed + 1))
        .unwrap_err();
    println!("{refused}");
    assert!(
        matches!(refused, PageFileError::FileSizeLimit { .. }),
        "{refused:?}"
    );
    assert_eq!(files.usable(), PageCount::ZERO);
    files.set_promised(PageCount::new(pages_allowed)).unwrap();
    let mut rng = Rng::from_env();
    let pages = pages(&mut rng, pages_allowed as usize);
    let slots = store(&files, &pages).unwrap();
    for (page, slot) in pages.iter().zip(slots) {
        assert!(load(&files, slot).unwrap() == *page.bytes());
    }
}

#[test]
fn a_limit_too_low_for_any_page_file_is_a_refusal() {
    let folder = folder();
    let output = child("child_with_a_tiny_limit", folder.path(), "ulimit -f 0;")
        .output()
        .unwrap();
    // Under that limit the child cannot even print to a file, but to a pipe it can.
    assert_success(&output);
}

#[test]
fn child_with_a_tiny_limit() {
    let Some(folder) = in_child() else {
        return;
    };
    let refused = PageFiles::open(settings(&[&folder], 64)).unwrap_err();
    assert!(
        matches!(refused, PageFileError::FileSizeLimit { .. }),
        "{refused:?}"
    );
}

#[test]
fn a_limit_lowered_later_fails_the_write_and_loses_nothing() {
    let folder = folder();
    let output = child(
        "child_whose_limit_is_lowered",
        folder.path(),
        "ulimit -S -f unlimited;",
    )
    .output()
    .unwrap();
    assert_success(&output);
}

#[test]
fn child_whose_limit_is_lowered() {
    let Some(folder) = in_child() else {
        return;
    };
    let files = PageFiles::open(settings(&[&folder], 16)).unwrap();
    files.set_promised(PageCount::new(4096)).unwrap();
    let mut rng = Rng::from_env();
    let pages = pages(&mut rng, 512);
    let slots = store(&files, &pages).unwrap();
    let lowered = Command::new("prlimit")
        .args(["--fsize=1048576", "--pid", &std::process::id().to_string()])
        .status();
    if !lowered.is_ok_and(|status| status.success()) {
        println!("skipped, because there is no prlimit program");
        return;
    }
    let refused = store(&files, &pages[..1]).unwrap_err();
    assert_eq!((refused.errno, refused.withdrawn), (Errno::FBIG, false));
    assert_eq!(files.used(), PageCount::new(512));
    // Of several runs, those below the limit are written.
    let beyond = files.take_run(2).unwrap();
    let below = SlotRun {
        first: slots[5],
        count: 3,
    };
    let chosen: Vec<_> = pages[..2].iter().chain(&pages[5..8]).collect();
    let pieces: Vec<_> = chosen
        .iter()
        .map(|page| IoSlice::new(page.bytes()))
        .collect();
    let sums: Vec<_> = chosen
        .iter()
        .map(|page| files.checksum(page.bytes()))
        .collect();
    let results = files.write_runs(&[beyond, below], &pieces, &sums);
    assert_eq!(results[..2], [Err(refused), Ok(())]);
    assert_eq!(files.used(), PageCount::new(512));
    for (page, slot) in pages.iter().zip(slots) {
        assert!(load(&files, slot).unwrap() == *page.bytes());
    }
}

#[test]
fn a_killed_process_leaves_no_file() {
    let folder = folder();
    let named = folder.path().join("named.page");
    let mut victim: Child = child("child_that_waits_to_be_killed", folder.path(), "")
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.ends_with("ready"))));
    assert!(!named.exists(), "the name is gone while it is in use");
    // SIGKILL.
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn child_that_waits_to_be_killed() {
    let Some(folder) = in_child() else {
        return;
    };
    let named = folder.join("named.page");
    let files = PageFiles::open(settings(&[&folder, &named], 8)).unwrap();
    files.set_promised(PageCount::new(3000)).unwrap();
    let mut rng = Rng::from_env();
    store(&files, &pages(&mut rng, 2500)).unwrap();
    println!("ready");
    std::thread::sleep(std::time::Duration::from_secs(60));
}

/// A file system of 24 MiB, unmounted when dropped.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = folder();
        let image = folder.path().join("image");
        let at = folder.path().join("mounted");
        std::fs::File::create(&image)
            .unwrap()
            .set_len(24 << 20)
            .unwrap();
        std::fs::create_dir(&at).unwrap();
        let run = |command: &mut Command| {
            let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
            quiet.status().is_ok_and(|status| status.success())
        };
        let made = run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        let disk = Self { folder };
        (made
            && run(Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&at)))
        .then_some(disk)
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("mounted")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = |options: &[&str]| {
            let mut command = Command::new("umount");
            command.args(options).arg(self.path()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        // The kernel lets go of a ring's file some time after the ring is closed.
        for _ in 0..100 {
            if unmount(&[]) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        unmount(&["--lazy"]);
    }
}

#[test]
fn a_full_disk_is_a_refusal_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped, because mounting a small file system needs root and a loop device");
        return;
    };
    let place = disk.path();
    let files = PageFiles::open(settings(&[&place], 64)).unwrap();
    files.set_promised(PageCount::new(1 << 8)).unwrap();
    let mut rng = Rng::from_env();
    let pages = pages(&mut rng, 256);
    let slots = store(&files, &pages).unwrap();
    let refused = files.set_promised(PageCount::new(30 << 8)).unwrap_err();
    println!("{refused}");
    assert!(matches!(refused, PageFileError::DiskFull { .. }));
    // Fill the rest with somebody else's file; then not even one page more can be promised, but
    // what was promised can be written.
    let filler = place.join("filler");
    let _ = Command::new("dd")
        .args(["if=/dev/zero", "bs=1M", &format!("of={}", filler.display())])
        .stderr(Stdio::null())
        .status();
    let usable = files.usable();
    assert!(matches!(
        files.set_promised(PageCount::new(usable.get() + 1)),
        Err(PageFileError::DiskFull { .. })
    ));
    let more = super::pages(&mut rng, (usable.get() - 256) as usize);
    let more_slots = store(&files, &more).unwrap();
    for (page, slot) in pages.iter().zip(slots).chain(more.iter().zip(more_slots)) {
        assert!(load(&files, slot).unwrap() == *page.bytes());
    }
    let full = PageFiles::open(PageFileSettings {
        maximum: None,
        ..settings(&[&place], 1)
    });
    let full = full.unwrap_err();
    println!("{full}");
    assert!(matches!(
        full,
        PageFileError::File(pagekeeper_sys::file::FileError::Full(_))
    ));
    drop(files);
    std::fs::remove_file(filler).unwrap();
}

#[test]
fn a_read_only_disk_is_refused() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped, because mounting a small file system needs root and a loop device");
        return;
    };
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(disk.path())
        .status()
        .unwrap();
    assert!(remounted.success());
    let refused = PageFiles::open(settings(&[&disk.path()], 8)).unwrap_err();
    println!("{refused}");
    assert!(matches!(
        refused,
        PageFileError::File(pagekeeper_sys::file::FileError::ReadOnly(_))
    ));
}
