//! From options and variables to a space and an empty array; every mistake is one line.

use std::io::ErrorKind;
use std::path::PathBuf;

use pagekeeper::EngineError;
use pagekeeper::{ByteCount, EngineKind, Error, PagedVec, Settings, SettingsError, Space};

use super::source::Source;
use super::walk::Walk;
use crate::arguments::DemoOptions;
use crate::failure::Failure;

/// Address space that the demonstration reserves.
pub(super) const RESERVED: ByteCount = ByteCount::tib(1);
/// The budget when nobody says.
const DEFAULT_RAM: ByteCount = ByteCount::mib(256);

/// What to run on.
pub(super) struct Setup {
    pub(super) space: Space,
    pub(super) data: PagedVec<u8>,
    pub(super) engine: EngineKind,
    /// Why another engine than the preferred one is used.
    pub(super) fallback: Option<String>,
    pub(super) threads: usize,
    /// Bytes that each comparing thread reads at once.
    pub(super) buffer_bytes: usize,
}

impl Setup {
    /// Checks the options and makes the space.
    pub(super) fn make(options: &DemoOptions) -> Result<Self, Failure> {
        check_data(options.data)?;
        check_folder(options)?;
        let threads = options.threads.unwrap_or_else(pagekeeper_sys::cpu::usable);
        let (space, engine, fallback) = make_space(options)?;
        let status = space.status();
        if options.data > status.commit_limit {
            return Err(Failure::Usage(format!(
                "--data {}: RAM budget and page files can promise {}: give less --data, or name a \
                 --page-file on a disk with more room",
                options.data,
                status.commit_limit.human()
            )));
        }
        let data = PagedVec::with_engine(&space, RESERVED.as_usize(), engine).map_err(|error| {
            Failure::Usage(format!("cannot reserve {}: {error}", RESERVED.human()))
        })?;
        Ok(Self {
            space,
            data,
            engine,
            fallback,
            threads,
            buffer_bytes: buffer_bytes(threads),
        })
    }
}

/// Many threads read less at once, so that their buffers stay within 8 MiB together.
fn buffer_bytes(threads: usize) -> usize {
    ((8 << 20) / threads).clamp(16 << 10, super::load::BUFFER_BYTES)
}

fn check_data(data: ByteCount) -> Result<(), Failure> {
    if data == ByteCount::ZERO {
        return Err(Failure::Usage(
            "--data 0: give a size above zero, such as 1G".to_owned(),
        ));
    }
    if data > RESERVED {
        return Err(Failure::Usage(format!(
            "--data {data}: the demonstration reserves {}: give at most that",
            RESERVED.human()
        )));
    }
    Ok(())
}

/// The folder has a file that can be loaded; more is seen while loading.
fn check_folder(options: &DemoOptions) -> Result<(), Failure> {
    let folder = &options.folder;
    let wrong = |reason: &str| {
        Failure::Usage(format!(
            "'{}' {reason}: name a folder with files that you may read",
            folder.display()
        ))
    };
    let mut walk = Walk::begin(folder).map_err(|error| match error.kind() {
        ErrorKind::NotFound => wrong("does not exist"),
        ErrorKind::NotADirectory => wrong("is no folder"),
        _ => wrong(&format!("cannot be opened ({error})")),
    })?;
    while let Some((folder, name)) = walk.next_file() {
        if Source::open(&folder.join(name)).is_ok_and(|source| source.length > 0) {
            return Ok(());
        }
    }
    Err(wrong("has no file that can be read and is not empty"))
}

/// Options go before variables, and these before the defaults.
fn settings(options: &DemoOptions) -> Result<Settings, Failure> {
    let mut settings = Space::builder()
        .ram(DEFAULT_RAM)
        .from_env()
        .map_err(|error| Failure::Usage(error.to_string()))?;
    if let Some(ram) = options.ram {
        settings = settings.ram(ram);
    }
    let none = PathBuf::from("none");
    match options.page_files.as_slice() {
        [] => {}
        [only] if *only == none => settings = settings.no_page_file(),
        places if places.contains(&none) => {
            return Err(Failure::Usage(
                "--page-file none: give no other --page-file beside it".to_owned(),
            ));
        }
        places => settings = settings.page_file(places.to_vec()),
    }
    Ok(settings)
}

fn make_space(options: &DemoOptions) -> Result<(Space, EngineKind, Option<String>), Failure> {
    let settings = settings(options)?;
    let asked = match options.engine {
        Some(engine) => Some(engine),
        None => engine_from_environment()?,
    };
    let engine = asked.unwrap_or(EngineKind::Inline);
    match settings.clone().engine(engine).build() {
        Ok(space) => Ok((space, engine, None)),
        Err(Error::Settings(SettingsError::Engine(EngineError::Unavailable {
            reason, ..
        }))) => {
            if asked.is_some() {
                return Err(Failure::Usage(format!(
                    "the {engine} engine cannot run here ({reason}): use --engine mapped, or see 'pagekeeper doctor'"
                )));
            }
            let space = settings.engine(EngineKind::Mapped).build()?;
            Ok((space, EngineKind::Mapped, Some(reason)))
        }
        // The library has rounded the size up to pages; people know it as they wrote it.
        Err(Error::Settings(SettingsError::BudgetTooSmall { least, .. })) => {
            let given = options
                .ram
                .map_or_else(String::new, |ram| format!(" ({ram})"));
            Err(Failure::Usage(format!(
                "the RAM budget{given} is too small: give --ram at least {least}"
            )))
        }
        Err(error) => Err(error.into()),
    }
}

fn engine_from_environment() -> Result<Option<EngineKind>, Failure> {
    match std::env::var_os("PAGEKEEPER_ENGINE") {
        None => Ok(None),
        Some(name) => {
            let engine = name.to_string_lossy().parse();
            engine
                .map(Some)
                .map_err(|error: SettingsError| Failure::Usage(error.to_string()))
        }
    }
}
