//! What the tests of sections share.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use pagekeeper::{ByteCount, EngineError, Error, Refusal, Space, View};

pub(crate) const PAGE: u64 = 4096;
pub(crate) const GRANULE: u64 = 65536;

pub(crate) fn space() -> Space {
    Space::builder()
        .ram(ByteCount::mib(16))
        .page_file_maximum(ByteCount::mib(256))
        .build()
        .expect("a space")
}

/// A file of `size` bytes, each page filled with its number.
pub(crate) fn file(size: u64) -> File {
    let mut file = tempfile::tempfile_in(std::env::temp_dir()).expect("a file");
    let bytes: Vec<u8> = (0..size).map(|at| (at / PAGE + 1) as u8).collect();
    file.write_all(&bytes).expect("room");
    file
}

pub(crate) fn byte(view: &View, at: u64) -> u8 {
    let mut byte = [0];
    view.read_at(at, &mut byte).expect("readable");
    byte[0]
}

pub(crate) fn in_file(file: &mut File, at: u64) -> u8 {
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).expect("seek");
    file.read_exact(&mut byte).expect("long enough");
    byte[0]
}

pub(crate) fn refusal<T>(result: Result<T, Error>) -> Refusal {
    match result {
        Err(Error::Refused { refusal, .. }) => refusal,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("was allowed"),
    }
}

pub(crate) fn cause<T>(result: Result<T, Error>) -> EngineError {
    match result {
        Err(Error::Engine { cause, .. }) => cause,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("was allowed"),
    }
}

pub(crate) fn charged(space: &Space) -> u64 {
    space.status().committed.get() / PAGE
}
