//! A process at one moment.

use super::error::MonitorError;
use super::observer::Observer;
use super::region::{Region, RegionKind, Whereabouts};
use crate::statistics::{EngineStatistics, Exactness};

/// Who told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Source {
    /// The process itself, which uses Pagekeeper; what it does not manage comes from `/proc`.
    Pagekeeper,
    /// The kernel: `/proc`.
    #[default]
    Proc,
}

/// A process at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Snapshot {
    /// When, in milliseconds since 1970 (UTC).
    pub taken_at_ms: u64,
    /// How old the oldest of it is. Looking at regions may take a fiftieth of the time of the process that is looked at, so very
    /// large processes are looked at less often than they are asked; and one that is stopped shows what it said last.
    pub age_ms: u64,
    /// The process's number.
    pub pid: u32,
    /// Its short name.
    pub name: String,
    /// Its command line; empty where it has none.
    pub command: String,
    /// The number of its user.
    pub user: u32,
    /// Who told.
    pub source: Source,
    /// Whether it is known exactly where pages are, or it was looked up in the kernel over a stretch of time.
    pub residence: Exactness,
    /// Whether faults are counted one by one, or looked up in the kernel for the whole process.
    pub faults: Exactness,
    /// Sums.
    pub totals: Totals,
    /// What happened since the process began.
    pub counters: Counters,
    /// The engines that page its memory; a space has one or more.
    pub engines: Vec<EngineFigures>,
    /// Regions from the lowest address up, free space left out. Empty when they were not asked for.
    pub regions: Vec<Region>,
    /// Fault latencies: cell `i` counts faults of 2^i up to 2^(i+1) nanoseconds. Empty where they are not measured.
    pub latency: Vec<u64>,
    /// Code that faults most, the most first; sampled. Empty where it is not known.
    pub fault_sites: Vec<FaultSite>,
    /// What is missing, sampled or out of date, and why: one line each, for people.
    pub notes: Vec<String>,
}

/// Sums over the process, in bytes. With the regions in the snapshot, the first group is the sum of the regions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Totals {
    /// Address space in regions, committed or not (VMMap: Size).
    pub reserved_bytes: u64,
    /// Committed: reserved address space with memory promised for it (VMMap: Committed).
    pub committed_bytes: u64,
    /// Committed, of nobody else's (VMMap: Private).
    pub private_bytes: u64,
    /// Committed, of files and of memory shared with others.
    pub shared_bytes: u64,
    /// In RAM and in the process's page table (VMMap: Total WS; the kernel: RSS).
    pub working_set_bytes: u64,
    /// Of the working set, anonymous (VMMap: Private WS).
    pub working_set_private_bytes: u64,
    /// Of the working set, of files and shared memory. Pages of the mapped engine's page file count here, as in the kernel.
    pub working_set_shared_bytes: u64,
    /// Left the working set, still in RAM, not stored elsewhere yet.
    pub modified_bytes: u64,
    /// Left the working set, still in RAM, stored elsewhere as well.
    pub standby_bytes: u64,
    /// Pages in the compressed pool, at their full size.
    pub compressed_bytes: u64,
    /// Pages that are only in the page file.
    pub page_file_bytes: u64,
    /// Pages in the kernel's swap.
    pub swapped_bytes: u64,

    /// RAM that the compressed pool uses.
    pub pool_bytes: u64,
    /// Locked in RAM.
    pub locked_bytes: u64,
    /// RAM budget of all spaces; 0 without one.
    pub budget_bytes: u64,
    /// RAM that Pagekeeper itself uses beside the budget.
    pub overhead_bytes: u64,
    /// Committed with Pagekeeper, as its commit limit counts.
    pub commit_charge_bytes: u64,
    /// The commit limit of all spaces; 0 without one.
    pub commit_limit_bytes: u64,
    /// The most that was ever committed with Pagekeeper.
    pub commit_peak_bytes: u64,
    /// Disk space that page files have allocated.
    pub page_file_allocated_bytes: u64,
    /// The page files' maximum sizes together.
    pub page_file_maximum_bytes: u64,
    /// Page tables of the process, in the kernel.
    pub page_table_bytes: u64,
}

/// What happened since the process began. Rates are differences between two snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Counters {
    /// Soft faults: answered without reading the disk. First touches, pages taken back and pages unpacked; for other
    /// processes the kernel's minor faults.
    pub soft_faults: u64,
    /// Hard faults: answered by reading the disk; for other processes the kernel's major faults.
    pub hard_faults: u64,
    /// Of the soft faults, first touches.
    pub zero_faults: u64,
    /// Of the soft faults, pages taken back from the modified and standby lists.
    pub transition_faults: u64,
    /// Of the soft faults, pages unpacked from the compressed pool.
    pub pool_faults: u64,
    /// Bytes that came from page files, read-ahead included; for other processes what it read from disks.
    pub bytes_in: u64,
    /// Bytes written to page files; for other processes what it wrote to disks.
    pub bytes_out: u64,
    /// Pages that left the working set without being written, because the page file still had them.
    pub clean_drops: u64,
    /// Pages that were packed where they lay.
    pub packed_in_place: u64,
    /// Pages that could not be read back.
    pub lost: u64,
    /// Faults that failed because nothing could leave to make room.
    pub refused: u64,
    /// Minor faults of the whole process, by the kernel's count.
    pub process_minor_faults: u64,
    /// Major faults of the whole process, by the kernel's count.
    pub process_major_faults: u64,
}

/// An engine of a space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct EngineFigures {
    /// The space's number in its process, from 1 up.
    pub space: u64,
    /// `inline`, `mapped` or `resident`.
    pub engine: String,
    /// RAM that it may use for pages.
    pub budget_bytes: u64,
    /// In the working set.
    pub resident_bytes: u64,
    /// See [`Totals::modified_bytes`].
    pub modified_bytes: u64,
    /// See [`Totals::standby_bytes`].
    pub standby_bytes: u64,
    /// Pages in the compressed pool, at their full size.
    pub compressed_bytes: u64,
    /// RAM that the compressed pool uses.
    pub pool_bytes: u64,
    /// Page-file space in use.
    pub page_file_bytes: u64,
    /// The most RAM that it ever used.
    pub peak_bytes: u64,
    /// Whether these were counted or looked up.
    pub exactness: Exactness,
}

/// Code that faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FaultSite {
    /// The address of the instruction.
    pub address: u64,
    /// Faults there, as estimated from a sample.
    pub faults: u64,
    /// The file that the code comes from; empty where it comes from none.
    pub module: String,
    /// Where in that file, in bytes.
    pub offset: u64,
}

impl Snapshot {
    /// The latency in nanoseconds that `share` (0.0 to 1.0) of the faults did not pass, rounded up to a power of two.
    /// `None` where none was measured.
    pub fn latency_quantile_ns(&self, share: f64) -> Option<u64> {
        let figures = EngineStatistics {
            latency: self.latency.clone(),
            ..Default::default()
        };
        figures.latency_quantile_ns(share)
    }

    /// Sizes and whereabouts of the regions of one kind: reserved bytes, committed bytes, pages.
    pub fn sum_of(&self, kind: RegionKind) -> (u64, u64, Whereabouts) {
        let mut pages = Whereabouts::default();
        let (mut reserved, mut committed) = (0, 0);
        for region in self.regions.iter().filter(|region| region.kind == kind) {
            reserved += region.size_bytes;
            committed += region.committed_bytes;
            pages.add(&region.pages);
        }
        (reserved, committed, pages)
    }

    /// The region that holds `address`.
    pub fn region_at(&self, address: u64) -> Option<&Region> {
        let behind = self
            .regions
            .partition_point(|region| region.base <= address);
        let region = self.regions.get(behind.checked_sub(1)?)?;
        (address < region.end()).then_some(region)
    }
}

/// This process now, with its regions: what a program shows of itself. Windows: `QueryWorkingSet` and `GetProcessMemoryInfo`, with
/// more to say. Costs what the number of regions and resident pages costs; fit to be called every second.
///
/// # Errors
/// [`MonitorError`] without `/proc`.
///
/// ```
/// use pagekeeper::{ByteCount, Protection, Space};
/// let space = Space::builder().ram(ByteCount::mib(16)).build()?;
/// let reservation = space.reserve(ByteCount::gib(1)).build()?;
/// reservation.commit(0..1 << 20, Protection::READ_WRITE)?;
/// let snapshot = pagekeeper::monitor::snapshot()?;
/// let (reserved, committed, _) = snapshot.sum_of(pagekeeper::monitor::RegionKind::Managed);
/// assert_eq!((reserved, committed), (1 << 30, 1 << 20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn snapshot() -> Result<Snapshot, MonitorError> {
    Observer::of(std::process::id())?.snapshot()
}
