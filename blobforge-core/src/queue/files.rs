//! A job's files: sources in, outputs out.

use std::{collections::HashSet, path::Path, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{MAX_OUTPUTS, Queue, QueueError};
use crate::{
    Invalid, Job, JobId, LeaseToken, NewJob, NewSource, Output, Sha256,
    blob::{BlobError, ByteStream, Method, SignedUrl, Stored, keys, read_file},
    file_name,
    storage::{Command, Submitted},
};

/// How long a signed URL works.
///
/// As in [`Queue::signed_url`].
pub const SIGNED_URL_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// The largest file that is taken, in bytes.
///
/// As in [`Queue::submit_stream`].
pub const UPLOAD_LIMIT: u64 = crate::MAX_FILE_BYTES;

/// How many outputs are looked for at once.
const CHECKED_AT_ONCE: usize = 16;

impl Queue {
    /// Submits a job whose source is a local file, which is copied into the blob store first.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// # let folder = tempfile::tempdir().unwrap();
    /// use blobforge_core::NewJob;
    /// let letter = folder.path().join("letter.pdf");
    /// std::fs::write(&letter, "%PDF-1.7").unwrap();
    /// let id = queue.submit_file(NewJob::new("pdf").unwrap(), &letter).await.unwrap().id;
    /// let job = queue.job(id).await.unwrap();
    /// assert_eq!(job.body.source_path.as_deref(), Some("letter.pdf"));
    /// let source = job.source.unwrap();
    /// assert!(source.verified && source.size == Some(8), "it was hashed on its way");
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the file cannot be read, the job is not valid, or the stores cannot take it.
    pub async fn submit_file(
        &self,
        mut job: NewJob,
        file: impl AsRef<Path>,
    ) -> Result<Submitted, QueueError> {
        let file = file.as_ref();
        let content = read_file(file).await.map_err(BlobError::BrokenOff)?;
        if job.body.source_path.is_none() {
            job.body.source_path = file.file_name().map(|name| name.to_string_lossy().into_owned());
        }
        self.submit_stream(job, content, UPLOAD_LIMIT).await
    }

    /// Submits a job whose source comes as a stream of at most `max_bytes`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, blob::read_bytes, queue::UPLOAD_LIMIT};
    /// let (job, letter) = (NewJob::new("pdf").unwrap(), || read_bytes("%PDF-1.7"));
    /// let first = queue.submit_stream(job.clone(), letter(), UPLOAD_LIMIT).await.unwrap();
    /// let again = queue.submit_stream(job.clone(), letter(), UPLOAD_LIMIT).await.unwrap();
    /// assert_eq!((again.id, again.existing), (first.id, true), "the same work on the same content");
    /// assert!(queue.submit_stream(job, letter(), 4).await.is_err(), "it has more than 4 bytes");
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the stream breaks off or is too long, the job is not valid, or the stores cannot take it.
    pub async fn submit_stream(
        &self,
        mut job: NewJob,
        content: ByteStream,
        max_bytes: u64,
    ) -> Result<Submitted, QueueError> {
        job.validate()?;
        let (key, Stored { size, sha256 }) = self.store_source(content, max_bytes).await?;
        job.source = NewSource::Stored { key, sha256, size };
        self.submit(job).await
    }

    /// Stores a file that a job produced elsewhere, for a submission with that [`Past`](crate::Past) to name.
    ///
    /// As in [`NewJob::past`].
    ///
    /// # Errors
    /// When the stream breaks off or is too long, or the stores cannot take it.
    pub async fn store_past_output(
        &self,
        name: impl Into<String>,
        content: ByteStream,
    ) -> Result<Output, QueueError> {
        let key = keys::past_output(&self.drawn_id()?);
        let Stored { size, sha256 } = self.store(&key, content, UPLOAD_LIMIT).await?;
        Ok(Output { name: name.into(), size, sha256: Some(sha256), key })
    }

    /// Sends the source of a job that is uploading, and makes the job ready. Sending the same file again is harmless.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, NewSource, Status, blob::read_bytes};
    /// let job = NewJob::new("pdf").unwrap().source(NewSource::Upload { sha256: None, size: Some(8) });
    /// let submitted = queue.submit(job).await.unwrap();
    /// assert_eq!(submitted.status, Status::Uploading);
    /// let job = queue.put_source(submitted.id, read_bytes("%PDF-1.7")).await.unwrap();
    /// assert_eq!(job.status(), Status::Pending);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the job is not uploading, the stream breaks off, or the stores cannot take it. A source that is not
    /// what was announced fails the job. What was sent in vain is deleted later.
    pub async fn put_source(&self, job: JobId, content: ByteStream) -> Result<Job, QueueError> {
        self.source_key(job).await?;
        // Each call writes where nobody else does: whatever the job has by then, and shares with others, is not replaced,
        // and of several that send at once the job gets one file whole.
        let (key, Stored { size, sha256 }) = self.store_source(content, UPLOAD_LIMIT).await?;
        self.change(Command::SourceReady { job, key, size, sha256: Some(sha256) }).await
    }

    /// Stores a file under a key of its own, for a job to take it as its source.
    async fn store_source(&self, content: ByteStream, limit: u64) -> Result<(String, Stored), QueueError> {
        let key = keys::source(&self.drawn_id()?);
        let stored = self.store(&key, content, limit).await?;
        Ok((key, stored))
    }

    /// Stores a file for a job that is still to come.
    async fn store(&self, key: &str, content: ByteStream, limit: u64) -> Result<Stored, QueueError> {
        self.run(Command::ReserveFile { key: key.to_owned(), owner: None }).await?;
        Ok(self.blobs().put(key, content, limit).await?)
    }

    /// Checks the source that was sent for a job, and makes the job ready. Saying so again is harmless.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, NewSource, Status, blob::read_bytes};
    /// let job = NewJob::new("pdf").unwrap().source(NewSource::Upload { sha256: None, size: Some(8) });
    /// let submitted = queue.submit(job).await.unwrap();
    /// // Somebody with a signed URL writes the file past the queue.
    /// queue.blobs().put(&submitted.upload_key.unwrap(), read_bytes("%PDF-1.7"), 1000).await.unwrap();
    /// assert_eq!(queue.source_uploaded(submitted.id).await.unwrap().status(), Status::Pending);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When there is no such job, it is not uploading, or its file is not there. A source that is not what was
    /// announced fails the job.
    pub async fn source_uploaded(&self, job: JobId) -> Result<Job, QueueError> {
        let key = self.source_key(job).await?;
        let size = self.blobs().size(&key).await?.ok_or_else(|| BlobError::NotFound(key.clone()))?;
        self.change(Command::SourceReady { job, key, size, sha256: None }).await
    }

    async fn source_key(&self, job: JobId) -> Result<String, QueueError> {
        let found = self.job(job).await?;
        let source = found.source.ok_or_else(|| Invalid::new("job_id", "this job has no source file"))?;
        Ok(source.key)
    }

    /// Records that the holder of this lease will write an output, and says under which key.
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
    /// use blobforge_core::{blob::read_bytes, storage::Report};
    /// use futures_util::TryStreamExt;
    /// let (id, token) = (claimed.job.id, claimed.token);
    /// let key = queue.reserve_output(id, token, "text.md").await.unwrap();
    /// queue.blobs().put(&key, read_bytes("# Letter"), 1000).await.unwrap();
    /// let outputs = queue.check_outputs(id, token, vec![("text.md".to_owned(), Some(8), None)]).await.unwrap();
    /// assert_eq!((outputs[0].name.as_str(), outputs[0].size), ("text.md", 8));
    /// queue.report(id, token, Report::Complete { outputs, result: None }).await.unwrap();
    /// let text: Vec<_> = queue.output(id, "text.md").await.unwrap().try_collect().await.unwrap();
    /// assert_eq!(text.concat(), b"# Letter");
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the name is not a plain relative path, or the lease is not the current one.
    pub async fn reserve_output(
        &self,
        job: JobId,
        token: LeaseToken,
        name: &str,
    ) -> Result<String, QueueError> {
        file_name(name)?;
        self.reserve(job, token, keys::output(job, &token, name)).await
    }

    /// Records that the holder of this lease will write a checkpoint, and says under which key.
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
    /// use blobforge_core::{Checkpoint, blob::read_bytes, storage::Command};
    /// let (job, token, name) = (claimed.job.id, claimed.token, "pages-1-50.json");
    /// let key = queue.reserve_checkpoint(job, token, name).await.unwrap();
    /// let stored = queue.blobs().put(&key, read_bytes("[]"), 1000).await.unwrap();
    /// let checkpoint = Checkpoint { name: name.to_owned(), size: stored.size, sha256: stored.sha256, key };
    /// queue.run(Command::Checkpoint { job, token, checkpoint }).await.unwrap();
    /// assert_eq!(queue.storage().checkpoints(job).await.unwrap()[0].name, name);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the name is not a plain relative path, or the lease is not the current one.
    pub async fn reserve_checkpoint(
        &self,
        job: JobId,
        token: LeaseToken,
        name: &str,
    ) -> Result<String, QueueError> {
        file_name(name)?;
        self.reserve(job, token, keys::checkpoint(job, &token, name)).await
    }

    async fn reserve(&self, job: JobId, token: LeaseToken, key: String) -> Result<String, QueueError> {
        self.run(Command::ReserveFile { key: key.clone(), owner: Some((job, token)) }).await?;
        Ok(key)
    }

    /// The outputs that a holder names, as far as they are there: size checked, key found.
    ///
    /// As in [`Queue::reserve_output`].
    ///
    /// # Errors
    /// When one of them was not written, or has another size than announced.
    pub async fn check_outputs(
        &self,
        job: JobId,
        token: LeaseToken,
        named: Vec<(String, Option<u64>, Option<Sha256>)>,
    ) -> Result<Vec<Output>, QueueError> {
        if named.len() > MAX_OUTPUTS {
            let reason = format!("{} are too many: at most {MAX_OUTPUTS}", named.len());
            return Err(Invalid::new("outputs", reason).into());
        }
        let mut names = HashSet::with_capacity(named.len());
        for (name, ..) in &named {
            file_name(name)?;
            if !names.insert(name.as_str()) {
                return Err(Invalid::new("outputs", format!("{name:?} is named twice")).into());
            }
        }
        let checks = named.into_iter().map(|(name, announced, sha256)| async move {
            let key = keys::output(job, &token, &name);
            let size = self.blobs().size(&key).await?.ok_or(BlobError::NotFound(name.clone()))?;
            if let Some(announced) = announced.filter(|announced| *announced != size) {
                let reason = format!("{name:?} has {size} bytes, not {announced}: send it again");
                return Err(QueueError::from(Invalid::new("outputs", reason)));
            }
            Ok(Output { name, size, sha256, key })
        });
        stream::iter(checks).buffered(CHECKED_AT_ONCE).try_collect().await
    }

    /// A URL that allows `method` on the file under `key` for [`SIGNED_URL_LIFETIME`], if the blob store gives any. Who
    /// saves what it reads is told to call it `name`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{Queue, blob::{Method, ObjectBlobs, UrlSigner}, queue::SIGNED_URL_LIFETIME};
    /// use std::sync::Arc;
    /// let blobs = ObjectBlobs::in_memory().with_signer(UrlSigner::new([7; 32], "/files/"));
    /// let queue = Queue::builder().blobs(Arc::new(blobs)).open_in_memory().unwrap();
    /// let signed = queue.signed_url(Method::Get, "sources/a", Some("letter.pdf")).await.unwrap().unwrap();
    /// assert!(signed.url.starts_with("/files/sources/a?"));
    /// assert!(signed.expires_at <= queue.now() + SIGNED_URL_LIFETIME);
    /// let nobody = Queue::in_memory().signed_url(Method::Get, "sources/a", None).await.unwrap();
    /// assert_eq!(nobody, None, "nobody signs there");
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the key is none, or there is no credential to sign with.
    pub async fn signed_url(
        &self,
        method: Method,
        key: &str,
        name: Option<&str>,
    ) -> Result<Option<SignedUrl>, QueueError> {
        match self.blobs().direct() {
            Some(direct) => Ok(Some(direct.url(self.grant(method, key, name)).await?)),
            None => Ok(None),
        }
    }

    /// An output of a completed job as a stream.
    ///
    /// As in [`Queue::reserve_output`].
    ///
    /// # Errors
    /// When there is no such job or output, or the blob store fails.
    pub async fn output(&self, job: JobId, name: &str) -> Result<ByteStream, QueueError> {
        let found = self.job(job).await?;
        let output = found.outputs.into_iter().find(|output| output.name == name);
        let output = output.ok_or_else(|| BlobError::NotFound(name.to_owned()))?;
        Ok(self.blobs().get(&output.key, None).await?)
    }
}
