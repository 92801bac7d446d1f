//! Making sections. Windows: `CreateFileMapping`, `OpenFileMapping`.
//!
//! Source: windows-memory-behaviour.md 13.1.

use std::os::fd::AsFd;
use std::sync::Arc;

use pagekeeper_model::{AllocationKind, BaseProtection, Protection, Refusal};
use pagekeeper_sys::Errno;
use pagekeeper_sys::descriptor::apart::ApartDescriptor;
use pagekeeper_sys::file::{self, AllocateHow};
use pagekeeper_sys::map::Access;
use pagekeeper_units::{ByteCount, PAGE_SIZE, PageCount};

use super::name::{self, Found, Name, OfFile};
use super::{Inner, Section};
use crate::engine::views::{Header, MemoryFacts, Source, carry, create_in, run_apart};
use crate::error::{EngineError, Error};
use crate::space::{Request, Space};

/// From here on no section can be had, whatever the disk.
const ABSURD: u64 = 1 << 43;

/// Whether a named section was made or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It is new.
    Created,
    /// Somebody had it already (`ERROR_ALREADY_EXISTS`): size and protection are its own.
    Existing,
}

/// What a section shall be like. Made by [`Section::from_file`], [`Section::anonymous`], [`Section::named`] and
/// [`Section::image`].
#[derive(Debug)]
#[must_use = "no section is made until `build` is called"]
pub struct SectionBuilder {
    space: Space,
    file: Option<ApartDescriptor>,
    failure: Option<Error>,
    size: u64,
    protection: Protection,
    kind: AllocationKind,
    is_reserved: bool,
    name: Option<String>,
}

impl Section {
    /// A section of a file, which the section opens once more for itself; whoever opened it may close it. Its views and all
    /// others of the file in any process show the same bytes. Read-only at first; see [`SectionBuilder::protection`].
    pub fn from_file(space: &Space, file: impl AsFd) -> SectionBuilder {
        let mut builder = SectionBuilder::new(space, AllocationKind::FileView, 0);
        builder.protection = Protection::READ_ONLY;
        builder.take_file(file.as_fd());
        builder
    }

    /// A section of a program or data file whose pages become private where they are changed; clean pages never go to the
    /// page file. Windows: `SEC_IMAGE`, without the headers of an executable being looked at.
    pub fn image(space: &Space, file: impl AsFd) -> SectionBuilder {
        let mut builder = SectionBuilder::new(space, AllocationKind::ImageView, 0);
        builder.protection = Protection::EXECUTE_WRITE_COPY;
        builder.take_file(file.as_fd());
        builder
    }

    /// A section of memory that has no file: a nameless file of ours in the page file's folder, larger than RAM if need
    /// be. Read-write at first; all of it is charged against the commit limit.
    pub fn anonymous(space: &Space, size: ByteCount) -> SectionBuilder {
        SectionBuilder::new(space, AllocationKind::MemoryView, size.get())
    }

    /// The same with a name, under which other processes of the same user find it: `Local\x`, `Global\x`, or `x`, which is
    /// `Local\x`. Case matters.
    pub fn named(space: &Space, name: &str, size: ByteCount) -> SectionBuilder {
        let mut builder = Self::anonymous(space, size);
        builder.name = Some(name.to_owned());
        builder
    }

    /// A section that some process of the same user has under this name.
    ///
    /// # Errors
    /// `NoSuchName`, `NameInvalid`; `Names` where names cannot be looked up.
    pub fn open(space: &Space, name: &str) -> Result<Self, Error> {
        let request = Request::new("open a section", 0, 0);
        let name = Name::parse(name).map_err(|refusal| request.refused(refusal))?;
        let lock = name::lock().map_err(|cause| request.failed(cause))?;
        let found = name.find().map_err(|cause| request.failed(cause))?;
        let Some(found) = found else {
            return Err(request.refused(Refusal::NoSuchName));
        };
        let section = Self::of_found(space, found, &name);
        drop(lock);
        section.map_err(|cause| request.failed(cause))
    }

    /// What another process, or this one, has under the name: one handle to it more.
    fn of_found(space: &Space, found: Found, name: &Name) -> Result<Self, EngineError> {
        match found {
            Found::Memory(file, header) => Self::of_memory(space, (file, header), Some(name)),
            Found::File(file, record) => {
                let section = OfFile {
                    size: record.size,
                    protection: record.protection,
                    kind: record.kind,
                };
                Self::of_file(space, file, section, Some(name))
            }
        }
    }

    fn of_file(
        space: &Space,
        file: ApartDescriptor,
        section: OfFile,
        name: Option<&Name>,
    ) -> Result<Self, EngineError> {
        let returned = space.shared().core().returned.clone();
        let source = Source::of_file(file, returned).map_err(named("fstat"))?;
        let name = name
            .map(|name| name.hold(&source, Some(section)))
            .transpose()?;
        Ok(Self {
            inner: Arc::new(Inner {
                space: space.clone(),
                source: Arc::new(source),
                size: section.size,
                protection: section.protection,
                kind: section.kind,
                name,
            }),
        })
    }

    fn of_memory(
        space: &Space,
        (file, header): (ApartDescriptor, Header),
        name: Option<&Name>,
    ) -> Result<Self, EngineError> {
        let facts = header.facts().clone();
        let returned = space.shared().core().returned.clone();
        let source = Source::of_memory(file, header, returned).map_err(named("fstat"))?;
        let name = name.map(|name| name.hold(&source, None)).transpose()?;
        Ok(Self {
            inner: Arc::new(Inner {
                space: space.clone(),
                source: Arc::new(source),
                size: facts.size,
                protection: facts.protection,
                kind: AllocationKind::MemoryView,
                name,
            }),
        })
    }
}

fn named(call: &'static str) -> impl Fn(Errno) -> EngineError {
    move |errno| EngineError::Kernel { call, errno }
}

impl SectionBuilder {
    fn new(space: &Space, kind: AllocationKind, size: u64) -> Self {
        Self {
            space: space.clone(),
            file: None,
            failure: None,
            size,
            protection: Protection::READ_WRITE,
            kind,
            is_reserved: false,
            name: None,
        }
    }

    /// A description of its own, so that errors of our write-backs and those of the program's are not mixed up; the program's
    /// own where the file cannot be opened again. Both where the program's closing and ours do not meet: closing a second
    /// descriptor in the program's table would drop the program's record locks on the file.
    fn take_file(&mut self, file: impl AsFd) {
        let taken = carry(file.as_fd()).map(|carried| {
            let own = carried
                .with(|file| file::reopen_alike(file).and_then(ApartDescriptor::adopt))
                .and_then(|own| own);
            own.unwrap_or(carried)
        });
        match taken {
            Ok(own) => self.file = Some(own),
            Err(errno) => {
                self.failure = Some(self.request().failed(named("open")(errno)));
            }
        }
    }

    fn request(&self) -> Request {
        Request::new("make a section", 0, self.size)
    }

    /// What its views may allow at most: READONLY, READWRITE, WRITECOPY, EXECUTE_READ, EXECUTE_READWRITE or
    /// EXECUTE_WRITECOPY, with NOCACHE or WRITECOMBINE, which only show.
    pub fn protection(mut self, protection: Protection) -> Self {
        self.protection = protection;
        self
    }

    /// The size in bytes; 0 for the file's length. A file that is shorter is extended at once, if the section allows
    /// writing.
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    /// A name, under which other processes of the same user find it, as with [`Section::named`]. They open the file anew: it must
    /// let them.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Its pages are committed one by one, through any view, for all (`SEC_RESERVE`). No effect on files.
    pub fn reserved(mut self) -> Self {
        self.is_reserved = true;
        self
    }

    /// Makes it. Of a name that somebody has already: the section that has it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the rule: `ProtectionNotForSection`, `SizeZero`, `FileEmpty`, `SectionTooLarge`,
    /// `CommitmentLimit`, `NameInvalid`. [`Error::Engine`]: `FileAccess`, `DiskFull`, `PageFileSpace`, `Names`.
    pub fn build(self) -> Result<Section, Error> {
        self.build_or_open().map(|(section, _)| section)
    }

    /// The same, and says which it was.
    ///
    /// # Errors
    /// As [`SectionBuilder::build`].
    pub fn build_or_open(mut self) -> Result<(Section, Opened), Error> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        let request = self.request();
        if !is_for_sections(self.protection) {
            let protection = self.protection;
            return Err(request.refused(Refusal::ProtectionNotForSection { protection }));
        }
        let Some(name) = self.name.take() else {
            return self.make(None).map(|made| (made, Opened::Created));
        };
        let name = Name::parse(&name).map_err(|refusal| request.refused(refusal))?;
        // From looking to announcing nobody else makes or looks for one.
        let lock = name::lock().map_err(|cause| request.failed(cause))?;
        let found = name.find().map_err(|cause| request.failed(cause))?;
        let result = match found {
            Some(found) => Section::of_found(&self.space, found, &name)
                .map(|section| (section, Opened::Existing))
                .map_err(|cause| request.failed(cause)),
            None => self
                .make(Some(&name))
                .map(|section| (section, Opened::Created)),
        };
        drop(lock);
        result
    }

    fn make(mut self, name: Option<&Name>) -> Result<Section, Error> {
        match self.file.take() {
            Some(file) => self.of_file(file, name),
            None => self.of_memory(name),
        }
    }

    fn of_file(&self, file: ApartDescriptor, name: Option<&Name>) -> Result<Section, Error> {
        let request = self.request();
        let failed = |call| move |errno| request.failed(named(call)(errno));
        let looked = file.with(|file| file::facts(file)).and_then(|facts| facts);
        let facts = looked.map_err(failed("fstat"))?;
        let access = |what: &str| request.failed(EngineError::FileAccess(what.to_owned()));
        if !facts.is_regular {
            return Err(access("it is no ordinary file"));
        }
        let writes = is_writable(self.protection);
        let mut needed = Access::READ;
        needed.set(Access::WRITE, writes);
        let is_open = file
            .with(move |file| file::is_open_for(file, needed))
            .and_then(|is_open| is_open);
        if !is_open.map_err(failed("fcntl"))? {
            return Err(access(if writes {
                "it is not open for reading and writing"
            } else {
                "it is not open for reading"
            }));
        }
        let size = match self.size {
            0 if facts.size_bytes == 0 => return Err(request.refused(Refusal::FileEmpty)),
            0 => facts.size_bytes,
            size => size,
        };
        let too_large = |limit| request.refused(Refusal::SectionTooLarge { size, limit });
        if size > facts.size_bytes {
            if !writes {
                return Err(too_large(facts.size_bytes));
            }
            extend(&file, facts.size_bytes, size).map_err(|errno| match errno {
                Errno::FBIG | Errno::INVAL => too_large(facts.size_bytes),
                Errno::NOSPC | Errno::DQUOT => request.failed(EngineError::DiskFull {
                    size: ByteCount::new(size),
                }),
                errno => failed("fallocate")(errno),
            })?;
        }
        let section = OfFile {
            size,
            protection: self.protection,
            kind: self.kind,
        };
        Section::of_file(&self.space, file, section, name).map_err(|cause| request.failed(cause))
    }

    fn of_memory(&self, name: Option<&Name>) -> Result<Section, Error> {
        let request = self.request();
        if self.size == 0 {
            return Err(request.refused(Refusal::SizeZero));
        }
        if self.size >= ABSURD {
            return Err(request.refused(Refusal::SectionTooLarge {
                size: self.size,
                limit: ABSURD - 1,
            }));
        }
        let pages = PageCount::holding(self.size);
        let charge = if self.is_reserved {
            PageCount::ZERO
        } else {
            pages
        };
        let shared = self.space.shared();
        {
            let mut core = shared.enter(request)?;
            let charged = core.model.commit_account_mut().charge(charge);
            charged.map_err(|refusal| request.refused(refusal))?;
        }
        let made = self
            .make_file(pages, name)
            .and_then(|made| Section::of_memory(&self.space, made, name));
        match made {
            Ok(section) => {
                section.inner.source.charge(charge);
                Ok(section)
            }
            Err(cause) => {
                shared.core().model.commit_account_mut().refund(charge);
                Err(request.failed(cause))
            }
        }
    }

    /// The nameless file: in the first of the page file's folders that has room, or in RAM where there is no page file.
    fn make_file(
        &self,
        pages: PageCount,
        name: Option<&Name>,
    ) -> Result<(ApartDescriptor, Header), EngineError> {
        let facts = MemoryFacts {
            size: pages.get() * PAGE_SIZE as u64,
            protection: self.protection,
            is_reserved: self.is_reserved,
            name: name.map_or_else(String::new, Name::full),
        };
        let (places, allow_ram_disk) = {
            let core = self.space.shared().core();
            (core.ledger.section_places(), core.ledger.allows_ram_disk())
        };
        if places.is_empty() {
            return run_apart(move || {
                let file =
                    file::create_in_memory("pagekeeper-section").map_err(named("memfd_create"))?;
                file::make_private(&file).map_err(named("fchmod"))?;
                finish(ApartDescriptor::adopt(file).map_err(named("clone"))?, facts)
            });
        }
        let mut failure = None;
        for place in places {
            let made =
                create_in(place, allow_ram_disk).and_then(|file| finish(file, facts.clone()));
            match made {
                Ok(made) => return Ok(made),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or(EngineError::PageFileSpace(
            "there is no page file".to_owned(),
        )))
    }
}

fn finish(
    file: ApartDescriptor,
    facts: MemoryFacts,
) -> Result<(ApartDescriptor, Header), EngineError> {
    let size = ByteCount::new(facts.size);
    let header = file.with(move |file| Header::create(file, facts));
    match header.and_then(|header| header) {
        Ok(header) => Ok((file, header)),
        Err(errno) => Err(EngineError::PageFileSpace(format!(
            "no room for a section of {}: {errno}",
            size.human()
        ))),
    }
}

/// Makes a file longer, with real room.
fn extend(file: &ApartDescriptor, from: u64, to: u64) -> Result<(), Errno> {
    let length = to - from;
    let allocated = file.with(move |file| {
        // Never cut back, although it may be longer by a part afterwards: somebody else may have written there since.
        file::allocate(file, from, length, length, AllocateHow::Best).error
    })?;
    allocated.map_or(Ok(()), Err)
}

/// Whether a section can have it (13.1). NOCACHE and WRITECOMBINE may come along.
fn is_for_sections(protection: Protection) -> bool {
    !protection.is_guard()
        && !matches!(
            protection.base(),
            BaseProtection::NoAccess | BaseProtection::Execute
        )
}

/// Whether views may change what all see.
pub(super) fn is_writable(protection: Protection) -> bool {
    matches!(
        protection.base(),
        BaseProtection::ReadWrite | BaseProtection::ExecuteReadWrite
    )
}
