//! What the kernel or the disk refuses: nothing changes, nothing is lost, nobody is killed.

use pagekeeper_model::Protection;
use pagekeeper_sys::Errno;

use super::*;
use crate::error::EngineError;

const RW: Protection = Protection::READ_WRITE;

/// Whether the kernel can read the page: what an access would do, without dying of it.
pub(super) fn is_reachable(memory: &Memory, page: u64) -> bool {
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let range = memory.pages(page, 1);
    // SAFETY: The kernel checks the address; the descriptor is open.
    let wrote = unsafe {
        libc::write(
            std::os::fd::AsRawFd::as_raw_fd(&writer),
            core::ptr::with_exposed_provenance(range.address() as usize),
            1,
        )
    };
    drop(reader);
    wrote == 1
}

/// Commits across opened and closed, anonymous and file pieces, refusing each call in turn.
#[test]
fn a_commit_that_is_refused_half_way_is_undone() {
    for markers in [true, false] {
        let mut refused = 0;
        for calls in 0..40 {
            let mut settings = settings(16 * MIB, 25, 64 * MIB);
            settings.switches.markers = markers;
            let memory = Memory::new(settings, 32 * MIB);
            memory.commit(100, 50);
            memory.write(120, 9);
            memory.commit(1300, 10);
            memory.commit(2000, 10);
            memory.protect(1300, 5, RW, Protection::READ_ONLY);
            memory.decommit(2005, 5);
            let changes = [
                memory.to(90, 10, None, Some(RW)),
                memory.to(100, 5, Some(RW), Some(Protection::READ_ONLY)),
                memory.to(1290, 10, None, Some(Protection::READ_ONLY)),
                memory.to(1300, 5, Some(Protection::READ_ONLY), Some(RW)),
                memory.to(1310, 690, None, Some(RW)),
                memory.to(2005, 2000, None, Some(RW)),
            ];
            memory.engine.core.kernel.refuse_after(calls);
            let result = memory.engine.commit(&changes);
            memory.engine.core.kernel.refuse_after(-1);
            for (page, committed) in [
                (90, false),
                (99, false),
                (100, true),
                (149, true),
                (150, false),
            ]
            .into_iter()
            .chain([
                (1290, false),
                (1304, true),
                (1311, false),
                (2009, false),
                (4004, false),
            ]) {
                let wanted = committed || result.is_ok() && page != 150;
                assert_eq!(
                    is_reachable(&memory, page),
                    wanted,
                    "calls {calls}, page {page}"
                );
            }
            assert_eq!(memory.read(120), 9);
            if result.is_err() {
                refused += 1;
                // The same commit goes through afterwards, and reads zero.
                memory.engine.commit(&changes).unwrap();
            }
            assert_eq!(
                (memory.read(2006), memory.read(4004), memory.read(95)),
                (0, 0, 0)
            );
            memory.write(4004, 1);
            memory.write(1302, 1);
        }
        assert!(refused > 5, "{refused}");
    }
}

#[test]
fn a_failed_write_back_stops_paging_and_is_reported() {
    let memory = Memory::of_file(16 * MIB, 64 * MIB);
    memory.commit(0, 8 * MIB);
    for page in 0..8 * MIB {
        memory.write(page, page);
    }
    memory
        .engine
        .core
        .balance
        .injected
        .store(5, core::sync::atomic::Ordering::Relaxed);
    memory.engine.trim(memory.pages(0, 512));
    let stopped = EngineError::PagingStopped(Errno::IO);
    assert_eq!(memory.engine.health(), Err(stopped.clone()));
    assert_eq!(
        memory
            .engine
            .commit(&[memory.to(9 * MIB, 1, None, Some(RW))]),
        Err(stopped)
    );
    // What is there stays right: nothing is dropped any more.
    memory
        .engine
        .core
        .balance
        .injected
        .store(0, core::sync::atomic::Ordering::Relaxed);
    // How much that is depends on the machine: where it is busy, the balancer has trimmed before.
    memory.engine.trim(memory.pages(0, 8 * MIB));
    let cached = memory.engine.core.count_cached().unwrap().0;
    assert!(cached > 0);
    memory.engine.trim(memory.pages(0, 8 * MIB));
    assert_eq!(memory.engine.core.count_cached().unwrap().0, cached);
    for page in 0..8 * MIB {
        assert_eq!(memory.read(page), page);
    }
}

/// A file system on a device whose writes fail: a loop device over a file that cannot be filled.
#[test]
fn a_device_that_fails_stops_paging() {
    if !is_root() {
        println!("skipped, because only root may make a failing device");
        return;
    }
    let script = r#"
        set -e
        d=$(mktemp -d); mount -t tmpfs -o size=24m none $d; truncate -s 200m $d/disk
        l=$(losetup -f --show $d/disk); mkfs.ext4 -q -O ^has_journal -E nodiscard,lazy_itable_init=1 $l
        mkdir $d/m; mount $l $d/m
        trap 'umount -l $d/m; losetup -d $l; umount -l $d; rmdir $d' EXIT
        PAGEKEEPER_TEST_FOLDER=$d/m "$0" --exact "$1" --nocapture --ignored
    "#;
    let name = format!(
        "{}::writes_fail_here",
        module_path!().split_once("::").expect("a crate").1
    );
    let output = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(std::env::current_exe().expect("a program"))
        .arg(name)
        .output();
    match output {
        Ok(output) => {
            let text =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            if text.contains("paging stopped as it should") {
                assert!(output.status.success(), "{text}");
            } else if text.contains("test result") {
                panic!("{text}");
            } else {
                println!("skipped, because no failing device could be made: {text}");
            }
        }
        Err(error) => println!("skipped, because unshare is missing: {error}"),
    }
}

#[test]
#[ignore = "run by a_device_that_fails_stops_paging, on a device that fails"]
fn writes_fail_here() {
    let memory = Memory::of_file(16 * MIB, 64 * MIB);
    memory.commit(0, 60 * MIB);
    let mut random = Random::of(1);
    for page in 0..60 * MIB {
        for word in memory.bytes(page, 1).as_chunks_mut::<8>().0 {
            *word = random.next().to_ne_bytes();
        }
        if memory.engine.health().is_err() {
            break;
        }
    }
    std::thread::sleep(core::time::Duration::from_millis(500));
    assert!(matches!(
        memory.engine.health(),
        Err(EngineError::PagingStopped(_))
    ));
    println!("paging stopped as it should");
}

#[test]
fn a_file_size_limit_refuses_the_commit_and_kills_nobody() {
    let ended = in_child(
        "failures::a_file_size_limit_refuses_the_commit_and_kills_nobody",
        || {
            set_limit(libc::RLIMIT_FSIZE, 80 << 20);
            let memory = Memory::of_file(8 * MIB, 256 * MIB);
            let mut pieces = 0;
            // One page in every second piece: holes are used as well.
            let error = loop {
                match memory
                    .engine
                    .commit(&[memory.to(pieces * 1024, 1, None, Some(RW))])
                {
                    Ok(()) => memory.write(pieces * 1024, pieces),
                    Err(error) => break error,
                }
                pieces += 1;
            };
            assert!(matches!(error, EngineError::PageFileSpace(_)), "{error}");
            assert!((30..=40).contains(&pieces), "{pieces} pieces in 80 MiB");
            let whole = memory
                .engine
                .commit(&[memory.to(200 * MIB, 40 * MIB, None, Some(RW))]);
            assert!(whole.is_err());
            assert!(!is_reachable(&memory, 200 * MIB));
            // Recommits that have to write zeros do not raise SIGXFSZ either when the limit has sunk.
            set_limit(libc::RLIMIT_FSIZE, 4096);
            memory
                .engine
                .protect(&[memory.to(1024, 1, Some(RW), Some(RW))])
                .unwrap();
            memory.commit(1025, 1);
            memory.write(1025, 5);
            memory.decommit(1025, 1);
            memory.commit(1025, 1);
            assert_eq!(memory.read(1025), 0);
            for piece in 0..pieces {
                assert_eq!(memory.read(piece * 1024), piece);
            }
            // What is given back can be used again.
            memory.decommit(0, 1);
        },
    );
    assert!(ended.status.success(), "{}: {}", ended.status, ended.output);
}

#[test]
fn the_page_files_maximum_refuses_and_other_files_take_over() {
    let two = tempfile::tempdir_in(folder()).unwrap();
    let mut settings = settings(8 * MIB, 0, 8 * MIB);
    settings.places.push(two.path().to_owned());
    let memory = Memory::new(settings, 64 * MIB);
    memory.commit(0, 16 * MIB);
    let refused = memory
        .engine
        .commit(&[memory.to(16 * MIB, 1, None, Some(RW))]);
    assert!(
        matches!(refused, Err(EngineError::PageFileSpace(_))),
        "{refused:?}"
    );
    for page in (0..16 * MIB).step_by(7) {
        memory.write(page, page);
    }
    for page in (0..16 * MIB).step_by(7) {
        assert_eq!(memory.read(page), page);
    }
    memory.decommit(0, 2 * MIB);
    memory.commit(16 * MIB, 2 * MIB);
    assert_eq!(
        std::fs::read_dir(two.path()).unwrap().count(),
        0,
        "no name is left"
    );
}

#[test]
fn a_folder_that_is_no_folder_or_in_ram_is_refused_in_words() {
    for (place, word) in [
        ("/nonexistent/folder", "does not exist"),
        ("/dev/shm", "in RAM"),
    ] {
        let mut settings = settings(8 * MIB, 0, 8 * MIB);
        settings.places = vec![place.into()];
        let memory = Memory::new(settings, 8 * MIB);
        let error = memory
            .engine
            .commit(&[memory.to(0, 1, None, Some(RW))])
            .unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert!(!is_reachable(&memory, 0));
    }
}

#[test]
fn without_markers_the_mapping_limit_is_a_clean_refusal() {
    let test = "failures::without_markers_the_mapping_limit_is_a_clean_refusal";
    let ended = in_child(test, || {
        let mut settings = settings(1024 * MIB, 100, 0);
        settings.switches.markers = false;
        let memory = Memory::new(settings, 512 * MIB);
        let mut count = 0;
        let error = loop {
            match memory
                .engine
                .commit(&[memory.to(2 * count, 1, None, Some(RW))])
            {
                Ok(()) => memory.write(2 * count, count),
                Err(error) => break error,
            }
            count += 1;
        };
        assert!(
            matches!(
                error,
                EngineError::Kernel {
                    errno: Errno::NOMEM,
                    ..
                }
            ),
            "{error}"
        );
        assert!(count > 30_000, "{count}");
        for index in 0..count {
            assert_eq!(memory.read(2 * index), index);
        }
        assert!(!is_reachable(&memory, 1) && !is_reachable(&memory, 2 * count));
        // Filling gaps needs no further mappings.
        memory.commit(1, 1);
        memory.decommit(0, 3);
        memory.commit(2 * count, 1);
    });
    assert!(ended.status.success(), "{}: {}", ended.status, ended.output);
}

#[test]
fn an_address_space_limit_refuses_the_arena() {
    let ended = in_child("failures::an_address_space_limit_refuses_the_arena", || {
        set_limit(libc::RLIMIT_AS, 4 << 30);
        let engine = MappedEngine::new(settings(8 * MIB, 50, 0)).unwrap();
        let refused = engine.open_arena(None, PageCount::new(1 << 20));
        assert_eq!(refused, Err(EngineError::AddressSpace(Errno::NOMEM)));
        assert!(engine.open_arena(None, PageCount::new(1 << 16)).is_ok());
    });
    assert!(ended.status.success(), "{}: {}", ended.status, ended.output);
}
