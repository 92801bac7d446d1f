//! A plain shared mapping of a file in a control group: what a programmer would write without a pager.
#![allow(unsafe_code, reason = "UNSAFETY: advice about a mapping of our own")]

use std::os::fd::OwnedFd;

use anyhow::Context as _;
use pagekeeper_sys::file::{AllocateHow, allocate, create_in_folder};
use pagekeeper_sys::map::{self, Access, Advice, Mapping};
use pagekeeper_units::ByteCount;

use super::{Contender, Memory, Place, Stage, Use};
use crate::kernel::Cgroup;

pub(super) struct FileMapping;

/// The mapping and its file.
struct Mapped {
    mapping: Mapping,
    file: OwnedFd,
}

impl Contender for FileMapping {
    fn describe(&self) -> &'static str {
        "MAP_SHARED of an unlinked, allocated file, in a memory control group with that limit; told MADV_RANDOM for random patterns and nothing special for sequential ones"
    }

    fn prepare(&self, place: &Place, _data: ByteCount) -> Result<Stage, String> {
        Ok(Stage {
            cgroup: Some(Cgroup::create(place.ram)?),
            ..Stage::default()
        })
    }

    fn map(&self, place: &Place, data: ByteCount) -> anyhow::Result<Box<dyn Memory>> {
        let file = create_in_folder(&place.folder)?.file;
        let done = allocate(&file, 0, data.get(), 64 << 20, AllocateHow::Best);
        if let Some(error) = done.error {
            return Err(error).context("no room for the mapped file");
        }
        let mapping = map::map_file(data.pages(), &file, 0, Access::READ_WRITE)?;
        Ok(Box::new(Mapped { mapping, file }))
    }
}

impl Memory for Mapped {
    fn base(&self) -> *mut u8 {
        self.mapping.base()
    }

    fn advise(&self, how: Use) {
        let advice = match how {
            Use::Sequential => Advice::Normal,
            Use::Random => Advice::Random,
        };
        // SAFETY: neither advice changes contents; the mapping is ours. A refusal would leave the kernel's default.
        let _ = unsafe { map::advise(self.mapping.range(), advice) };
    }

    fn cached_files(&self) -> Vec<OwnedFd> {
        self.file.try_clone().into_iter().collect()
    }
}
