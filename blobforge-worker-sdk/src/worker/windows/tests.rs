#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

fn windows(texts: &[&str]) -> Vec<RunWindow> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Central Europe: clocks go forward at 2:00 on the last Sunday of March, and back at 3:00 on that of October.
fn central_europe() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// Whether they are open at this time, and until when, both in UTC.
fn at(texts: &[&str], now: &str, zone: TimeZone) -> (&'static str, String) {
    let now: Moment = now.parse().unwrap();
    match hours(&windows(texts), &now.to_zoned(zone)) {
        Hours::Open(until) => ("open", until.to_string()),
        Hours::Closed(until) => ("closed", until.to_string()),
    }
}

#[test]
fn a_window_is_two_times_and_what_is_none_is_told_what_one_looks_like() {
    for (text, same) in
        [("22:00-06:00", "22:00-06:00"), (" 08:30 - 17:05 ", "08:30-17:05"), ("00:00-23:59", "00:00-23:59")]
    {
        assert_eq!(text.parse::<RunWindow>().unwrap().to_string(), same);
    }
    for text in [
        "",
        "22:00",
        "22-06",
        "22:00-24:00",
        "22:60-06:00",
        "-1:00-06:00",
        "22:00-06:00-07:00",
        "2:00-6:00",
        "a:b-c:d",
    ] {
        let refused = text.parse::<RunWindow>().unwrap_err();
        assert_eq!(refused.field, "run_window");
        assert!(refused.reason.contains("such as 22:00-06:00"), "{text}: {refused}");
    }
    let refused = "22:00-22:00".parse::<RunWindow>().unwrap_err();
    assert!(refused.reason.contains("opens when it closes"), "{refused}");
}

#[test]
fn a_set_of_windows_is_open_or_says_when_it_opens_next() {
    let night = ["22:00-06:00"];
    let split = ["12:00-13:00", "22:00-00:00", "00:00-06:00", "05:00-07:30"];
    for (windows, now, expected) in [
        (&night[..], "2026-01-15T21:59:59Z", ("closed", "2026-01-15T22:00:00Z")),
        (&night, "2026-01-15T22:00:00Z", ("open", "2026-01-16T06:00:00Z")),
        (&night, "2026-01-16T03:00:00Z", ("open", "2026-01-16T06:00:00Z")),
        (&night, "2026-01-16T06:00:00Z", ("closed", "2026-01-16T22:00:00Z")),
        (&["08:00-17:00"], "2026-01-31T17:00:00Z", ("closed", "2026-02-01T08:00:00Z")),
        (&split, "2026-01-15T11:00:00Z", ("closed", "2026-01-15T12:00:00Z")),
        (&split, "2026-01-15T13:00:00Z", ("closed", "2026-01-15T22:00:00Z")),
        (&split, "2026-01-15T22:30:00Z", ("open", "2026-01-16T07:30:00Z")),
    ] {
        let (is, until) = at(windows, now, TimeZone::UTC);
        assert_eq!((is, until.as_str()), expected, "{windows:?} at {now}");
    }
    let (is, _) = at(&["00:00-12:00", "12:00-00:00"], "2026-01-15T12:00:00Z", TimeZone::UTC);
    assert_eq!(is, "open", "they leave nothing out");
}

#[test]
fn windows_go_by_the_clock_on_the_wall_also_on_days_when_it_is_set() {
    // In 2026 the clock goes from 2:00 to 3:00 on March 29, and from 3:00 to 2:00 on October 25, each at 1:00 UTC.
    for (window, now, expected, why) in [
        ("22:00-06:00", "2026-03-28T21:00:00Z", ("open", "2026-03-29T04:00:00Z"), "a night of seven hours"),
        ("22:00-06:00", "2026-10-24T20:00:00Z", ("open", "2026-10-25T05:00:00Z"), "a night of nine hours"),
        ("02:30-06:00", "2026-03-29T00:30:00Z", ("closed", "2026-03-29T01:00:00Z"), "2:30 is passed over"),
        ("02:30-06:00", "2026-03-29T01:00:00Z", ("open", "2026-03-29T04:00:00Z"), "it is 3:00"),
        ("22:00-02:30", "2026-03-29T00:30:00Z", ("open", "2026-03-29T01:00:00Z"), "it is 1:30"),
        ("22:00-02:30", "2026-03-29T01:00:00Z", ("closed", "2026-03-29T20:00:00Z"), "it is 3:00"),
        ("02:15-02:45", "2026-03-28T12:00:00Z", ("closed", "2026-03-30T00:15:00Z"), "it falls out for a day"),
        ("02:30-06:00", "2026-10-25T00:00:00Z", ("closed", "2026-10-25T00:30:00Z"), "the first 2:30 opens"),
        ("02:30-06:00", "2026-10-25T01:15:00Z", ("open", "2026-10-25T05:00:00Z"), "2:15 for the second time"),
        ("22:00-02:30", "2026-10-25T00:45:00Z", ("open", "2026-10-25T01:30:00Z"), "the second 2:30 closes"),
    ] {
        let (is, until) = at(&[window], now, central_europe());
        assert_eq!((is, until.as_str()), expected, "{window} at {now}: {why}");
    }
}
