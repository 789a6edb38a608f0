//! Sending a file, whole or in parts, as the service says.
//!
//! What the service has heard of is never sent again: parts are reported one by one, so that whoever is broken off goes on
//! where it was, also in another process.

use std::{
    collections::{BTreeMap, VecDeque},
    io::SeekFrom,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use blobforge_core::{JobId, Sha256, blob::ByteStream, broker::Assignment};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::header;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncSeekExt},
    task::JoinSet,
};

use super::{
    Client, ClientError, TRIES,
    transfer::{Sent, Transfer, hash_file},
};
use crate::backoff::Backoff;

/// How many parts are on their way at once.
const PARTS_AT_ONCE: usize = 2;
/// How much of a part is read at once, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// The code of the service when parts that were sent are lost.
const OVER: &str = "upload_over";

/// How a file is to be sent.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Upload {
    /// In parts, of which these are the first that are missing.
    Parts { parts: Vec<Part>, missing_parts: u64 },
    /// In one request.
    Whole(Transfer),
}

impl Upload {
    /// About how much of a file of this size has arrived before, and no more than that: the last part may be short.
    fn arrived(&self, size: u64) -> u64 {
        let Self::Parts { parts, missing_parts } = self else { return 0 };
        let part_bytes = parts.first().map_or(0, Part::usual_size);
        size.saturating_sub(missing_parts.saturating_mul(part_bytes))
    }
}

/// A part of a file, and where to send it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Part {
    number: u32,
    offset: u64,
    size: u64,
    #[serde(flatten)]
    to: Transfer,
}

impl Part {
    /// How large all parts are but the last.
    fn usual_size(&self) -> u64 {
        match u64::from(self.number) {
            0 | 1 => self.size,
            number => self.offset / (number - 1),
        }
    }
}

/// A part that was sent.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SentPart {
    number: u32,
    etag: String,
}

/// A file to be sent, as the service knows it.
pub(super) enum Place<'a> {
    /// The source of a job, whose hash is known already.
    Source { job: JobId, sha256: Sha256 },
    /// A file of an attempt: an `output` or a `checkpoint`.
    OfAttempt { assignment: &'a Assignment, name: &'a str, kind: &'a str, size: u64 },
}

/// Hears how many bytes of a file are where they belong or on their way.
pub(super) type OnProgress = Arc<dyn Fn(u64) + Send + Sync>;

/// How far a file in parts has come.
struct Gone {
    /// All of the file.
    size: u64,
    /// In parts that were sent.
    sent: u64,
    /// In those on their way, by their numbers.
    on_their_way: BTreeMap<u32, u64>,
    tell: OnProgress,
}

type Shared = Arc<Mutex<Gone>>;

fn change(gone: &Shared, change: impl FnOnce(&mut Gone)) {
    let mut gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
    change(&mut gone);
    let bytes = gone.sent + gone.on_their_way.values().sum::<u64>();
    (gone.tell)(bytes);
}

impl Client {
    /// Asks how a file is to be sent, given the parts that were sent since the last time.
    async fn ask(&self, place: &Place<'_>, sent: &[SentPart]) -> Result<Upload, ClientError> {
        match place {
            Place::Source { job, .. } => {
                self.post("api/files/upload-url", &json!({"job_id": job, "parts": sent})).await
            }
            Place::OfAttempt { assignment, name, kind, size } => {
                let lease = assignment.token.to_string();
                let body = json!({"lease": lease, "name": name, "kind": kind, "size": size, "parts": sent});
                self.report(assignment, &format!("api/files/{}/outputs/url", assignment.job), &body).await
            }
        }
    }

    /// Sends a local file, as the service says: it is asked again after each part, and for a new address after each
    /// failure. `first` is what it said already.
    pub(super) async fn send_as_told(
        &self,
        first: Option<Upload>,
        place: Place<'_>,
        path: &Path,
        progress: OnProgress,
    ) -> Result<Sent, ClientError> {
        let mut next = first;
        let mut backoff = Backoff::default();
        loop {
            let upload = match next.take() {
                Some(upload) => upload,
                None => self.persist(|| self.ask(&place, &[])).await?,
            };
            let whole = matches!(upload, Upload::Whole(_));
            let sent = match upload {
                Upload::Whole(to) => {
                    let tell = progress.clone();
                    self.send_file(&to, path, move |sent| tell(sent)).await
                }
                // Each part is tried again by itself.
                in_parts => self.send_parts(in_parts, &place, path, &progress).await,
            };
            match sent {
                Err(error)
                    if (whole && error.is_retryable() || error.code() == Some(OVER))
                        && backoff.failures() + 1 < TRIES =>
                {
                    tracing::warn!(%error, "sending a file again");
                    backoff.wait().await;
                }
                other => return other,
            }
        }
    }

    async fn send_parts(
        &self,
        upload: Upload,
        place: &Place<'_>,
        path: &Path,
        progress: &OnProgress,
    ) -> Result<Sent, ClientError> {
        let before = Version::of(path).await?;
        // While it is sent: it is read once more, but mostly from memory.
        let hashing = async {
            match place {
                Place::Source { sha256, .. } => Ok(*sha256),
                Place::OfAttempt { .. } => Ok(hash_file(path).await?.0),
            }
        };
        let (size, sent) = (before.size, upload.arrived(before.size));
        let gone = Gone { size, sent, on_their_way: BTreeMap::new(), tell: progress.clone() };
        let sending = self.send_all_parts(upload, place, path, Arc::new(Mutex::new(gone)));
        let ((), sha256) = tokio::try_join!(sending, hashing)?;
        if before != Version::of(path).await? {
            return Err(ClientError::file(path, std::io::Error::other("the file changed while it was sent")));
        }
        Ok(Sent { size: before.size, sha256 })
    }

    async fn send_all_parts(
        &self,
        mut upload: Upload,
        place: &Place<'_>,
        path: &Path,
        gone: Shared,
    ) -> Result<(), ClientError> {
        let mut backoff = Backoff::default();
        // Dropped with this future, and its tasks with it.
        let mut sending = JoinSet::new();
        let mut on_their_way = Vec::new();
        loop {
            let Upload::Parts { parts, missing_parts } = upload else {
                return Err(ClientError::Reply(
                    "the service wants a file whole that it had in parts".to_owned(),
                ));
            };
            if missing_parts == 0 {
                change(&gone, |gone| gone.sent = gone.size);
                return Ok(());
            }
            let mut to_send: VecDeque<Part> =
                parts.into_iter().filter(|part| !on_their_way.contains(&part.number)).collect();
            while sending.len() < PARTS_AT_ONCE
                && let Some(part) = to_send.pop_front()
            {
                on_their_way.push(part.number);
                sending.spawn(self.clone().send_part(part, path.to_owned(), gone.clone()));
            }
            let Some(ended) = sending.join_next().await else {
                return Err(ClientError::Reply(
                    "the service misses parts, but does not say which".to_owned(),
                ));
            };
            let (number, ended) =
                ended.map_err(|error| ClientError::Reply(format!("a task failed: {error}")))?;
            on_their_way.retain(|other| *other != number);
            let sent = match ended {
                Ok(etag) => {
                    backoff.reset();
                    vec![SentPart { number, etag }]
                }
                Err(error) if error.is_retryable() && backoff.failures() + 1 < TRIES => {
                    tracing::warn!(%error, number, "sending a part again");
                    backoff.wait().await;
                    Vec::new()
                }
                Err(error) => return Err(error),
            };
            upload = self.persist(|| self.ask(place, &sent)).await?;
        }
    }

    /// Sends one part once; what the store calls it.
    async fn send_part(self, part: Part, path: PathBuf, gone: Shared) -> (u32, Result<String, ClientError>) {
        let Part { number, offset, size, to } = part;
        let sent = async {
            let content =
                read_part(&path, offset, size).await.map_err(|error| ClientError::file(&path, error))?;
            let moving = gone.clone();
            let on_progress = move |moved| {
                change(&moving, |gone| {
                    gone.on_their_way.insert(number, moved);
                });
            };
            let reply = self.put(&to, content, size, on_progress).await?;
            let etag = reply.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok());
            etag.map(str::to_owned).ok_or_else(|| {
                ClientError::Reply("the store takes parts, but does not say what it calls them".to_owned())
            })
        };
        let sent = sent.await;
        change(&gone, |gone| {
            gone.on_their_way.remove(&number);
            gone.sent += if sent.is_ok() { size } else { 0 };
        });
        (number, sent)
    }
}

/// A file as it was at a moment.
#[derive(PartialEq, Eq)]
struct Version {
    size: u64,
    modified: Option<std::time::SystemTime>,
}

impl Version {
    async fn of(path: &Path) -> Result<Self, ClientError> {
        let found = tokio::fs::metadata(path).await.map_err(|error| ClientError::file(path, error))?;
        Ok(Self { size: found.len(), modified: found.modified().ok() })
    }
}

async fn read_part(path: &Path, offset: u64, size: u64) -> std::io::Result<ByteStream> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(SeekFrom::Start(offset)).await?;
    Ok(tokio_util::io::ReaderStream::with_capacity(file.take(size), PIECE_BYTES).into_stream().boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_arrived_before_counts_as_sent() {
        let part = |number, offset, size| json!({"number": number, "offset": offset, "size": size, "url": "/files/a"});
        let arrived = |upload| serde_json::from_value::<Upload>(upload).unwrap().arrived(23);
        assert_eq!(arrived(json!({"missing_parts": 3, "parts": [part(1, 0, 10)]})), 0);
        assert_eq!(arrived(json!({"missing_parts": 2, "parts": [part(2, 10, 10), part(3, 20, 3)]})), 3);
        assert_eq!(arrived(json!({"missing_parts": 1, "parts": [part(3, 20, 3)]})), 13);
        assert_eq!(arrived(json!({"missing_parts": 0, "parts": []})), 23);
        assert_eq!(arrived(json!({"method": "PUT", "url": "/files/a"})), 0);
    }
}
