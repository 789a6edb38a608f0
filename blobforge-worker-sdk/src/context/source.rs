//! A job's source, checked on its way in.

use std::path::{Path, PathBuf};

use blobforge_core::{
    Sha256,
    blob::{ByteStream, Stored},
    broker::{AssignedSource, BrokerError},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256 as Hasher};
use tokio::{io::AsyncWriteExt, time::Instant};

use super::JobContext;
use crate::JobError;

impl JobContext {
    /// The job's source as a local file, whole and checked against its size and hash. It is fetched once, kept in the
    /// attempt's own folder, and removed when the handler has returned.
    ///
    /// # Errors
    /// When the job has no source (permanent `no_source`), it is not what was announced (permanent `source_corrupt`),
    /// or it cannot be fetched just now.
    pub async fn source_file(&self) -> Result<PathBuf, JobError> {
        let mut fetched = self.inner.source.lock().await;
        if let Some(path) = &*fetched {
            return Ok(path.clone());
        }
        let source = self.announced()?;
        let path = self.folder().join(file_name(self.source_label()));
        let begun = Instant::now();
        let found = self.persist("fetch the source", async || self.fetch(&path).await).await?;
        self.inner.held.fetched_in(begun.elapsed());
        self.say_what_was_read(source, found).await?;
        *fetched = Some(path.clone());
        Ok(path)
    }

    /// The job's source as a stream, for handlers that need no file. Its size and hash are checked at the end: act on
    /// what was read only once the stream has ended without an error.
    ///
    /// # Errors
    /// When the job has no source, or it cannot be fetched just now.
    pub async fn source_stream(&self) -> Result<ByteStream, JobError> {
        let source = self.announced()?.clone();
        let opened = self.persist("open the source", || self.inner.broker.source(&self.inner.assignment));
        Ok(checked(self.clone(), opened.await?, source))
    }

    fn announced(&self) -> Result<&AssignedSource, JobError> {
        self.inner.assignment.source.as_ref().ok_or_else(|| {
            JobError::permanent(
                "no_source",
                "this job has no source file, but its handler needs one: submit it with a file",
            )
        })
    }

    async fn fetch(&self, path: &Path) -> Result<Stored, BrokerError> {
        let content = self.inner.broker.source(&self.inner.assignment).await?;
        write_stream(content, path).await
    }

    /// Tells the queue what the whole source is, if that is news. An error if it is another one than was announced.
    async fn say_what_was_read(&self, source: &AssignedSource, read: Stored) -> Result<(), JobError> {
        match unlike(source, read) {
            None if source.verified => Ok(()),
            None => self.say_verified(read).await,
            Some(corrupt) => {
                // The queue fails the job by this alone, asks for the file again when it is retried, and hands it to
                // nobody else. Where it cannot be told, the handler's error says at least what is wrong.
                let say = || self.inner.broker.source_verified(&self.inner.assignment, read);
                if self.persist("tell the queue that the source is corrupt", say).await.is_err() {
                    tracing::warn!("the queue was not told that the source is corrupt");
                }
                Err(corrupt)
            }
        }
    }

    /// Says that the source is what was announced. It only saves others the trouble, so a queue that is away is not
    /// waited for.
    async fn say_verified(&self, read: Stored) -> Result<(), JobError> {
        match self.inner.broker.source_verified(&self.inner.assignment, read).await {
            Ok(()) => Ok(()),
            Err(error @ BrokerError::LeaseLost(_)) => Err(self.refused(error)),
            Err(error) => {
                tracing::warn!(%error, "the queue was not told that the source is what was announced");
                Ok(())
            }
        }
    }
}

/// What is wrong with a source that is another one than was announced.
fn unlike(source: &AssignedSource, read: Stored) -> Option<JobError> {
    let corrupt = |message| Some(JobError::permanent("source_corrupt", message));
    match (source.size, source.sha256) {
        (Some(size), _) if size != read.size => corrupt(format!(
            "the source has {} bytes, but {size} were announced: retry this job and send the right file",
            read.size
        )),
        (_, Some(hash)) if hash != read.sha256 => corrupt(format!(
            "the source's SHA-256 is {}, but {hash} was announced: retry this job and send the right file",
            read.sha256
        )),
        _ => None,
    }
}

/// Writes a stream to a file, hashing it on the way. A stream that breaks off can be tried again.
pub(super) async fn write_stream(mut content: ByteStream, path: &Path) -> Result<Stored, BrokerError> {
    let mut file = tokio::fs::File::create(path).await?;
    let (mut hasher, mut size) = (Hasher::new(), 0);
    let broken_off = |error| BrokerError::Unavailable(format!("the transfer broke off: {error}"));
    while let Some(piece) = content.try_next().await.map_err(broken_off)? {
        hasher.update(&piece);
        size += piece.len() as u64;
        file.write_all(&piece).await?;
    }
    file.flush().await?;
    Ok(Stored { size, sha256: Sha256::from_bytes(hasher.finalize().into()) })
}

/// The same stream, with an error at its end if it was not what was announced.
fn checked(job: JobContext, content: ByteStream, source: AssignedSource) -> ByteStream {
    let start = Some((content, Hasher::new(), 0_u64));
    stream::try_unfold(start, move |state| {
        let (job, source) = (job.clone(), source.clone());
        async move {
            let Some((mut content, mut hasher, size)) = state else { return Ok(None) };
            if let Some(piece) = content.try_next().await? {
                hasher.update(&piece);
                let size = size + piece.len() as u64;
                return Ok(Some((piece, Some((content, hasher, size)))));
            }
            let read = Stored { size, sha256: Sha256::from_bytes(hasher.finalize().into()) };
            let said = job.say_what_was_read(&source, read).await;
            let wrong =
                |error: JobError| std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string());
            said.map(|()| None).map_err(wrong)
        }
    })
    .boxed()
}

/// A plain name with the label's extension, by which many programs go.
fn file_name(label: Option<&str>) -> String {
    let extension = label.and_then(|label| Path::new(label).extension()).and_then(|e| e.to_str());
    let plain = |e: &&str| (1..=10).contains(&e.len()) && e.bytes().all(|b| b.is_ascii_alphanumeric());
    match extension.filter(plain) {
        Some(extension) => format!("source.{}", extension.to_ascii_lowercase()),
        None => "source".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_gives_its_extension_and_nothing_else() {
        let names = [
            (Some("C:\\books\\Rules.PDF"), "source.pdf"),
            (Some("../../etc/passwd"), "source"),
            (Some("a.pdf; rm -rf"), "source"),
            (Some("archive.tar.gz"), "source.gz"),
            (None, "source"),
        ];
        for (label, name) in names {
            assert_eq!(file_name(label), name, "{label:?}");
        }
    }
}
