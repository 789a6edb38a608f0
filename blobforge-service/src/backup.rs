//! The database's copies: made all the time by Litestream, or whole, tried, and brought back.
//!
//! What a copy is good for shows when it is restored. So nothing here believes that it is good because it was made: each one
//! that is put in the place of a database was looked through first, and the one that goes on is tried on a schedule.

mod litestream;
mod restoring;
mod snapshot;
mod standing;
mod supervisor;
mod verification;

use std::fs::TryLockError;

use blobforge_core::blob::{BlobError, S3Options};

pub(crate) use litestream::Litestream;
pub(crate) use restoring::{Source as Restoring, bring_back, restore};
pub(crate) use snapshot::{Place as SnapshotPlace, take as take_snapshot};
pub(crate) use standing::{Standing, Verified, last_verified};
pub(crate) use supervisor::Replication;
pub(crate) use verification::{verify, verify_again_and_again};

/// Why a copy could not be made, tried or brought back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Litestream is not there.
    #[error(
        "litestream is not there ({0}): install version 0.5 from https://litestream.io/install/, say with LITESTREAM_BIN \
         where it is, or leave --replicate out"
    )]
    NoProgram(String),
    /// Litestream failed.
    #[error("litestream could not {doing}: {said}. {remedy}")]
    Failed {
        /// What it was to do.
        doing: &'static str,
        /// Its last words.
        said: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// What came back cannot be used.
    #[error("the copy at {at} cannot be used: {why}. Nothing was changed. {remedy}")]
    Unusable {
        /// Where it lies.
        at: String,
        /// What is wrong with it.
        why: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// There is none.
    #[error("{0}")]
    None(String),
    /// A file or folder could not be used.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Where something lies in a bucket, for people.
fn address(bucket: &S3Options, key: &str) -> String {
    format!("{}/{}/{}", bucket.endpoint.trim_end_matches('/'), bucket.bucket, behind_prefix(bucket, key))
}

/// A key as others see it.
fn behind_prefix(bucket: &S3Options, key: &str) -> String {
    match bucket.prefix.trim_matches('/') {
        "" => key.to_owned(),
        prefix => format!("{prefix}/{key}"),
    }
}

/// Holds a file locked for as long as what comes back lives; `taken` says what it means that somebody else does.
fn locked(path: &std::path::Path, taken: &str) -> Result<std::fs::File, BackupError> {
    let file = std::fs::File::create(path).map_err(BackupError::file(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BackupError::None(taken.to_owned())),
        Err(TryLockError::Error(error)) => Err(BackupError::file(path)(error)),
    }
}

impl BackupError {
    fn bucket(error: BlobError) -> Self {
        Self::None(format!("the bucket cannot be used: {error}"))
    }

    fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
