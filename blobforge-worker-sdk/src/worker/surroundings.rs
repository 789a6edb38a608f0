//! What a worker finds around it.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use blobforge_core::{Clock, SystemClock};
use jiff::tz::TimeZone;

use super::{RunWindow, cards::Cards, gauges::Instruments, windows::Schedule};

/// The machine as a worker sees it. A test puts another one in its place.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) clock: Arc<dyn Clock>,
    /// That of the machine if none is named.
    pub(super) zone: Option<TimeZone>,
    /// The folders in which programs are looked for, as `PATH` has them.
    pub(super) programs: Option<OsString>,
    /// Where the system tells of itself.
    pub(super) proc: PathBuf,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            zone: None,
            programs: env::var_os("PATH"),
            proc: PathBuf::from("/proc"),
        }
    }
}

impl Surroundings {
    /// When a worker of these windows runs.
    pub(super) fn schedule(&self, windows: Vec<RunWindow>) -> Option<Schedule> {
        Schedule::of(windows, self.clock.clone(), self.zone.clone())
    }

    /// What shows how the machine is.
    pub(super) fn instruments(&self, work_dir: &Path) -> Instruments {
        let cards = Cards::found_in(self.programs.as_deref());
        Instruments::new(self.proc.clone(), work_dir.to_owned(), cards)
    }
}
