//! The same peak for everybody. Our budget does not count everything (page tables, the balancer's slack), and a control
//! group does not count zram's pool; so a trial run shows how much comes on top, and the setting is made smaller by that.

use pagekeeper_units::ByteCount;

use super::{Race, Turn};
use crate::contender::{ContenderKind, StagePeak};
use crate::content::DataKind;
use crate::patterns::access::{Mode, Pattern};
use crate::patterns::paging::Cell;
use crate::usage::Peak;

/// The whole peak: what the kernel counted where there is a control group (it knows of swap cache and kernel memory too),
/// else what the child saw of itself; with zram's pool.
pub(super) fn total_of(own: &Peak, kernel: StagePeak) -> u64 {
    kernel.cgroup.unwrap_or(own.total) + kernel.pool.unwrap_or(0)
}

impl Race<'_> {
    /// Budget or limit with which the contender's peak is the RAM that was asked for. `None` when it cannot take part.
    pub(super) fn calibrated(
        &mut self,
        family: &str,
        contender: ContenderKind,
        kind: DataKind,
    ) -> Option<ByteCount> {
        let ram = self.options.ram();
        match contender {
            ContenderKind::SwapZram => self.calibrate_zram(family, kind),
            _ if contender.engine().is_some() => self.calibrate_ours(family, contender, kind),
            // The group's limit is the peak.
            _ => Some(ram),
        }
    }

    /// Three trials, each with the setting that the last one's peak suggests.
    fn calibrate_ours(
        &mut self,
        family: &str,
        contender: ContenderKind,
        kind: DataKind,
    ) -> Option<ByteCount> {
        let ram = self.options.ram().get();
        let mut trials = Vec::new();
        let mut setting = ram;
        for _ in 0..3 {
            let (peak, _) = self.trial(family, contender, kind, ByteCount::new(setting))?;
            trials.push((setting, peak));
            let better = next_setting(ram, setting, peak);
            if better == setting {
                break;
            }
            setting = better;
        }
        Some(ByteCount::new(best_setting(ram, &trials)))
    }

    fn calibrate_zram(&mut self, family: &str, kind: DataKind) -> Option<ByteCount> {
        let (ram, data) = (self.options.ram().get(), self.options.data().get());
        let mut limit = ram / 2;
        // The pool's fill changes with the limit, so once more with the better limit.
        for _ in 0..2 {
            let (_, pool) =
                self.trial(family, ContenderKind::SwapZram, kind, ByteCount::new(limit))?;
            match zram_limit(ram, data, limit, pool) {
                Some(better) => limit = better,
                None => {
                    let reason = format!(
                        "the data becomes {} in zram, which leaves too little of {}",
                        ByteCount::new(pool).human(),
                        ByteCount::new(ram).human()
                    );
                    self.results
                        .skip(family, ContenderKind::SwapZram, reason, false);
                    return None;
                }
            }
        }
        Some(ByteCount::new(limit))
    }

    /// A short run: its peak in all, and that of zram's pool.
    fn trial(
        &mut self,
        family: &str,
        contender: ContenderKind,
        kind: DataKind,
        ram: ByteCount,
    ) -> Option<(u64, u64)> {
        eprintln!("{family}: trial: {} with {}", contender.name(), ram.human());
        let cell = Cell {
            pattern: Pattern::Uniform,
            mode: Mode::Update,
            threads: 2,
        };
        let mut job = self.paging_job(contender, kind, ram, vec![cell], self.options.seed);
        job.seconds = job.seconds.min(1.5);
        loop {
            match self.paging_turn(family, job.clone()) {
                Turn::Done(report, kernel) => {
                    let (wrong, agree) = (report.wrong_words, report.updates_agree);
                    self.note_differences(family, contender, wrong, agree);
                    let peak = total_of(&report.peak, kernel);
                    return Some((peak, kernel.pool.unwrap_or(0)));
                }
                // Ends: a contender that failed too often is out.
                Turn::Lost => {}
                Turn::Out => return None,
            }
        }
    }
}

/// How far a peak may be from the RAM that was asked for: one part of a hundred.
fn tolerance(ram: u64) -> u64 {
    ram / 100
}

/// Our next budget when with `setting` the peak was `peak`: the setting itself when that is near enough. Never more than
/// the RAM, and never less than half of it: with a budget so small that the program's own few MiB matter, the peak is
/// shown and not made smaller.
fn next_setting(ram: u64, setting: u64, peak: u64) -> u64 {
    if peak.abs_diff(ram) <= tolerance(ram) {
        return setting;
    }
    // A little less, because peaks differ from run to run.
    let wanted = (setting + ram).saturating_sub(peak + ram / 200);
    let better = wanted.clamp(ram / 2, ram);
    better & !0xFFFF
}

/// The largest setting whose peak was not too high; the smallest where all were.
fn best_setting(ram: u64, trials: &[(u64, u64)]) -> u64 {
    let settings = trials.iter().map(|&(setting, _)| setting);
    let good = trials
        .iter()
        .filter(|&&(_, peak)| peak <= ram + tolerance(ram));
    good.map(|&(setting, _)| setting)
        .max()
        .or(settings.min())
        .unwrap_or(ram)
}

/// The control group's limit so that limit and pool together are `ram`, when with `limit` the pool was `pool`: it grows
/// with what is out. `None` when less than a sixteenth would be left.
fn zram_limit(ram: u64, data: u64, limit: u64, pool: u64) -> Option<u64> {
    let out = data.saturating_sub(limit).max(1);
    let share = pool as f64 / out as f64;
    if share >= 1.0 {
        return None;
    }
    let better = (ram as f64 - share * data as f64) / (1.0 - share);
    (better >= ram as f64 / 16.0).then_some(better as u64 & !0xFFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn limit_and_pool_add_up() {
        let (ram, data) = (128 * MIB, 512 * MIB);
        let limit = zram_limit(ram, data, 64 * MIB, 90 * MIB).unwrap();
        let pool = (data - limit) as f64 * 90.0 / 448.0;
        assert!(
            (limit as f64 + pool - ram as f64).abs() < MIB as f64,
            "{limit}"
        );
        assert_eq!(zram_limit(ram, data, 64 * MIB, 440 * MIB), None);
        assert_eq!(zram_limit(ram, data, 64 * MIB, 500 * MIB), None);
    }

    #[test]
    fn budgets_follow_the_peaks() {
        let ram = 128 * MIB;
        assert_eq!(
            next_setting(ram, ram, 136 * MIB),
            (120 * MIB - ram / 200) & !0xFFFF
        );
        assert_eq!(next_setting(ram, ram, 129 * MIB), ram, "near enough");
        assert_eq!(
            next_setting(ram, ram, 100 * MIB),
            ram,
            "never more than was asked for"
        );
        assert_eq!(
            next_setting(ram, 80 * MIB, 100 * MIB),
            (108 * MIB - ram / 200) & !0xFFFF
        );
        assert_eq!(next_setting(2 * MIB, 2 * MIB, 8 * MIB), MIB);
    }

    #[test]
    fn the_best_trial_is_taken() {
        let ram = 128 * MIB;
        let trials = [
            (ram, 150 * MIB),
            (106 * MIB, 110 * MIB),
            (120 * MIB, 129 * MIB),
        ];
        assert_eq!(best_setting(ram, &trials), 120 * MIB);
        assert_eq!(
            best_setting(ram, &[(ram, 200 * MIB), (64 * MIB, 140 * MIB)]),
            64 * MIB
        );
        assert_eq!(best_setting(ram, &[]), ram);
    }

    #[test]
    fn peaks_are_whole() {
        let own = Peak {
            total: 10,
            ..Peak::default()
        };
        assert_eq!(total_of(&own, StagePeak::default()), 10);
        assert_eq!(
            total_of(
                &own,
                StagePeak {
                    cgroup: Some(20),
                    pool: Some(5)
                }
            ),
            25
        );
    }
}
