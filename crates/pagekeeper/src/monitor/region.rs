//! One stretch of address space: what it is, and how much of it is where.

/// Cells of a [heat strip](Region::heat).
pub const HEAT_CELLS: usize = 32;

/// What a region is used for: `State` of a `MEMORY_BASIC_INFORMATION`. Free space is what lies between regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum RegionUse {
    /// `MEM_RESERVE`: address space, no memory.
    #[default]
    Reserved,
    /// `MEM_COMMIT`.
    Committed,
    /// Many small regions of one allocation told as one: [`Region::committed_bytes`] says how much of it is committed.
    Merged,
}

/// What a region holds: `Type` of a `MEMORY_BASIC_INFORMATION`, with more words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum RegionKind {
    /// Memory that Pagekeeper manages: reserved through a space.
    Managed,
    /// A view of a section that Pagekeeper manages.
    Section,
    /// A program or a library: a file that is mapped with the right to execute somewhere (`MEM_IMAGE`).
    Image,
    /// Another file, or memory shared with other processes (`MEM_MAPPED`).
    Mapped,
    /// malloc's heap (`[heap]`).
    Heap,
    /// The stack of the first thread.
    Stack,
    /// Anonymous memory of nobody in particular: malloc's other heaps, stacks of threads, and what programs map
    /// (`MEM_PRIVATE`).
    #[default]
    Private,
    /// What Pagekeeper itself needs: tables, frames on their way out, the compressed pool, arenas that hold no reservation.
    Pagekeeper,
    /// What the kernel puts into every process: `[vdso]`, `[vvar]`.
    Kernel,
}

impl RegionKind {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Managed,
        Self::Section,
        Self::Image,
        Self::Mapped,
        Self::Heap,
        Self::Stack,
        Self::Private,
        Self::Pagekeeper,
        Self::Kernel,
    ];

    /// Whether a file, or memory shared like one, stands behind it.
    pub const fn is_file(self) -> bool {
        matches!(self, Self::Section | Self::Image | Self::Mapped)
    }

    /// The name for people, one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Managed => "managed",
            Self::Section => "section",
            Self::Image => "image",
            Self::Mapped => "mapped",
            Self::Heap => "heap",
            Self::Stack => "stack",
            Self::Private => "private",
            Self::Pagekeeper => "pagekeeper",
            Self::Kernel => "kernel",
        }
    }
}

/// Where pages are, in pages. A committed page is in exactly one of these places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Whereabouts {
    /// In the working set.
    pub resident: u64,
    /// Out of the working set, still in RAM, not stored elsewhere yet.
    pub modified: u64,
    /// Out of the working set, still in RAM, stored elsewhere as well.
    pub standby: u64,
    /// In the compressed pool, or kept as a repeated word.
    pub compressed: u64,
    /// Only in a page file of Pagekeeper's.
    pub page_file: u64,
    /// In the kernel's swap.
    pub swapped: u64,
    /// Committed and in none of these places: never touched, so that it costs nothing yet; of a file that is mapped, what is
    /// only in that file.
    pub untouched: u64,
    /// Lost: reading it back failed.
    pub lost: u64,
}

impl Whereabouts {
    /// All pages that are anywhere.
    pub const fn total(&self) -> u64 {
        self.resident
            + self.modified
            + self.standby
            + self.compressed
            + self.page_file
            + self.swapped
            + self.untouched
            + self.lost
    }

    /// Adds another's.
    pub const fn add(&mut self, other: &Self) {
        self.resident += other.resident;
        self.modified += other.modified;
        self.standby += other.standby;
        self.compressed += other.compressed;
        self.page_file += other.page_file;
        self.swapped += other.swapped;
        self.untouched += other.untouched;
        self.lost += other.lost;
    }
}

/// A stretch of address space whose pages are alike (`MEMORY_BASIC_INFORMATION`), with where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Region {
    /// The first address (`BaseAddress`).
    pub base: u64,
    /// Its length in bytes (`RegionSize`).
    pub size_bytes: u64,
    /// Where the allocation begins that it is part of (`AllocationBase`). For memory that Pagekeeper did not make: where the
    /// neighbouring mappings of the same file begin.
    pub allocation_base: u64,
    /// The protection that the allocation was made with (`AllocationProtect`), as `PAGE_*` bits.
    pub allocation_protection: u32,
    /// `State`.
    pub usage: RegionUse,
    /// The protection now (`Protect`), as `PAGE_*` bits; 0 where nothing is committed.
    pub protection: u32,
    /// What it holds.
    pub kind: RegionKind,
    /// Whether other processes may see what is written here.
    pub shared: bool,
    /// Which engine pages it: `inline`, `mapped` or `resident`; empty for memory that Pagekeeper does not manage.
    #[cfg_attr(feature = "serde", serde(default))]
    pub engine: String,
    /// The file's path, or a name such as `[heap]`; empty without one.
    pub name: String,
    /// Where in the file it begins, in bytes; 0 without a file.
    #[cfg_attr(feature = "serde", serde(default))]
    pub file_offset: u64,
    /// Bytes of it that are committed: all of a committed region, none of a reserved one.
    pub committed_bytes: u64,
    /// Where its committed pages are.
    pub pages: Whereabouts,
    /// The heat strip: the region cut into at most [`HEAT_CELLS`] cells of equal size, and for each how much of it is
    /// resident, from 0 (nothing) to 255 (all). A cell with a single resident page is never 0. Empty where nothing is
    /// committed.
    pub heat: Vec<u8>,
    /// Whether `pages` and `heat` were counted over a part of the pages and scaled up.
    pub sampled: bool,
}

impl Region {
    /// The first address behind it.
    pub const fn end(&self) -> u64 {
        self.base + self.size_bytes
    }
}

/// A `PAGE_*` value in words, such as `READWRITE` or `READONLY+GUARD`; empty for 0.
pub fn protection_name(bits: u32) -> String {
    const NAMES: [(u32, &str); 11] = [
        (0x1, "NOACCESS"),
        (0x2, "READONLY"),
        (0x4, "READWRITE"),
        (0x8, "WRITECOPY"),
        (0x10, "EXECUTE"),
        (0x20, "EXECUTE_READ"),
        (0x40, "EXECUTE_READWRITE"),
        (0x80, "EXECUTE_WRITECOPY"),
        (0x100, "GUARD"),
        (0x200, "NOCACHE"),
        (0x400, "WRITECOMBINE"),
    ];
    let names: Vec<&str> = NAMES
        .into_iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| name)
        .collect();
    names.join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protections_have_names() {
        assert_eq!(protection_name(0), "");
        assert_eq!(protection_name(4), "READWRITE");
        assert_eq!(protection_name(0x102), "READONLY+GUARD");
    }

    #[test]
    fn whereabouts_add_up() {
        let mut sum = Whereabouts {
            resident: 1,
            page_file: 2,
            ..Default::default()
        };
        sum.add(&Whereabouts {
            resident: 4,
            untouched: 8,
            ..Default::default()
        });
        assert_eq!((sum.resident, sum.total()), (5, 15));
    }
}
