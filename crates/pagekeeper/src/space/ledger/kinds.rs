//! What kinds of engines need and promise.

use pagekeeper_units::PageCount;

use crate::engine::EngineKind;
use crate::engine::inline::InlineEngine;
use crate::engine::mapped::MappedEngine;
use crate::engine::views::ViewEngine;

/// The smallest budget that an engine works with.
pub(super) fn least_ram(kind: EngineKind) -> PageCount {
    match kind {
        EngineKind::Inline => InlineEngine::MINIMUM_RAM,
        EngineKind::Mapped => MappedEngine::MINIMUM_RAM,
        EngineKind::Resident => PageCount::ZERO,
        EngineKind::Views => ViewEngine::MINIMUM_RAM,
    }
}

/// How much of an engine's RAM commit may count on.
pub(super) fn promisable(
    kind: EngineKind,
    ram: PageCount,
    anonymous_share_percent: u8,
) -> PageCount {
    match kind {
        EngineKind::Inline => InlineEngine::promisable(ram),
        EngineKind::Mapped => PageCount::new(ram.get() * u64::from(anonymous_share_percent) / 100),
        // Sections and copies have their room on the disk.
        EngineKind::Views => PageCount::ZERO,
        // Nothing of it is ever paged: what the machine has.
        EngineKind::Resident => crate::settings::available_memory().pages(),
    }
}
