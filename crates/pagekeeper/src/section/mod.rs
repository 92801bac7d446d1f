//! Sections: files, and memory that has no file, to be mapped as views in any number of processes.
//!
//! Windows: file mappings. See `docs/sections.md`.
//!
//! | module | what |
//! |---|---|
//! | here | [`Section`]: what can be mapped |
//! | [`builder`] | making one: of a file, of memory, by name |
//! | [`name`] | names, and finding who has one |
//! | [`record`] | what others are told of a named section of a file |
//! | [`view`] | [`View`]: a part of a section in the address space |
//! | [`typed`] | memory of views as Rust values, and who may hold what |

mod builder;
mod name;
mod record;
mod typed;
mod view;

use std::sync::Arc;

use pagekeeper_model::{AllocationKind, Protection};

use crate::engine::views::Source;
use crate::error::Error;
use crate::space::Space;

use self::name::Held;

pub use builder::{Opened, SectionBuilder};
pub use typed::{AtomicWord, ExclusiveView};
pub use view::{View, ViewBuilder};

/// Something that can be mapped: a file, or memory that has no file and lies in the page file. Cheap to clone; a name lives
/// until the last clone in the last process has gone. Views do not need it any more once they are mapped.
///
/// Windows: a file mapping object, or a handle to it.
///
/// ```
/// use pagekeeper::{ByteCount, Section, Space};
/// let space = Space::builder().ram(ByteCount::mib(16)).build()?;
/// let section = Section::anonymous(&space, ByteCount::mib(1)).build()?;
/// let (one, other) = (section.view().build()?, section.view().build()?);
/// one.write_at(5000, b"seen by both")?;
/// let mut bytes = [0; 12];
/// other.read_at(5000, &mut bytes)?;
/// assert_eq!(&bytes, b"seen by both");
/// # Ok::<(), pagekeeper::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Section {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    space: Space,
    source: Arc<Source>,
    size: u64,
    protection: Protection,
    kind: AllocationKind,
    /// The name, as long as this lives.
    name: Option<Held>,
}

impl Section {
    /// Its size in bytes: of a file not rounded, else whole pages.
    pub fn size(&self) -> u64 {
        self.inner.size
    }

    /// What its views may allow at most.
    pub fn protection(&self) -> Protection {
        self.inner.protection
    }

    /// What its views are.
    pub fn kind(&self) -> AllocationKind {
        self.inner.kind
    }

    /// Whether its pages are committed one by one (`SEC_RESERVE`).
    pub fn is_reserved(&self) -> bool {
        let header = self.inner.source.header();
        header.is_some_and(|header| header.facts().is_reserved)
    }

    /// Its full name, with `Local\` or `Global\` in front.
    pub fn name(&self) -> Option<&str> {
        self.inner.name.as_ref().map(Held::name)
    }

    /// The space whose views it makes.
    pub fn space(&self) -> &Space {
        &self.inner.space
    }

    /// Begins a view; see [`ViewBuilder`].
    pub fn view(&self) -> ViewBuilder<'_> {
        ViewBuilder::new(self)
    }

    /// Gives the section up for its only view, all of it, which may then be used as an ordinary mutable slice: nobody else
    /// can map it. `None` where somebody could: it has a name or a file, was cloned, or has a view already; and where it
    /// is not committed, read-only, or no whole number of `T`.
    ///
    /// # Errors
    /// As [`ViewBuilder::build`].
    pub fn into_exclusive<T: crate::Plain>(self) -> Result<Option<ExclusiveView<T>>, Error> {
        let is_plain = self.inner.kind == AllocationKind::MemoryView
            && self.inner.name.is_none()
            && !self.is_reserved()
            && self.inner.protection == Protection::READ_WRITE;
        if !is_plain || Arc::strong_count(&self.inner) > 1 {
            return Ok(None);
        }
        // Each view holds the source once more.
        if Arc::strong_count(&self.inner.source) > 1 {
            return Ok(None);
        }
        let view = self.view().build()?;
        Ok(ExclusiveView::new(view))
    }
}
