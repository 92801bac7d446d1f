//! Fork, locks behind our back, descriptors taken away, a sudden end.

use pagekeeper_model::Protection;

use super::failures::is_reachable;
use super::*;
use crate::error::EngineError;

const RW: Protection = Protection::READ_WRITE;

#[test]
fn a_forked_child_does_not_have_the_ranges_and_the_parent_keeps_them() {
    let ended = in_child(
        "traps::a_forked_child_does_not_have_the_ranges_and_the_parent_keeps_them",
        || {
            let memory = Memory::new(settings(8 * MIB, 50, 64 * MIB), 32 * MIB);
            memory.commit(0, 16 * MIB);
            for page in 0..16 * MIB {
                memory.write(page, page);
            }
            // Closed and opened again: the new mappings must not be inherited either.
            memory.decommit(0, 6 * MIB);
            memory.commit(0, 3 * MIB);
            // SAFETY: The child makes only async-signal-safe calls.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let range = memory.arena;
                let mut answer = 0_u8;
                let anywhere = [0, 2 * MIB, 7 * MIB, 15 * MIB, 31 * MIB]
                    .into_iter()
                    .any(|page| {
                        let address = range.start().plus(PageCount::new(page)).address() as usize;
                        // SAFETY: mincore checks the address itself: ENOMEM where nothing is mapped.
                        unsafe {
                            libc::mincore(
                                core::ptr::with_exposed_provenance_mut(address),
                                4096,
                                &raw mut answer,
                            ) == 0
                        }
                    });
                // SAFETY: Ends the child without running anything of the parent's.
                unsafe { libc::_exit(i32::from(anywhere)) };
            }
            let mut status = 0;
            // SAFETY: Waits for the child above.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "nothing of the arena is mapped in the child");
            for page in 6 * MIB..16 * MIB {
                assert_eq!(memory.read(page), page);
            }
        },
    );
    assert!(ended.status.success(), "{}: {}", ended.status, ended.output);
}

#[test]
fn mlockall_does_not_stop_commits_decommits_and_trimming() {
    let ended = in_child(
        "traps::mlockall_does_not_stop_commits_decommits_and_trimming",
        || {
            // SAFETY: Locks memory, no more.
            if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) } != 0 {
                println!("skipped, because memory may not be locked here");
                return;
            }
            for share in [100, 0] {
                let memory = Memory::new(settings(32 * MIB, share, 64 * MIB), 16 * MIB);
                memory.commit(3, 10);
                assert!(!is_reachable(&memory, 2));
                // SAFETY: As above; now what is open is locked as well.
                assert_eq!(unsafe { libc::mlockall(libc::MCL_CURRENT) }, 0);
                memory.commit(20, 10);
                memory.write(25, 1);
                memory.decommit(24, 3);
                assert!(!is_reachable(&memory, 25));
                memory.commit(24, 3);
                assert_eq!(memory.read(25), 0);
                memory.commit(512, 2048);
                for page in 512..2560 {
                    memory.write(page, page);
                }
                memory.engine.trim(memory.pages(512, 2048));
                if share == 0 {
                    let cached = memory.engine.core.count_cached().unwrap().0;
                    assert!(cached < 100, "{cached} pages stayed");
                }
                for page in 512..2560 {
                    assert_eq!(memory.read(page), page);
                }
            }
        },
    );
    assert!(ended.status.success(), "{}: {}", ended.status, ended.output);
}

#[test]
fn closing_every_descriptor_loses_nothing() {
    let ended = in_child("traps::closing_every_descriptor_loses_nothing", || {
        let memory = Memory::of_file(8 * MIB, 64 * MIB);
        memory.commit(0, 16 * MIB);
        for page in 0..16 * MIB {
            memory.write(page, page);
        }
        // SAFETY: The test harness needs none of them.
        assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
        for page in 0..16 * MIB {
            assert_eq!(memory.read(page), page);
            memory.write(page, !page);
        }
        memory.commit(16 * MIB, 16 * MIB);
        // Another file under every number that ours may have had.
        for number in 3..2000 {
            // SAFETY: Copies the error output over numbers that nobody uses.
            unsafe { libc::dup2(2, number) };
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
            .current
            .unwrap_or(20_000);
        for number in limit.saturating_sub(200).max(2000)..limit.min(20_000) {
            // SAFETY: As above.
            unsafe { libc::dup2(2, number as i32) };
        }
        memory.commit(32 * MIB, 8 * MIB);
        for page in 16 * MIB..40 * MIB {
            memory.write(page, !page);
        }
        memory.decommit(5, 1);
        memory.commit(5, 1);
        for page in (0..5).chain(6..40 * MIB) {
            assert_eq!(memory.read(page), !page, "page {page}");
        }
        assert_eq!(memory.read(5), 0);
        memory.engine.health().unwrap();
    });
    assert!(ended.status.success(), "{}: {}", ended.status, ended.output);
}

#[test]
fn a_sudden_end_leaves_no_file() {
    const FOLDER: &str = "PAGEKEEPER_TEST_FOLDER";
    let test = "traps::a_sudden_end_leaves_no_file";
    const MARK: &str = "PAGEKEEPER_SUDDEN_END";
    if std::env::var_os(MARK).is_none() {
        let folder = tempfile::tempdir_in(folder()).unwrap();
        let name = format!(
            "{}::{test}",
            module_path!()
                .rsplit_once("::")
                .unwrap()
                .0
                .split_once("::")
                .unwrap()
                .1
        );
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture"])
            .env(FOLDER, folder.path())
            .env(MARK, "1")
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        return;
    }
    let memory = Memory::of_file(8 * MIB, 16 * MIB);
    memory.commit(0, 16 * MIB);
    memory.write(4, 4);
    // SAFETY: Ends this child at once.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

#[test]
fn without_page_files_everything_is_anonymous_up_to_the_budget() {
    let mut settings = settings(8 * MIB, 50, 0);
    settings.places.clear();
    let memory = Memory::new(settings, 16 * MIB);
    memory.commit(0, 8 * MIB);
    memory.write(8 * MIB - 1, 1);
    let refused = memory
        .engine
        .commit(&[memory.to(8 * MIB, 1, None, Some(RW))]);
    assert!(
        matches!(refused, Err(EngineError::PageFileSpace(_))),
        "{refused:?}"
    );
}

#[test]
fn the_older_kernels_way_of_counting_keeps_the_budget_too() {
    let mut settings = settings(16 * MIB, 0, 128 * MIB);
    settings.switches.cachestat = false;
    let memory = Memory::new(settings, 64 * MIB);
    memory.commit(0, 64 * MIB);
    for page in 0..64 * MIB {
        memory.write(page, page);
    }
    std::thread::sleep(core::time::Duration::from_millis(300));
    let files: Vec<_> = memory.engine.core.book().files.open().cloned().collect();
    let cached: u64 = files
        .iter()
        .map(|file| file.cached(0, 0).map_or(0, |state| state.0))
        .sum();
    assert!(cached <= 48 * MIB, "{cached}");
    for page in 0..64 * MIB {
        assert_eq!(memory.read(page), page);
    }
}
