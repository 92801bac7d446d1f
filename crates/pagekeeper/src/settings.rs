//! Settings of a space: a builder in Rust, variables of the same names for C and for `pagekeeper run`.
//!
//! | builder | variable | default |
//! |---|---|---|
//! | [`Settings::ram`] | `PAGEKEEPER_RAM` | half of what the machine or the control group gives |
//! | [`Settings::page_file`] | `PAGEKEEPER_PAGE_FILE` (`/a:/b`, folders or files, or `none`) | `TMPDIR` if on a disk, else `/var/tmp` |
//! | [`Settings::page_file_initial`] | `PAGEKEEPER_PAGE_FILE_INITIAL` | 0 |
//! | [`Settings::page_file_maximum`] | `PAGEKEEPER_PAGE_FILE_MAX` | half the free space there, at most 64 GiB |
//! | [`Settings::engine`] | `PAGEKEEPER_ENGINE` (`mapped`, `inline`, `resident`) | `mapped` |
//! | [`Settings::awake`] | `PAGEKEEPER_AWAKE` | 1 |
//! | [`Settings::strict`] | `PAGEKEEPER_STRICT` | 0 |
//! | [`Settings::statistics_at_exit`] | `PAGEKEEPER_STATS` | 0 |

use std::ffi::OsString;
use std::path::PathBuf;

use pagekeeper_store::page_file::{DirectIoChoice, IoChoice, PageFileSettings, Places};
use pagekeeper_sys::cgroup::MemoryGroup;
use pagekeeper_sys::memory_info::MemoryInfo;
use pagekeeper_units::ByteCount;

use crate::engine::EngineKind;
use crate::error::{Error, SettingsError};
use crate::space::Space;

/// The settings of a space. Start with [`Space::builder`], or with [`Settings::from_env`] to let variables decide.
///
/// ```
/// use pagekeeper::{ByteCount, EngineKind, Space};
/// let space = Space::builder()
///     .ram(ByteCount::mib(64))
///     .page_file_maximum(ByteCount::mib(256))
///     .engine(EngineKind::Mapped)
///     .build()?;
/// assert_eq!(space.status().budget, ByteCount::mib(64));
/// # Ok::<(), pagekeeper::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `build` is called"]
pub struct Settings {
    pub(crate) ram: Option<ByteCount>,
    pub(crate) page_file: PageFileSettings,
    pub(crate) engine: EngineKind,
    pub(crate) strict: bool,
    pub(crate) statistics_at_exit: bool,
    pub(crate) anonymous_share_percent: u8,
    pub(crate) inline_share_percent: Option<u8>,
    pub(crate) follow_control_group: bool,
    pub(crate) control_group: Option<PathBuf>,
    pub(crate) fork_copies: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ram: None,
            page_file: PageFileSettings::default(),
            engine: EngineKind::Mapped,
            strict: false,
            statistics_at_exit: false,
            anonymous_share_percent: 50,
            inline_share_percent: None,
            follow_control_group: true,
            control_group: None,
            fork_copies: false,
        }
    }
}

impl Settings {
    /// The RAM budget: pages in memory, the compressed pool included, stay within it.
    pub fn ram(mut self, ram: ByteCount) -> Self {
        self.ram = Some(ram);
        self
    }

    /// Puts page files into these folders, or at these names, in order of preference. An existing file must be
    /// empty.
    pub fn page_file<P: Into<PathBuf>>(mut self, places: impl IntoIterator<Item = P>) -> Self {
        self.page_file.places = Places::List(places.into_iter().map(Into::into).collect());
        self
    }

    /// No page file: what RAM cannot hold is refused at commit.
    pub fn no_page_file(mut self) -> Self {
        self.page_file.places = Places::None;
        self
    }

    /// Disk space allocated at once, for each page file.
    pub fn page_file_initial(mut self, size: ByteCount) -> Self {
        self.page_file.initial = size;
        self
    }

    /// Size up to which each page file grows.
    pub fn page_file_maximum(mut self, size: ByteCount) -> Self {
        self.page_file.maximum = Some(size);
        self
    }

    /// Goes through the page cache instead of past it (inline engine).
    pub fn buffered_page_file(mut self) -> Self {
        self.page_file.direct_io = DirectIoChoice::Never;
        self
    }

    /// Positioned reads and writes instead of io_uring.
    pub fn without_io_uring(mut self) -> Self {
        self.page_file.io = IoChoice::Positioned;
        self
    }

    /// Whether a thread that waits for the page file stays awake for short reads (inline engine, with io_uring): faster where
    /// putting a processor to sleep is dear, for processor time that nobody else wanted. Default: yes.
    ///
    /// ```
    /// # use pagekeeper::Space;
    /// let frugal = Space::builder().awake(false);
    /// ```
    pub fn awake(mut self, awake: bool) -> Self {
        self.page_file.io = match (self.page_file.io, awake) {
            (IoChoice::Positioned, _) => IoChoice::Positioned,
            (_, true) => IoChoice::RingWhenPossible,
            (_, false) => IoChoice::RingAsleep,
        };
        self
    }

    /// The engine of reservations that name none.
    pub fn engine(mut self, engine: EngineKind) -> Self {
        self.engine = engine;
        self
    }

    /// Only what today's Windows accepts: no `MEM_RELEASE | MEM_DECOMMIT`.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Prints a summary to standard error when the space goes.
    pub fn statistics_at_exit(mut self, on: bool) -> Self {
        self.statistics_at_exit = on;
        self
    }

    /// Percentage of the RAM budget that the mapped engine commits as ordinary memory before it turns to the page
    /// file. Default 50.
    pub fn anonymous_share(mut self, percent: u8) -> Self {
        self.anonymous_share_percent = percent.min(100);
        self
    }

    /// Percentage of the RAM budget that the inline engine gets where a space uses both engines; the mapped engine gets the
    /// rest, each at least its minimum. Default: shares follow what is committed with each.
    pub fn inline_share(mut self, percent: u8) -> Self {
        self.inline_share_percent = Some(percent.min(100));
        self
    }

    /// Whether the budget shrinks when the control group's limit is lowered. Default yes.
    pub fn follow_control_group(mut self, follow: bool) -> Self {
        self.follow_control_group = follow;
        self
    }

    /// The folder of the control group whose limit counts, version 1 or 2. Default: the process's own group and all
    /// above it.
    pub fn control_group(mut self, folder: impl Into<PathBuf>) -> Self {
        self.control_group = Some(folder.into());
        self
    }

    /// Whether a forked child has copies of all reservations, at the same addresses, with a budget and page files of its own.
    /// Default no: it has nothing of them.
    ///
    /// The copy is made by value, by the thread that forks, before and after the fork: a fork takes as long as writing and
    /// reading everything that was ever touched, and needs as much disk space for its time. Other threads' writes right
    /// before the fork may or may not be in the copy, page by page. Pages locked by [`crate::Reservation::lock`] are not
    /// locked in the child. Should the copy fail (no space, no descriptors), one line says so and the child has nothing.
    /// `vfork` and `posix_spawn` copy nothing.
    ///
    /// ```
    /// use pagekeeper::{ByteCount, PagedVec, Space};
    /// let space = Space::builder().ram(ByteCount::mib(16)).fork_copies(true).build()?;
    /// let table = PagedVec::<u64>::with_capacity(&space, 1 << 20)?;
    /// # drop(table);
    /// # Ok::<(), pagekeeper::Error>(())
    /// ```
    pub fn fork_copies(mut self, on: bool) -> Self {
        self.fork_copies = on;
        self
    }

    /// Overrides these settings by the variables that are set; see the module text for their names.
    ///
    /// # Errors
    /// [`SettingsError`] naming the variable and what to write instead.
    pub fn from_env(self) -> Result<Self, SettingsError> {
        self.overridden_by(|name| std::env::var_os(name))
    }

    fn overridden_by(
        mut self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, SettingsError> {
        let text = |name| variable(name).map(|value| value.to_string_lossy().trim().to_owned());
        let size = |name: &'static str| -> Result<Option<ByteCount>, SettingsError> {
            let Some(text) = text(name) else {
                return Ok(None);
            };
            text.parse()
                .map(Some)
                .map_err(|reason| SettingsError::Size { name, reason })
        };
        let switch = |name: &'static str| -> Result<Option<bool>, SettingsError> {
            match text(name).as_deref() {
                None => Ok(None),
                Some("1") => Ok(Some(true)),
                Some("0" | "") => Ok(Some(false)),
                Some(value) => Err(SettingsError::Switch {
                    name,
                    value: value.to_owned(),
                }),
            }
        };
        self.ram = size("PAGEKEEPER_RAM")?.or(self.ram);
        if let Some(places) = variable("PAGEKEEPER_PAGE_FILE") {
            self.page_file.places = Places::parse(&places)
                .map_err(|error| SettingsError::PageFile(error.to_string()))?;
        }
        if let Some(initial) = size("PAGEKEEPER_PAGE_FILE_INITIAL")? {
            self.page_file.initial = initial;
        }
        self.page_file.maximum = size("PAGEKEEPER_PAGE_FILE_MAX")?.or(self.page_file.maximum);
        if let Some(engine) = text("PAGEKEEPER_ENGINE") {
            self.engine = engine.parse()?;
        }
        if let Some(awake) = switch("PAGEKEEPER_AWAKE")? {
            self = self.awake(awake);
        }
        self.strict = switch("PAGEKEEPER_STRICT")?.unwrap_or(self.strict);
        self.statistics_at_exit = switch("PAGEKEEPER_STATS")?.unwrap_or(self.statistics_at_exit);
        Ok(self)
    }

    /// Checks the settings and makes the space; page files are created and removed from their folder at once.
    ///
    /// # Errors
    /// [`Error::Settings`] with what to change; nothing is left behind.
    pub fn build(self) -> Result<Space, Error> {
        Space::new(self)
    }

    /// The budget: as set, or half of what there is.
    pub(crate) fn budget(&self) -> Result<ByteCount, SettingsError> {
        let machine = machine_memory();
        match self.ram {
            Some(ram) if ram > machine => Err(SettingsError::BudgetTooLarge(ram)),
            Some(ram) => Ok(ram),
            None => {
                let limit = self.memory_group().and_then(|group| group.limit_bytes());
                let there = machine.min(ByteCount::new(limit.unwrap_or(u64::MAX)));
                Ok(ByteCount::new(there.get() / 2))
            }
        }
    }

    /// The control group whose limit counts.
    pub(crate) fn memory_group(&self) -> Option<MemoryGroup> {
        match &self.control_group {
            Some(folder) => MemoryGroup::in_folder(folder),
            None => MemoryGroup::own(),
        }
    }
}

/// RAM of the machine.
fn machine_memory() -> ByteCount {
    ByteCount::new(MemoryInfo::read().map_or(u64::MAX, |info| info.total_bytes))
}

/// What this process may use: the machine's RAM, or its control group's limit if that is smaller.
pub(crate) fn available_memory() -> ByteCount {
    let limit = MemoryGroup::own().and_then(|group| group.limit_bytes());
    machine_memory().min(ByteCount::new(limit.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::default().overridden_by(|name| {
            let pair = pairs.iter().find(|(other, _)| *other == name)?;
            Some(pair.1.into())
        })
    }

    #[test]
    fn variables_override_the_builder() {
        let settings = with(&[
            ("PAGEKEEPER_RAM", "512M"),
            ("PAGEKEEPER_PAGE_FILE", "/a:/b"),
            ("PAGEKEEPER_PAGE_FILE_MAX", "2GiB"),
            ("PAGEKEEPER_ENGINE", "inline"),
            ("PAGEKEEPER_AWAKE", "0"),
            ("PAGEKEEPER_STRICT", "1"),
        ])
        .expect("valid");
        assert_eq!(settings.ram, Some(ByteCount::mib(512)));
        assert_eq!(
            settings.page_file.places,
            Places::List(vec!["/a".into(), "/b".into()])
        );
        assert_eq!(settings.page_file.maximum, Some(ByteCount::gib(2)));
        assert_eq!(settings.engine, EngineKind::Inline);
        assert_eq!(settings.page_file.io, IoChoice::RingAsleep);
        assert!(settings.strict);
    }

    #[test]
    fn wrong_values_name_the_variable() {
        for (name, value) in [
            ("PAGEKEEPER_RAM", "-1"),
            ("PAGEKEEPER_RAM", "lots"),
            ("PAGEKEEPER_PAGE_FILE_MAX", "99999999T"),
            ("PAGEKEEPER_STRICT", "maybe"),
        ] {
            let error = with(&[(name, value)]).expect_err(value).to_string();
            assert!(error.starts_with(name), "{error}");
        }
        let error = with(&[("PAGEKEEPER_ENGINE", "steam")]).expect_err("no such engine");
        assert_eq!(error, SettingsError::UnknownEngine("steam".into()));
    }
}
