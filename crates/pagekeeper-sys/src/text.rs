//! Reading the small text files of `/proc` and `/sys`.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::Errno;
use crate::file::retry;

/// Reads a whole small file.
///
/// # Errors
/// The kernel's.
pub(crate) fn read_file(path: impl AsRef<Path>) -> Result<String, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = retry(|| rustix::fs::open(path.as_ref(), flags, Mode::empty()))?;
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        match retry(|| rustix::io::read(file.as_fd(), &mut buffer[..]))? {
            0 => break,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Reads a file that holds one number.
///
/// # Errors
/// The kernel's; `EINVAL` when there is no number in it.
pub(crate) fn read_number(path: impl AsRef<Path>) -> Result<u64, Errno> {
    read_file(path)?.trim().parse().map_err(|_| Errno::INVAL)
}

/// The lines `Name:   1234 kB` of a text, as names and bytes. Lines without `kB` come as they are.
pub(crate) fn sizes(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let mut words = rest.split_ascii_whitespace();
        let number: u64 = words.next()?.parse().ok()?;
        let scale = if words.next() == Some("kB") { 1024 } else { 1 };
        Some((name, number.saturating_mul(scale)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_and_odd_lines_are_passed_over() {
        let text =
            "MemTotal:       24 kB\nnonsense\nHugePages_Total:  3\nName:\tcat\nX: 1 kB more\n";
        let found: Vec<_> = sizes(text).collect();
        assert_eq!(
            found,
            [("MemTotal", 24 << 10), ("HugePages_Total", 3), ("X", 1024)]
        );
    }

    #[test]
    fn a_missing_file_is_an_error_and_not_empty() {
        assert_eq!(read_file("/proc/self/no-such-file"), Err(Errno::NOENT));
        assert_eq!(read_number("/proc/self/status"), Err(Errno::INVAL));
    }
}
