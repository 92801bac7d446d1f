//! A program that takes our descriptors away for good: it stops, with a line that says why, and never reads zeros.

use super::*;
use crate::Degraded;

fn limit_descriptors(count: u64) {
    let limit = rustix::process::Rlimit {
        current: Some(count),
        maximum: Some(count),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("a limit");
}

/// Closes everything but the standard streams, past every wrapper.
fn close_all() {
    // SAFETY: nothing of this process is needed any more but what the pager keeps.
    unsafe {
        let result: isize;
        std::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_close_range as isize => result,
            in("rdi") 3,
            in("rsi") u32::MAX as usize,
            in("rdx") 0,
            out("rcx") _,
            out("r11") _,
        );
        assert_eq!(result, 0);
    }
}

/// Runs a test again; it must end by SIGABRT with the line.
fn stops(test: &str) {
    use std::os::unix::process::ExitStatusExt;
    let run = || again(this_program(), &format!("descriptors::{test}"));
    let (mut status, mut text) = run();
    // On a busy machine a page may have gone to the page file, whose descriptor is gone too: that is told, and ends the process
    // as well, but it is not what is to be seen here.
    for _ in 0..9 {
        if text.contains("in-page error (Bad file descriptor") {
            (status, text) = run();
        }
    }
    if text.contains("skipped, because") {
        return println!("{text}");
    }
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{text}");
    assert_eq!(
        text.matches("pagekeeper: the userfaultfd").count(),
        1,
        "{text}"
    );
    assert!(!text.contains("page was"), "{text}");
}

fn filled() -> Option<(Space, Reservation)> {
    let space = built(settings(ByteCount::kib(512), ByteCount::mib(16)))?;
    let reservation = committed(&space, ByteCount::mib(4));
    // Packed, so that they stay in the pool: reading them needs no page file, whose descriptor has gone too.
    for page in 0..1024 {
        words(&reservation, page)[..2].copy_from_slice(&[page + 1, !page]);
    }
    Some((space, reservation))
}

#[test]
fn a_descriptor_that_cannot_be_taken_back_stops_the_process_at_the_next_fault() {
    if !is_child() {
        return stops("a_descriptor_that_cannot_be_taken_back_stops_the_process_at_the_next_fault");
    }
    let Some((_space, reservation)) = filled() else {
        return;
    };
    close_all();
    limit_descriptors(0);
    for page in 0..1024 {
        let found = &words(&reservation, page)[..2];
        assert_eq!(found, [page + 1, !page], "page was wrong");
    }
}

#[test]
fn and_when_nothing_faults_the_balancer_notices() {
    if !is_child() {
        return stops("and_when_nothing_faults_the_balancer_notices");
    }
    let Some(_kept) = filled() else {
        return;
    };
    close_all();
    limit_descriptors(0);
    std::thread::sleep(std::time::Duration::from_secs(20));
}

#[test]
fn without_numbers_for_its_descriptors_the_engine_does_not_start() {
    if !is_child() {
        run_again(
            "descriptors::without_numbers_for_its_descriptors_the_engine_does_not_start",
            &[],
        );
        return;
    }
    let mut refusals = 0;
    // Room for none, one, two ... of what a space opens.
    for room in 0..24 {
        let used = std::fs::read_dir("/proc/self/fd").expect("there").count() as u64;
        let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let limit = |soft| {
            let limit = rustix::process::Rlimit {
                current: soft,
                maximum: before.maximum,
            };
            rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("a limit");
        };
        limit(Some(used - 1 + room));
        let built = settings(ByteCount::kib(512), ByteCount::mib(16)).build();
        limit(before.current);
        match built {
            Err(error) => {
                println!("{room}: {error}");
                refusals += 1;
            }
            // What is not protected is said.
            Ok(space) => {
                let degraded = space.status().degraded;
                println!("{room}: {degraded:?}");
                let unkept = |it: &Degraded| matches!(it, Degraded::DescriptorsNotKept { .. });
                assert!(degraded.iter().all(unkept), "{degraded:?}");
                let reservation = committed(&space, ByteCount::mib(2));
                for page in 0..512 {
                    write_page(&reservation, page, 2);
                }
                check(&reservation, 2);
            }
        }
    }
    assert!(refusals > 0);
}
