//! Pagekeeper, with one of its engines.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use pagekeeper::{EngineKind, Reservation, Space};
use pagekeeper_units::ByteCount;

use super::{Contender, Memory, Place};
use crate::usage::nameless_files;

/// One engine.
pub(super) struct Ours(pub(super) EngineKind);

/// A reservation, all of it committed.
struct Ranged {
    reservation: Reservation,
    folder: PathBuf,
}

/// A space with `place.ram` as budget and room for `data` in its page file.
pub(crate) fn space(engine: EngineKind, place: &Place, data: ByteCount) -> anyhow::Result<Space> {
    let page_file = ByteCount::new(data.get() + data.get() / 4 + (64 << 20));
    Ok(Space::builder()
        .ram(place.ram)
        .engine(engine)
        .page_file([&place.folder])
        .page_file_maximum(page_file)
        .build()?)
}

impl Contender for Ours {
    fn describe(&self) -> &'static str {
        match self.0 {
            EngineKind::Inline => {
                "Pagekeeper's inline engine: the budget counts resident pages, staging and compressed pool; one reservation, committed at once"
            }
            EngineKind::Mapped => {
                "Pagekeeper's mapped engine: half the budget as anonymous memory, the rest as a shared mapping of its page file"
            }
            EngineKind::Resident => "Pagekeeper's resident engine: nothing ever leaves RAM",
            EngineKind::Views => "Pagekeeper's views: mapped files and sections",
        }
    }

    fn map(&self, place: &Place, data: ByteCount) -> anyhow::Result<Box<dyn Memory>> {
        let space = space(self.0, place, data)?;
        let reservation = space.reserve(data).committed().build()?;
        Ok(Box::new(Ranged {
            reservation,
            folder: place.folder.clone(),
        }))
    }
}

impl Memory for Ranged {
    fn base(&self) -> *mut u8 {
        self.reservation.base()
    }

    fn cached_files(&self) -> Vec<OwnedFd> {
        nameless_files(&self.folder)
    }

    fn report(&self) -> BTreeMap<String, f64> {
        let status = self.reservation.space().status();
        let total = &status.total;
        let pages = |count: pagekeeper::PageCount| count.get() as f64;
        [
            ("overhead bytes", status.overhead.get() as f64),
            ("pool bytes", total.pool.get() as f64),
            ("peak pages", pages(total.peak)),
            ("compressed pages", pages(total.compressed)),
            ("page file pages", pages(total.page_file)),
            ("zero faults", total.zero_faults as f64),
            ("soft faults", total.soft_faults as f64),
            ("pool faults", total.pool_faults as f64),
            ("hard faults", total.hard_faults as f64),
            ("pages in", total.pages_in as f64),
            ("pages out", total.pages_out as f64),
            ("clean drops", total.clean_drops as f64),
            ("packed in place", total.packed_in_place as f64),
            ("lost pages", total.lost as f64),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
