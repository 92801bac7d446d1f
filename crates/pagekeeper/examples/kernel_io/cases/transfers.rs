//! A region many times its budget through a file, sockets, a pipe and a stream.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: calls libc with paged memory, which is what is tried"
)]

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Instant;

use super::{Region, Settings, Told, fill, speed, verify};

/// An unnamed file on a disk.
fn unnamed() -> std::io::Result<File> {
    let place = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    tempfile::tempfile_in(place)
}

/// Compares a whole file with the pattern, through ordinary memory.
fn verify_file(file: &mut File, size: usize, salt: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut part = vec![0; 1 << 20];
    file.rewind()?;
    for from in (0..size).step_by(part.len()) {
        file.read_exact(&mut part)?;
        verify(&part, from, salt, "the file")?;
    }
    Ok(())
}

/// `write_all` from a region and `read_exact` into it.
pub(super) fn file(settings: &Settings) -> Told {
    let region = Region::new(settings.engine, settings.ram, settings.size)?;
    let bytes = region.bytes();
    fill(bytes, 1);
    let mut file = unnamed()?;
    let start = Instant::now();
    file.write_all(bytes)?;
    let written = speed(settings.size, start);
    verify_file(&mut file, bytes.len(), 1)?;
    bytes.fill(0xEE);
    file.rewind()?;
    let start = Instant::now();
    file.read_exact(bytes)?;
    let read = speed(settings.size, start);
    verify(bytes, 0, 1, "read_exact")?;
    Ok(format!(
        "write_all of {written}, read_exact of {read}, every byte equal"
    ))
}

/// From one region to another, both in one budget.
fn through(settings: &Settings, mut writer: impl Write + Send, mut reader: impl Read) -> Told {
    let region = Region::new(settings.engine, settings.ram, settings.size)?;
    let other = region.space.reserve(settings.size).committed().build()?;
    let from = region.bytes();
    // SAFETY: committed memory that only this function uses.
    let to = unsafe { std::slice::from_raw_parts_mut(other.base(), settings.size.as_usize()) };
    fill(from, 2);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || writer.write_all(from));
        reader.read_exact(to)?;
        writing.join().expect("the writer does not panic")
    })?;
    let moved = speed(settings.size, start);
    verify(to, 0, 2, "what arrived")?;
    verify(region.bytes(), 0, 2, "what was sent")?;
    Ok(format!("{moved}, every byte equal on both sides"))
}

pub(super) fn tcp(settings: &Settings) -> Told {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let writer = TcpStream::connect(listener.local_addr()?)?;
    let (reader, _) = listener.accept()?;
    through(settings, writer, reader)
}

pub(super) fn pipe(settings: &Settings) -> Told {
    let (reader, writer) = std::io::pipe()?;
    through(settings, writer, reader)
}

/// Datagrams, one after the other: more at once would be lost in the socket, not in the pager.
pub(super) fn udp(settings: &Settings) -> Told {
    const LENGTH: usize = 60_000;
    let receiver = UdpSocket::bind("127.0.0.1:0")?;
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    sender.connect(receiver.local_addr()?)?;
    let region = Region::new(settings.engine, settings.ram, settings.size)?;
    let other = region.space.reserve(settings.size).committed().build()?;
    // SAFETY: committed memory that only this function uses.
    let to = unsafe { std::slice::from_raw_parts_mut(other.base(), settings.size.as_usize()) };
    fill(region.bytes(), 3);
    let start = Instant::now();
    let mut count = 0;
    for (from, to) in region.bytes().chunks(LENGTH).zip(to.chunks_mut(LENGTH)) {
        let (sent, arrived) = (sender.send(from)?, receiver.recv(to)?);
        if (sent, arrived) != (from.len(), to.len()) {
            return Err(format!(
                "DIFFERENCE: a datagram of {}: {sent} sent, {arrived} arrived",
                from.len()
            )
            .into());
        }
        count += 1;
    }
    let moved = speed(settings.size, start);
    verify(to, 0, 3, "what arrived")?;
    Ok(format!("{moved} in {count} datagrams, every byte equal"))
}

/// libc's streams: `fwrite` from a region and `fread` into it.
pub(super) fn fread(settings: &Settings) -> Told {
    use std::os::fd::IntoRawFd;
    let region = Region::new(settings.engine, settings.ram, settings.size)?;
    let bytes = region.bytes();
    fill(bytes, 4);
    let file = unnamed()?;
    let mut other = file.try_clone()?;
    // SAFETY: a stream of our own, closed below, on a descriptor that it takes over.
    let stream = unsafe { libc::fdopen(file.into_raw_fd(), c"w+".as_ptr()) };
    if stream.is_null() {
        return Err(std::io::Error::last_os_error().into());
    }
    let start = Instant::now();
    // SAFETY: the stream from above and the region's bytes.
    let (written, read) = unsafe {
        let items = bytes.len() / 4096;
        let written = libc::fwrite(bytes.as_ptr().cast(), 4096, items, stream) * 4096;
        libc::rewind(stream);
        verify_file(&mut other, written, 4)?;
        bytes.fill(0xEE);
        libc::rewind(stream);
        let read = libc::fread(bytes.as_mut_ptr().cast(), 1, bytes.len(), stream);
        libc::fclose(stream);
        (written, read)
    };
    if (written, read) != (bytes.len(), bytes.len()) {
        return Err(format!(
            "DIFFERENCE: of {} bytes {written} went out and {read} came in",
            bytes.len()
        )
        .into());
    }
    let moved = speed(settings.size, start);
    verify(bytes, 0, 4, "fread")?;
    Ok(format!(
        "fwrite and fread of {moved} with all checks, every byte equal"
    ))
}
