//! Swap space of our own, for the time of one child process: a file or a zram device, in use before any other swap.
#![allow(
    unsafe_code,
    reason = "UNSAFETY: swapon and swapoff, which change the machine and not our memory"
)]

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use pagekeeper_sys::file::{AllocateHow, allocate};
use pagekeeper_units::{ByteCount, PAGE_SIZE};

use super::{NAME, ZramDevice, name_of, require_root};

/// The kernel's magic at the end of the first page.
const MAGIC: &[u8; 10] = b"SWAPSPACE2";
const VERSION_AT: usize = 1024;
const LAST_PAGE_AT: usize = 1028;
const UUID_AT: usize = 1036;
const NAME_AT: usize = 1052;
const MAGIC_AT: usize = PAGE_SIZE - MAGIC.len();
/// Behind the owner's number in the place of the UUID.
const UUID_REST: &[u8; 12] = b"PagekeeperBn";

/// Swap space in use; out of use when dropped, and its file removed.
#[derive(Debug)]
pub(crate) struct SwapSpace {
    path: PathBuf,
    is_file: bool,
}

impl SwapSpace {
    /// A swap file of `size` in `folder`.
    ///
    /// # Errors
    /// Why that is not possible, for "skipped, because".
    pub(crate) fn on_file(folder: &Path, size: ByteCount) -> Result<Self, String> {
        require_root()?;
        let path = folder.join(format!("{}.swap", name_of(std::process::id())));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| format!("a swap file cannot be made: {error}"))?;
        let done = allocate(&file, 0, size.get(), 256 << 20, AllocateHow::Best);
        let written = match done.error {
            Some(error) => Err(std::io::Error::from(error)),
            None => file
                .write_all(&header(size, std::process::id()))
                .and_then(|()| file.sync_all()),
        };
        let on = written
            .map_err(|error| format!("a swap file cannot be written: {error}"))
            .and_then(|()| swap_on(&path));
        if let Err(reason) = on {
            let _ = std::fs::remove_file(&path);
            return Err(reason);
        }
        Ok(Self {
            path,
            is_file: true,
        })
    }

    /// A zram device as swap space.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn on_zram(device: &ZramDevice) -> Result<Self, String> {
        let path = device.path();
        let mut file = OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
        file.write_all(&header(device.size(), std::process::id()))
            .and_then(|()| file.sync_all())
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        drop(file);
        swap_on(&path)?;
        Ok(Self {
            path,
            is_file: false,
        })
    }
}

impl Drop for SwapSpace {
    fn drop(&mut self) {
        if let Err(error) = swap_off(&self.path) {
            eprintln!(
                "swap on {} could not be switched off: {error}",
                self.path.display()
            );
            return;
        }
        if self.is_file
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            eprintln!("{} could not be removed: {error}", self.path.display());
        }
    }
}

/// The first page of swap space.
fn header(size: ByteCount, owner: u32) -> Vec<u8> {
    let mut page = vec![0; PAGE_SIZE];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(VERSION_AT, &1_u32.to_ne_bytes());
    let last_page = (size.get() / PAGE_SIZE as u64).saturating_sub(1);
    put(LAST_PAGE_AT, &(last_page as u32).to_ne_bytes());
    put(UUID_AT, &owner.to_le_bytes());
    put(UUID_AT + 4, UUID_REST);
    put(NAME_AT, NAME.as_bytes());
    put(MAGIC_AT, MAGIC);
    page
}

/// The owner of swap space with a header of ours.
fn owner_in_header(page: &[u8]) -> Option<u32> {
    let part = |at: usize, length: usize| page.get(at..at + length);
    let ours = part(MAGIC_AT, MAGIC.len())? == MAGIC
        && part(NAME_AT, NAME.len())? == NAME.as_bytes()
        && part(UUID_AT + 4, UUID_REST.len())? == UUID_REST;
    ours.then(|| part(UUID_AT, 4)?.try_into().ok().map(u32::from_le_bytes))
        .flatten()
}

/// The owner of the swap space at `path`, if it is ours.
pub(super) fn owner_of(path: &Path) -> Option<u32> {
    let mut page = vec![0; PAGE_SIZE];
    File::open(path).ok()?.read_exact(&mut page).ok()?;
    owner_in_header(&page)
}

/// The paths in a text of `/proc/swaps`; blanks stand as `\040` there.
pub(super) fn paths_in(swaps: &str) -> impl Iterator<Item = PathBuf> {
    swaps
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .map(|path| PathBuf::from(path.replace("\\040", " ")))
}

fn swap_on(path: &Path) -> Result<(), String> {
    const PREFER: i32 = 0x8000;
    const HIGHEST: i32 = 0x7FFF;
    let text = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: reads a text of ours that ends with a zero.
    let result = unsafe { libc::swapon(text.as_ptr(), PREFER | HIGHEST) };
    if result == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(format!("the kernel refuses swap there: {error}"))
}

pub(super) fn swap_off(path: &Path) -> std::io::Result<()> {
    let text = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: reads a text of ours that ends with a zero.
    match unsafe { libc::swapoff(text.as_ptr()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_their_owner_and_foreign_ones_do_not() {
        let page = header(ByteCount::mib(8), 4711);
        assert_eq!(owner_in_header(&page), Some(4711));
        assert_eq!(
            &page[LAST_PAGE_AT..LAST_PAGE_AT + 4],
            2047_u32.to_ne_bytes()
        );
        for at in [MAGIC_AT, NAME_AT, UUID_AT + 4] {
            let mut other = page.clone();
            other[at] ^= 1;
            assert_eq!(owner_in_header(&other), None);
        }
        assert_eq!(owner_in_header(&page[..100]), None);
    }

    #[test]
    fn the_list_of_swaps_is_read() {
        let text = "Filename\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/zram3 partition 8 0 -2\n/a\\040b/c.swap file 8 0 5\n";
        let found: Vec<_> = paths_in(text).collect();
        assert_eq!(
            found,
            [PathBuf::from("/dev/zram3"), PathBuf::from("/a b/c.swap")]
        );
        assert_eq!(paths_in("Filename\n").count(), 0);
    }

    #[test]
    fn a_swap_file_comes_and_goes() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let swap = match SwapSpace::on_file(folder.path(), ByteCount::mib(4)) {
            Ok(swap) => swap,
            Err(reason) => return println!("skipped, because {reason}"),
        };
        assert_eq!(owner_of(&swap.path), Some(std::process::id()));
        let listed =
            || paths_in(&crate::kernel::text_of("/proc/swaps")).any(|path| path == swap.path);
        assert!(listed());
        let path = swap.path.clone();
        drop(swap);
        assert!(!path.exists());
        assert!(!paths_in(&crate::kernel::text_of("/proc/swaps")).any(|other| other == path));
    }
}
