//! How busy and how full the machine of a worker is.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use blobforge_core::{Gauges, GpuGauges};
use rustix::fs::statvfs;

use super::cards::{Cards, CardsSeen};

/// What reads the gauges.
#[derive(Debug)]
pub(super) struct Instruments {
    /// Where the system tells of itself.
    proc: PathBuf,
    /// The work folder.
    folder: PathBuf,
    seen: Mutex<Seen>,
}

/// What is remembered from one look to the next.
#[derive(Debug)]
struct Seen {
    /// How the processors had been used when they were last looked at.
    ticks: Option<Ticks>,
    cards: Option<Cards>,
}

/// What the gauges show.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Nothing where the system does not tell.
    pub(super) gauges: Option<Gauges>,
    /// What is wrong with the graphics cards.
    pub(super) trouble: Option<String>,
}

impl Instruments {
    pub(super) fn new(proc: PathBuf, folder: PathBuf, cards: Option<Cards>) -> Self {
        let seen = Mutex::new(Seen { ticks: Ticks::read(&proc), cards });
        Self { proc, folder, seen }
    }

    /// Looks at everything. It blocks for as long as the graphics cards may take to answer.
    pub(super) fn read(&self) -> Reading {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let CardsSeen { gauges, trouble } = seen.cards.as_mut().map(Cards::look).unwrap_or_default();
        Reading { gauges: self.gauges(&mut seen.ticks, gauges), trouble }
    }

    fn gauges(&self, ticks: &mut Option<Ticks>, gpus: Vec<GpuGauges>) -> Option<Gauges> {
        let now = Ticks::read(&self.proc);
        let before = std::mem::replace(ticks, now);
        let cpu_percent = now?.since(before?)?;
        let (memory_used_bytes, memory_total_bytes) = memory(&self.proc)?;
        let (disk_free_bytes, disk_total_bytes) = disk(&self.folder)?;
        Some(Gauges {
            cpu_percent,
            memory_used_bytes,
            memory_total_bytes,
            disk_free_bytes,
            disk_total_bytes,
            gpus,
        })
    }
}

/// What all processors together did since the machine started, in the system's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Ticks {
    fn read(proc: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(proc.join("stat")).ok()?)
    }

    /// Reads the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq and steal. What follows is within
    /// the first two already.
    fn parse(stat: &str) -> Option<Self> {
        let numbers = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().take(8);
        let ticks: Vec<u64> = numbers.map(str::parse).collect::<Result<_, _>>().ok()?;
        let idle = ticks.get(3)?.saturating_add(*ticks.get(4)?);
        let all = ticks.iter().fold(0_u64, |sum, ticks| sum.saturating_add(*ticks));
        Some(Self { busy: all.saturating_sub(idle), all })
    }

    /// How much of the time between two looks they were busy, 0 to 100.
    fn since(self, before: Self) -> Option<f32> {
        let all = self.all.checked_sub(before.all)?;
        // The time that is spent waiting for disks may be counted back.
        let busy = self.busy.saturating_sub(before.busy).min(all);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // A gauge is not so exact.
        Some((busy as f64 * 100.0 / all.max(1) as f64) as f32)
    }
}

/// The memory in use, and all of it.
fn memory(proc: &Path) -> Option<(u64, u64)> {
    memory_of(&fs::read_to_string(proc.join("meminfo")).ok()?)
}

/// Reads `/proc/meminfo`. What the system would give back when it is asked for counts as free.
fn memory_of(meminfo: &str) -> Option<(u64, u64)> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    };
    let (total, available) = (bytes("MemTotal")?, bytes("MemAvailable")?);
    Some((total.saturating_sub(available), total))
}

/// What is free on the disk of a folder, and its size.
fn disk(folder: &Path) -> Option<(u64, u64)> {
    let disk = statvfs(folder).ok()?;
    Some((disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize)))
}

#[cfg(test)]
mod tests;
