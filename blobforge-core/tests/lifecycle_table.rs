//! Each arrow of the lifecycle's diagram, and each refusal, as one line that a person can read.
//!
//! How to read a row: a job that is `given`, at time `now`, takes a `step`; it is `then` so, whoever took the step is
//! told `reply`, and `record` is kept of the attempt that ended.
//!
//! - A life is its status and what is not at its default: `e2` claimed twice, `f1` one failure, `l4` four losses,
//!   `ready=5`, `wish=5` (run_at); and of its lease `A until 7 (lapsed, cancelling)`. Max attempts are 2, leases last 10.
//! - A lease token is worker, epoch: `A1`. `A1!secret` has another secret, `A1!generation` another generation.
//! - A record is how it ended / what its holder reported. `past A1 …` in a step names such a record that is known.
//! - `=` in `then` means that nothing changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::time::Duration;

use blobforge_core::{
    End, EndedLease, Epoch, Finish, FinishKind, Finished, Generation, Jitter, Lease, LeaseSecret, LeaseToken,
    Life, NewLease, Phase, Refused, Reply, RetryPolicy, Status, Step, Timestamp, WorkerId, lifecycle::apply,
};

const LEASE: Duration = Duration::from_millis(10);
const POLICY: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(100), longest: Duration::from_millis(200) };

#[rustfmt::skip]
const TABLE: &[[&str; 6]] = &[
  // given                                      now   step                       then                                reply                              record
  // A file to come.
  ["uploading",                                 "3",  "source ready",            "pending ready=3",                  "done",                            ""],
  ["uploading wish=9",                          "3",  "source ready",            "pending ready=9 wish=9",           "done",                            ""],
  ["uploading wish=1",                          "3",  "source ready",            "pending ready=3 wish=1",           "done",                            ""],
  ["uploading",                                 "3",  "source rejected",         "failed",                           "done",                            ""],
  ["uploading",                                 "3",  "upload expired",          "cancelled",                        "done",                            ""],
  ["uploading",                                 "3",  "cancel",                  "cancelled",                        "done",                            ""],
  ["uploading",                                 "3",  "claim A",                 "=",                                "uploading cannot be claimed",     ""],
  ["uploading",                                 "3",  "lapse",                   "=",                                "uploading cannot be found silent", ""],
  ["uploading",                                 "3",  "lose",                    "=",                                "uploading cannot be lost",        ""],
  ["uploading",                                 "3",  "retry",                   "=",                                "uploading cannot be retried",     ""],
  ["uploading",                                 "3",  "complete A1",             "=",                                "lost: uploading",                 ""],
  ["pending",                                   "3",  "source ready",            "=",                                "pending cannot be given its source", ""],
  ["running e1 A until 10",                     "3",  "source rejected",         "=",                                "running cannot be rejected",      ""],
  ["completed e1",                              "3",  "upload expired",          "=",                                "completed cannot be given up",    ""],
  // Taking it.
  ["pending",                                   "0",  "claim A",                 "running e1 A until 10",            "done",                            ""],
  ["pending ready=5",                           "5",  "claim A",                 "running e1 ready=5 A until 15",    "done",                            ""],
  ["pending ready=5",                           "4",  "claim A",                 "=",                                "not before 5",                    ""],
  ["pending e1 f1 l2",                          "7",  "claim B",                 "running e2 f1 l2 B until 17",      "done",                            ""],
  ["running e1 A until 10",                     "99", "claim B",                 "=",                                "running cannot be claimed",       ""],
  ["running e1 A until 10 (lapsed)",            "10", "claim B",                 "running e2 l1 B until 20",         "done",                            "lost/"],
  ["running e1 A until 10 (lapsed)",            "10", "claim A",                 "running e2 l1 A until 20",         "done",                            "lost/"],
  ["running e5 l4 A until 10 (lapsed)",         "10", "claim B",                 "failed e5 l5",                     "buried",                          "lost/"],
  ["completed e1",                              "3",  "claim A",                 "=",                                "completed cannot be claimed",     ""],
  ["failed e1",                                 "3",  "claim A",                 "=",                                "failed cannot be claimed",        ""],
  ["cancelled",                                 "3",  "claim A",                 "=",                                "cancelled cannot be claimed",     ""],
  // Holding it.
  ["running e1 A until 10",                     "6",  "renew A1",                "running e1 A until 16",            "renewed",                         ""],
  ["running e1 A until 10",                     "99", "renew A1",                "running e1 A until 109",           "renewed",                         ""],
  ["running e1 A until 10 (lapsed)",            "12", "renew A1",                "running e1 A until 22",            "renewed",                         ""],
  ["running e1 A until 10 (cancelling)",        "6",  "renew A1",                "running e1 A until 16 (cancelling)", "renewed, cancel",               ""],
  ["running e1 A until 10",                     "6",  "renew A1!secret",         "=",                                "lost: running by A",              ""],
  ["running e1 A until 10",                     "6",  "renew A1!generation",     "=",                                "lost: running by A",              ""],
  ["running e2 B until 10",                     "6",  "renew A1",                "=",                                "lost: running by B",              ""],
  ["running e2 B until 10",                     "6",  "renew B3",                "=",                                "lost: running by B",              ""],
  ["pending e1",                                "6",  "renew A1",                "=",                                "lost: pending",                   ""],
  ["completed e1",                              "6",  "renew A1",                "=",                                "lost: completed",                 ""],
  ["running e4 f1 l3 A until 10",               "6",  "advance A4",              "running e4 f1 A until 10",         "done",                            ""],
  ["running e4 l3 A until 10 (lapsed)",         "12", "advance A4",              "running e4 A until 10 (lapsed)",   "done",                            ""],
  ["running e4 l3 B until 10",                  "6",  "advance A3",              "=",                                "lost: running by B",              ""],
  ["pending e1 l1",                             "6",  "advance A1",              "=",                                "lost: pending",                   ""],
  // Falling silent.
  ["running e1 A until 10",                     "9",  "lapse",                   "=",                                "not before 10",                   ""],
  ["running e1 A until 10",                     "10", "lapse",                   "running e1 A until 10 (lapsed)",   "done",                            ""],
  ["running e1 A until 10 (lapsed)",            "12", "lapse",                   "=",                                "running cannot be found silent again", ""],
  ["running e1 A until 10 (cancelling)",        "10", "lapse",                   "cancelled e1",                     "done",                            "cancelled/"],
  ["pending",                                   "3",  "lapse",                   "=",                                "pending cannot be found silent",  ""],
  ["running e1 A until 10",                     "3",  "lose",                    "pending e1 l1",                    "done",                            "lost/"],
  ["running e9 f1 l3 A until 10",               "3",  "lose",                    "pending e9 f1 l4",                 "done",                            "lost/"],
  ["running e9 f1 l4 A until 10",               "3",  "lose",                    "failed e9 f1 l5",                  "done",                            "lost/"],
  ["running e9 l4 A until 10 (cancelling)",     "3",  "lose",                    "cancelled e9 l4",                  "done",                            "cancelled/"],
  ["pending",                                   "3",  "lose",                    "=",                                "pending cannot be lost",          ""],
  // Coming back from a backup.
  ["running e9 f1 l4 ready=2 A until 10",       "6",  "void",                    "pending e9 f1 l4 ready=2",         "done",                            "voided/"],
  ["running e1 A until 10 (lapsed)",            "12", "void",                    "pending e1",                       "done",                            "voided/"],
  ["running e9 l4 A until 10 (cancelling)",     "3",  "void",                    "cancelled e9 l4",                  "done",                            "cancelled/"],
  ["pending",                                   "3",  "void",                    "=",                                "pending cannot be freed of a lease", ""],
  ["completed e1",                              "3",  "void",                    "=",                                "completed cannot be freed of a lease", ""],
  // Ending it.
  ["running e1 A until 10",                     "6",  "complete A1",             "completed e1",                     "finished completed",              "completed/complete"],
  ["running e1 A until 10 (lapsed)",            "12", "complete A1",             "completed e1",                     "finished completed",              "completed/complete"],
  ["running e1 A until 10",                     "6",  "fail A1",                 "pending e1 f1 ready=106",          "finished pending 106",            "failed/fail"],
  ["running e2 f1 A until 10",                  "6",  "fail A2",                 "failed e2 f2 ready=206",           "finished failed",                 "failed/fail"],
  ["running e1 A until 10",                     "6",  "fail for good A1",        "failed e1 f1 ready=106",           "finished failed",                 "failed/fail"],
  ["running e1 f1 ready=2 A until 10",          "6",  "crash A1",                "pending e1 f1 l1 ready=106",       "finished pending 106",            "lost/crash"],
  ["running e1 f1 l1 A until 10",               "6",  "crash A1",                "pending e1 f1 l2 ready=206",       "finished pending 206",            "lost/crash"],
  ["running e1 f1 l4 A until 10",               "6",  "crash A1",                "failed e1 f1 l5 ready=206",        "finished failed",                 "lost/crash"],
  ["running e1 f1 l4 ready=2 A until 10",       "6",  "release A1",              "pending e1 f1 l4 ready=2",         "finished pending 2",              "released/release"],
  ["running e1 f1 l4 ready=2 A until 10",       "6",  "snooze 50 A1",            "pending e1 f1 l4 ready=50",        "finished pending 50",             "snoozed/snooze"],
  ["running e1 f1 l4 ready=2 A until 10",       "6",  "snooze 3 A1",             "pending e1 f1 l4 ready=6",         "finished pending 6",              "snoozed/snooze"],
  ["running e2 B until 10",                     "6",  "complete A1",             "=",                                "lost: running by B",              ""],
  ["running e1 A until 10",                     "6",  "complete A1!secret",      "=",                                "lost: running by A",              ""],
  ["running e1 A until 10",                     "6",  "complete A1!generation",  "=",                                "lost: running by A",              ""],
  ["running e1 A until 10",                     "6",  "fail A0",                 "=",                                "lost: running by A",              ""],
  ["pending",                                   "6",  "complete A0",             "=",                                "lost: pending",                   ""],
  // Saying it again.
  ["completed e1",                              "9",  "complete A1 past A1 completed/complete", "=",                 "finished completed",              ""],
  ["pending e1 f1 ready=106",                   "9",  "fail A1 past A1 failed/fail 106", "=",                        "finished pending 106",            ""],
  ["running e2 f1 B until 300",                 "290", "fail A1 past A1 failed/fail 106", "=",                       "finished pending 106",            ""],
  ["cancelled e1",                              "9",  "release A1 past A1 cancelled/release", "=",                   "finished cancelled",              ""],
  ["pending e1 l1 ready=106",                   "9",  "crash A1 past A1 lost/crash 106", "=",                        "finished pending 106",            ""],
  ["pending e1 l1",                             "9",  "crash A1 past A1 lost/",  "=",                                "lost: pending",                   ""],
  ["pending e1",                                "9",  "complete A1 past A1 voided/", "=",                            "lost: pending",                   ""],
  ["completed e1",                              "9",  "fail A1 past A1 completed/complete", "=",                     "already ended as completed",      ""],
  ["pending e1",                                "9",  "complete A1 past A1 released/release", "=",                   "already ended as released",       ""],
  ["completed e1",                              "9",  "complete A1!secret past A1 completed/complete", "=",          "lost: completed",                 ""],
  ["completed e1",                              "9",  "complete A1!generation past A1 completed/complete", "=",      "lost: completed",                 ""],
  ["running e2 B until 10",                     "9",  "complete A1 past A1 lost/", "=",                              "lost: running by B",              ""],
  ["cancelled e1",                              "9",  "complete A1 past A1 cancelled/", "=",                         "lost: cancelled",                 ""],
  ["completed e1",                              "9",  "renew A1 past A1 completed/complete", "=",                    "lost: completed",                 ""],
  // Calling it off.
  ["pending f1",                                "3",  "cancel",                  "cancelled f1",                     "done",                            ""],
  ["running e1 A until 10",                     "3",  "cancel",                  "running e1 A until 10 (cancelling)", "done",                          ""],
  ["running e1 A until 10 (cancelling)",        "3",  "cancel",                  "=",                                "done",                            ""],
  ["running e1 A until 10 (lapsed)",            "12", "cancel",                  "cancelled e1",                     "done",                            "cancelled/"],
  ["running e1 A until 10 (cancelling)",        "6",  "complete A1",             "completed e1",                     "finished completed",              "completed/complete"],
  ["running e1 A until 10 (cancelling)",        "6",  "release A1",              "cancelled e1",                     "finished cancelled",              "cancelled/release"],
  ["running e1 A until 10 (cancelling)",        "6",  "fail A1",                 "cancelled e1 f1 ready=106",        "finished cancelled",              "cancelled/fail"],
  ["running e1 A until 10 (cancelling)",        "6",  "fail for good A1",        "cancelled e1 f1 ready=106",        "finished cancelled",              "cancelled/fail"],
  ["running e1 A until 10 (cancelling)",        "6",  "crash A1",                "cancelled e1 ready=106",           "finished cancelled",              "cancelled/crash"],
  ["running e1 A until 10 (cancelling)",        "6",  "snooze 50 A1",            "cancelled e1 ready=50",            "finished cancelled",              "cancelled/snooze"],
  ["completed e1",                              "3",  "cancel",                  "=",                                "completed cannot be cancelled",   ""],
  ["failed e1",                                 "3",  "cancel",                  "=",                                "failed cannot be cancelled",      ""],
  ["cancelled",                                 "3",  "cancel",                  "=",                                "cancelled cannot be cancelled",   ""],
  // Once more.
  ["failed e7 f2 l5 ready=9 wish=1",            "30", "retry",                   "pending e7 ready=30 wish=1",       "done",                            ""],
  ["failed e7 f2",                              "30", "retry, file gone",        "uploading e7",                     "done",                            ""],
  ["cancelled e7 f1 l1 wish=50",                "30", "retry",                   "pending e7 ready=50 wish=50",      "done",                            ""],
  ["cancelled",                                 "30", "retry, file gone",        "uploading",                        "done",                            ""],
  ["pending",                                   "30", "retry",                   "=",                                "pending cannot be retried",       ""],
  ["running e1 A until 10",                     "30", "retry",                   "=",                                "running cannot be retried",       ""],
  ["completed e1",                              "30", "retry",                   "=",                                "completed cannot be retried",     ""],
];

#[test]
fn each_step_does_what_its_row_says() {
    let mut wrong = Vec::new();
    for [given, now, step, then, reply, record] in TABLE {
        let life = life(given);
        assert_eq!(show(&life), *given, "the row writes its life in another way than the table does");
        let (step, past) = self::step(step);
        let result = apply(&life, past.as_ref(), &step, at(now));
        let expected = [if *then == "=" { *given } else { *then }, *reply, *record].map(str::to_owned);
        let found = match &result {
            Ok(done) => {
                let record = done.ended.as_ref().map(show_record).unwrap_or_default();
                [show(&done.life), show_reply(done.reply), record]
            }
            Err(refused) => [show(&life), show_refusal(refused), String::new()],
        };
        if found != expected {
            wrong.push(format!("{given} | {now} | {step:?}\n  expected {expected:?}\n  found    {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_new_life_waits_for_its_file_or_for_its_turn() {
    let new = |present, run_at: Option<i64>| {
        show(&Life::new(present, 2, run_at.map(Timestamp::from_millis), Timestamp::from_millis(3)))
    };
    assert_eq!(new(false, None), "uploading");
    assert_eq!(new(true, None), "pending ready=3");
    assert_eq!(new(true, Some(9)), "pending ready=9 wish=9");
    assert_eq!(new(true, Some(1)), "pending ready=3 wish=1");
}

#[test]
fn a_job_has_at_least_one_attempt() {
    assert_eq!(Life::new(true, 0, None, Timestamp::ZERO).max_attempts, 1);
}

#[test]
fn a_refusal_says_in_words_what_to_make_of_it() {
    let said = |given: &str, now: &str, text: &str| {
        let (step, past) = step(text);
        apply(&life(given), past.as_ref(), &step, at(now)).unwrap_err().to_string()
    };
    assert_eq!(
        said("running e2 B until 10", "6", "renew A1"),
        "lease lost: worker B took this job at 1970-01-01T00:00:00.000Z. Nothing was changed"
    );
    assert_eq!(
        said("cancelled e1", "6", "complete A1"),
        "lease lost: the job is cancelled. Nothing was changed"
    );
    assert_eq!(
        said("completed", "6", "cancel"),
        "a job that is completed cannot be cancelled. Nothing was changed"
    );
    assert_eq!(
        said("pending ready=5", "3", "claim A"),
        "the job may not run before 1970-01-01T00:00:00.005Z"
    );
}

fn at(text: &str) -> Timestamp {
    Timestamp::from_millis(text.parse().unwrap_or_else(|_| panic!("{text:?} is no time")))
}

fn worker(name: &str) -> WorkerId {
    WorkerId::new(name).unwrap()
}

fn secret(worker: &str) -> LeaseSecret {
    LeaseSecret::from_bytes([worker.as_bytes()[0]; 32])
}

fn token(text: &str) -> LeaseToken {
    let (name, flaw) = text.split_once('!').unwrap_or((text, ""));
    let (worker, epoch) = name.split_at(1);
    let generation = if flaw == "generation" { 6 } else { 7 };
    let secret = if flaw == "secret" { LeaseSecret::from_bytes([0; 32]) } else { secret(worker) };
    LeaseToken::new(Generation::new(generation), Epoch::new(epoch.parse().unwrap()), secret)
}

fn life(text: &str) -> Life {
    let mut words = text.split(' ');
    let status: Status = words.next().unwrap().parse().unwrap();
    let mut life = Life { ready_at: Timestamp::ZERO, ..Life::new(false, 2, None, Timestamp::ZERO) };
    let mut held = None;
    while let Some(word) = words.next() {
        let (sign, number) = word.split_at(1);
        match word.split_once('=') {
            Some(("ready", time)) => life.ready_at = at(time),
            Some(("wish", time)) => life.run_at = Some(at(time)),
            _ if sign == "e" => life.epoch = Epoch::new(number.parse().unwrap()),
            _ if sign == "f" => life.failures = number.parse().unwrap(),
            _ if sign == "l" => life.losses = number.parse().unwrap(),
            _ => {
                assert_eq!(words.next(), Some("until"), "{text:?} is no life");
                held = Some((word, at(words.next().unwrap()), words.by_ref().collect::<String>()));
            }
        }
    }
    life.phase = match (status, held) {
        (Status::Uploading, None) => Phase::Uploading,
        (Status::Pending, None) => Phase::Pending,
        (Status::Completed, None) => Phase::Completed,
        (Status::Failed, None) => Phase::Failed,
        (Status::Cancelled, None) => Phase::Cancelled,
        (Status::Running, Some((name, expires_at, flags))) => Phase::Running(Lease {
            token: LeaseToken::new(Generation::new(7), life.epoch, secret(name)),
            worker: worker(name),
            host: None,
            claim_id: None,
            started_at: Timestamp::ZERO,
            expires_at,
            duration: LEASE,
            lapsed: flags.contains("lapsed"),
            cancel_requested: flags.contains("cancelling"),
        }),
        _ => panic!("{text:?}: a lease exists exactly while a job is running"),
    };
    life
}

fn step(text: &str) -> (Step, Option<EndedLease>) {
    let (text, past) = match text.split_once(" past ") {
        Some((text, past)) => (text, Some(record(past))),
        None => (text, None),
    };
    let fail = |retryable| Finish::Fail { retryable, policy: POLICY, jitter: Jitter::NONE };
    let report = text.rsplit_once(' ').unwrap_or((text, ""));
    let step = match (text, report) {
        ("source ready", _) => Step::SourceReady,
        ("source rejected", _) => Step::SourceRejected,
        ("upload expired", _) => Step::UploadExpired,
        ("lapse", _) => Step::Lapse,
        ("lose", _) => Step::Lose,
        ("void", _) => Step::Void,
        ("cancel", _) => Step::Cancel,
        ("retry", _) => Step::Retry { source_present: true },
        ("retry, file gone", _) => Step::Retry { source_present: false },
        (_, ("claim", name)) => Step::Claim(NewLease {
            generation: Generation::new(7),
            secret: secret(name),
            worker: worker(name),
            host: None,
            claim_id: None,
            duration: LEASE,
        }),
        (_, ("renew", shown)) => Step::Renew(token(shown)),
        (_, ("advance", shown)) => Step::Advance(token(shown)),
        (_, ("complete", shown)) => Step::Finish(token(shown), Finish::Complete),
        (_, ("fail", shown)) => Step::Finish(token(shown), fail(true)),
        (_, ("fail for good", shown)) => Step::Finish(token(shown), fail(false)),
        (_, ("crash", shown)) => {
            Step::Finish(token(shown), Finish::Crash { policy: POLICY, jitter: Jitter::NONE })
        }
        (_, ("release", shown)) => Step::Finish(token(shown), Finish::Release),
        (_, (snooze, shown)) => {
            let until = snooze.strip_prefix("snooze ").unwrap_or_else(|| panic!("{text:?} is no step"));
            Step::Finish(token(shown), Finish::Snooze(at(until)))
        }
    };
    (step, past)
}

const ENDS: [(&str, End); 7] = [
    ("completed", End::Completed),
    ("failed", End::Failed),
    ("released", End::Released),
    ("snoozed", End::Snoozed),
    ("lost", End::Lost),
    ("cancelled", End::Cancelled),
    ("voided", End::Voided),
];

const REPORTS: [(&str, FinishKind); 5] = [
    ("complete", FinishKind::Complete),
    ("fail", FinishKind::Fail),
    ("crash", FinishKind::Crash),
    ("release", FinishKind::Release),
    ("snooze", FinishKind::Snooze),
];

/// Reads `A1 failed/fail 106`: whose attempt, how it ended, what was reported, and when the job was to run again.
fn record(text: &str) -> EndedLease {
    let words: Vec<&str> = text.split(' ').collect();
    let (end, report) = words[1].split_once('/').unwrap();
    let (_, end) = ENDS.into_iter().find(|(name, _)| *name == end).unwrap();
    let reported = REPORTS.into_iter().find(|(name, _)| *name == report).map(|(_, kind)| kind);
    let status = match end {
        End::Completed => Status::Completed,
        End::Cancelled => Status::Cancelled,
        _ => Status::Pending,
    };
    let ready_at = words.get(2).map(|time| at(time));
    EndedLease { token: token(words[0]), end, reported, finished: Finished { status, ready_at } }
}

fn show_record(ended: &EndedLease) -> String {
    let end = ENDS.into_iter().find(|(_, end)| *end == ended.end).unwrap().0;
    let report =
        REPORTS.into_iter().find(|(_, kind)| Some(*kind) == ended.reported).map_or("", |(name, _)| name);
    format!("{end}/{report}")
}

fn show(life: &Life) -> String {
    let mut words = vec![life.phase.status().to_string()];
    let counters = [("e", life.epoch.get()), ("f", life.failures), ("l", life.losses)];
    words.extend(counters.iter().filter(|(_, n)| *n > 0).map(|(sign, n)| format!("{sign}{n}")));
    if life.ready_at > Timestamp::ZERO {
        words.push(format!("ready={}", life.ready_at.as_millis()));
    }
    words.extend(life.run_at.map(|time| format!("wish={}", time.as_millis())));
    if let Phase::Running(lease) = &life.phase {
        words.push(format!("{} until {}", lease.worker, lease.expires_at.as_millis()));
        let flags = [(lease.lapsed, "lapsed"), (lease.cancel_requested, "cancelling")];
        let flags: Vec<&str> = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        if !flags.is_empty() {
            words.push(format!("({})", flags.join(", ")));
        }
    }
    words.join(" ")
}

fn show_reply(reply: Reply) -> String {
    match reply {
        Reply::Done => "done".to_owned(),
        Reply::Renewed { cancel_requested: false } => "renewed".to_owned(),
        Reply::Renewed { cancel_requested: true } => "renewed, cancel".to_owned(),
        Reply::Buried => "buried".to_owned(),
        Reply::Finished(Finished { status, ready_at: None }) => format!("finished {status}"),
        Reply::Finished(Finished { status, ready_at: Some(at) }) => {
            format!("finished {status} {}", at.as_millis())
        }
    }
}

fn show_refusal(refused: &Refused) -> String {
    match refused {
        Refused::LeaseLost { status, holder: None } => format!("lost: {status}"),
        Refused::LeaseLost { status, holder: Some((worker, _)) } => format!("lost: {status} by {worker}"),
        Refused::AlreadyEnded { end } => {
            let name = ENDS.into_iter().find(|(_, known)| known == end).unwrap().0;
            format!("already ended as {name}")
        }
        Refused::NotEnded { status } => format!("{status} cannot be deleted"),
        Refused::WrongState { action, status } => format!("{status} cannot be {action}"),
        Refused::NotDue { ready_at } => format!("not before {}", ready_at.as_millis()),
    }
}
