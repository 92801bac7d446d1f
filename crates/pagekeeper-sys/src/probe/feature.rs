//! The kernel features that Pagekeeper can make use of: what each is for, what its absence costs, and
//! what would grant it.

use crate::Errno;

/// A feature of the kernel that may be there or not. Nothing is lost without any of them, and each
/// can be switched off by its name (`PAGEKEEPER_DISABLE`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Feature {
    /// A userfaultfd for the faults of user code.
    Userfaultfd,
    /// A userfaultfd for the kernel's faults too.
    KernelFaults,
    /// Faults as signals on the faulting thread.
    Sigbus,
    /// Write-protection of anonymous memory.
    WriteProtect,
    /// Write-protection that lifts itself.
    WriteProtectAsync,
    /// Write-protection of pages that are not there yet.
    WriteProtectUnpopulated,
    /// Moving pages without copying.
    Move,
    /// Pages marked as lost.
    Poison,
    /// Minor faults on shared memory.
    Minor,
    /// Scanning the page map by category.
    PagemapScan,
    /// Guard markers on anonymous memory.
    Guard,
    /// Guard markers on file mappings.
    GuardFile,
    /// Advice about many ranges in one call.
    ProcessMadvise,
    /// Many disk requests in one call.
    IoUring,
    /// Disk transfers past the page cache.
    DirectIo,
    /// Counting cached pages of a file.
    Cachestat,
    /// Asking for the mapping at an address.
    ProcmapQuery,
    /// Taking a descriptor back from another descriptor table.
    PidfdGetfd,
    /// Page-fault counters.
    Perf,
}

impl Feature {
    /// All of them, what others stand on first.
    pub const ALL: [Self; 19] = [
        Self::Userfaultfd,
        Self::KernelFaults,
        Self::Sigbus,
        Self::WriteProtect,
        Self::WriteProtectAsync,
        Self::WriteProtectUnpopulated,
        Self::Move,
        Self::Poison,
        Self::Minor,
        Self::PagemapScan,
        Self::Guard,
        Self::GuardFile,
        Self::ProcessMadvise,
        Self::IoUring,
        Self::DirectIo,
        Self::Cachestat,
        Self::ProcmapQuery,
        Self::PidfdGetfd,
        Self::Perf,
    ];

    /// Its name in settings and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Userfaultfd => "userfaultfd",
            Self::KernelFaults => "kernel_faults",
            Self::Sigbus => "sigbus",
            Self::WriteProtect => "write_protect",
            Self::WriteProtectAsync => "write_protect_async",
            Self::WriteProtectUnpopulated => "write_protect_unpopulated",
            Self::Move => "move",
            Self::Poison => "poison",
            Self::Minor => "minor",
            Self::PagemapScan => "pagemap_scan",
            Self::Guard => "guard",
            Self::GuardFile => "guard_file",
            Self::ProcessMadvise => "process_madvise",
            Self::IoUring => "io_uring",
            Self::DirectIo => "direct_io",
            Self::Cachestat => "cachestat",
            Self::ProcmapQuery => "procmap_query",
            Self::PidfdGetfd => "pidfd_getfd",
            Self::Perf => "perf",
        }
    }

    /// The feature of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.name() == name)
    }

    /// The feature that it is part of: without that one it is not there either.
    pub const fn part_of(self) -> Option<Self> {
        match self {
            Self::Sigbus
            | Self::WriteProtect
            | Self::Minor
            | Self::Move
            | Self::Poison
            | Self::KernelFaults => Some(Self::Userfaultfd),
            Self::WriteProtectAsync | Self::WriteProtectUnpopulated => Some(Self::WriteProtect),
            Self::GuardFile => Some(Self::Guard),
            _ => None,
        }
    }

    /// What Pagekeeper does with it.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Userfaultfd => "the inline engine: own compressed pool, checksums, exact budget",
            Self::KernelFaults => "system calls on memory that is paged out inline",
            Self::Sigbus => "answering faults on the faulting thread",
            Self::WriteProtect => "read-only pages and finding changed ones inline",
            Self::WriteProtectAsync => "write watch (GetWriteWatch) without faults",
            Self::WriteProtectUnpopulated => "write watch on pages not touched yet",
            Self::Move => "taking pages out without copying them",
            Self::Poison => "in-page errors that stay with the page",
            Self::Minor => "sections shared between processes",
            Self::PagemapScan => "write watch, and counting pages fast",
            Self::Guard => "reserved pages inside committed pieces, mapped engine",
            Self::GuardFile => "reserved pages inside pieces that live in the page file",
            Self::ProcessMadvise => "dropping many pages in one call",
            Self::IoUring => "many page-file requests in flight at once",
            Self::DirectIo => "page-file transfers past the page cache",
            Self::Cachestat => "counting the page file's cached pages exactly",
            Self::ProcmapQuery => "VirtualQuery of memory that is not Pagekeeper's",
            Self::PidfdGetfd => "getting descriptors back that a program closed",
            Self::Perf => "exact fault counts",
        }
    }

    /// What its absence costs.
    pub const fn cost(self) -> &'static str {
        match self {
            Self::Userfaultfd => "no inline engine; the mapped engine does everything",
            Self::KernelFaults => "inline: system calls go through wrappers and with_resident",
            Self::Sigbus => "no inline engine; the mapped engine does everything",
            Self::WriteProtect => "inline: read-only pages by mprotect, which splits mappings",
            Self::WriteProtectAsync => {
                "write watch by faults: slower, kernel writes seen by wrappers"
            }
            Self::WriteProtectUnpopulated => "write watch brings its pages in first",
            Self::Move => "pages leave by mremap: slower, more mappings",
            Self::Poison => "a damaged page is kept in a table instead",
            Self::Minor => "shared sections are plain shared mappings",
            Self::PagemapScan => "no write watch without faults; counting pages is slower",
            Self::Guard => "alternating commits meet the kernel's limit of mappings",
            Self::GuardFile => {
                "alternating commits beyond the budget meet the kernel's limit of mappings"
            }
            Self::ProcessMadvise => "one call for each run of pages",
            Self::IoUring => "one call for each page-file request: up to 1.5 times slower",
            Self::DirectIo => "page-file transfers pass through the page cache",
            Self::Cachestat => "counts of cached pages are sampled",
            Self::ProcmapQuery => "foreign addresses are looked up by reading the whole map",
            Self::PidfdGetfd => "the process stops when a program closes Pagekeeper's descriptors",
            Self::Perf => "fault counts are those of the whole process, marked as sampled",
        }
    }

    /// The kernel version that brought it.
    pub const fn since(self) -> &'static str {
        match self {
            Self::Userfaultfd => "5.11 (user mode)",
            Self::KernelFaults | Self::Sigbus => "4.14",
            Self::WriteProtect => "5.7",
            Self::WriteProtectUnpopulated => "6.4",
            Self::WriteProtectAsync | Self::PagemapScan => "6.7",
            Self::Move => "6.8",
            Self::Poison => "6.6",
            Self::Minor => "5.14",
            Self::Guard => "6.13",
            Self::GuardFile => "6.15",
            Self::ProcessMadvise => "6.14 (on oneself)",
            Self::IoUring => "5.6",
            Self::DirectIo => "2.4",
            Self::Cachestat => "6.5",
            Self::ProcmapQuery => "6.11",
            Self::PidfdGetfd => "5.6",
            Self::Perf => "2.6.31",
        }
    }

    /// What would grant it, after it was refused with `errno`: a command, a setting or a kernel.
    pub const fn remedy(self, errno: Errno) -> &'static str {
        let refused = matches!(errno, Errno::PERM | Errno::ACCESS);
        match self {
            Self::KernelFaults => {
                "as root: sysctl vm.unprivileged_userfaultfd=1, or setfacl -m u:USER:rw \
                 /dev/userfaultfd, or give the program CAP_SYS_PTRACE"
            }
            Self::Userfaultfd if refused => {
                "allow the system call userfaultfd in the container's seccomp profile"
            }
            Self::IoUring if refused => {
                "as root: sysctl kernel.io_uring_disabled=0; in a container: allow io_uring_setup, \
                 io_uring_enter and io_uring_register in its seccomp profile"
            }
            Self::IoUring if matches!(errno, Errno::NOMEM) => {
                "raise the limit of locked memory: ulimit -l, or LimitMEMLOCK= of the service"
            }
            Self::Perf if refused => "as root: sysctl kernel.perf_event_paranoid=2",
            Self::DirectIo => {
                "put the page file on a file system with direct I/O: ext4, XFS, btrfs"
            }
            Self::PagemapScan if refused => "keep the process dumpable (prctl PR_SET_DUMPABLE)",
            Self::ProcmapQuery | Self::Cachestat | Self::ProcessMadvise | Self::PidfdGetfd
                if refused =>
            {
                "allow the system call in the container's seccomp profile"
            }
            _ if matches!(errno, Errno::NOSYS) => {
                "a newer kernel, or one with the feature built in; in a container: a seccomp profile \
                 that allows it"
            }
            _ => "a newer kernel",
        }
    }
}
