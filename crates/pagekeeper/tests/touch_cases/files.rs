//! `read`, `write` and their positioned forms.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use super::{Case, folder, noise};

/// Larger than what may be pinned at once in the tests' budget.
const LENGTH: usize = 300_000;

pub(crate) fn cases() -> Vec<(&'static str, Case)> {
    let reads = ["read", "pread", "pread64"].map(|name| (name, READ));
    let writes = ["write", "pwrite", "pwrite64"].map(|name| (name, WRITE));
    [reads, writes].concat()
}

const READ: Case = |name, paged| {
    let folder = folder();
    let path = folder.path().join("file");
    let bytes = noise(LENGTH, 1);
    std::fs::write(&path, &bytes).expect("written");
    let file = File::open(&path).expect("open");
    let buffer = paged.room(LENGTH);
    paged.out();
    assert_eq!(
        call!(name, file.as_raw_fd(), buffer, LENGTH, 0_usize),
        LENGTH as isize
    );
    assert!(
        paged.slice(buffer, LENGTH) == bytes,
        "{name} filled the buffer with something else"
    );
    // A short count at the end of the file.
    paged.out();
    let rest = match name {
        "read" => call!(name, file.as_raw_fd(), buffer, LENGTH),
        _ => call!(name, file.as_raw_fd(), buffer, LENGTH, LENGTH - 5) - 5,
    };
    assert_eq!(rest, 0);
};

const WRITE: Case = |name, paged| {
    let folder = folder();
    let path = folder.path().join("file");
    let bytes = noise(LENGTH, 2);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .expect("open");
    let buffer = paged.bytes(&bytes);
    paged.out();
    assert_eq!(
        call!(name, file.as_raw_fd(), buffer, LENGTH, 0_usize),
        LENGTH as isize
    );
    assert!(
        std::fs::read(&path).expect("read") == bytes,
        "{name} wrote something else"
    );
    file.write_all(b"tail").expect("written");
    let mut text = Vec::new();
    file.read_to_end(&mut text).expect("read");
};
