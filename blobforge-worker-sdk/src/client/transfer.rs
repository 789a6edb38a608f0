//! Files on their way to and from where they are kept, by signed URL.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use blobforge_core::{
    Sha256,
    blob::{ByteStream, read_file},
};
use futures_util::{StreamExt, TryStreamExt};
use reqwest::{Body, Method, RequestBuilder, Response, header};
use serde::Deserialize;
use sha2::{Digest, Sha256 as Hasher};
use tokio::{io::AsyncReadExt, sync::watch};

use super::{Client, ClientError, SILENCE};

/// Where a file is to be sent.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Transfer {
    url: String,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
}

impl Transfer {
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

/// A file as it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) size: u64,
    pub(super) sha256: Sha256,
}

impl Client {
    /// Sends a local file, and says after each piece how much of it has gone.
    pub(super) async fn send_file(
        &self,
        to: &Transfer,
        path: &Path,
        on_progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<Sent, ClientError> {
        let failed = |error| ClientError::file(path, error);
        let size = tokio::fs::metadata(path).await.map_err(failed)?.len();
        let content = read_file(path).await.map_err(failed)?;
        let hasher = Arc::new(Mutex::new((Hasher::new(), 0_u64)));
        let watched = hasher.clone();
        let content = content.inspect_ok(move |piece| {
            let mut state = watched.lock().unwrap_or_else(PoisonError::into_inner);
            state.0.update(piece);
            state.1 += piece.len() as u64;
        });
        self.put(to, content.boxed(), size, on_progress).await?;
        let (hasher, sent) = {
            let state = hasher.lock().unwrap_or_else(PoisonError::into_inner);
            (state.0.clone(), state.1)
        };
        if sent != size {
            return Err(failed(io::Error::other("the file changed while it was sent")));
        }
        Ok(Sent { size, sha256: Sha256::from_bytes(hasher.finalize().into()) })
    }

    /// Sends `size` bytes, and says after each piece how many have gone.
    pub(super) async fn put(
        &self,
        to: &Transfer,
        content: ByteStream,
        size: u64,
        mut on_progress: impl FnMut(u64) + Send + 'static,
    ) -> Result<Response, ClientError> {
        let (moved, moves) = watch::channel(());
        let mut gone = 0;
        let content = content.inspect_ok(move |piece| {
            gone += piece.len() as u64;
            on_progress(gone);
            moved.send_replace(());
        });
        let mut request = self.by_signed_url(Method::PUT, &to.url)?.header(header::CONTENT_LENGTH, size);
        for (name, value) in &to.headers {
            request = request.header(name, value);
        }
        tokio::select! {
            reply = self.send_by_signed_url(request.body(Body::wrap_stream(content))) => reply,
            () = still(moves) => Err(self.silent()),
        }
    }

    /// The reply to a request by a signed URL, unless there is none for too long.
    pub(super) async fn reply_by_signed_url(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let reply = tokio::time::timeout(SILENCE, self.send_by_signed_url(request)).await;
        reply.map_err(|_| self.silent())?
    }

    /// What comes with a reply, as a stream which fails when nothing comes for too long.
    pub(super) fn content(reply: Response) -> ByteStream {
        unless_silent(reply.bytes_stream().map_err(|error| io::Error::other(error.without_url())).boxed())
    }
}

/// Ends when nothing has moved for too long. What is sent is followed by one more silence, until the reply.
async fn still(mut moves: watch::Receiver<()>) {
    while let Ok(Ok(())) = tokio::time::timeout(SILENCE, moves.changed()).await {}
    if moves.has_changed().is_err() {
        tokio::time::sleep(SILENCE).await;
    }
}

/// The same stream, broken off when nothing comes for too long.
fn unless_silent(content: ByteStream) -> ByteStream {
    futures_util::stream::unfold(Some(content), |content| async move {
        let mut content = content?;
        match tokio::time::timeout(SILENCE, content.next()).await {
            Ok(piece) => Some((piece?, Some(content))),
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    })
    .boxed()
}

/// The hash of a local file.
pub(super) async fn hash_file(path: &Path) -> Result<(Sha256, u64), ClientError> {
    let failed = |error| ClientError::file(path, error);
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    let (mut hasher, mut size) = (Hasher::new(), 0);
    let mut piece = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut piece).await.map_err(failed)?;
        if read == 0 {
            return Ok((Sha256::from_bytes(hasher.finalize().into()), size));
        }
        hasher.update(&piece[..read]);
        size += read as u64;
    }
}
