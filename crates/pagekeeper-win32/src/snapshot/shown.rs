//! A snapshot that C looks at: its structures, and everything that they point to.

#![allow(
    unsafe_code,
    reason = "UNSAFETY: pointers into what it owns itself go with it from thread to thread"
)]

use core::ffi::c_char;
use std::collections::HashMap;

use pagekeeper::Exactness;
use pagekeeper::monitor::{Region, RegionKind, RegionUse, Snapshot, Source};

use super::layout::{
    PAGEKEEPER_ENGINE, PAGEKEEPER_FAULT_SITE, PAGEKEEPER_REGION, PAGEKEEPER_SNAPSHOT,
};

/// Texts with a zero byte behind each, every text once.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    places: HashMap<String, usize>,
}

impl Texts {
    fn add(&mut self, text: &str) {
        if self.places.contains_key(text) {
            return;
        }
        self.places.insert(text.to_owned(), self.bytes.len());
        // A zero byte within would end it: no path has one.
        self.bytes
            .extend(text.bytes().map(|byte| if byte == 0 { b'?' } else { byte }));
        self.bytes.push(0);
    }
}

/// Texts to which nothing is added any more.
struct Placed<'texts>(&'texts Texts);

impl Placed<'_> {
    fn at(&self, text: &str) -> *const c_char {
        let place = self.0.places.get(text).copied().unwrap_or(0);
        self.0.bytes.as_ptr().wrapping_add(place).cast()
    }
}

/// Everything behind a [`PAGEKEEPER_SNAPSHOT`]. Nothing of it changes as long as it is shown.
pub(super) struct Shown {
    view: Box<PAGEKEEPER_SNAPSHOT>,
    _snapshot: Snapshot,
    _texts: Vec<u8>,
    _regions: Vec<PAGEKEEPER_REGION>,
    _engines: Vec<PAGEKEEPER_ENGINE>,
    _sites: Vec<PAGEKEEPER_FAULT_SITE>,
    _notes: Vec<*const c_char>,
}

// SAFETY: its pointers lead to memory that it owns itself, which nobody writes to.
unsafe impl Send for Shown {}

impl Shown {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        let mut texts = Texts::default();
        for text in texts_of(&snapshot) {
            texts.add(text);
        }
        let placed = Placed(&texts);
        let regions: Vec<_> = snapshot
            .regions
            .iter()
            .map(|region| describe(region, &placed))
            .collect();
        let engines: Vec<_> = snapshot
            .engines
            .iter()
            .map(|engine| PAGEKEEPER_ENGINE {
                space: engine.space,
                engine: placed.at(&engine.engine),
                budget_bytes: engine.budget_bytes,
                resident_bytes: engine.resident_bytes,
                modified_bytes: engine.modified_bytes,
                standby_bytes: engine.standby_bytes,
                compressed_bytes: engine.compressed_bytes,
                pool_bytes: engine.pool_bytes,
                page_file_bytes: engine.page_file_bytes,
                peak_bytes: engine.peak_bytes,
                is_sampled: sampled(engine.exactness),
                unused: 0,
            })
            .collect();
        let sites: Vec<_> = snapshot
            .fault_sites
            .iter()
            .map(|site| PAGEKEEPER_FAULT_SITE {
                address: site.address,
                faults: site.faults,
                module: placed.at(&site.module),
                offset: site.offset,
            })
            .collect();
        let notes: Vec<_> = snapshot.notes.iter().map(|note| placed.at(note)).collect();
        let view = Box::new(PAGEKEEPER_SNAPSHOT {
            taken_at_ms: snapshot.taken_at_ms,
            age_ms: snapshot.age_ms,
            pid: snapshot.pid,
            user: snapshot.user,
            is_pagekeeper: u32::from(snapshot.source == Source::Pagekeeper),
            is_residence_sampled: sampled(snapshot.residence),
            are_faults_sampled: sampled(snapshot.faults),
            unused: 0,
            name: placed.at(&snapshot.name),
            command: placed.at(&snapshot.command),
            totals: (&snapshot.totals).into(),
            counters: (&snapshot.counters).into(),
            regions: regions.as_ptr(),
            region_count: regions.len(),
            engines: engines.as_ptr(),
            engine_count: engines.len(),
            latency: snapshot.latency.as_ptr(),
            latency_count: snapshot.latency.len(),
            fault_sites: sites.as_ptr(),
            fault_site_count: sites.len(),
            notes: notes.as_ptr(),
            note_count: notes.len(),
        });
        Self {
            view,
            _texts: texts.bytes,
            _snapshot: snapshot,
            _regions: regions,
            _engines: engines,
            _sites: sites,
            _notes: notes,
        }
    }

    pub(super) fn view(&self) -> *const PAGEKEEPER_SNAPSHOT {
        &raw const *self.view
    }
}

fn texts_of(snapshot: &Snapshot) -> impl Iterator<Item = &str> {
    let regions = snapshot
        .regions
        .iter()
        .flat_map(|region| [region.name.as_str(), region.engine.as_str()]);
    let engines = snapshot.engines.iter().map(|engine| engine.engine.as_str());
    let sites = snapshot.fault_sites.iter().map(|site| site.module.as_str());
    let notes = snapshot.notes.iter().map(String::as_str);
    // The first is what a text that is not there would be shown as.
    ["", &snapshot.name, &snapshot.command]
        .into_iter()
        .chain(regions)
        .chain(engines)
        .chain(sites)
        .chain(notes)
}

fn describe(region: &Region, texts: &Placed<'_>) -> PAGEKEEPER_REGION {
    let kind = RegionKind::ALL.iter().position(|kind| *kind == region.kind);
    PAGEKEEPER_REGION {
        base: region.base,
        size_bytes: region.size_bytes,
        allocation_base: region.allocation_base,
        allocation_protection: region.allocation_protection,
        protection: region.protection,
        usage: match region.usage {
            RegionUse::Reserved => 0,
            RegionUse::Committed => 1,
            RegionUse::Merged => 2,
        },
        kind: kind.unwrap_or(RegionKind::ALL.len()) as u32,
        is_shared: region.shared.into(),
        is_sampled: region.sampled.into(),
        engine: texts.at(&region.engine),
        name: texts.at(&region.name),
        file_offset: region.file_offset,
        committed_bytes: region.committed_bytes,
        pages: (&region.pages).into(),
        heat: region.heat.as_ptr(),
        heat_count: region.heat.len(),
    }
}

fn sampled(exactness: Exactness) -> u32 {
    u32::from(exactness == Exactness::Sampled)
}
