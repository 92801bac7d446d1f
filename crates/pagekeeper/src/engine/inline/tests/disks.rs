//! Real file systems that are full, limited or on a device that fails.

use super::*;

const IN_FOLDER: &str = "PAGEKEEPER_TEST_FOLDER";

/// A shell script that makes a small ext4 file system on a loop device, whose own bytes lie in a file on tmpfs, and runs
/// one ignored test on it. `$d/disk` is the device's file, `$d/m` the file system.
const SCRIPT: &str = r#"
    set -e
    d=$(mktemp -d); mount -t tmpfs -o size=128m none $d; truncate -s $2 $d/disk
    l=$(losetup -f --show $d/disk); mkfs.ext4 -q -O ^has_journal -E nodiscard,lazy_itable_init=1 $l
    mkdir $d/m; mount $l $d/m
    trap 'umount -l $d/m; losetup -d $l; umount -l $d; rmdir $d' EXIT
    chmod 777 $d/m
    PAGEKEEPER_TEST_FOLDER=$d/m "$0" --exact "$1" --nocapture --ignored
"#;

/// Runs `test` on such a file system of `size`; it must print `word`.
fn on_loop_device(test: &str, size: &str, word: &str) {
    if !rustix::process::geteuid().is_root() {
        println!("skipped, because only root may make a loop device");
        return;
    }
    let name = format!(
        "{}::{test}",
        module_path!().split_once("::").expect("a crate").1
    );
    let output = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", SCRIPT])
        .arg(std::env::current_exe().expect("a program"))
        .args([name.as_str(), size])
        .output();
    match output {
        Ok(output) => {
            let text =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            if text.contains(word) {
                assert!(output.status.success(), "{text}");
            } else if text.contains("skipped, because") {
                println!("{text}");
            } else if text.contains("test result") {
                panic!("{text}");
            } else {
                println!("skipped, because no loop device could be made: {text}");
            }
        }
        Err(error) => println!("skipped, because unshare is missing: {error}"),
    }
}

fn in_folder(ram: ByteCount, maximum: ByteCount) -> Option<Space> {
    let folder = std::env::var_os(IN_FOLDER).expect("given");
    built(settings(ram, maximum).page_file([folder]))
}

#[test]
fn a_full_disk_refuses_the_commit_and_loses_nothing() {
    on_loop_device("the_disk_is_full_here", "48m", "refused as it should be");
}

#[test]
#[ignore = "run by a_full_disk_refuses_the_commit_and_loses_nothing, on a small file system"]
fn the_disk_is_full_here() {
    let Some(space) = in_folder(ByteCount::mib(1), ByteCount::gib(1)) else {
        return;
    };
    let reservation = space.reserve(ByteCount::gib(1)).build().expect("space");
    let mut pages = 0;
    let refused = loop {
        let at = pages * PAGE_SIZE as u64;
        match reservation.commit(at..at + (1 << 20), Protection::READ_WRITE) {
            Ok(()) => {
                for page in pages..pages + 256 {
                    write_page(&reservation, page, 1);
                }
                pages += 256;
            }
            Err(refused) => break refused,
        }
    };
    assert!(refused.is_out_of_memory(), "{refused}");
    assert!(pages > 10 * 256, "{pages} pages");
    for page in 0..pages {
        assert!(is_right(&reservation, page, 1), "page {page}");
    }
    println!("refused as it should be: {refused}");
}

#[test]
fn a_device_that_fails_is_an_in_page_error_of_its_pages_only() {
    on_loop_device("the_device_fails_here", "64m", "went on as it should");
}

#[test]
#[ignore = "run by a_device_that_fails_is_an_in_page_error_of_its_pages_only, on a loop device"]
fn the_device_fails_here() {
    let Some(space) = in_folder(ByteCount::mib(1), ByteCount::mib(24)) else {
        return;
    };
    let reservation = committed(&space, ByteCount::mib(16));
    let pages = reservation.pages().count().get();
    for page in 0..pages {
        write_page(&reservation, page, 1);
    }
    space.trim();
    let losses = give_up_lost_pages(&space);
    // The device loses its upper part: reads there fail.
    let folder = std::path::PathBuf::from(std::env::var_os(IN_FOLDER).expect("given"));
    let device = folder.parent().expect("a folder").join("disk");
    let behind = std::fs::File::options()
        .write(true)
        .open(device)
        .expect("there");
    behind
        .set_len(behind.metadata().expect("there").len() / 4)
        .expect("cut");
    let mut given_up = 0;
    for page in 0..pages {
        if words(&reservation, page).iter().all(|word| *word == 0) {
            given_up += 1;
        } else {
            assert!(is_right(&reservation, page, 1), "page {page}: wrong data");
        }
    }
    assert_eq!(given_up, losses.count());
    assert!(given_up > 0, "the device did not fail");
    // Nothing there gives EIO; once a later write has made the device's file longer again, the hole before it gives
    // zeros, which no checksum agrees with.
    let errno = losses.errno();
    assert!(
        errno.is_none() || errno == Some(Errno::IO.raw_os_error()),
        "{errno:?}"
    );
    // Pages that never went there go on.
    for page in 0..128 {
        write_page(&reservation, page, 2);
    }
    for page in 0..128 {
        assert!(is_right(&reservation, page, 2), "page {page}");
    }
    println!("{given_up} of {pages} pages lost, the rest went on as it should");
}

#[test]
fn a_file_size_limit_refuses_the_commit_and_kills_nobody() {
    if !is_child() {
        run_again(
            "disks::a_file_size_limit_refuses_the_commit_and_kills_nobody",
            &[],
        );
        return;
    }
    let limit = |bytes| {
        let limit = rustix::process::Rlimit {
            current: Some(bytes),
            maximum: None,
        };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).expect("a limit");
    };
    let folder = folder();
    let settings = settings(ByteCount::mib(1), ByteCount::mib(256)).page_file([folder.path()]);
    let space = match settings.build() {
        Ok(space) => space,
        Err(error) => return println!("skipped, because {error}"),
    };
    limit(40 << 20);
    let reservation = space.reserve(ByteCount::mib(128)).build().expect("space");
    let mut pages = 0;
    let refused = loop {
        let at = pages * PAGE_SIZE as u64;
        match reservation.commit(at..at + (1 << 20), Protection::READ_WRITE) {
            Ok(()) => pages += 256,
            Err(refused) => break refused,
        }
    };
    assert!(refused.is_out_of_memory(), "{refused}");
    assert!(refused.to_string().contains("limit"), "{refused}");
    assert!((30 * 256..=41 * 256).contains(&pages), "{pages} pages");
    for page in 0..pages {
        write_page(&reservation, page, 1);
    }
    for page in 0..pages {
        assert!(is_right(&reservation, page, 1), "page {page}");
    }
    // Lowered below what is in use: what is written already can be read, nobody dies of SIGXFSZ, and when the limit
    // is lifted everything goes on.
    limit(4096);
    let errors = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&errors);
    space.on_exception(move |exception| {
        let number = Some(Errno::FBIG.raw_os_error());
        assert_eq!(exception.kind, ExceptionKind::InPageError(number));
        counted.fetch_add(1, Ordering::Relaxed);
        // The soft limit only was lowered.
        limit(1 << 40);
        Handled::Retry
    });
    for page in 0..pages {
        write_page(&reservation, page, 2);
    }
    assert_eq!(errors.load(Ordering::Relaxed), 1);
    for page in 0..pages {
        assert!(is_right(&reservation, page, 2), "page {page}");
    }
}
