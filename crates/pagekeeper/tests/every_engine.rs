//! The same rules on every engine: reserve, commit, decommit, release, protect, query on real memory.

// Longer than 500 lines because it is the list of rules that every engine keeps.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: touches memory by address, which is what is tested"
)]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pagekeeper::{
    ByteCount, EngineKind, ExceptionKind, Handled, Protection, Refusal, RegionState, RegionType,
    Settings, Space,
};
use support::{
    PAGE, check_page, child_engine, committed, in_child, in_child_with, inline_works, next, seed,
    space, words, write_page,
};

/// Runs `test` with each engine that can run here.
fn on_every_engine(test: impl Fn(EngineKind)) {
    for (name, engine) in EngineKind::NAMES {
        if engine == EngineKind::Inline && !inline_works() {
            continue;
        }
        println!("engine {name}");
        test(engine);
    }
}

fn small(engine: EngineKind) -> Space {
    space(engine, ByteCount::mib(8))
}

#[test]
fn sizes_round_to_pages_and_addresses_to_granules() {
    on_every_engine(|engine| {
        let space = small(engine);
        // windows-memory-behaviour.md 4.1: reserving never rounds the size to 64 KiB.
        let odd = space
            .reserve(ByteCount::new(0xFFFC))
            .build()
            .expect("address space");
        assert_eq!(odd.size(), ByteCount::kib(64));
        let byte = space
            .reserve(ByteCount::new(1))
            .build()
            .expect("address space");
        assert_eq!(byte.size().get(), PAGE as u64);
        assert_eq!(byte.base() as usize % 65_536, 0);
        // 0x1000 bytes at 0x50001010: from 0x50000000, three pages.
        let at = space
            .reserve(ByteCount::new(0x1000))
            .at(0x5000_1010)
            .build()
            .expect("free");
        assert_eq!((at.base() as u64, at.size().get()), (0x5000_0000, 0x3000));
        let again = space.reserve(ByteCount::new(1)).at(0x5000_2000).build();
        let refusal = again.expect_err("taken").refusal().copied();
        assert!(
            matches!(refusal, Some(Refusal::ConflictingAddresses { .. })),
            "{refusal:?}"
        );
        for (address, size) in [
            (0x1000, 1),
            (u64::MAX - 4095, 4096),
            (0x7FFF_FFFF_0000, 65_536),
        ] {
            let refused = space.reserve(ByteCount::new(size)).at(address).build();
            assert!(refused.is_err(), "{address:#x}");
        }
        assert!(space.reserve(ByteCount::ZERO).build().is_err());
    });
}

#[test]
fn an_address_that_the_program_uses_is_refused() {
    on_every_engine(|engine| {
        let space = small(engine);
        let own = Box::new([0_u8; 1 << 20]);
        let refused = space
            .reserve(ByteCount::mib(1))
            .at(own.as_ptr() as u64)
            .build();
        let refusal = refused.expect_err("the heap is there").refusal().copied();
        assert!(
            matches!(refusal, Some(Refusal::ConflictingAddresses { .. })),
            "{refusal:?}"
        );
    });
}

#[test]
fn top_down_is_above_bottom_up() {
    on_every_engine(|engine| {
        let space = small(engine);
        let low = space
            .reserve(ByteCount::mib(1))
            .build()
            .expect("address space");
        let high = space
            .reserve(ByteCount::mib(1))
            .top_down()
            .build()
            .expect("address space");
        assert!(high.base() as u64 > low.base() as u64 + (1 << 30));
    });
}

#[test]
fn committed_pages_read_zero_keep_contents_and_take_the_last_protection() {
    on_every_engine(|engine| {
        let space = small(engine);
        let reservation = space
            .reserve(ByteCount::mib(4))
            .build()
            .expect("address space");
        reservation
            .commit(4095..4097, Protection::READ_WRITE)
            .expect("two pages");
        assert!(
            words(&reservation, 0)
                .iter()
                .chain(words(&reservation, 1).iter())
                .all(|it| *it == 0)
        );
        write_page(&reservation, 1, 3);
        reservation.commit(.., Protection::READ_ONLY).expect("all");
        check_page(&reservation, 1, 3);
        let info = reservation.query(0).expect("an address");
        assert_eq!(info.range, reservation.pages(), "one region");
        assert_eq!(info.state, RegionState::Committed(Protection::READ_ONLY));
        assert_eq!(space.status().committed, ByteCount::mib(4));
        reservation.decommit(0..1).expect("inside");
        assert_eq!(
            reservation.query(0).expect("an address").state,
            RegionState::Reserved
        );
        reservation
            .commit(0..1, Protection::READ_WRITE)
            .expect("room");
        assert!(words(&reservation, 0).iter().all(|word| *word == 0));
    });
}

#[test]
fn query_tells_free_reserved_committed_and_foreign_apart() {
    on_every_engine(|engine| {
        let space = small(engine);
        let reservation = space
            .reserve(ByteCount::kib(80))
            .build()
            .expect("address space");
        let base = reservation.base() as u64;
        reservation
            .commit(8192..16_384, Protection::EXECUTE_READ)
            .expect("two pages");
        let kinds: Vec<_> = [0, 8192, 16_384]
            .map(|offset| reservation.query(offset).expect("an address"))
            .map(|info| {
                (
                    info.range.address() - base,
                    info.range.bytes().get(),
                    info.state,
                    info.kind,
                )
            })
            .to_vec();
        assert_eq!(
            kinds,
            [
                (0, 8192, RegionState::Reserved, Some(RegionType::Private)),
                (
                    8192,
                    8192,
                    RegionState::Committed(Protection::EXECUTE_READ),
                    Some(RegionType::Private)
                ),
                (
                    16_384,
                    81_920 - 16_384,
                    RegionState::Reserved,
                    Some(RegionType::Private)
                ),
            ]
        );
        // The unusable rest of the 64 KiB block is free.
        let behind = space.query(base + 81_920).expect("an address");
        assert_eq!(
            (behind.state, behind.kind, behind.allocation),
            (RegionState::Free, None, None)
        );
        let here = space
            .query(std::ptr::from_ref(&kinds) as u64)
            .expect("the stack");
        assert_ne!(here.state, RegionState::Free);
        let code = space
            .query(query_tells_free_reserved_committed_and_foreign_apart as *const () as u64)
            .expect("code");
        assert_eq!(code.kind, Some(RegionType::Image));
        assert!(
            space.query(0x7FFF_FFFF_0000).is_err(),
            "above the highest address"
        );
        assert_eq!(space.query(0x10_000).expect("an address").allocation, None);
    });
}

#[test]
fn guards_fire_once_and_violations_reach_the_callback() {
    on_every_engine(|engine| {
        let space = small(engine);
        let reservation = committed(&space, ByteCount::kib(64));
        for page in 0..16 {
            write_page(&reservation, page, 4);
        }
        let (guards, violations) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (on_guard, on_violation, by_fault) =
            (guards.clone(), violations.clone(), space.clone());
        space.on_exception(move |exception| {
            if exception.kind == ExceptionKind::GuardPage {
                on_guard.fetch_add(1, Ordering::Relaxed);
                return Handled::Retry;
            }
            on_violation.fetch_add(1, Ordering::Relaxed);
            match by_fault.commit_at(exception.address, 1, Protection::READ_WRITE) {
                Ok(()) => Handled::Retry,
                Err(_) => Handled::Pass,
            }
        });
        let guarded = Protection::READ_WRITE.with_guard();
        reservation
            .protect(4096..12_288, guarded)
            .expect("committed");
        check_page(&reservation, 1, 4);
        check_page(&reservation, 2, 4);
        check_page(&reservation, 1, 4);
        assert_eq!(
            (
                guards.load(Ordering::Relaxed),
                violations.load(Ordering::Relaxed)
            ),
            (2, 0)
        );
        reservation
            .protect(8192..8193, Protection::NO_ACCESS)
            .expect("committed");
        check_page(&reservation, 2, 4);
        reservation
            .protect(8192..8193, Protection::READ_ONLY)
            .expect("committed");
        check_page(&reservation, 2, 4);
        words(&reservation, 2)[0] = 5;
        reservation.decommit(8192..8193).expect("inside");
        assert_eq!(
            words(&reservation, 2)[9],
            0,
            "committed afresh by the callback"
        );
        assert_eq!(
            (
                guards.load(Ordering::Relaxed),
                violations.load(Ordering::Relaxed)
            ),
            (2, 3)
        );
    });
}

#[test]
fn random_changes_against_a_shadow() {
    let seed = seed();
    on_every_engine(|engine| {
        let space = small(engine);
        let reservation = space
            .reserve(ByteCount::mib(24))
            .build()
            .expect("address space");
        let pages = 6144;
        let mut shadow: Vec<Option<u64>> = vec![None; pages];
        let mut state = seed;
        for step in 1..4_000_u64 {
            let first = next(&mut state) as usize % pages;
            let count = 1 + next(&mut state) as usize % if step % 50 == 0 { 900 } else { 24 };
            let last = (first + count).min(pages);
            let bytes = (first * PAGE) as u64..(last * PAGE) as u64;
            match next(&mut state) % 8 {
                0 | 1 => {
                    reservation
                        .commit(bytes, Protection::READ_WRITE)
                        .expect("room");
                    shadow[first..last]
                        .iter_mut()
                        .for_each(|it| *it = Some(it.unwrap_or(0)));
                }
                2 => {
                    reservation.decommit(bytes).expect("inside");
                    shadow[first..last].fill(None);
                }
                3 => reservation.trim(bytes),
                4 => reservation.prefetch(bytes).expect("a hint"),
                5 if shadow[first..last].iter().all(Option::is_some) => {
                    reservation
                        .protect(bytes.clone(), Protection::NO_ACCESS)
                        .expect("committed");
                    reservation
                        .protect(bytes, Protection::READ_WRITE)
                        .expect("committed");
                }
                _ => {
                    let touched = shadow.iter_mut().enumerate().take(last).skip(first);
                    for (page, salt) in touched {
                        match *salt {
                            None => continue,
                            Some(0) => assert!(
                                words(&reservation, page).iter().all(|it| *it == 0),
                                "page {page}"
                            ),
                            Some(salt) => check_page(&reservation, page, salt),
                        }
                        if page.is_multiple_of(3) {
                            write_page(&reservation, page, step);
                            *salt = Some(step);
                        }
                    }
                }
            }
        }
        for (page, salt) in shadow.iter().enumerate() {
            if let Some(salt) = salt.filter(|salt| *salt != 0) {
                check_page(&reservation, page, salt);
            }
        }
    });
}

#[test]
fn a_wrong_access_kills_by_sigsegv_on_every_engine() {
    if let Some(engine) = child_engine() {
        let space = small(engine);
        let reservation = committed(&space, ByteCount::kib(64));
        reservation
            .protect(.., Protection::READ_ONLY)
            .expect("committed");
        words(&reservation, 3)[1] = 1;
        println!("survived");
        return;
    }
    on_every_engine(|engine| {
        let (status, text) = in_child(engine, "a_wrong_access_kills_by_sigsegv_on_every_engine");
        assert_eq!(status.signal(), Some(libc::SIGSEGV), "{text}");
        assert!(
            text.contains("write at 0x") && text.contains("committed, READONLY"),
            "{text}"
        );
    });
}

#[test]
fn nothing_is_left_behind_by_kill() {
    if let Some(engine) = child_engine() {
        let space = small(engine);
        let reservation = committed(&space, ByteCount::mib(32));
        for page in 0..8192 {
            write_page(&reservation, page, 1);
        }
        // SAFETY: ends this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        return;
    }
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    on_every_engine(|engine| {
        let place = folder.path().to_string_lossy().into_owned();
        let (status, text) = in_child_with(
            engine,
            "nothing_is_left_behind_by_kill",
            &[("TMPDIR", &place)],
        );
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{text}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).expect("there").collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn bad_settings_are_refused_with_what_to_change() {
    let refuse = |settings: Settings, part: &str| {
        let error = settings
            .build()
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.contains(part), "'{error}' should say '{part}'");
    };
    let builder = || Space::builder().ram(ByteCount::mib(8));
    refuse(builder().ram(ByteCount::kib(64)), "too small");
    refuse(
        builder().ram(ByteCount::tib(400)),
        "larger than this machine",
    );
    refuse(builder().page_file(["/no/such/folder"]), "/no/such/folder");
    refuse(builder().page_file(["/dev/null"]), "/dev/null");
    refuse(builder().page_file(["/proc/version"]), "/proc/version");
    refuse(builder().page_file(["/dev/shm"]), "RAM");
    refuse(
        builder()
            .page_file_initial(ByteCount::mib(2))
            .page_file_maximum(ByteCount::mib(1)),
        "above its maximum",
    );
}

#[test]
fn closing_every_descriptor_loses_nothing() {
    if let Some(engine) = child_engine() {
        let space = small(engine);
        let reservation = committed(&space, ByteCount::mib(32));
        for page in 0..8192 {
            write_page(&reservation, page, 1);
        }
        // SAFETY: the bare system call, past any wrapper, as a daemon's start-up might make it.
        let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
        assert_eq!(closed, 0);
        // Numbers that were ours may be the program's now.
        let files: Vec<_> = (0..20)
            .map(|_| std::fs::File::open("/dev/null").expect("a descriptor"))
            .collect();
        for page in 0..8192 {
            check_page(&reservation, page, 1);
            write_page(&reservation, page, 2);
        }
        for page in 0..8192 {
            check_page(&reservation, page, 2);
        }
        drop(files);
        println!("nothing lost");
        return;
    }
    on_every_engine(|engine| {
        let (status, text) = in_child(engine, "closing_every_descriptor_loses_nothing");
        assert!(
            status.success() && text.contains("nothing lost"),
            "{engine}: {text}"
        );
    });
}

#[test]
fn switched_off_features_have_twins_and_inline_says_what_it_lacks() {
    if let Some(engine) = child_engine() {
        match Space::builder()
            .ram(ByteCount::mib(8))
            .engine(engine)
            .build()
        {
            Ok(space) => {
                let reservation = committed(&space, ByteCount::mib(32));
                for page in 0..8192 {
                    write_page(&reservation, page, 1);
                }
                for page in 0..8192 {
                    check_page(&reservation, page, 1);
                }
                println!("works");
            }
            Err(error) => println!("refused: {error}"),
        }
        return;
    }
    let cases = [
        (
            EngineKind::Inline,
            "userfaultfd",
            "switched off by PAGEKEEPER_DISABLE",
        ),
        (EngineKind::Inline, "move", "works"),
        (EngineKind::Inline, "io_uring,direct_io", "works"),
        (
            EngineKind::Mapped,
            "userfaultfd,io_uring,cachestat",
            "works",
        ),
        (EngineKind::Mapped, "guard", "works"),
    ];
    let inline = inline_works();
    for (engine, disabled, expected) in cases {
        if engine == EngineKind::Inline && !inline {
            continue;
        }
        let (status, text) = in_child_with(
            engine,
            "switched_off_features_have_twins_and_inline_says_what_it_lacks",
            &[("PAGEKEEPER_DISABLE", disabled)],
        );
        assert!(
            status.success() && text.contains(expected),
            "{engine} without {disabled}: {text}"
        );
    }
}
