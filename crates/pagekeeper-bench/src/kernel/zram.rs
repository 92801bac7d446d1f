//! A compressed disk in RAM (zram), made for one child process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pagekeeper_units::ByteCount;

use super::{name_of, require_root, text_of};

const CONTROL: &str = "/sys/class/zram-control";
/// Where the number of a device is kept from its making until it carries a swap header with our name.
const RECORDS: &str = "/run";

/// A device; removed when dropped.
#[derive(Debug)]
pub(crate) struct ZramDevice {
    number: u32,
    size: ByteCount,
}

impl ZramDevice {
    /// A device of `size` that compresses with `algorithm`.
    ///
    /// # Errors
    /// Why that is not possible, for "skipped, because".
    pub(crate) fn create(size: ByteCount, algorithm: &str) -> Result<Self, String> {
        require_root()?;
        let add = Path::new(CONTROL).join("hot_add");
        let number = std::fs::read_to_string(&add)
            .map_err(|_| "this kernel has no zram (try: modprobe zram)".to_owned())?
            .trim()
            .parse()
            .map_err(|_| "the kernel gave no number for a zram device".to_owned())?;
        // From here on dropping removes it.
        let device = Self { number, size };
        let _ = std::fs::write(record_of(std::process::id()), number.to_string());
        device.set("comp_algorithm", algorithm)?;
        device.set("disksize", &size.get().to_string())?;
        device.await_node()?;
        Ok(device)
    }

    pub(crate) fn path(&self) -> PathBuf {
        node(self.number)
    }

    pub(crate) fn size(&self) -> ByteCount {
        self.size
    }

    /// The most RAM that the pool used, in bytes.
    pub(crate) fn peak_bytes(&self) -> u64 {
        peak_in(&text_of(settings(self.number).join("mm_stat"))).unwrap_or(0)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), String> {
        std::fs::write(settings(self.number).join(name), value)
            .map_err(|error| format!("zram refuses {name} = {value}: {error}"))
    }

    /// The device's node appears a moment later where a daemon makes it.
    fn await_node(&self) -> Result<(), String> {
        for _ in 0..100 {
            if self.path().exists() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("{} did not appear", self.path().display()))
    }
}

impl Drop for ZramDevice {
    fn drop(&mut self) {
        match remove(self.number) {
            Ok(()) => {
                let _ = std::fs::remove_file(record_of(std::process::id()));
            }
            Err(error) => eprintln!("zram{} could not be removed: {error}", self.number),
        }
    }
}

fn node(number: u32) -> PathBuf {
    PathBuf::from(format!("/dev/zram{number}"))
}

fn settings(number: u32) -> PathBuf {
    PathBuf::from(format!("/sys/block/zram{number}"))
}

/// The file that says which device a process made.
pub(super) fn record_of(owner: u32) -> PathBuf {
    Path::new(RECORDS).join(format!("{}.zram", name_of(owner)))
}

/// Owners that have a record.
pub(super) fn recorded_owners() -> Vec<u32> {
    super::leftovers::owners_in(Path::new(RECORDS), ".zram")
}

/// Takes a device that is not in use any more out of the system. Somebody may look at it for a moment (device daemons do).
pub(super) fn remove(number: u32) -> std::io::Result<()> {
    const ATTEMPTS: usize = 50;
    let mut last = Ok(());
    for _ in 0..ATTEMPTS {
        let _ = std::fs::write(settings(number).join("reset"), "1");
        last = std::fs::write(Path::new(CONTROL).join("hot_remove"), number.to_string());
        if last.is_ok() || !settings(number).exists() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    last
}

/// The number of a device that a path names.
pub(super) fn number_of(path: &Path) -> Option<u32> {
    path.to_str()?.strip_prefix("/dev/zram")?.parse().ok()
}

/// Numbers of all devices that hold something.
pub(super) fn devices_in_use() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("zram")?
                .parse()
                .ok()
        })
        .filter(|&number| text_of(settings(number).join("disksize")).trim() != "0")
        .collect()
}

/// The fifth figure of `mm_stat`: the most memory that the pool took.
fn peak_in(mm_stat: &str) -> Option<u64> {
    mm_stat.split_whitespace().nth(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_names_are_read() {
        assert_eq!(
            peak_in("  4096  74  12288  0  16384  0  0  0  0\n"),
            Some(16_384)
        );
        assert_eq!(peak_in("1 2 3"), None);
        assert_eq!(number_of(Path::new("/dev/zram12")), Some(12));
        for path in ["/dev/zram", "/dev/zramx", "/dev/sda", "zram1"] {
            assert_eq!(number_of(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn a_device_comes_and_goes() {
        let device = match ZramDevice::create(ByteCount::mib(4), "lz4") {
            Ok(device) => device,
            Err(reason) => return println!("skipped, because {reason}"),
        };
        let number = device.number;
        assert!(devices_in_use().contains(&number));
        assert!(record_of(std::process::id()).exists());
        drop(device);
        assert!(!settings(number).exists());
        assert!(!record_of(std::process::id()).exists());
    }
}
