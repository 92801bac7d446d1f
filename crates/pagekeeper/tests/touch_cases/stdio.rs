//! Streams.

use std::os::fd::AsRawFd;

use super::{Case, folder, noise};
use crate::touch_support::{errno, int};

/// Larger than any stream's buffer and than one part.
const LENGTH: usize = 400_000;

pub(crate) fn cases() -> Vec<(&'static str, Case)> {
    let mut all = Vec::new();
    let mut add =
        |names: &[&'static str], case: Case| all.extend(names.iter().map(|name| (*name, case)));
    add(&["fread", "fread_unlocked"], FREAD);
    add(
        &["fwrite", "fwrite_unlocked", "fputs", "fputs_unlocked"],
        FWRITE,
    );
    add(&["puts"], PUTS);
    add(&["setvbuf", "setbuf", "setbuffer"], SETVBUF);
    all
}

const FREAD: Case = |name, paged| {
    let folder = folder();
    let path = folder.path().join("file");
    let bytes = noise(LENGTH, 5);
    std::fs::write(&path, &bytes).expect("written");
    let path = std::ffi::CString::new(path.to_str().expect("plain")).expect("plain");
    let buffer = paged.room(LENGTH + 100);
    paged.out();
    // SAFETY: a stream of our own.
    unsafe {
        let stream = libc::fopen(path.as_ptr(), c"r".as_ptr());
        assert_eq!(libc::fgetc(stream), i32::from(bytes[0]));
        assert_eq!(
            call!(name, buffer, 1000_usize, 401_usize, stream),
            399,
            "whole items"
        );
        assert_ne!(libc::feof(stream), 0);
        libc::fclose(stream);
    }
    assert!(paged.slice(buffer, LENGTH - 1) == bytes[1..]);
};

const FWRITE: Case = |name, paged| {
    let folder = folder();
    let path = folder.path().join("file");
    let mut bytes = noise(LENGTH, 6);
    bytes.iter_mut().for_each(|byte| *byte |= 1);
    let name_c = std::ffi::CString::new(path.to_str().expect("plain")).expect("plain");
    let text = paged.bytes(&[&bytes[..], b"\0"].concat());
    paged.out();
    // SAFETY: a stream of our own.
    unsafe {
        let stream = libc::fopen(name_c.as_ptr(), c"w".as_ptr());
        if name.starts_with("fwrite") {
            assert_eq!(call!(name, text, 1000_usize, 400_usize, stream), 400);
        } else {
            assert!(int(call!(name, text, stream)) >= 0, "{}", errno());
        }
        assert_eq!(libc::fclose(stream), 0);
    }
    assert!(std::fs::read(&path).expect("there") == bytes);
};

const PUTS: Case = |name, paged| {
    let text = paged.text("  (this line comes from paged memory)");
    paged.out();
    assert!(int(call!(name, text)) >= 0);
};

const SETVBUF: Case = |name, paged| {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let buffer = paged.room(libc::BUFSIZ as usize);
    paged.out();
    // SAFETY: a stream of our own over a descriptor of its own.
    unsafe {
        let stream = libc::fdopen(libc::dup(writer.as_raw_fd()), c"w".as_ptr());
        match name {
            "setvbuf" => assert_eq!(
                int(call!(name, stream, buffer, libc::_IOFBF, 5000_usize)),
                0
            ),
            "setbuffer" => drop(call!(name, stream, buffer, 5000_usize)),
            _ => drop(call!(name, stream, buffer)),
        }
        libc::fputs(c"buffered".as_ptr(), stream);
        paged.out();
        assert_eq!(libc::fclose(stream), 0, "{name}: {}", errno());
    }
    let mut eight = [0; 8];
    std::io::Read::read_exact(&mut reader, &mut eight).expect("eight bytes");
    assert_eq!(&eight, b"buffered");
};
