//! The kernel's map of this process in the model's terms: memory that Pagekeeper did not make.
//!
//! A file of which some part is mapped executable is an image (program, library), all of its mappings together one
//! allocation; other files and shared memory are mapped data; the rest is private.

use core::cell::OnceCell;

use pagekeeper_model::{ForeignKind, ForeignMapping, ForeignMemory};
use pagekeeper_sys::map::Access;
use pagekeeper_sys::procmap::{Maps, Region};
use pagekeeper_units::PageNumber;

/// The kernel's map, read when it is asked for the first time: inside an allocation the model knows everything.
#[derive(Default)]
pub(super) struct KernelMap {
    mappings: OnceCell<Vec<ForeignMapping>>,
}

impl ForeignMemory for KernelMap {
    fn at_or_after(&self, page: PageNumber) -> Option<ForeignMapping> {
        self.mappings.get_or_init(mappings).at_or_after(page)
    }
}

/// Every mapping, upwards. Empty without `/proc`.
pub(super) fn mappings() -> Vec<ForeignMapping> {
    let Ok(maps) = Maps::own() else {
        return Vec::new();
    };
    let regions: Vec<Region> = maps.map_while(Result::ok).collect();
    in_model_terms(&regions)
}

/// The mappings of any process in the model's terms, one for one.
pub(crate) fn in_model_terms(regions: &[Region]) -> Vec<ForeignMapping> {
    let mut mappings: Vec<ForeignMapping> = Vec::with_capacity(regions.len());
    let mut start = 0;
    while start < regions.len() {
        let end = start + group_length(&regions[start..]);
        let group = &regions[start..end];
        mappings.extend(group.iter().map(|region| convert(region, group)));
        start = end;
    }
    mappings
}

/// How many mappings from the first on belong to one file; a loader leaves anonymous pieces (`.bss`) only at the end.
fn group_length(regions: &[Region]) -> usize {
    let first = &regions[0];
    if !first.has_file() {
        return 1;
    }
    let same = |region: &&Region| region.inode == first.inode && region.device == first.device;
    regions.iter().take_while(same).count()
}

fn convert(region: &Region, group: &[Region]) -> ForeignMapping {
    let is_image = group
        .iter()
        .any(|part| part.has_file() && part.access.contains(Access::EXECUTE));
    let kind = match region.name.as_bytes() {
        b"[heap]" => ForeignKind::Heap,
        name if name.starts_with(b"[stack") => ForeignKind::Stack,
        b"[vdso]" => ForeignKind::Image,
        _ if is_image => ForeignKind::Image,
        _ if region.has_file() || region.shared => ForeignKind::File,
        _ => ForeignKind::Anonymous,
    };
    let base = if kind == ForeignKind::Image {
        group[0].range.start()
    } else {
        region.range.start()
    };
    ForeignMapping {
        range: region.range,
        allocation_base: base,
        readable: region.access.contains(Access::READ),
        writable: region.access.contains(Access::WRITE),
        executable: region.access.contains(Access::EXECUTE),
        shared: region.shared,
        kind,
    }
}
