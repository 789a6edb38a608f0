//! What a worker says of itself with its heartbeats.

use serde::{Deserialize, Serialize};

use crate::{Invalid, Timestamp, bounds, inline::cut};

/// The most bytes of what a worker says is wrong with it; what is longer is cut.
///
/// As in [`Condition::cut`].
pub const MAX_TROUBLE_BYTES: usize = 1024;
/// The most bytes of the name of a graphics card; what is longer is cut.
///
/// As in [`Condition::cut`].
pub const MAX_GPU_NAME_BYTES: usize = 255;
/// The most graphics cards that a worker has.
///
/// As in [`Gauges`].
pub const MAX_GPUS: usize = 64;

/// How a worker is. What it says replaces what it said before.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
/// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
/// # let registration = blobforge_core::Registration::new(smith.clone(), pdf, "drawn at the start");
/// # queue.register(registration.clone()).await.unwrap();
/// use blobforge_core::{Condition, storage::Beat};
/// let until = Some("2026-03-01T22:00:00Z".parse().unwrap());
/// let suspended = Condition { suspended_until: until, ..Condition::default() };
/// let beat = |condition| Beat { worker: smith.clone(), leases: vec![], condition };
/// queue.heartbeat(beat(Some(suspended.clone()))).await.unwrap();
/// queue.heartbeat(beat(None)).await.unwrap();
/// assert_eq!(queue.workers().await.unwrap()[0].condition, suspended, "no news is no news");
/// queue.register(registration).await.unwrap();
/// assert_eq!(queue.workers().await.unwrap()[0].condition, Condition::default());
/// # });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Until when it claims nothing because it is not to run now.
    #[serde(default)]
    pub suspended_until: Option<Timestamp>,
    /// Why it claims nothing until somebody sees to it, for people.
    #[serde(default)]
    pub trouble: Option<String>,
    /// What its machine is doing, if it says so.
    #[serde(default)]
    pub gauges: Option<Gauges>,
}

/// How busy and how full the machine of a worker is.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{Condition, Gauges, GpuGauges, MAX_GPUS, WorkerId, storage::Beat};
/// let card = GpuGauges { name: "NVIDIA H100".to_owned(), temperature_celsius: Some(41.0), ..GpuGauges::default() };
/// let beat = |gauges| {
///     let condition = Condition { gauges: Some(gauges), ..Condition::default() };
///     Beat { worker: WorkerId::new("smith").unwrap(), leases: vec![], condition: Some(condition) }
/// };
/// let many = Gauges { gpus: vec![card; MAX_GPUS + 1], ..Gauges::default() };
/// assert!(queue.heartbeat(beat(many)).await.unwrap_err().to_string().starts_with("gauges.gpus: "));
/// let nonsense = Gauges { cpu_percent: f32::NAN, ..Gauges::default() };
/// assert!(queue.heartbeat(beat(nonsense)).await.unwrap_err().to_string().starts_with("gauges.cpu_percent: "));
/// # });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gauges {
    /// How much of all processors is in use, 0 to 100.
    pub cpu_percent: f32,
    /// The memory in use, in bytes.
    pub memory_used_bytes: u64,
    /// All memory, in bytes.
    pub memory_total_bytes: u64,
    /// What is free on the disk of the work folder, in bytes.
    pub disk_free_bytes: u64,
    /// The size of that disk, in bytes.
    pub disk_total_bytes: u64,
    /// Its graphics cards, at most [`MAX_GPUS`].
    #[serde(default)]
    pub gpus: Vec<GpuGauges>,
}

/// How busy and how full a graphics card is, as far as it tells.
///
/// As in [`Gauges`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuGauges {
    /// What it is called.
    pub name: String,
    /// How much of its time it is in use, 0 to 100.
    #[serde(default)]
    pub use_percent: Option<f32>,
    /// Its memory in use, in bytes.
    #[serde(default)]
    pub memory_used_bytes: Option<u64>,
    /// All its memory, in bytes.
    #[serde(default)]
    pub memory_total_bytes: Option<u64>,
    /// How warm it is.
    #[serde(default)]
    pub temperature_celsius: Option<f32>,
}

impl Condition {
    /// The same with all texts cut to what is kept of them; of an empty one nothing is.
    ///
    /// ```
    /// use blobforge_core::{Condition, Gauges, GpuGauges, MAX_GPU_NAME_BYTES, MAX_TROUBLE_BYTES};
    /// let card = GpuGauges { name: "x".repeat(10_000), ..GpuGauges::default() };
    /// let gauges = Some(Gauges { gpus: vec![card], ..Gauges::default() });
    /// let said = Condition { trouble: Some("x".repeat(10_000)), gauges, suspended_until: None };
    /// let kept = said.cut();
    /// assert_eq!(kept.trouble.unwrap().len(), MAX_TROUBLE_BYTES);
    /// assert_eq!(kept.gauges.unwrap().gpus[0].name.len(), MAX_GPU_NAME_BYTES);
    /// ```
    #[must_use]
    pub fn cut(mut self) -> Self {
        self.trouble = self.trouble.filter(|trouble| !trouble.is_empty());
        if let Some(trouble) = &mut self.trouble {
            cut(trouble, MAX_TROUBLE_BYTES);
        }
        for card in self.gauges.iter_mut().flat_map(|gauges| &mut gauges.gpus) {
            cut(&mut card.name, MAX_GPU_NAME_BYTES);
        }
        self
    }

    /// Checks what the types alone do not.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        self.gauges.as_ref().map_or(Ok(()), Gauges::validate)
    }
}

impl Gauges {
    fn validate(&self) -> Result<(), Invalid> {
        finite("gauges.cpu_percent", Some(self.cpu_percent))?;
        bounds::at_most("gauges.gpus", self.gpus.len(), MAX_GPUS)?;
        self.gpus.iter().try_for_each(|card| {
            finite("gauges.gpus.use_percent", card.use_percent)?;
            finite("gauges.gpus.temperature_celsius", card.temperature_celsius)
        })
    }
}

/// Checks a number that JSON has to be able to say.
fn finite(field: &'static str, number: Option<f32>) -> Result<(), Invalid> {
    match number {
        Some(number) if !number.is_finite() => {
            Err(Invalid::new(field, format!("{number} is no number: leave out what is not known")))
        }
        _ => Ok(()),
    }
}
