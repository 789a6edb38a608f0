//! What a worker finds around it.

use std::sync::Arc;

use blobforge_core::{Clock, SystemClock};
use jiff::tz::TimeZone;

use super::{RunWindow, windows::Schedule};

/// The machine as a worker sees it. A test puts another one in its place.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) clock: Arc<dyn Clock>,
    /// That of the machine if none is named.
    pub(super) zone: Option<TimeZone>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), zone: None }
    }
}

impl Surroundings {
    /// When a worker of these windows runs.
    pub(super) fn schedule(&self, windows: Vec<RunWindow>) -> Option<Schedule> {
        Schedule::of(windows, self.clock.clone(), self.zone.clone())
    }
}
