//! The right to run a job's current attempt, and what proves it.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq;

use crate::{Entropy, Timestamp, WorkerId};

/// The lease's number within its job: the fencing token. It only grows and is never reused.
///
/// ```
/// use blobforge_core::Epoch;
/// let first = Epoch::NONE.next();
/// assert_eq!((first.get(), first.next()), (1, Epoch::new(2)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Epoch(u32);

impl Epoch {
    /// The epoch of a job that nobody has claimed yet.
    ///
    /// As in [`Epoch`].
    pub const NONE: Self = Self(0);

    /// The epoch with this number.
    ///
    /// As in [`Epoch`].
    pub fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number: how many leases there were.
    ///
    /// As in [`Epoch`].
    pub fn get(self) -> u32 {
        self.0
    }

    /// The epoch of the next claim.
    ///
    /// As in [`Epoch`].
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The store's number: 1, or the second in which it was last restored from a backup. Leases of another
/// one are void.
///
/// ```
/// use blobforge_core::Generation;
/// let (made, restored) = (Generation::new(1), Generation::new(2));
/// assert!(restored > made && restored.get() == 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Generation(u32);

impl Generation {
    /// The generation with this number.
    ///
    /// As in [`Generation`].
    pub fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    ///
    /// As in [`Generation`].
    pub fn get(self) -> u32 {
        self.0
    }
}

/// 256 random bits that only the holder of a lease and the store know.
///
/// ```
/// use blobforge_core::{LeaseSecret, SystemEntropy};
/// let secret = LeaseSecret::draw(&SystemEntropy).unwrap();
/// assert_eq!(LeaseSecret::from_bytes(*secret.as_bytes()), secret);
/// assert_eq!(format!("{secret:?}"), "LeaseSecret(…)", "logs do not give it away");
/// ```
#[derive(Clone, Copy, Eq)]
pub struct LeaseSecret([u8; 32]);

impl LeaseSecret {
    /// Draws a secret.
    ///
    /// As in [`LeaseSecret`].
    ///
    /// # Errors
    /// When there is no randomness to give, which no caller can mend.
    pub fn draw(entropy: &dyn Entropy) -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        entropy.fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The secret made of these bytes, for stores and tests.
    ///
    /// As in [`LeaseSecret`].
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for stores.
    ///
    /// As in [`LeaseSecret`].
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for LeaseSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for LeaseSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseSecret(…)")
    }
}

/// What a worker shows with every report of an attempt. Programs treat its text as opaque.
///
/// ```
/// use blobforge_core::{Epoch, Generation, LeaseSecret, LeaseToken};
/// let token = LeaseToken::new(Generation::new(1), Epoch::new(3), LeaseSecret::from_bytes([7; 32]));
/// assert_eq!(token.to_string().parse::<LeaseToken>().unwrap(), token);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseToken {
    /// The store's generation when the lease was given.
    pub generation: Generation,
    /// The lease's number within its job.
    pub epoch: Epoch,
    /// What cannot be guessed.
    pub secret: LeaseSecret,
}

impl LeaseToken {
    /// Puts the three parts together.
    ///
    /// As in [`LeaseToken`].
    pub fn new(generation: Generation, epoch: Epoch, secret: LeaseSecret) -> Self {
        Self { generation, epoch, secret }
    }
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = hex::encode(self.secret.0);
        write!(f, "{}.{}.{secret}", self.generation.0, self.epoch.0)
    }
}

/// A text that is no lease.
///
/// ```
/// use blobforge_core::{BadLeaseToken, LeaseToken};
/// let refused: Result<LeaseToken, BadLeaseToken> = "1.3.cut-of".parse();
/// assert!(refused.unwrap_err().to_string().starts_with("this is not a lease"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("this is not a lease: send back the `lease` of the claim reply as it came")]
pub struct BadLeaseToken;

impl FromStr for LeaseToken {
    type Err = BadLeaseToken;

    fn from_str(text: &str) -> Result<Self, BadLeaseToken> {
        let parse = || {
            let (generation, rest) = text.split_once('.')?;
            let (epoch, secret) = rest.split_once('.')?;
            let mut bytes = [0; 32];
            hex::decode_to_slice(secret, &mut bytes).ok()?;
            Some(Self::new(
                Generation(generation.parse().ok()?),
                Epoch(epoch.parse().ok()?),
                LeaseSecret(bytes),
            ))
        };
        parse().ok_or(BadLeaseToken)
    }
}

impl Serialize for LeaseToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LeaseToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A lease as the store knows it. It exists exactly while its job is running.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
/// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
/// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
/// # queue.register(registration).await.unwrap();
/// # queue.submit(blobforge_core::NewJob::new("pdf").unwrap()).await.unwrap();
/// # let claimed = queue.claim(&smith, &pdf, 1, std::time::Duration::ZERO).await.unwrap().remove(0);
/// let lease = claimed.job.lease().unwrap();
/// assert_eq!((lease.worker.as_str(), lease.token), ("smith", claimed.token));
/// assert_eq!(lease.expires_at.since(lease.started_at), queue.settings().lease);
/// # });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What its holder shows.
    pub token: LeaseToken,
    /// Who holds it.
    pub worker: WorkerId,
    /// The machine that its holder runs on, as far as it said so.
    pub host: Option<String>,
    /// What its holder called the claim that got it.
    pub claim_id: Option<String>,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// Until when it is safe from being taken, unless renewed.
    pub expires_at: Timestamp,
    /// For how long a renewal is good.
    pub duration: Duration,
    /// It was seen expired: anybody may take the job, until a heartbeat of its holder revives it.
    pub lapsed: bool,
    /// Somebody asked for the job to be cancelled; the next heartbeat tells the holder.
    pub cancel_requested: bool,
}
