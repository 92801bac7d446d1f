//! The disk's own speed, past the page cache: what the results have to be held against.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use pagekeeper_sys::file::{AlignedPage, AllocateHow, allocate, create_in_folder, set_direct};
use pagekeeper_units::{ByteCount, PAGE_SIZE};
use serde::Serialize;

use crate::histogram::Histogram;
use crate::random::Random;

/// What one thread gets from the disk with direct I/O, one request at a time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DiskSpeed {
    pub(crate) read_4k_p50_us: f64,
    pub(crate) read_4k_p99_us: f64,
    pub(crate) write_4k_p50_us: f64,
    pub(crate) write_4k_p99_us: f64,
    /// In requests of 1 MiB, 10^6 bytes a second.
    pub(crate) read_mb_per_second: f64,
    pub(crate) write_mb_per_second: f64,
}

/// A request of 1 MiB.
const LARGE_PAGES: usize = 256;

/// Measures on a nameless file of `size` in `folder`, for about four times `time`.
///
/// # Errors
/// Where direct I/O is refused or the disk is full.
pub(crate) fn measure(folder: &Path, size: ByteCount, time: Duration) -> anyhow::Result<DiskSpeed> {
    let file = create_in_folder(folder)?.file;
    if let Some(error) = allocate(&file, 0, size.get(), 64 << 20, AllocateHow::Best).error {
        return Err(error).context("no room for the disk probe");
    }
    set_direct(&file, true).context("direct I/O is refused there")?;
    let mut probe = Probe::new(file, size);
    let write_mb_per_second = probe.large(true)?;
    let read_mb_per_second = probe.large(false)?;
    let (read_4k_p50_us, read_4k_p99_us) = probe.small(time, false)?;
    let (write_4k_p50_us, write_4k_p99_us) = probe.small(time, true)?;
    Ok(DiskSpeed {
        read_4k_p50_us,
        read_4k_p99_us,
        write_4k_p50_us,
        write_4k_p99_us,
        read_mb_per_second,
        write_mb_per_second,
    })
}

struct Probe {
    file: OwnedFd,
    size: u64,
    random: Random,
    buffers: Vec<AlignedPage>,
}

impl Probe {
    fn new(file: OwnedFd, size: ByteCount) -> Self {
        let mut random = Random::new(99);
        let mut buffers: Vec<_> = (0..LARGE_PAGES).map(|_| AlignedPage::new()).collect();
        // Random bytes: what lies under a virtual disk may compress.
        for page in &mut buffers {
            for bytes in page.bytes_mut().chunks_exact_mut(8) {
                bytes.copy_from_slice(&random.next().to_le_bytes());
            }
        }
        Self {
            file,
            size: size.get(),
            random,
            buffers,
        }
    }

    /// The whole file once in large requests: MB a second.
    fn large(&mut self, write: bool) -> anyhow::Result<f64> {
        let request = (LARGE_PAGES * PAGE_SIZE) as u64;
        let requests = (self.size / request).max(1);
        let start = Instant::now();
        for index in 0..requests {
            let offset = index * request;
            let done = if write {
                let parts: Vec<_> = self
                    .buffers
                    .iter()
                    .map(|page| IoSlice::new(page.bytes()))
                    .collect();
                rustix::io::pwritev(&self.file, &parts, offset)?
            } else {
                let mut parts: Vec<_> = self
                    .buffers
                    .iter_mut()
                    .map(|page| IoSliceMut::new(page.bytes_mut()))
                    .collect();
                rustix::io::preadv(&self.file, &mut parts, offset)?
            };
            ensure!(
                done as u64 == request,
                "the disk probe came to {done} bytes only"
            );
        }
        Ok((requests * request) as f64 / 1e6 / start.elapsed().as_secs_f64())
    }

    /// Single pages anywhere for a while: median and 99th percentile in microseconds.
    fn small(&mut self, time: Duration, write: bool) -> anyhow::Result<(f64, f64)> {
        let mut latencies = Histogram::new();
        let start = Instant::now();
        while start.elapsed() < time {
            let offset = self.random.below(self.size / PAGE_SIZE as u64) * PAGE_SIZE as u64;
            let begin = Instant::now();
            let done = if write {
                rustix::io::pwrite(&self.file, self.buffers[0].bytes(), offset)?
            } else {
                rustix::io::pread(&self.file, &mut self.buffers[0].bytes_mut()[..], offset)?
            };
            latencies.record(begin.elapsed().as_nanos() as u64);
            ensure!(
                done == PAGE_SIZE,
                "the disk probe came to {done} bytes only"
            );
        }
        let at = |share| latencies.quantile(share).unwrap_or(0.0) / 1e3;
        Ok((at(0.5), at(0.99)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_answers() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        match measure(folder.path(), ByteCount::mib(2), Duration::from_millis(20)) {
            Ok(found) => {
                assert!(found.read_4k_p50_us > 0.0 && found.read_4k_p50_us <= found.read_4k_p99_us);
                assert!(found.write_mb_per_second > 0.0 && found.read_mb_per_second > 0.0);
            }
            Err(error) => println!("skipped, because {error:#}"),
        }
    }
}
