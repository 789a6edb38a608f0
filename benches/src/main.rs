//! How fast the queue is, beside the fastest thing that could do the same: a bare loop over the same tables.
//!
//!     cargo run --profile dist -p blobforge-benches
//!     cargo run --profile dist -p blobforge-benches -- --quick
//!
//! Everything is durable (`synchronous=FULL`) and measured in one run, on one disk, in turns, so that a noisy machine
//! is noisy for both. The final states of both databases are compared.

mod bare;
mod claims;
mod through_queue;

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

/// How many callers submit, claim and complete at once.
const CALLERS: [usize; 4] = [1, 16, 64, 256];
/// The least that the queue must reach of the bare loop's rate at 256 callers.
const FLOOR: f64 = 0.4;
/// How many keys have limits of their own in the last measurement.
const KEYS: usize = 1_000;
/// The least that claims must then reach of their rate without limits.
const LIMITED_FLOOR: f64 = 0.5;

use claims::Backlog;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Failure> {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let (rounds, waiting) = if quick { (1, [1_000, 20_000]) } else { (3, [1_000, 1_000_000]) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target_folder())?;
    say("durable lifecycles (submit, claim, complete) per second, best of each side's rounds\n");
    say(&format!("{:>8} {:>12} {:>12} {:>7}", "callers", "queue", "bare loop", "ratio"));
    let mut at_most_callers = 0.0;
    for callers in CALLERS {
        let lifecycles = lifecycles(callers, quick);
        let (mut queue, mut bare) = (0.0_f64, 0.0_f64);
        for round in 0..rounds {
            let (a, b) =
                (file(folder.path(), "queue", callers, round), file(folder.path(), "bare", callers, round));
            queue =
                queue.max(rate(lifecycles, runtime.block_on(through_queue::run(&a, callers, lifecycles))?));
            bare = bare.max(rate(lifecycles, bare::run(&b, callers, lifecycles, &runtime)?));
            compare(&a, &b)?;
        }
        at_most_callers = queue / bare;
        say(&format!("{callers:>8} {queue:>12.0} {bare:>12.0} {at_most_callers:>7.2}"));
    }
    say("\ntime of one claim within a batch of 256, median\n");
    say(&format!("{:>10} {:>11} {:>12} {:>12}", "waiting", "limit keys", "per claim", "claims/s"));
    let mut backlogs = Vec::new();
    for (waiting, keys) in [(waiting[0], 0), (waiting[1], 0), (waiting[1], KEYS)] {
        let path = file(folder.path(), "claims", waiting, keys);
        backlogs.push(runtime.block_on(Backlog::fill(&path, waiting, keys))?);
    }
    runtime.block_on(claims::measure(&mut backlogs))?;
    let mut rates = Vec::new();
    for backlog in &mut backlogs {
        let (median, Backlog { waiting, keys, .. }) = (backlog.median().as_secs_f64(), backlog);
        say(&format!("{waiting:>10} {keys:>11} {:>9.1} µs {:>12.0}", median * 1e6, 1.0 / median));
        rates.push(1.0 / median);
    }
    let limited = rates[2] / rates[1];
    say(&format!(
        "\nwith {KEYS} limit keys claims reach {limited:.2} of the rate without (at least {LIMITED_FLOOR} is wanted)"
    ));
    // Under --quick too little is measured to judge by.
    let fine = quick || (at_most_callers >= FLOOR && limited >= LIMITED_FLOOR);
    say(&format!(
        "\nthe queue reaches {at_most_callers:.2} of the bare loop at 256 callers (at least {FLOOR} is wanted)"
    ));
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Enough for a second or two, whatever the number of callers; a multiple of it.
fn lifecycles(callers: usize, quick: bool) -> usize {
    let each = if quick { 4 } else { 2_000 / callers.min(100) + 200 };
    callers * each
}

fn rate(lifecycles: usize, took: Duration) -> f64 {
    lifecycles as f64 / took.as_secs_f64()
}

fn file(folder: &Path, name: &str, callers: usize, round: usize) -> std::path::PathBuf {
    folder.join(format!("{name}-{callers}-{round}.db"))
}

/// On the disk of the build rather than in a folder that may be memory.
fn target_folder() -> std::path::PathBuf {
    let program = std::env::current_exe().ok();
    program.and_then(|path| path.parent().map(Path::to_owned)).unwrap_or_else(std::env::temp_dir)
}

/// Both sides must have done the same: the same jobs in the same states, and nothing left over.
fn compare(a: &Path, b: &Path) -> Result<(), Failure> {
    let (a, b) = (state(a)?, state(b)?);
    if a == b { Ok(()) } else { Err(format!("the final states differ:\n{a:?}\n{b:?}").into()) }
}

fn state(path: &Path) -> Result<Vec<Vec<String>>, Failure> {
    let database = rusqlite::Connection::open(path)?;
    let mut state = Vec::new();
    for sql in [
        "SELECT type, priority, status, epoch, failures, losses, max_attempts, length(body), result, \
           started_at > 0, ended_at > 0, count(1) FROM jobs GROUP BY 1,2,3,4,5,6,7,8,9,10,11",
        "SELECT epoch, length(secret), worker, end, reported, finished_status, count(1) FROM attempts GROUP BY 1,2,3,4,5,6",
        "SELECT type, status, n FROM counts WHERE n <> 0",
        "SELECT (SELECT count(1) FROM ready), (SELECT count(1) FROM leases), (SELECT count(1) FROM lanes WHERE priority IS NOT NULL), \
           (SELECT count(1) FROM scheduled), (SELECT sum(running) FROM types)",
    ] {
        let mut statement = database.prepare(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let value = |at| row.get::<_, rusqlite::types::Value>(at).map(|value| format!("{value:?}"));
            state.push((0..columns).map(value).collect::<Result<_, _>>()?);
        }
    }
    Ok(state)
}

#[expect(clippy::print_stdout, reason = "a benchmark is there to print")]
fn say(line: &str) {
    println!("{line}");
}

/// Runs something and says how long it took.
fn timed<T>(what: impl FnOnce() -> Result<T, Failure>) -> Result<Duration, Failure> {
    let begun = Instant::now();
    what()?;
    Ok(begun.elapsed())
}
