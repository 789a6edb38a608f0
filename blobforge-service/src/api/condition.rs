//! How a worker is, as it says with its heartbeats.

use blobforge_core::{Condition, Gauges, GpuGauges};
use poem_openapi::Object;
use serde::Deserialize;

use super::time::Time;

/// How a worker is. What it says replaces what it said before.
#[derive(Clone, Debug, Object, Deserialize)]
#[oai(rename = "Condition")]
pub(super) struct ConditionView {
    /// Until when it claims nothing because it is not to run now.
    pub(super) suspended_until: Option<Time>,
    /// Why it claims nothing until somebody sees to it, for people; cut to 1 KiB.
    pub(super) trouble: Option<String>,
    /// What its machine is doing.
    pub(super) gauges: Option<GaugesView>,
}

/// How busy and how full the machine of a worker is.
#[derive(Clone, Debug, Object, Deserialize)]
#[oai(rename = "Gauges")]
pub(super) struct GaugesView {
    /// How much of all processors is in use, 0 to 100.
    cpu_percent: f32,
    /// The memory in use, in bytes.
    memory_used_bytes: u64,
    /// All memory, in bytes.
    memory_total_bytes: u64,
    /// What is free on the disk of the work folder, in bytes.
    disk_free_bytes: u64,
    /// The size of that disk, in bytes.
    disk_total_bytes: u64,
    /// Its graphics cards, at most 64.
    #[serde(default)]
    #[oai(default)]
    gpus: Vec<GpuGaugesView>,
}

/// How busy and how full a graphics card is, as far as it tells.
#[derive(Clone, Debug, Object, Deserialize)]
#[oai(rename = "GpuGauges")]
pub(super) struct GpuGaugesView {
    /// What it is called; cut to 255 bytes.
    name: String,
    /// How much of its time it is in use, 0 to 100.
    use_percent: Option<f32>,
    /// Its memory in use, in bytes.
    memory_used_bytes: Option<u64>,
    /// All its memory, in bytes.
    memory_total_bytes: Option<u64>,
    /// How warm it is.
    temperature_celsius: Option<f32>,
}

impl From<Condition> for ConditionView {
    fn from(Condition { suspended_until, trouble, gauges }: Condition) -> Self {
        Self { suspended_until: suspended_until.map(Time), trouble, gauges: gauges.map(GaugesView::from) }
    }
}

impl From<ConditionView> for Condition {
    fn from(ConditionView { suspended_until, trouble, gauges }: ConditionView) -> Self {
        Self {
            suspended_until: suspended_until.map(|time| time.0),
            trouble,
            gauges: gauges.map(Gauges::from),
        }
    }
}

impl From<Gauges> for GaugesView {
    fn from(said: Gauges) -> Self {
        let Gauges {
            cpu_percent,
            memory_used_bytes,
            memory_total_bytes,
            disk_free_bytes,
            disk_total_bytes,
            gpus,
        } = said;
        Self {
            cpu_percent,
            memory_used_bytes,
            memory_total_bytes,
            disk_free_bytes,
            disk_total_bytes,
            gpus: gpus.into_iter().map(GpuGaugesView::from).collect(),
        }
    }
}

impl From<GaugesView> for Gauges {
    fn from(said: GaugesView) -> Self {
        let GaugesView {
            cpu_percent,
            memory_used_bytes,
            memory_total_bytes,
            disk_free_bytes,
            disk_total_bytes,
            gpus,
        } = said;
        Self {
            cpu_percent,
            memory_used_bytes,
            memory_total_bytes,
            disk_free_bytes,
            disk_total_bytes,
            gpus: gpus.into_iter().map(GpuGauges::from).collect(),
        }
    }
}

impl From<GpuGauges> for GpuGaugesView {
    fn from(said: GpuGauges) -> Self {
        let GpuGauges { name, use_percent, memory_used_bytes, memory_total_bytes, temperature_celsius } =
            said;
        Self { name, use_percent, memory_used_bytes, memory_total_bytes, temperature_celsius }
    }
}

impl From<GpuGaugesView> for GpuGauges {
    fn from(said: GpuGaugesView) -> Self {
        let GpuGaugesView { name, use_percent, memory_used_bytes, memory_total_bytes, temperature_celsius } =
            said;
        Self { name, use_percent, memory_used_bytes, memory_total_bytes, temperature_celsius }
    }
}
