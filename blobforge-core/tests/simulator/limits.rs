//! What types allow, reckoned from what was set, what runs and what started, apart from the store's own counters.

use std::{collections::BTreeMap, time::Duration};

use blobforge_core::{Job, JobType, Limits, Rate, Timestamp, TypeSettings};

use crate::{TYPES, ledger::Snapshot};

/// What is known of all types.
#[derive(Clone, Debug)]
pub(crate) struct Types(BTreeMap<JobType, Type>);

impl Default for Types {
    fn default() -> Self {
        let known = |name| (JobType::new(name).unwrap(), Type::default());
        Self(TYPES.map(known).into())
    }
}

/// What is known of one type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Type {
    pub(crate) settings: TypeSettings,
    pub(crate) paused: bool,
    starts: Starts,
    keys: BTreeMap<String, Starts>,
    /// The uptime at which its settings were last changed, or the time of day was.
    pub(crate) changed_at: Duration,
}

/// The starts of a type or of a key.
#[derive(Clone, Debug, Default)]
struct Starts {
    /// The uptimes of those since the rate was changed or the time of day was: those hold it exactly.
    recent: Vec<Duration>,
    /// Up to what time of day all starts are paid for, each at the rate of its time.
    paid_to: Timestamp,
}

impl Types {
    pub(crate) fn of(&self, job_type: &JobType) -> &Type {
        &self.0[job_type]
    }

    fn known(&mut self, job_type: &JobType) -> &mut Type {
        self.0.get_mut(job_type).unwrap()
    }

    pub(crate) fn set(&mut self, job_type: &JobType, settings: TypeSettings, uptime: Duration) {
        let known = self.known(job_type);
        if known.settings.limits.starts != settings.limits.starts {
            known.starts.recent.clear();
        }
        if key_limits(&known.settings).starts != key_limits(&settings).starts {
            known.keys.values_mut().for_each(|key| key.recent.clear());
        }
        (known.settings, known.changed_at) = (settings, uptime);
    }

    pub(crate) fn pause(&mut self, job_type: &JobType, paused: bool) {
        self.known(job_type).paused = paused;
    }

    pub(crate) fn started(&mut self, job: &Job, now: Timestamp, uptime: Duration) {
        self.known(&job.job_type).started(job.limit_key.as_deref(), now, uptime);
    }

    /// Somebody set the clock: starts before that are owed at most a turn.
    pub(crate) fn time_moved(&mut self, uptime: Duration) {
        for known in self.0.values_mut() {
            known.starts.recent.clear();
            known.keys.values_mut().for_each(|key| key.recent.clear());
            known.changed_at = uptime;
        }
    }
}

impl Type {
    pub(crate) fn started(&mut self, key: Option<&str>, now: Timestamp, uptime: Duration) {
        self.starts.note(self.settings.limits.starts, now, uptime);
        if let Some(key) = key {
            let rate = key_limits(&self.settings).starts;
            self.keys.entry(key.to_owned()).or_default().note(rate, now, uptime);
        }
    }

    /// What must not be exceeded: of the type, and of a key.
    pub(crate) fn limits(&self, key: Option<&str>) -> [Limits; 2] {
        [self.settings.limits, key.map(|_| key_limits(&self.settings)).unwrap_or_default()]
    }

    /// The uptime from which the rates allow one more start, for all that is known for certain.
    pub(crate) fn starts_from(&self, key: Option<&str>) -> Duration {
        self.starts(key).map(|(rate, starts)| starts.earliest(rate)).max().unwrap_or_default()
    }

    /// Whether the pause and what runs leave room for one more job.
    pub(crate) fn has_room(&self, snapshot: &Snapshot, job: &Job) -> bool {
        let key = job.limit_key.as_deref();
        let [of_type, of_key] = self.limits(key).map(|limits| limits.running.unwrap_or(u32::MAX));
        let is_full = running(snapshot, &job.job_type, None) >= of_type
            || key.is_some() && running(snapshot, &job.job_type, key) >= of_key;
        !self.paused && !is_full
    }

    /// Whether the rates surely allow one more start, if there was room and somebody asked since `asked`.
    pub(crate) fn may_start(
        &self,
        key: Option<&str>,
        asked: Duration,
        now: Timestamp,
        uptime: Duration,
        grace: Duration,
    ) -> bool {
        if uptime < self.starts_from(key) {
            return false;
        }
        // What is owed from before the last change is worth one turn from when the store looks at it.
        let mut looked_at = self.changed_at.max(asked);
        self.starts(key).all(|(rate, starts)| {
            let since = starts.recent.iter().filter(|at| **at >= looked_at).count() as u32;
            looked_at += grace + interval(rate) * (since + 1);
            now >= starts.paid_to - ahead(rate) || uptime >= looked_at
        })
    }

    /// The time of day from which the rates allow one more start, whatever was owed.
    pub(crate) fn starts_by(&self, key: Option<&str>) -> Timestamp {
        let by = |(rate, starts): (Rate, &Starts)| starts.paid_to - ahead(rate);
        self.starts(key).map(by).max().unwrap_or(Timestamp::ZERO)
    }

    /// The same of a key alone.
    pub(crate) fn key_starts_by(&self, key: &str) -> Timestamp {
        let starts = self.keys.get(key).zip(key_limits(&self.settings).starts);
        starts.map_or(Timestamp::ZERO, |(starts, rate)| starts.paid_to - ahead(rate))
    }

    /// Whether starts of the type or the key are limited by a rate.
    pub(crate) fn has_rate(&self, key: Option<&str>) -> bool {
        self.starts(key).next().is_some()
    }

    /// The rates in force, with the starts that they count.
    fn starts(&self, key: Option<&str>) -> impl Iterator<Item = (Rate, &Starts)> {
        let of_key = key.and_then(|key| self.keys.get(key));
        let [for_type, for_key] = self.limits(key);
        let both = [(for_type.starts, Some(&self.starts)), (for_key.starts, of_key)];
        both.into_iter().filter_map(|(rate, starts)| Some((rate?, starts?)))
    }
}

impl Starts {
    fn note(&mut self, rate: Option<Rate>, now: Timestamp, uptime: Duration) {
        if let Some(rate) = rate {
            self.paid_to = self.paid_to.max(now) + interval(rate);
            self.recent.push(uptime);
        }
    }

    /// From one start to as many later as a burst has, and from then on to each further one, is an interval.
    fn earliest(&self, rate: Rate) -> Duration {
        let (all, burst) = (self.recent.len(), rate.burst as usize);
        let after = |(at, start): (usize, &Duration)| {
            let since = all - at;
            (since >= burst).then(|| *start + interval(rate) * (since - burst + 1) as u32)
        };
        self.recent.iter().enumerate().filter_map(after).max().unwrap_or_default()
    }
}

/// How many jobs of a type, or of one of its keys, run on workers that are not silent.
pub(crate) fn running(snapshot: &Snapshot, job_type: &JobType, key: Option<&str>) -> u32 {
    let runs = |job: &&std::sync::Arc<Job>| {
        job.job_type == *job_type
            && key.is_none_or(|key| job.limit_key.as_deref() == Some(key))
            && job.lease().is_some_and(|lease| !lease.lapsed)
    };
    snapshot.jobs.values().filter(runs).count() as u32
}

fn key_limits(settings: &TypeSettings) -> Limits {
    settings.per_key.as_ref().map(|per_key| per_key.limits).unwrap_or_default()
}

fn interval(rate: Rate) -> Duration {
    Duration::from_millis(rate.per.as_millis() as u64 / u64::from(rate.starts))
}

fn ahead(rate: Rate) -> Duration {
    interval(rate) * (rate.burst - 1)
}
