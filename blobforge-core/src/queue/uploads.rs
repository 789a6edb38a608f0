//! Files that programs send straight to where they lie: in one request, or in parts of which each is sent once.
//!
//! What has been sent of a file in parts is kept in the store, so that whoever was broken off goes on where it was, also
//! from another process. An upload that its job no longer waits for is thrown away.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Queue, QueueError, SIGNED_URL_LIFETIME};
use crate::{
    Invalid, Job, JobId, LeaseToken,
    blob::{BlobError, Grant, Method, Multipart, SignedUrl, keys},
    storage::{Command, RecordChange},
};

/// The most parts of a file.
const MAX_PARTS: u64 = 2_000;
/// What the size of a part is a multiple of, in bytes.
const PART_STEP: u64 = 1024 * 1024;
/// For how many parts URLs are given out at once.
const WINDOW: usize = 8;
/// The longest name that a store may give a part.
const MAX_ETAG_BYTES: usize = 512;
/// How many records one commit writes.
const RECORDS_AT_ONCE: usize = 500;
/// Where it is written down which files are being sent in parts, by their keys.
const COLLECTION: &str = "uploads";

/// How a file is to be sent.
///
/// As in [`Queue::send_source`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sending {
    /// In one request.
    Whole(SignedUrl),
    /// In parts.
    Parts(PartsToSend),
    /// Not at all: every part has been sent, and they are one file now.
    Done,
}

/// The parts of a file that are still to be sent.
///
/// As in [`Queue::send_source`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartsToSend {
    /// How many are missing in all.
    pub missing: u64,
    /// The first of those; ask again for more, naming what was sent.
    pub parts: Vec<PartToSend>,
}

/// A part of a file, and where to send it.
///
/// As in [`Queue::send_source`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartToSend {
    /// Its number, from 1 on.
    pub number: u32,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub size: u64,
    /// Where to send it.
    pub url: SignedUrl,
}

/// A part that was sent.
///
/// As in [`Queue::send_source`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentPart {
    /// Its number.
    pub number: u32,
    /// What the store called it in its reply: the `ETag` header.
    pub etag: String,
}

/// What is kept of a file that is sent in parts.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Upload {
    /// What the store calls it.
    id: String,
    job: JobId,
    /// The attempt that sends it; none for a job's source.
    attempt: Option<String>,
    size: u64,
    part_bytes: u64,
    /// The collection of the parts that were sent.
    parts: String,
}

/// A file that somebody wants to send.
struct File {
    key: String,
    job: JobId,
    attempt: Option<String>,
    size: Option<u64>,
}

impl Upload {
    fn part_count(&self) -> u64 {
        self.size.div_ceil(self.part_bytes)
    }

    /// Whether its job still waits for it.
    fn is_wanted(&self, key: &str, job: &Job) -> bool {
        match &self.attempt {
            Some(attempt) => job.lease().is_some_and(|lease| keys::attempt(&lease.token) == *attempt),
            None => job.awaited_source().is_some_and(|source| source.key == key),
        }
    }
}

impl Queue {
    /// How the source of a job that is uploading is to be sent: what was not sent yet, given what was `sent`. `None` if the
    /// blob store gives nobody direct access. When all is there, [`Queue::source_uploaded`] makes the job ready.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{NewJob, NewSource, Queue, blob::{ObjectBlobs, UrlSigner}};
    /// use blobforge_core::queue::{PartsToSend, Sending, SentPart};
    /// use std::sync::Arc;
    /// let blobs = ObjectBlobs::in_memory().with_signer(UrlSigner::new([7; 32], "/files/"));
    /// let queue = Queue::builder().blobs(Arc::new(blobs)).open_in_memory().unwrap();
    /// let job = NewJob::new("pdf").unwrap().source(NewSource::Upload { sha256: None, size: Some(8) });
    /// let id = queue.submit(job).await.unwrap().id;
    /// assert!(queue.job(id).await.unwrap().awaited_source().is_some());
    /// let sent: Vec<SentPart> = Vec::new();
    /// match queue.send_source(id, sent).await.unwrap() {
    ///     Some(Sending::Whole(to)) => assert!(to.url.starts_with("/files/sources/"), "local files go in one request"),
    ///     // A bucket takes a large file in parts: send each, keep the ETag of the reply, and ask again with those.
    ///     Some(Sending::Parts(PartsToSend { parts, .. })) => assert!(!parts.is_empty()),
    ///     other => panic!("{other:?}"),
    /// }
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the job waits for no source, a part is named that there is none of, or the stores cannot do it.
    pub async fn send_source(&self, job: JobId, sent: Vec<SentPart>) -> Result<Option<Sending>, QueueError> {
        let found = self.job(job).await?;
        let source = found.awaited_source().ok_or_else(|| {
            let reason = format!("job {job} waits for no source: it is {}", found.status());
            Invalid::new("job_id", reason)
        })?;
        let file = File { key: source.key.clone(), job, attempt: None, size: source.size };
        self.sending(file, sent).await
    }

    /// How a file of `size` bytes is to be sent to a key that was reserved with this lease, as for
    /// [`Queue::send_source`].
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
    /// let (job, token) = (claimed.job.id, claimed.token);
    /// let key = queue.reserve_output(job, token, "text.md").await.unwrap();
    /// let how = queue.send_file(job, &token, key, Some(8), Vec::new()).await.unwrap();
    /// assert_eq!(how, None, "files in memory are written through the queue alone");
    /// # });
    /// ```
    ///
    /// # Errors
    /// As [`Queue::send_source`].
    pub async fn send_file(
        &self,
        job: JobId,
        token: &LeaseToken,
        key: String,
        size: Option<u64>,
        sent: Vec<SentPart>,
    ) -> Result<Option<Sending>, QueueError> {
        self.sending(File { key, job, attempt: Some(keys::attempt(token)), size }, sent).await
    }

    async fn sending(&self, file: File, sent: Vec<SentPart>) -> Result<Option<Sending>, QueueError> {
        let Some(direct) = self.blobs().direct() else { return Ok(None) };
        let store = direct.multipart();
        let large = store.zip(file.size).filter(|(store, size)| *size > store.part_bytes());
        let Some((store, size)) = large else {
            return Ok(Some(Sending::Whole(direct.url(self.grant(Method::Put, &file.key, None)).await?)));
        };
        // Two that ask at once begin one upload, and only one makes a file of it.
        let _alone = self.uploading(&file.key).await;
        let upload = match self.upload(&file.key).await? {
            Some(upload) => upload,
            // An earlier answer that all is there was lost, or who heard it has gone. A file of an attempt that is sent once
            // more may be another one.
            None if (file.attempt.is_none() || !sent.is_empty())
                && self.blobs().size(&file.key).await? == Some(size) =>
            {
                return Ok(Some(Sending::Done));
            }
            None if !sent.is_empty() => return Err(over(&file.key)),
            None => self.begin(store, &file, size).await?,
        };
        self.keep(&upload, sent).await?;
        self.go_on(store, &file.key, upload).await.map(Some)
    }

    /// What is left to do for an upload.
    async fn go_on(&self, store: &dyn Multipart, key: &str, upload: Upload) -> Result<Sending, QueueError> {
        let kept = self.storage().records(&upload.parts).await?;
        let kept: BTreeMap<u64, String> = kept
            .into_iter()
            .filter_map(|(number, etag)| Some((number.parse().ok()?, etag.as_str()?.to_owned())))
            .collect();
        let missing: Vec<u64> =
            (1..=upload.part_count()).filter(|number| !kept.contains_key(number)).collect();
        if missing.is_empty() {
            self.complete(store, key, &upload, kept.into_values().collect()).await?;
            return Ok(Sending::Done);
        }
        let mut parts = Vec::with_capacity(WINDOW);
        for &part in missing.iter().take(WINDOW) {
            let number = u32::try_from(part).map_err(|_| over(key))?;
            let offset = (part - 1) * upload.part_bytes;
            let size = upload.part_bytes.min(upload.size - offset);
            let url = store
                .part_url(self.grant(Method::Put, key, None), &upload.id, number, offset..offset + size)
                .await?;
            parts.push(PartToSend { number, offset, size, url });
        }
        Ok(Sending::Parts(PartsToSend { missing: missing.len() as u64, parts }))
    }

    async fn begin(&self, store: &dyn Multipart, file: &File, size: u64) -> Result<Upload, QueueError> {
        let least = size.div_ceil(MAX_PARTS).next_multiple_of(PART_STEP);
        let upload = Upload {
            id: store.begin(&file.key).await?,
            job: file.job,
            attempt: file.attempt.clone(),
            size,
            part_bytes: store.part_bytes().max(least),
            parts: format!("upload-{}", self.drawn_id()?),
        };
        let value = serde_json::to_value(&upload).map_err(|error| QueueError::Contract(error.to_string()))?;
        let put = Command::PutRecord { collection: COLLECTION.to_owned(), key: file.key.clone(), value };
        if let Err(error) = self.run(put).await {
            // Nobody will know of it; if this fails too, a rule of the bucket clears it away.
            let _ = store.abort(&file.key, &upload.id).await;
            return Err(error);
        }
        Ok(upload)
    }

    async fn complete(
        &self,
        store: &dyn Multipart,
        key: &str,
        upload: &Upload,
        etags: Vec<String>,
    ) -> Result<(), QueueError> {
        match store.complete(key, &upload.id, etags).await {
            Ok(()) => {}
            // It was made one file before, but nobody heard of it; or it cannot be: then it begins anew.
            Err(BlobError::NotFound(_)) if self.blobs().size(key).await? == Some(upload.size) => {}
            Err(BlobError::NotFound(_)) => {
                store.abort(key, &upload.id).await?;
                self.forget(key, upload).await?;
                return Err(over(key));
            }
            Err(error) => return Err(error.into()),
        }
        self.forget(key, upload).await
    }

    /// Writes down which parts were sent.
    async fn keep(&self, upload: &Upload, sent: Vec<SentPart>) -> Result<(), QueueError> {
        let mut records = Vec::with_capacity(sent.len());
        for SentPart { number, etag } in sent {
            if number == 0 || u64::from(number) > upload.part_count() {
                let reason =
                    format!("there is no part {number}: they are numbered 1 to {}", upload.part_count());
                return Err(Invalid::new("parts", reason).into());
            }
            if etag.is_empty() || etag.len() > MAX_ETAG_BYTES || !etag.bytes().all(|b| b.is_ascii_graphic()) {
                let reason =
                    format!("part {number} has no plain ETag: send the one of the reply to that part");
                return Err(Invalid::new("parts", reason).into());
            }
            let (collection, key) = (upload.parts.clone(), part_key(u64::from(number)));
            records.push(RecordChange::Put { collection, key, value: etag.into() });
        }
        self.record(records).await
    }

    /// Forgets an upload, its parts first: what a crash leaves is still known.
    async fn forget(&self, key: &str, upload: &Upload) -> Result<(), QueueError> {
        let delete =
            |collection: &str, key: String| RecordChange::Delete { collection: collection.to_owned(), key };
        let parts = (1..=upload.part_count()).map(|number| delete(&upload.parts, part_key(number)));
        self.record(parts.chain([delete(COLLECTION, key.to_owned())]).collect()).await
    }

    async fn record(&self, records: Vec<RecordChange>) -> Result<(), QueueError> {
        for records in records.chunks(RECORDS_AT_ONCE) {
            self.run(Command::Recorded { command: None, records: records.to_vec() }).await?;
        }
        Ok(())
    }

    async fn upload(&self, key: &str) -> Result<Option<Upload>, QueueError> {
        let found = self.storage().record(COLLECTION, key).await?;
        Ok(found.and_then(|value| serde_json::from_value(value).ok()))
    }

    /// Throws away what was sent of files that nobody waits for any more. Returns how many.
    pub(super) async fn abort_unwanted_uploads(&self) -> Result<u64, QueueError> {
        let Some(store) = self.blobs().direct().and_then(|direct| direct.multipart()) else { return Ok(0) };
        let mut aborted = 0;
        for (key, _) in self.storage().records(COLLECTION).await? {
            let _alone = self.uploading(&key).await;
            let Some(upload) = self.upload(&key).await? else { continue };
            if self.get(upload.job).await?.is_some_and(|job| upload.is_wanted(&key, &job)) {
                continue;
            }
            match store.abort(&key, &upload.id).await {
                Ok(()) => {
                    self.forget(&key, &upload).await?;
                    aborted += 1;
                }
                Err(error) => {
                    tracing::warn!(%error, key, "an upload that nobody waits for could not be thrown away")
                }
            }
        }
        Ok(aborted)
    }

    /// Waits until nobody else begins or ends the upload of a file, or of one of few others.
    async fn uploading(&self, key: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let locks = &self.shared.uploading;
        let sum = key.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        locks[sum % locks.len()].lock().await
    }

    pub(super) fn grant<'a>(&self, method: Method, key: &'a str, name: Option<&'a str>) -> Grant<'a> {
        Grant { method, key, name, now: self.now(), lasts: SIGNED_URL_LIFETIME }
    }
}

/// In the order of the numbers.
fn part_key(number: u64) -> String {
    format!("{number:05}")
}

fn over(key: &str) -> QueueError {
    BlobError::Over(key.to_owned()).into()
}
