//! Fetching a file, from where it broke off if it did.

use std::{os::unix::fs::PermissionsExt, path::Path};

use blobforge_core::{JobId, blob::ByteStream, broker::Assignment};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use reqwest::{Method, StatusCode, header};
use tokio::io::AsyncWriteExt;

use super::{Client, ClientError, TRIES, broker::traced, transfer::Transfer};
use crate::backoff::Backoff;

/// A file to be fetched, as the service knows it.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    job: JobId,
    /// `source`, `output` or `checkpoint`.
    kind: &'static str,
    name: String,
    /// For whom, if for an attempt.
    assignment: Option<Box<Assignment>>,
}

impl Origin {
    fn output(job: JobId, name: &str) -> Self {
        Self { job, kind: "output", name: name.to_owned(), assignment: None }
    }

    pub(super) fn of_attempt(assignment: &Assignment, kind: &'static str, name: &str) -> Self {
        let assignment_of = Some(Box::new(assignment.clone()));
        Self { job: assignment.job, kind, name: name.to_owned(), assignment: assignment_of }
    }
}

/// A file on its way here.
struct Fetching {
    client: Client,
    origin: Origin,
    /// What comes at the moment; none after it broke off.
    content: Option<ByteStream>,
    /// How much has come, in bytes.
    offset: u64,
    backoff: Backoff,
}

impl Client {
    /// A file as a stream, which goes on where it broke off as long as that helps. `url` is where it may be, if that is known.
    pub(super) async fn fetch_whole(
        &self,
        origin: Origin,
        url: Option<&str>,
    ) -> Result<ByteStream, ClientError> {
        let content = match url {
            Some(url) => match self.fetch(url, 0).await {
                // It is too old.
                Err(ClientError::Refused { status: 403, .. }) => self.fetch_anew(&origin, 0).await?,
                other => other?,
            },
            None => self.fetch_anew(&origin, 0).await?,
        };
        let backoff = Backoff::default();
        let fetching = Fetching { client: self.clone(), origin, content: Some(content), offset: 0, backoff };
        let pieces = futures_util::stream::try_unfold(fetching, |mut fetching| async {
            let piece = fetching.next().await.map_err(std::io::Error::other)?;
            Ok(piece.map(|piece| (piece, fetching)))
        });
        Ok(pieces.boxed())
    }

    /// A file from an offset on, by a fresh URL.
    async fn fetch_anew(&self, origin: &Origin, offset: u64) -> Result<ByteStream, ClientError> {
        let path = format!("api/files/{}/{}/url", origin.job, origin.kind);
        let mut request = self.request(Method::GET, &path)?.query(&[("name", &origin.name)]);
        if let Some(assignment) = &origin.assignment {
            request = traced(request, assignment);
        }
        let from: Transfer = self.read(request).await?;
        self.fetch(from.url(), offset).await
    }

    /// The file at a signed URL from an offset on.
    async fn fetch(&self, url: &str, offset: u64) -> Result<ByteStream, ClientError> {
        let mut request = self.by_signed_url(Method::GET, url)?;
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        let reply = self.reply_by_signed_url(request).await?;
        let begins_there = reply.headers().get(header::CONTENT_RANGE).is_some_and(|range| {
            range.to_str().is_ok_and(|range| range.starts_with(&format!("bytes {offset}-")))
        });
        if offset > 0 && !(reply.status() == StatusCode::PARTIAL_CONTENT && begins_there) {
            let what = "the store of files does not go on where a file broke off: something in between changes requests";
            return Err(ClientError::Reply(what.to_owned()));
        }
        Ok(Self::content(reply))
    }

    /// Fetches an output of a completed job into a local file, which appears whole or not at all.
    ///
    /// # Errors
    /// When there is no such output, the file cannot be written, or the service refuses or stays away.
    pub async fn download_output(&self, id: JobId, name: &str, to: &Path) -> Result<(), ClientError> {
        let origin = Origin::output(id, name);
        let mut content = self.persist(async || self.fetch_whole(origin.clone(), None).await).await?;
        let failed = |error| ClientError::file(to, error);
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // What is fetched is as any file that is made here; a temporary one is nobody else's.
        let permissions = std::fs::Permissions::from_mode(0o666);
        let draft = tempfile::Builder::new().permissions(permissions).tempfile_in(parent);
        let (file, draft) = draft.map_err(failed)?.into_parts();
        let mut file = tokio::fs::File::from_std(file);
        let broken = |source| ClientError::BrokenOff { url: self.url().to_owned(), source };
        while let Some(piece) = content.try_next().await.map_err(broken)? {
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.sync_all().await.map_err(failed)?;
        draft.persist(to).map_err(|error| failed(error.error))
    }
}

impl Fetching {
    /// The next piece; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let error = match self.piece().await {
                Ok(piece) => {
                    if let Some(piece) = &piece {
                        self.offset += piece.len() as u64;
                        self.backoff.reset();
                    }
                    return Ok(piece);
                }
                Err(error) => error,
            };
            self.content = None;
            if !error.is_retryable() || self.backoff.failures() + 1 >= TRIES {
                return Err(error);
            }
            tracing::warn!(%error, offset = self.offset, "a file broke off: going on where it was");
            self.backoff.wait().await;
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        let content = match &mut self.content {
            Some(content) => content,
            None => self.content.insert(self.client.fetch_anew(&self.origin, self.offset).await?),
        };
        let broken = |source| ClientError::BrokenOff { url: self.client.url().to_owned(), source };
        content.try_next().await.map_err(broken)
    }
}
