//! Sections and the program's descriptors: neither touches the other's.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: closes every descriptor of a process, and forks, as programs do"
)]

mod section_support;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

use pagekeeper::{ByteCount, Opened, Protection, Section};
use section_support::{GRANULE, PAGE, byte, file, in_file, space};

const ROLE: &str = "PAGEKEEPER_DESCRIPTOR_ROLE";

/// Whether another process could not lock the file.
fn is_locked(file: &File) -> bool {
    let mut answer = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the child only asks, with a struct of its own, and ends without running anything else.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut answer);
            libc::_exit(i32::from(answer.l_type != libc::F_UNLCK as libc::c_short));
        }
        let mut status = 0;
        libc::waitpid(child, &raw mut status, 0);
        libc::WEXITSTATUS(status) == 1
    }
}

fn lock(file: &File) {
    let wanted = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the kernel reads the struct.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const wanted) };
    assert_eq!(result, 0);
}

#[test]
fn the_programs_record_locks_outlive_every_section_of_the_file() {
    let space = space();
    let own = file(64 * PAGE);
    lock(&own);
    assert!(is_locked(&own));
    {
        let section = Section::from_file(&space, &own)
            .protection(Protection::READ_WRITE)
            .build()
            .unwrap();
        let view = section.view().build().unwrap();
        let copy = section
            .view()
            .protection(Protection::WRITE_COPY)
            .build()
            .unwrap();
        for page in 0..64 {
            view.write_at(page * PAGE + 1, &[7]).unwrap();
            copy.write_at(page * PAGE + 2, &[8]).unwrap();
        }
        for view in [&view, &copy] {
            space.trim_at(view.base().addr() as u64, 64 * PAGE);
        }
        view.flush(0, 0, false).unwrap();
        view.flush(0, 0, true).unwrap();
        assert!(is_locked(&own), "while it is mapped");
    }
    drop(Section::image(&space, &own).build().unwrap());
    assert!(is_locked(&own), "afterwards");
}

#[test]
fn a_program_that_closes_every_descriptor_keeps_its_sections() {
    if std::env::var(ROLE).is_ok() {
        return close_everything();
    }
    // A process of its own: the other tests need theirs.
    let status = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_program_that_closes_every_descriptor_keeps_its_sections",
        ])
        .env(ROLE, "close")
        .status()
        .unwrap();
    assert!(status.success());
}

fn close_everything() {
    let space = space();
    let own = file(8 * GRANULE);
    let name = format!("Local\\closed-{}", std::process::id());
    let of_file = Section::from_file(&space, &own)
        .protection(Protection::READ_WRITE)
        .build()
        .unwrap();
    let memory = Section::named(&space, &name, ByteCount::new(GRANULE))
        .build()
        .unwrap();
    let view = of_file.view().build().unwrap();
    view.write_at(0, b"before").unwrap();
    let number = own.as_raw_fd();
    core::mem::forget(own);
    // SAFETY: what a program does that becomes a daemon; nothing here uses a number that it had.
    unsafe {
        assert_eq!(libc::close_range(3, libc::c_uint::MAX, 0), 0);
    }
    // Other files take the numbers that ours may have had.
    let others: Vec<File> = (0..40).map(|_| file(PAGE)).collect();
    assert!(others.iter().any(|other| other.as_raw_fd() == number));
    space.trim_at(view.base().addr() as u64, 8 * GRANULE);
    view.flush(0, 0, true).unwrap();
    let again = of_file.view().offset(GRANULE).build().unwrap();
    assert_eq!(byte(&again, 0), 17);
    assert_eq!(byte(&view, 5), b'e');
    memory.view().build().unwrap().write_at(9, &[9]).unwrap();
    let (found, opened) = Section::named(&space, &name, ByteCount::new(GRANULE))
        .build_or_open()
        .unwrap();
    assert_eq!(opened, Opened::Existing);
    assert_eq!(byte(&found.view().build().unwrap(), 9), 9);
    for mut other in others {
        assert_eq!(in_file(&mut other, 0), 1, "nothing was written there");
    }
}

#[test]
fn a_forked_child_holds_neither_name_nor_lock() {
    let space = space();
    let name = format!("Local\\forked-{}", std::process::id());
    let section = Section::named(&space, &name, ByteCount::new(GRANULE))
        .build()
        .unwrap();
    let (mut ends, mut inner) = ([0; 2], [0; 2]);
    // SAFETY: the child waits for the end of a pipe and ends.
    let child = unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        assert_eq!(libc::pipe(inner.as_mut_ptr()), 0);
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            libc::close(ends[1]);
            libc::read(ends[0], inner.as_mut_ptr().cast(), 1);
            libc::_exit(0);
        }
        child
    };
    drop(section);
    let (_section, opened) = Section::named(&space, &name, ByteCount::new(GRANULE))
        .build_or_open()
        .unwrap();
    assert_eq!(opened, Opened::Created, "the child has it");
    // SAFETY: numbers of this test's.
    unsafe {
        libc::close(ends[1]);
        libc::waitpid(child, core::ptr::null_mut(), 0);
        for number in [ends[0], inner[0], inner[1]] {
            libc::close(number);
        }
    }
}
