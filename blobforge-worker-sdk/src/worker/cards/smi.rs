//! Asks `nvidia-smi`, which hangs when a card or its driver does.

use std::{
    io::{self, PipeReader, Read},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use blobforge_core::{GpuGauges, MAX_GPUS};
use rustix::{
    io::retry_on_intr,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};

use super::{Card, Listing};

const ASKED: [&str; 2] = [
    "--query-gpu=index,uuid,name,utilization.gpu,memory.used,memory.total,temperature.gpu",
    "--format=csv,noheader,nounits",
];
/// The most bytes that are read of an answer.
const ANSWER_BYTES: u64 = 64 * 1024;
/// It tells memory in MiB.
const MIB: u64 = 1024 * 1024;

/// The program, and who waits for it.
#[derive(Debug)]
pub(super) struct Smi {
    program: PathBuf,
    within: Duration,
    /// Follows the last run, until that has ended.
    follower: Option<JoinHandle<()>>,
}

/// What a run came to.
struct Answer {
    text: String,
    code: Option<i32>,
}

impl Answer {
    /// Which cards it names; one that ended badly may name some all the same.
    fn listing(self) -> Result<Listing, String> {
        let listing = card_lines(&self.text);
        if self.code == Some(0) || !listing.cards.is_empty() {
            return Ok(listing);
        }
        let how = self.code.map_or_else(|| "by a signal".to_owned(), |code| format!("with code {code}"));
        Err(listing.complaint.unwrap_or_else(|| format!("nvidia-smi ended {how}")))
    }
}

impl Smi {
    pub(super) fn new(program: PathBuf, within: Duration) -> Self {
        Self { program, within, follower: None }
    }

    /// Which cards it sees, or why that is not known.
    pub(super) fn ask(&mut self) -> Result<Listing, String> {
        // One that hangs in the system cannot even be killed. There is no use in a second one.
        if self.follower.as_ref().is_some_and(|follower| !follower.is_finished()) {
            return Err("nvidia-smi hangs and cannot be killed".to_owned());
        }
        self.run().map_err(|error| format!("nvidia-smi: {error}"))?.listing()
    }

    /// Runs it, and kills it with all that it started when it takes too long.
    fn run(&mut self) -> io::Result<Answer> {
        let (output, writer) = io::pipe()?;
        let mut command = Command::new(&self.program);
        command.args(ASKED).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
        let child = command.spawn()?;
        // The ends of the pipe that this process has would keep it open.
        drop(command);
        let (answer, answered) = mpsc::channel();
        // The number of a child stays taken until it is waited for, and that happens only once it may not be killed any more.
        let (may_be_killed, killed) = mpsc::channel();
        let group = Pid::from_child(&child);
        self.follower = Some(thread::Builder::new().name("nvidia-smi".to_owned()).spawn(move || {
            follow(child, output, &answer, &killed);
        })?);
        let answered = answered.recv_timeout(self.within);
        // An error means that nobody is left.
        let _ = kill_process_group(group, Signal::KILL);
        drop::<Sender<()>>(may_be_killed);
        // Whoever answered has ended and is waited for in no time; who did not may never end.
        if answered.is_ok()
            && let Some(follower) = self.follower.take()
        {
            let _ = follower.join();
        }
        match answered {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                Err(io::Error::other(format!("it did not answer within {:?}", self.within)))
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("nobody waited for it")),
        }
    }
}

/// Reads what a run says until it has ended, and waits for it when it may not be killed any more.
fn follow(mut child: Child, output: PipeReader, answer: &Sender<io::Result<Answer>>, killed: &Receiver<()>) {
    let mut text = Vec::new();
    let read = output.take(ANSWER_BYTES).read_to_end(&mut text);
    let ended = retry_on_intr(|| {
        waitid(WaitId::Pid(Pid::from_child(&child)), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    });
    let outcome = read.and(ended.map_err(io::Error::from)).map(|status| Answer {
        text: String::from_utf8_lossy(&text).into_owned(),
        code: status.and_then(|status| status.exit_status()),
    });
    // Nobody waits for an answer that comes too late.
    let _ = answer.send(outcome);
    let _ = killed.recv();
    let _ = child.wait();
}

/// Reads the answer line by line.
pub(super) fn card_lines(text: &str) -> Listing {
    let mut listing = Listing::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match card(line) {
            Some(card) if listing.cards.len() < MAX_GPUS => listing.cards.push(card),
            Some(_) => {}
            None => {
                listing.complaint.get_or_insert_with(|| line.to_owned());
            }
        }
    }
    listing
}

/// Reads `index, uuid, name, utilization.gpu, memory.used, memory.total, temperature.gpu`. What a card does not tell is
/// `[N/A]`, `[Not Supported]` or the like; one that is lost says so.
fn card(line: &str) -> Option<Card> {
    if line.contains("[GPU is lost]") {
        return None;
    }
    let (index, rest) = line.split_once(',')?;
    let (id, rest) = rest.split_once(',')?;
    let mut last = rest.rsplitn(5, ',').map(str::trim);
    let (temperature, total, used, utilization) = (last.next()?, last.next()?, last.next()?, last.next()?);
    let number = |text: &str| text.parse::<f32>().ok().filter(|number| number.is_finite());
    let bytes = |text: &str| text.parse::<u64>().ok()?.checked_mul(MIB);
    let gauges = GpuGauges {
        name: last.next()?.to_owned(),
        use_percent: number(utilization),
        memory_used_bytes: bytes(used),
        memory_total_bytes: bytes(total),
        temperature_celsius: number(temperature),
    };
    index.trim().parse::<u32>().ok()?;
    Some(Card { index: index.trim().to_owned(), id: id.trim().to_owned(), gauges })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::worker::cards::fake::put_smi;

    #[test]
    fn what_is_wrong_is_told_unless_cards_are_named_all_the_same() {
        let answer = |text: &str, code| Answer { text: text.to_owned(), code }.listing();
        let card = "0, GPU-1, NVIDIA H100, 97, 71234, 81559, 64";
        assert_eq!(answer(card, Some(15)).unwrap().cards.len(), 1);
        let mismatch = "Driver/library version mismatch";
        assert_eq!(answer(mismatch, Some(18)).unwrap_err(), mismatch);
        assert_eq!(answer("", Some(9)).unwrap_err(), "nvidia-smi ended with code 9");
        assert_eq!(answer("", None).unwrap_err(), "nvidia-smi ended by a signal");
        assert_eq!(answer("", Some(0)), Ok(Listing::default()));
    }

    // The other tests that start it are a program of their own, tests/gauges.rs.
    #[test]
    fn a_program_that_hangs_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        put_smi(folder.path(), "sleep 100000 & wait");
        let mut smi = Smi::new(folder.path().join("nvidia-smi"), Duration::from_millis(50));
        let refused = smi.ask().unwrap_err();
        assert!(refused.contains("did not answer within 50ms"), "{refused}");
        // The pipe that both had is closed.
        smi.follower.take().unwrap().join().unwrap();
    }
}
