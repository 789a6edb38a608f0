#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

#[test]
fn how_busy_the_processors_are_is_what_they_did_between_two_looks() {
    let before =
        Ticks::parse("cpu  4020681 164195 658567 2694511 65401 0 16607 2869 7 7\ncpu0 1 1 1\n").unwrap();
    let after = Ticks::parse("cpu  4020751 164195 658567 2694536 65406 0 16607 2869 9 9").unwrap();
    assert_eq!(after.since(before), Some(70.0));
    assert_eq!(after.since(after), Some(0.0), "no time has passed");
    assert_eq!(before.since(after), None, "the machine was started anew");
    assert_eq!(Ticks::parse("cpu  1 2 three 4 5"), None);
    assert_eq!(Ticks::parse("intr 1 2 3 4 5"), None);
}

#[test]
fn memory_that_the_system_would_give_back_is_free() {
    let meminfo = "MemTotal:       24684096 kB\nMemFree:        10112700 kB\nMemAvailable:   23675356 kB\n";
    assert_eq!(memory_of(meminfo), Some(((24_684_096 - 23_675_356) * 1024, 24_684_096 * 1024)));
    assert_eq!(memory_of("MemTotal: 1 kB\n"), None);
}

#[test]
fn this_machine_tells_how_it_is_and_one_that_does_not_has_no_gauges() {
    let folder = tempfile::tempdir().unwrap();
    let silent = Instruments::new(folder.path().to_owned(), folder.path().to_owned(), None);
    assert_eq!(silent.read().gauges, None);
    fs::write(folder.path().join("stat"), "cpu  1 1 1 1 1 0 0 0 0 0").unwrap();
    fs::copy("/proc/meminfo", folder.path().join("meminfo")).unwrap();
    assert_eq!(silent.read().gauges, None, "there is nothing to compare with yet");
    fs::write(folder.path().join("stat"), "cpu  2 1 1 2 1 0 0 0 0 0").unwrap();
    let gauges = silent.read().gauges.unwrap();
    assert_eq!((gauges.cpu_percent, gauges.gpus.len()), (50.0, 0));
    assert!(gauges.memory_used_bytes > 0 && gauges.memory_total_bytes > gauges.memory_used_bytes);
    assert!(gauges.disk_total_bytes > gauges.disk_free_bytes);
}
