//! What root can make for a fair race with the kernel: control groups, swap files, zram devices. Each carries a
//! recognisable name with the bench's process number in it and is removed when dropped; what a crash leaves is removed by
//! a helper process that outlives the bench, and by the next run ([`leftovers`]).

mod cgroup;
pub(crate) mod leftovers;
mod swap;
mod zram;

pub(crate) use cgroup::{Cgroup, join};
pub(crate) use swap::SwapSpace;
pub(crate) use zram::ZramDevice;

/// What all names begin with; the swap header has room for exactly this.
pub(crate) const NAME: &str = "pagekeeper-bench";

/// A name for something of the process `owner`.
fn name_of(owner: u32) -> String {
    format!("{NAME}-{owner}")
}

/// The owner in a name that [`name_of`] made, whatever follows behind a dot.
fn owner_in(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(NAME)?.strip_prefix('-')?;
    let number = rest.split_once('.').map_or(rest, |(number, _)| number);
    number.parse().ok()
}

/// Reads a small file of `/proc` or `/sys`; empty when it cannot be read.
pub(crate) fn text_of(path: impl AsRef<std::path::Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Whether the bench runs as root, and why not otherwise.
fn require_root() -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err("it needs root (control groups and swap); run the bench as root to see it".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_found_in_names_of_ours_only() {
        assert_eq!(owner_in(&name_of(123)), Some(123));
        assert_eq!(owner_in("pagekeeper-bench-77.swap"), Some(77));
        for name in [
            "pagekeeper-bench",
            "pagekeeper-bench-",
            "pagekeeper-bench-x",
            "other-12",
            "",
        ] {
            assert_eq!(owner_in(name), None, "{name}");
        }
        assert_eq!(NAME.len(), 16);
    }
}
