//! Probing, switching off, and texts for every feature.

use super::*;

#[test]
fn every_feature_is_found_or_says_why() {
    let features = Features::get();
    for report in features.reports() {
        println!(
            "{:26} {:?}{}",
            report.feature.name(),
            report.finding,
            report
                .remedy()
                .map(|remedy| format!(": {remedy}"))
                .unwrap_or_default()
        );
        let absent = report.finding != Finding::Found;
        assert_eq!(report.cost().is_some(), absent);
        assert_eq!(report.remedy().is_some(), absent);
        if report.finding == Finding::Missing(Errno::IO) {
            panic!("{} is claimed and does not work", report.feature.name());
        }
        if let Some(whole) = report.feature.part_of() {
            assert!(features.has(whole) || absent, "{}", report.feature.name());
        }
    }
}

#[test]
fn names_are_distinct_and_texts_are_there() {
    for feature in Feature::ALL {
        assert_eq!(Feature::named(feature.name()), Some(feature));
        assert_eq!(Feature::ALL[feature as usize], feature);
        for text in [feature.purpose(), feature.cost(), feature.since()] {
            assert!(!text.is_empty());
        }
        for errno in [Errno::PERM, Errno::NOSYS, Errno::INVAL, Errno::NOMEM] {
            assert!(feature.remedy(errno).len() > 10);
        }
        let whole = feature.part_of().map_or(0, |whole| whole as usize);
        assert!(whole <= feature as usize, "the whole is probed first");
    }
}

#[test]
fn switches_read_names_and_refuse_unknown_ones() {
    let switches: Switches = " userfaultfd ,io_uring,".parse().unwrap();
    assert!(switches.is_off(Feature::Userfaultfd) && switches.is_off(Feature::IoUring));
    assert!(switches.is_off(Feature::Move), "part of userfaultfd");
    assert!(
        switches.is_off(Feature::WriteProtectAsync),
        "part of a part"
    );
    assert!(!switches.is_off(Feature::Guard));
    assert_eq!("".parse::<Switches>().unwrap(), Switches::all_on());
    let error = "guard,warp".parse::<Switches>().unwrap_err();
    assert_eq!(error, UnknownFeature("warp".into()));
    assert!(error.to_string().contains("warp"));
}

#[test]
fn what_is_switched_off_is_not_there() {
    for feature in Feature::ALL {
        let switches = Switches::all_on().without(feature);
        let features = Features::get().clone().with(switches);
        assert_eq!(features.finding(feature), Finding::SwitchedOff);
        for other in Feature::ALL {
            if !switches.is_off(other) {
                assert_eq!(features.finding(other), Features::get().finding(other));
            }
        }
    }
    let all = Feature::ALL
        .iter()
        .fold(Switches::all_on(), |all, &one| all.without(one));
    let features = Features::probe(all, Path::new("/no/such/folder"));
    assert!(
        features
            .reports()
            .all(|report| report.finding == Finding::SwitchedOff)
    );
}

#[test]
fn a_folder_that_is_not_there_concerns_files_only() {
    let none = Switches::all_on();
    let features = Features::probe(none, Path::new("/no/such/folder"));
    assert_eq!(
        features.finding(Feature::DirectIo),
        Finding::Missing(Errno::NOENT)
    );
    assert_eq!(
        features.finding(Feature::Move),
        Features::get().finding(Feature::Move)
    );
}

/// Runs one of the tests below in a process of its own, where calls are refused for good.
fn alone(name: &str) -> bool {
    const VARIABLE: &str = "PAGEKEEPER_TEST_ALONE";
    if std::env::var(VARIABLE).is_ok_and(|value| value == name) {
        return true;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("probe::tests::{name}"), "--nocapture"])
        .env(VARIABLE, name)
        .status()
        .unwrap();
    assert!(status.success(), "{name}: {status}");
    false
}

/// What a container does: the probes see it, name the number, and the twins are chosen.
#[test]
fn a_filter_is_noticed_and_the_twins_take_over() {
    use crate::seccomp::{Refusal, Scope, refuse};
    use linux_raw_sys::general as c;
    if !alone("a_filter_is_noticed_and_the_twins_take_over") {
        return;
    }
    let mut refusals = Refusal::userfaultfd(Errno::PERM).to_vec();
    refusals.extend(Refusal::io_uring(Errno::PERM));
    refusals.push(Refusal::of(c::__NR_process_madvise, Errno::NOSYS));
    refusals.push(Refusal::of(c::__NR_cachestat, Errno::NOSYS));
    refusals.push(Refusal::of(c::__NR_perf_event_open, Errno::ACCESS));
    refuse(&refusals, Scope::Process).unwrap();
    let features = Features::probe(Switches::all_on(), &std::env::temp_dir());
    for (feature, errno) in [
        (Feature::Userfaultfd, Errno::PERM),
        (Feature::Move, Errno::PERM),
        (Feature::IoUring, Errno::PERM),
        (Feature::ProcessMadvise, Errno::NOSYS),
        (Feature::Cachestat, Errno::NOSYS),
        (Feature::Perf, Errno::ACCESS),
    ] {
        assert_eq!(
            features.finding(feature),
            Finding::Missing(errno),
            "{}",
            feature.name()
        );
    }
    let file = crate::file::create_in_folder(&std::env::temp_dir())
        .unwrap()
        .file;
    let disk = crate::disk::block_io(file, &features, 1, 8);
    assert_eq!(disk.name(), "positioned");
    disk.write_at(0, b"page").unwrap();
    assert_eq!(
        crate::process_madvise::batch_advice(&features).name(),
        "madvise"
    );
}
