//! Everything that a job produced, into a folder.

use std::{
    io,
    path::{Path, PathBuf},
};

use blobforge_core::{JobId, Status, saved_names};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Client, ClientError};

/// How many files are fetched at once.
const FETCHED_AT_ONCE: usize = 4;

impl Client {
    /// Fetches all outputs of a completed job into a folder, which is made if it is missing; where they are now. Each file
    /// appears whole or not at all. Whatever the service calls them, none is written outside the folder: see
    /// [`saved_names`].
    ///
    /// # Errors
    /// When there is no such job, it has not completed, a file cannot be written, or the service refuses or stays away.
    pub async fn download_outputs(&self, id: JobId, folder: &Path) -> Result<Vec<PathBuf>, ClientError> {
        let job = self.job(id).await?;
        if job.status != Status::Completed {
            return Err(ClientError::NotCompleted { job: id, status: job.status });
        }
        let outputs = job.outputs;
        let failed = |error| ClientError::file(folder, error);
        tokio::fs::create_dir_all(folder).await.map_err(failed)?;
        let folder = tokio::fs::canonicalize(folder).await.map_err(failed)?;
        let names = saved_names(outputs.iter().map(|output| output.name.as_str()));
        let folder = &folder;
        let downloads = outputs.iter().zip(names).map(|(output, saved)| async move {
            let to =
                place(folder, &saved).await.map_err(|error| ClientError::file(folder.join(&saved), error))?;
            self.download_output(id, &output.name, &to).await.map(|()| to)
        });
        // In their own order, so that the first error is that of the first file.
        stream::iter(downloads).buffered(FETCHED_AT_ONCE).try_collect().await
    }
}

/// Makes the folders of a file. One that is a link may lead anywhere.
async fn place(folder: &Path, saved: &str) -> io::Result<PathBuf> {
    let mut path = folder.to_owned();
    let mut parts = saved.split('/').peekable();
    while let Some(part) = parts.next() {
        path.push(part);
        if parts.peek().is_none() {
            break;
        }
        match tokio::fs::create_dir(&path).await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        if !tokio::fs::symlink_metadata(&path).await?.is_dir() {
            let what = "it is no folder, or a link that leads elsewhere: move it out of the way";
            return Err(io::Error::other(format!("{}: {what}", path.display())));
        }
    }
    Ok(path)
}
