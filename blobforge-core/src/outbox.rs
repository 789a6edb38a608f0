//! Telling others of ends: who is to be told, and what is still to be told.

use serde::{Deserialize, Serialize};

use crate::{
    Epoch, Generation, Invalid, JobId, JobType, MAX_KEY_BYTES, Status, Timestamp,
    bounds::{at_most, text},
};

/// The most bytes of where a job wants its ends told.
///
/// As in [`Notify`].
pub const MAX_NOTIFY_BYTES: usize = 2048;
/// The most places that a job wants its ends told.
///
/// ```
/// use blobforge_core::{Ends, MAX_NOTIFY, NewJob, Notify};
/// let job = (0..=MAX_NOTIFY).fold(NewJob::new("pdf").unwrap(), |job, n| job.notify(n.to_string(), Ends::ALL));
/// assert_eq!(job.validate().unwrap_err().field, "notify");
/// ```
pub const MAX_NOTIFY: usize = 8;
/// The most subscribers of a store.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use blobforge_core::{Ends, MAX_SUBSCRIBERS, Queue, Subscriber, storage::Command};
/// let queue = Queue::in_memory();
/// let subscribe = |n: usize| Command::Subscribe(Subscriber { name: n.to_string(), job_type: None, ends: Ends::ALL });
/// for n in 0..MAX_SUBSCRIBERS {
///     queue.run(subscribe(n)).await.unwrap();
/// }
/// assert!(queue.run(subscribe(MAX_SUBSCRIBERS)).await.is_err());
/// # });
/// ```
pub const MAX_SUBSCRIBERS: usize = 100;

/// Which ends of jobs somebody is told of.
///
/// ```
/// use blobforge_core::{Ends, Status};
/// let bad = Ends { completed: false, ..Ends::ALL };
/// assert!(bad.has(Status::Failed) && !bad.has(Status::Completed) && !Ends::ALL.has(Status::Running));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Of completed jobs.
    pub completed: bool,
    /// Of jobs that failed for good.
    pub failed: bool,
    /// Of cancelled jobs.
    pub cancelled: bool,
}

impl Ends {
    /// All of them.
    ///
    /// As in [`Ends`].
    pub const ALL: Self = Self { completed: true, failed: true, cancelled: true };

    /// Whether a job that is there now has come to one of them.
    ///
    /// As in [`Ends`].
    pub fn has(self, status: Status) -> bool {
        match status {
            Status::Completed => self.completed,
            Status::Failed => self.failed,
            Status::Cancelled => self.cancelled,
            Status::Uploading | Status::Pending | Status::Running => false,
        }
    }
}

/// Where a job wants its ends told: whoever takes the messages out of the outbox knows what that means.
///
/// ```
/// use blobforge_core::{Ends, MAX_NOTIFY_BYTES, NewJob};
/// let job = |to: String| NewJob::new("pdf").unwrap().notify(to, Ends::ALL);
/// assert!(job("https://example.org/hook".to_owned()).validate().is_ok());
/// assert_eq!(job("x".repeat(MAX_NOTIFY_BYTES + 1)).validate().unwrap_err().field, "notify");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// Where.
    pub to: String,
    /// Which.
    pub ends: Ends,
}

/// Somebody who is told of the ends of all jobs, or of those of one type: each end is put into the outbox in the commit
/// in which it happens.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use blobforge_core::{Ends, NewJob, Queue, Recipient, Status, Subscriber, storage::{Command, Done, Settled}};
/// use std::time::Duration;
/// let queue = Queue::in_memory();
/// let bell = Subscriber { name: "bell".to_owned(), job_type: None, ends: Ends::ALL };
/// queue.run(Command::Subscribe(bell.clone())).await.unwrap();
/// let job = queue.submit(NewJob::new("pdf").unwrap().notify("ann", Ends::ALL)).await.unwrap().id;
/// queue.cancel(job).await.unwrap();
///
/// // Whoever tells them takes them out for as long as that may take, and says how it went.
/// let take = Command::TakeMessages { limit: 10, hold: Duration::from_secs(60) };
/// let Done::Messages(messages) = queue.run(take).await.unwrap() else { unreachable!() };
/// assert_eq!(messages[0].to, Recipient::Subscriber("bell".to_owned()));
/// assert_eq!((&messages[1].to, messages[1].status), (&Recipient::Address("ann".to_owned()), Status::Cancelled));
/// for message in messages {
///     let settle = Command::SettleMessage { number: message.number, tries: message.tries, settled: Settled::Told };
///     queue.run(settle).await.unwrap();
/// }
/// assert_eq!(queue.storage().next_message().await.unwrap(), None);
/// assert_eq!(queue.storage().subscribers().await.unwrap(), [bell]);
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    /// What it is called; another one of that name takes its place.
    pub name: String,
    /// Of jobs of which type; `None` for all.
    pub job_type: Option<JobType>,
    /// Of which ends.
    pub ends: Ends,
}

/// Whom a message is for.
///
/// As in [`Subscriber`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipient {
    /// The subscriber of this name.
    Subscriber(String),
    /// Where the job itself wanted it told.
    Address(String),
}

/// An end of a job of which somebody is to be told: once for each end and recipient, however often that is tried.
///
/// As in [`Subscriber`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its number; later ends have higher ones.
    pub number: u64,
    /// The store's number when it was written: after a restore a number can be given again.
    pub generation: Generation,
    /// To whom.
    pub to: Recipient,
    /// Which job ended.
    pub job: JobId,
    /// Its type.
    pub job_type: JobType,
    /// How.
    pub status: Status,
    /// How often it had been claimed by then.
    pub epoch: Epoch,
    /// When.
    pub ended_at: Timestamp,
    /// How often it was taken out.
    pub tries: u32,
}

/// Checks where a job wants its ends told.
pub(crate) fn check_notify(notify: &[Notify]) -> Result<(), Invalid> {
    at_most("notify", notify.len(), MAX_NOTIFY)?;
    notify.iter().try_for_each(|notify| text("notify", &notify.to, MAX_NOTIFY_BYTES))
}

impl Recipient {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Subscriber(name) => text("name", name, MAX_KEY_BYTES),
            Self::Address(to) => text("notify", to, MAX_NOTIFY_BYTES),
        }
    }
}
