//! The contenders: ways to have memory, behind one trait.
//!
//! | contender | file |
//! |---|---|
//! | Pagekeeper, each engine | [`ours`] |
//! | plain anonymous memory, with huge pages and without | [`plain`] |
//! | a plain shared mapping of a file | [`file_mapping`] |
//! | kernel swap on a file | [`swap_file`] |
//! | kernel swap on zram | [`zram`] |
//!
//! A contender has two sides. The bench *prepares* what only it may make (a control group, a swap device); a child process
//! of its own then *maps* the memory, so that its peak is this contender's alone.

mod file_mapping;
mod ours;
mod plain;
mod swap_file;
mod zram;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use pagekeeper::EngineKind;
use pagekeeper_units::ByteCount;
use serde::{Deserialize, Serialize};

use crate::kernel::{Cgroup, SwapSpace, ZramDevice};

pub(crate) use ours::space as ours_space;

/// Which contender.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Debug,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ContenderKind {
    /// Pagekeeper, inline engine.
    Inline,
    /// Pagekeeper, mapped engine.
    Mapped,
    /// Pagekeeper, resident engine.
    Resident,
    /// Anonymous memory with MADV_HUGEPAGE, without any limit.
    PlainHuge,
    /// Anonymous memory in 4 KiB pages, without any limit.
    Plain,
    /// MAP_SHARED of a file in a control group.
    FileMapping,
    /// Kernel swap on a file, in a control group.
    SwapFile,
    /// Kernel swap on zram (lz4), in a control group.
    SwapZram,
}

impl ContenderKind {
    /// Its name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Inline => "ours, inline",
            Self::Mapped => "ours, mapped",
            Self::Resident => "ours, resident",
            Self::PlainHuge => "plain, huge pages",
            Self::Plain => "plain, 4 KiB pages",
            Self::FileMapping => "file mapping",
            Self::SwapFile => "swap on file",
            Self::SwapZram => "swap on zram",
        }
    }

    /// The engine, if it is ours.
    pub(crate) const fn engine(self) -> Option<EngineKind> {
        match self {
            Self::Inline => Some(EngineKind::Inline),
            Self::Mapped => Some(EngineKind::Mapped),
            Self::Resident => Some(EngineKind::Resident),
            _ => None,
        }
    }

    /// Whether its RAM is limited, by our budget or by a control group.
    pub(crate) const fn is_limited(self) -> bool {
        !matches!(self, Self::Resident | Self::PlainHuge | Self::Plain)
    }

    /// The contender itself.
    pub(crate) fn contender(self) -> Box<dyn Contender> {
        match self {
            Self::Inline | Self::Mapped | Self::Resident => {
                Box::new(ours::Ours(self.engine().unwrap_or(EngineKind::Resident)))
            }
            Self::PlainHuge => Box::new(plain::Plain { huge: true }),
            Self::Plain => Box::new(plain::Plain { huge: false }),
            Self::FileMapping => Box::new(file_mapping::FileMapping),
            Self::SwapFile => Box::new(swap_file::SwapFile),
            Self::SwapZram => Box::new(zram::SwapZram),
        }
    }
}

/// How much and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    /// RAM: our budget, or the control group's limit.
    #[serde(with = "bytes")]
    pub(crate) ram: ByteCount,
    /// Where page files, swap files and mapped files go.
    pub(crate) folder: PathBuf,
}

/// How memory is going to be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// Upwards.
    Sequential,
    /// Anywhere.
    Random,
}

/// A way to have memory.
pub(crate) trait Contender {
    /// One sentence for the documentation.
    fn describe(&self) -> &'static str;

    /// What the bench has to make before the child starts, for `data` bytes at `place`.
    ///
    /// # Errors
    /// Why this contender must be skipped, to be read after "skipped, because ".
    fn prepare(&self, _place: &Place, _data: ByteCount) -> Result<Stage, String> {
        Ok(Stage::default())
    }

    /// Maps `data` bytes, in the child.
    fn map(&self, place: &Place, data: ByteCount) -> anyhow::Result<Box<dyn Memory>>;
}

/// Mapped memory.
pub(crate) trait Memory {
    /// The first byte, at a page's start.
    fn base(&self) -> *mut u8;

    /// Tells whoever pages how the memory is going to be used; the library finds out for itself.
    fn advise(&self, _how: Use) {}

    /// The files behind the memory whose cached pages count as its RAM.
    fn cached_files(&self) -> Vec<OwnedFd> {
        Vec::new()
    }

    /// Figures of its own, by name.
    fn report(&self) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }
}

/// What the bench has made for a child; gone when dropped, which must be after the child's end.
#[derive(Default)]
pub(crate) struct Stage {
    // In the order in which they have to go.
    pub(crate) cgroup: Option<Cgroup>,
    #[expect(dead_code, reason = "kept in use until it is dropped")]
    pub(crate) swap: Option<SwapSpace>,
    pub(crate) zram: Option<ZramDevice>,
}

impl Stage {
    /// The folder of the control group that the child has to join.
    pub(crate) fn cgroup_folder(&self) -> Option<&Path> {
        self.cgroup.as_ref().map(Cgroup::folder)
    }

    /// The most RAM that the kernel counted outside of the child: in the control group, and in zram's pool.
    pub(crate) fn peak(&self) -> StagePeak {
        StagePeak {
            cgroup: self.cgroup.as_ref().and_then(Cgroup::peak_bytes),
            pool: self.zram.as_ref().map(ZramDevice::peak_bytes),
        }
    }
}

/// RAM as the kernel counted it, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StagePeak {
    pub(crate) cgroup: Option<u64>,
    pub(crate) pool: Option<u64>,
}

/// Sizes as plain numbers of bytes.
mod bytes {
    use pagekeeper_units::ByteCount;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(size: &ByteCount, to: S) -> Result<S::Ok, S::Error> {
        size.get().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ByteCount, D::Error> {
        u64::deserialize(from).map(ByteCount::new)
    }
}
