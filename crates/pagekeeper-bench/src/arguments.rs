//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use pagekeeper_units::ByteCount;

use crate::contender::ContenderKind;

/// Pagekeeper beside plain memory, a file mapping and kernel swap: same data, same RAM, every byte checked.
#[derive(Parser, Debug)]
#[command(name = "pagekeeper-bench", version, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) inner: Option<Inner>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What the user chooses.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Short and rough: every path runs, the figures mean little.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only what has this in its name, such as uniform, zipf/read, incompressible, fits, metadata, calls, heap, views, monitor.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) only: Vec<String>,
    /// Only these contenders.
    #[arg(long = "contender", value_name = "NAME", value_enum)]
    pub(crate) contenders: Vec<ContenderKind>,
    /// RAM of each contender, its compressed pool and page tables included [default: 128M, quick: 16M].
    #[arg(long, allow_hyphen_values = true)]
    ram: Option<ByteCount>,
    /// Data of each contender [default: 512M, quick: 64M].
    #[arg(long, allow_hyphen_values = true)]
    data: Option<ByteCount>,
    /// Seconds of each pattern [default: 3, quick: 0.2].
    #[arg(long)]
    seconds: Option<f64>,
    /// How often everything is repeated [default: 5, quick: 1].
    #[arg(long)]
    repeat: Option<u32>,
    /// How often fill, scan, the pattern uniform and data that fits are repeated, if more often than the rest: what the
    /// disk's moods blur most [default: as --repeat].
    #[arg(long, value_name = "N")]
    repeat_uniform: Option<u32>,
    /// Where page files, swap files and mapped files go [default: TMPDIR if on a disk, else /var/tmp].
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
    /// Writes the tables into this file as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// Prints JSON with every single measurement instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
    /// Memory that is touched at the start, so that the host behind a virtual machine has really given it; a page that it
    /// has not given yet costs ten microseconds [default: three quarters of what is available in a virtual machine].
    #[arg(long, allow_hyphen_values = true)]
    warm: Option<ByteCount>,
    /// Seed of contents and patterns.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// What the bench starts itself anew for.
#[derive(Subcommand, Debug)]
pub(crate) enum Inner {
    /// Does one job, which it reads from standard input.
    #[command(hide = true)]
    Child,
    /// Looks at process PID whenever a line comes.
    #[command(hide = true)]
    Observer { pid: u32 },
    /// Waits for the end of its input, then removes what process OWNER left.
    #[command(hide = true)]
    Janitor { owner: u32, folder: PathBuf },
}

/// The least RAM and data for which the engines and the control groups work at all.
const LEAST: ByteCount = ByteCount::mib(1);

impl Options {
    pub(crate) fn ram(&self) -> ByteCount {
        self.ram
            .unwrap_or(ByteCount::mib(if self.quick { 16 } else { 128 }))
    }

    pub(crate) fn data(&self) -> ByteCount {
        let data = self
            .data
            .unwrap_or(ByteCount::mib(if self.quick { 64 } else { 512 }));
        ByteCount::new(data.get().next_multiple_of(4096))
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 0.2 } else { 3.0 })
    }

    pub(crate) fn repeat(&self) -> u32 {
        self.repeat.unwrap_or(if self.quick { 1 } else { 5 })
    }

    /// The same for fill, scan, uniform and data that fits.
    pub(crate) fn repeat_uniform(&self) -> u32 {
        self.repeat_uniform.unwrap_or(0).max(self.repeat())
    }

    /// Memory to be touched at the start, of which `available` is free.
    pub(crate) fn warm(&self, virtual_machine: bool, available: ByteCount) -> ByteCount {
        match self.warm {
            Some(warm) => warm.min(ByteCount::new(available.get() / 10 * 9)),
            None if virtual_machine && !self.quick => ByteCount::new(available.get() / 4 * 3),
            None => ByteCount::ZERO,
        }
    }

    /// Data of the measurements in which it fits.
    pub(crate) fn fitting(&self) -> ByteCount {
        ByteCount::new((self.data().get() / 2).next_multiple_of(4096))
    }

    /// Alternating commits.
    pub(crate) fn commits(&self) -> u64 {
        if self.quick { 20_000 } else { 1_000_000 }
    }

    /// Whether something of this name is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }

    /// Whether this contender is wanted.
    pub(crate) fn wants_contender(&self, kind: ContenderKind) -> bool {
        self.contenders.is_empty() || self.contenders.contains(&kind)
    }

    /// Refuses what cannot work, in one line that says what to change.
    ///
    /// # Errors
    /// That line.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (name, size) in [("--ram", self.ram()), ("--data", self.data())] {
            if size < LEAST {
                return Err(format!("{name} {size}: give at least {LEAST}"));
            }
        }
        if self.data() <= self.ram() {
            return Err(format!(
                "--data {} is not more than --ram {}: nothing would be paged; four times as much is usual",
                self.data(),
                self.ram()
            ));
        }
        if !(self.seconds() > 0.0 && self.seconds() <= 3600.0) {
            return Err(format!(
                "--seconds {}: give more than 0 and at most 3600",
                self.seconds()
            ));
        }
        if self.repeat() == 0 {
            return Err("--repeat 0: give at least 1".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Options, String> {
        let all = std::iter::once("pagekeeper-bench").chain(arguments.iter().copied());
        Arguments::try_parse_from(all)
            .map(|found| found.options)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_and_quick() {
        let usual = options(&[]).unwrap();
        assert_eq!(
            (usual.ram(), usual.data()),
            (ByteCount::mib(128), ByteCount::mib(512))
        );
        assert_eq!((usual.seconds(), usual.repeat()), (3.0, 5));
        assert_eq!(usual.repeat_uniform(), 5);
        let more = options(&["--repeat", "2", "--repeat-uniform", "7"]).unwrap();
        assert_eq!((more.repeat(), more.repeat_uniform()), (2, 7));
        let quick = options(&["--quick", "--data", "32M"]).unwrap();
        assert_eq!(
            (quick.ram(), quick.data()),
            (ByteCount::mib(16), ByteCount::mib(32))
        );
        assert!(quick.check().is_ok());
    }

    #[test]
    fn never_more_is_warmed_than_there_is() {
        let available = ByteCount::gib(10);
        let warm =
            |arguments: &[&str], machine| options(arguments).unwrap().warm(machine, available);
        assert_eq!(warm(&[], true), ByteCount::mib(7680));
        assert_eq!(warm(&[], false), ByteCount::ZERO);
        assert_eq!(warm(&["--quick"], true), ByteCount::ZERO);
        assert_eq!(warm(&["--warm", "1G"], false), ByteCount::gib(1));
        assert_eq!(warm(&["--warm", "0"], true), ByteCount::ZERO);
        assert_eq!(warm(&["--warm", "99G"], true), ByteCount::gib(9));
    }

    #[test]
    fn only_selects_by_a_part_of_the_name() {
        let some = options(&[
            "--only",
            "zipf/read",
            "--only",
            "fits",
            "--contender",
            "inline",
        ])
        .unwrap();
        assert!(some.wants("paging/compressible/zipf/read/1") && some.wants("fits"));
        assert!(!some.wants("paging/compressible/zipf/update/1"));
        assert!(some.wants_contender(ContenderKind::Inline));
        assert!(!some.wants_contender(ContenderKind::SwapZram));
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_reason() {
        for (arguments, part) in [
            (&["--ram", "-1"][..], "negative"),
            (&["--ram", "lots"], "not a size"),
            (&["--ram", "512K"], "--ram 512K: give at least 1M"),
            (&["--ram", "1G", "--data", "512M"], "nothing would be paged"),
            (&["--seconds", "0"], "--seconds 0"),
            (&["--seconds", "NaN"], "--seconds"),
            (&["--repeat", "0"], "--repeat 0"),
            (&["--contender", "steam"], "possible values"),
        ] {
            let refused = options(arguments).and_then(|found| found.check());
            let reason = refused.expect_err("refused");
            assert!(reason.contains(part), "{arguments:?}: {reason}");
        }
    }
}
