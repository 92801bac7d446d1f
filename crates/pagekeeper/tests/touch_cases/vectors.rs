//! Reads and writes with several buffers.

use std::fs::File;
use std::os::fd::AsRawFd;

use super::{Case, folder, noise};
use crate::touch_support::{Paged, errno};

const LENGTHS: [usize; 4] = [100_000, 0, 7, 200_000];
const LENGTH: usize = 300_007;

pub(crate) fn cases() -> Vec<(&'static str, Case)> {
    let mut all = Vec::new();
    let mut add =
        |names: &[&'static str], case: Case| all.extend(names.iter().map(|name| (*name, case)));
    add(
        &["readv", "preadv", "preadv64", "preadv2", "preadv64v2"],
        READ,
    );
    add(
        &["writev", "pwritev", "pwritev64", "pwritev2", "pwritev64v2"],
        WRITE,
    );
    add(&["vmsplice"], VMSPLICE);
    add(&["process_vm_readv", "process_vm_writev"], PROCESS);
    all
}

/// Buffers with an array of vectors, all in paged memory.
fn vectors(paged: &mut Paged, bytes: &[u8]) -> *mut [usize; 8] {
    let mut array = [0; 8];
    let mut from = 0;
    for (index, length) in LENGTHS.into_iter().enumerate() {
        array[2 * index] = paged.bytes(&bytes[from..from + length]).expose_provenance();
        array[2 * index + 1] = length;
        from += length;
    }
    paged.value(array)
}

fn contents(paged: &Paged, vectors: *mut [usize; 8]) -> Vec<u8> {
    let array = paged.get(vectors);
    array
        .chunks(2)
        .flat_map(|pair| paged.slice(core::ptr::with_exposed_provenance(pair[0]), pair[1]))
        .collect()
}

const READ: Case = |name, paged| {
    let folder = folder();
    let path = folder.path().join("file");
    let bytes = noise(LENGTH, 3);
    std::fs::write(&path, &bytes).expect("written");
    let file = File::open(&path).expect("open");
    let array = vectors(paged, &vec![0; LENGTH]);
    paged.out();
    assert_eq!(
        call!(name, file.as_raw_fd(), array, 4, 0_usize),
        LENGTH as isize,
        "{name}: {}",
        errno()
    );
    assert!(contents(paged, array) == bytes);
};

const WRITE: Case = |name, paged| {
    let folder = folder();
    let path = folder.path().join("file");
    let bytes = noise(LENGTH, 4);
    let file = File::create_new(&path).expect("open");
    let array = vectors(paged, &bytes);
    paged.out();
    assert_eq!(
        call!(name, file.as_raw_fd(), array, 4, 0_usize),
        LENGTH as isize,
        "{name}: {}",
        errno()
    );
    assert!(std::fs::read(&path).expect("there") == bytes);
};

const VMSPLICE: Case = |name, paged| {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let first = paged.bytes(b"through a pipe");
    let array = paged.value([first.expose_provenance(), 14]);
    let target = paged.room(14);
    let back = paged.value([target.expose_provenance(), 14]);
    paged.out();
    assert_eq!(call!(name, writer.as_raw_fd(), array, 1, 0), 14);
    assert_eq!(
        call!(name, reader.as_raw_fd(), back, 1, 0),
        14,
        "{}",
        errno()
    );
    assert_eq!(paged.slice(target, 14), b"through a pipe");
};

const PROCESS: Case = |name, paged| {
    let mut other = *b"another place";
    let place = paged.bytes(b"paged  memory");
    let local = paged.value([place.expose_provenance(), 13]);
    let remote = paged.value([other.as_mut_ptr().expose_provenance(), 13]);
    paged.out();
    let process = std::process::id() as usize;
    assert_eq!(
        call!(name, process, local, 1, remote, 1, 0),
        13,
        "{name}: {}",
        errno()
    );
    let expected: &[u8] = if name.ends_with("readv") {
        b"another place"
    } else {
        b"paged  memory"
    };
    assert_eq!(paged.slice(place, 13), expected);
    // SAFETY: the other process was this one, which wrote past the compiler's knowledge.
    let seen = unsafe { core::ptr::read_volatile(&raw const other) };
    assert_eq!(seen, expected);
};
