//! The kernel's map of this process in the model's terms: memory that Pagekeeper did not make.
//!
//! A file of which some part is mapped executable is an image (program, library), all of its mappings together one
//! allocation; other files and shared memory are mapped data; the rest is private.
//!
//! The kernel can be asked about one address (Linux 6.11), which says everything of memory without a file. What belongs to a file's
//! mapping is only seen by reading the whole map, tens of microseconds: images are remembered, and asked for again one by one.
//! Names are what is dearest in an answer: a file is known by its number, and the labels of the rest are remembered, because they follow
//! from where a mapping lies.

use core::cell::{OnceCell, RefCell};
use std::collections::VecDeque;

use pagekeeper_model::{ForeignKind, ForeignMapping, ForeignMemory};
use pagekeeper_sys::Errno;
use pagekeeper_sys::map::Access;
use pagekeeper_sys::probe::{Feature, Switches};
use pagekeeper_sys::procmap::{ByQuery, MapLookup, Maps, Region};
use pagekeeper_units::PageNumber;

/// How single addresses are looked up, and the images that were met. Guarded by the space lock.
#[derive(Default)]
pub(crate) struct Lookup {
    state: RefCell<State>,
}

#[derive(Default)]
enum State {
    #[default]
    Untried,
    /// The kernel cannot, or may not.
    Unavailable,
    Open {
        query: ByQuery,
        /// The mark of the process that opened it: a forked child's map is another.
        process: u32,
        images: Vec<Image>,
        labelled: VecDeque<Region>,
    },
}

/// Mappings without a file whose labels are remembered: stack, heap, and what else is asked for again and again.
const LABELS: usize = 8;

/// A program or library, as the whole map showed it: its mappings, upwards.
struct Image(Vec<Region>);

/// The kernel's map, asked as far as it is needed: inside an allocation the model knows everything.
pub(super) struct KernelMap<'a> {
    lookup: &'a Lookup,
    mappings: OnceCell<Vec<ForeignMapping>>,
}

impl<'a> KernelMap<'a> {
    pub(super) fn new(lookup: &'a Lookup) -> Self {
        Self {
            lookup,
            mappings: OnceCell::new(),
        }
    }
}

impl ForeignMemory for KernelMap<'_> {
    fn at_or_after(&self, page: PageNumber) -> Option<ForeignMapping> {
        if let Some(mappings) = self.mappings.get() {
            return mappings.at_or_after(page);
        }
        match self.lookup.find(page) {
            Ok(found) => found,
            Err(NotByOne) => self.mappings.get_or_init(mappings).at_or_after(page),
        }
    }
}

/// The whole map is needed.
struct NotByOne;

impl From<Errno> for NotByOne {
    fn from(_: Errno) -> Self {
        Self
    }
}

impl Lookup {
    /// The mapping that holds `page`, or else the next one above, if the kernel and what is remembered can say.
    fn find(&self, page: PageNumber) -> Result<Option<ForeignMapping>, NotByOne> {
        let mut state = self.state.borrow_mut();
        state.make_ready();
        let State::Open {
            query,
            images,
            labelled,
            ..
        } = &mut *state
        else {
            return Err(NotByOne);
        };
        let Some(region) = query.nameless_at_or_above(page.address())? else {
            return Ok(None);
        };
        if !region.has_file() {
            return with_label(query, labelled, &region);
        }
        let known = images
            .iter()
            .find(|image| image.0.iter().any(|part| is_same_mapping(part, &region)));
        if let Some(image) = known
            && image.is_as_it_was(query, &region)?
        {
            return Ok(Some(convert(&region, &image.0)));
        }
        let regions: Vec<Region> = Maps::own()?.collect::<Result<_, _>>()?;
        images.clear();
        let with_code = groups(&regions).filter(|group| group.iter().any(is_code));
        images.extend(with_code.map(|group| Image(group.to_vec())));
        let holds = |group: &&[Region]| group.iter().any(|part| is_same_mapping(part, &region));
        let group = groups(&regions).find(holds);
        Ok(Some(convert(&region, group.ok_or(NotByOne)?)))
    }
}

/// What `region`, which has no file and was asked for without its label, is.
fn with_label(
    query: &ByQuery,
    labelled: &mut VecDeque<Region>,
    region: &Region,
) -> Result<Option<ForeignMapping>, NotByOne> {
    if let Some(known) = labelled.iter().find(|known| is_same_mapping(known, region)) {
        return Ok(Some(convert(known, core::slice::from_ref(known))));
    }
    let found = query.at_or_above(region.range.address())?;
    let named = found
        .filter(|found| is_same_mapping(found, region))
        .ok_or(NotByOne)?;
    if labelled.len() >= LABELS {
        labelled.pop_front();
    }
    labelled.push_back(named);
    Ok(Some(convert(&named, &[named])))
}

/// Whether both are one mapping; their names are not looked at.
fn is_same_mapping(one: &Region, other: &Region) -> bool {
    one.range == other.range
        && one.access == other.access
        && one.shared == other.shared
        && one.offset == other.offset
        && is_same_file(one, other)
}

impl State {
    /// Opens the map where that has not been tried, and again where the descriptor was closed or is another process's.
    fn make_ready(&mut self) {
        let mark = crate::fork::process_mark();
        match self {
            Self::Unavailable => return,
            Self::Open { query, process, .. } if *process == mark && query.is_intact() => return,
            _ => {}
        }
        let is_off = Switches::from_environment().is_ok_and(|it| it.is_off(Feature::ProcmapQuery));
        *self = match ByQuery::open() {
            Ok(query) if !is_off => Self::Open {
                query,
                process: mark,
                images: Vec::new(),
                labelled: VecDeque::new(),
            },
            _ => Self::Unavailable,
        };
    }
}

impl Image {
    /// Whether what makes `region` a part of this image is still there: its beginning with nothing of the same file before it, and
    /// a part with code.
    fn is_as_it_was(&self, query: &ByQuery, region: &Region) -> Result<bool, Errno> {
        let is_there = |known: &Region| -> Result<bool, Errno> {
            if is_same_mapping(known, region) {
                return Ok(true);
            }
            let found = query.nameless_at_or_above(known.range.address())?;
            Ok(found.is_some_and(|found| is_same_mapping(&found, known)))
        };
        let first = &self.0[0];
        // With a gap below it, the question about the page below is answered with the beginning itself.
        let below = match first.range.start().get().checked_sub(1) {
            Some(page) => query.nameless_at_or_above(PageNumber::new(page).address())?,
            None => None,
        };
        let begins = match below {
            Some(below) if is_same_mapping(&below, first) => true,
            Some(below) if is_same_file(&below, first) => false,
            _ => is_there(first)?,
        };
        if !begins {
            return Ok(false);
        }
        match self.0.iter().find(|part| is_code(part)) {
            Some(code) => is_there(code),
            None => Ok(false),
        }
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
    groups(regions)
        .flat_map(|group| group.iter().map(|region| convert(region, group)))
        .collect()
}

/// The mappings in runs of one file each; a loader leaves anonymous pieces (`.bss`) only at the end.
fn groups(regions: &[Region]) -> impl Iterator<Item = &[Region]> {
    regions.chunk_by(|one, next| one.has_file() && is_same_file(one, next))
}

fn is_same_file(one: &Region, other: &Region) -> bool {
    one.inode == other.inode && one.device == other.device
}

fn is_code(region: &Region) -> bool {
    region.has_file() && region.access.contains(Access::EXECUTE)
}

fn convert(region: &Region, group: &[Region]) -> ForeignMapping {
    let is_image = group.iter().any(is_code);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every mapping of this process, and a page in every gap, one by one and by the whole map.
    #[test]
    fn one_by_one_is_as_by_the_whole_map() {
        let lookup = Lookup::default();
        let mut asked = 0;
        for _ in 0..2 {
            let whole = mappings();
            for known in &whole {
                for page in [known.range.start().get(), known.range.end().get()] {
                    let page = PageNumber::new(page);
                    // Another test's thread may change the map meanwhile: only what stands still is compared.
                    let before = mappings().at_or_after(page);
                    let found = lookup.find(page);
                    let after = mappings().at_or_after(page);
                    if before == after
                        && let Ok(found) = found
                        && page < PageNumber::containing(0x7FFF_FFFF_0000)
                        // The kernel shows this page in the text only.
                        && before.is_none_or(|it| it.range.start() < PageNumber::containing(1 << 48))
                    {
                        assert_eq!(found, after, "{page:?}");
                        asked += 1;
                    }
                }
            }
        }
        match &*lookup.state.borrow() {
            State::Open { images, .. } => {
                assert!(asked > 10 && !images.is_empty(), "{asked}");
            }
            _ => println!("skipped, because this kernel does not answer PROCMAP_QUERY"),
        }
    }

    #[test]
    fn a_closed_or_replaced_descriptor_is_opened_again() {
        let lookup = Lookup::default();
        let page = PageNumber::containing(core::ptr::from_ref(&lookup).addr() as u64);
        let Ok(found) = lookup.find(page) else {
            println!("skipped, because this kernel does not answer PROCMAP_QUERY");
            return;
        };
        assert!(found.is_some_and(|it| it.range.contains(page)));
        // As another process would find it.
        if let State::Open { process, .. } = &mut *lookup.state.borrow_mut() {
            *process = process.wrapping_add(1);
        }
        let again = lookup.find(page);
        assert!(again.is_ok_and(|it| it.is_some_and(|it| it.range.contains(page))));
        assert!(
            matches!(&*lookup.state.borrow(), State::Open { process, .. } if *process == crate::fork::process_mark())
        );
    }
}
