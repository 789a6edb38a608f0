//! Bringing a database back: from the copy in the bucket, or from a snapshot.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use blobforge_core::storage::sqlite::{Examined, examine, make_durable, note_restore};
use serde::Serialize;

use super::{BackupError, Litestream, locked, snapshot};
use crate::{
    config::ServeConfig,
    service::{folder_to_write, private_folder},
};

/// Where a database comes back from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Litestream's copy: its newest state, or that of a time.
    Replica(Option<String>),
    /// A snapshot in a file.
    File(PathBuf),
    /// A snapshot in the bucket: the newest, or the one of this name.
    Bucket(Option<String>),
}

impl Source {
    /// What to do if it is of no use.
    fn remedy(&self) -> &'static str {
        match self {
            Self::Replica(_) => EARLIER_STATE,
            Self::File(_) | Self::Bucket(_) => {
                "Name another snapshot, or restore Litestream's copy, which takes neither `--from` nor `--from-bucket`"
            }
        }
    }
}

/// What to do if Litestream's copy is of no use.
pub(super) const EARLIER_STATE: &str = "Restore an earlier state with `blobforge backup restore --timestamp`, or a snapshot with \
                                        `--from`; to begin with an empty database name another BLOBFORGE_LITESTREAM_PATH";

/// A database that came back.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Brought {
    /// Where from.
    pub(crate) from: String,
    /// How many jobs it has.
    pub(crate) jobs: u64,
    /// The version of its tables, as they came.
    pub(crate) schema: i32,
}

/// Brings the database back if there is none, a copy is kept, and nobody said not to. A bucket without a copy is fine: then an
/// empty database is begun.
///
/// # Errors
/// When it cannot be said whether there is a copy, or it cannot be used: an empty database in its place would be copied over it.
pub(crate) async fn bring_back(config: &ServeConfig) -> Result<Option<Brought>, BackupError> {
    if !config.backup.replicate || config.db_path.exists() {
        return Ok(None);
    }
    if !config.backup.restore {
        return refuse_to_copy_over(config).await.map(|()| None);
    }
    match restore(config, &Source::Replica(None)).await {
        Ok(brought) => {
            tracing::warn!("{} jobs came back from {}", brought.jobs, brought.from);
            Ok(Some(brought))
        }
        Err(BackupError::None(what)) => {
            tracing::info!("{what}: an empty database is begun");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// An empty database that is copied to where a copy lies leaves nothing of that.
async fn refuse_to_copy_over(config: &ServeConfig) -> Result<(), BackupError> {
    let litestream = Litestream::new(config)?;
    if litestream.has_files().await? {
        return Err(BackupError::None(format!(
            "SKIP_RESTORE is set, and there is a copy at {}, which would be lost: name another BLOBFORGE_LITESTREAM_PATH to begin \
             with an empty database, or unset SKIP_RESTORE to have the copy back",
            litestream.replica()
        )));
    }
    tracing::warn!("SKIP_RESTORE is set: an empty database is begun");
    Ok(())
}

/// Puts a database in its place that came back. Whoever opens it next does what a restore asks for.
///
/// # Errors
/// When there is a database already, or what came back cannot be used. Then nothing is changed.
pub(crate) async fn restore(config: &ServeConfig, source: &Source) -> Result<Brought, BackupError> {
    let path = std::path::absolute(&config.db_path).map_err(BackupError::file(&config.db_path))?;
    if path.exists() {
        return Err(is_there(&path));
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    folder_to_write(folder).map_err(|error| BackupError::None(error.to_string()))?;
    let _alone = alone(&path)?;
    // For its owner alone from the first byte on; what one that was killed has left is as large as a database.
    let scratch = beside(&path, ".restoring");
    gone(fs::remove_dir_all(&scratch)).map_err(BackupError::file(&scratch))?;
    private_folder(&scratch).map_err(BackupError::file(&scratch))?;
    let brought = bring(config, source, &scratch.join("restored.db"), &path).await;
    if let Err(error) = fs::remove_dir_all(&scratch) {
        tracing::warn!(%error, "{} can be removed by hand", scratch.display());
    }
    brought
}

/// Gets what is to come back, looks through it, and puts it in its place.
async fn bring(
    config: &ServeConfig,
    source: &Source,
    draft: &Path,
    path: &Path,
) -> Result<Brought, BackupError> {
    let from = fetch(config, source, draft).await?;
    let brought = looked_through(draft, from, source.remedy()).await?;
    put_in_place(draft, path)?;
    Ok(brought)
}

/// Gets what is to come back, and says where from.
async fn fetch(config: &ServeConfig, source: &Source, draft: &Path) -> Result<String, BackupError> {
    match source {
        Source::Replica(at) => {
            let litestream = Litestream::new(config)?;
            if litestream.restore(draft, at.as_deref()).await? {
                return Ok(litestream.replica());
            }
            Err(BackupError::None(format!("there is no copy at {}", litestream.replica())))
        }
        Source::File(file) => snapshot::fetch_file(file, draft).await,
        Source::Bucket(name) => snapshot::fetch_from_bucket(config, name.as_deref(), draft).await,
    }
}

/// Reads all of what came back.
pub(super) async fn looked_through(
    file: &Path,
    from: String,
    remedy: &'static str,
) -> Result<Brought, BackupError> {
    let path = file.to_owned();
    let examined = tokio::task::spawn_blocking(move || examine(&path)).await;
    let examined = examined
        .map_err(|error| BackupError::File { path: file.to_owned(), source: io::Error::other(error) })?;
    match examined {
        Ok(Examined { schema, jobs, .. }) => Ok(Brought { from, jobs, schema }),
        // What is said of the file means what it came from.
        Err(error) => {
            let why = error.to_string().replace(&file.display().to_string(), "it");
            Err(BackupError::Unusable { at: from, why, remedy })
        }
    }
}

fn is_there(path: &Path) -> BackupError {
    BackupError::None(format!(
        "there is a database at {}: stop the service and move it away first, with the files beside it that begin with its \
         name",
        path.display()
    ))
}

/// Keeps every other restore of a database out, until it is dropped.
struct Alone {
    lock: PathBuf,
    _held: fs::File,
}

impl Drop for Alone {
    fn drop(&mut self) {
        // Another one makes it anew, and none puts a database in the place of one that is there.
        let _ = fs::remove_file(&self.lock);
    }
}

fn alone(path: &Path) -> Result<Alone, BackupError> {
    let lock = beside(path, ".restoring-lock");
    let held = locked(&lock, "another process brings this database back: wait until it is done")?;
    Ok(Alone { lock, _held: held })
}

fn put_in_place(draft: &Path, path: &Path) -> Result<(), BackupError> {
    if path.exists() {
        return Err(is_there(path));
    }
    // What belonged to the database that was there is not applied to this one, and not thrown away either.
    for ending in ["-wal", "-shm"] {
        set_aside(&beside(path, ending))?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let of_litestream = path.with_file_name(format!(".{name}-litestream"));
    // How far the one that was there had been copied says nothing about this one.
    gone(fs::remove_dir_all(&of_litestream)).map_err(BackupError::file(&of_litestream))?;
    // Also a copy that has no mark yet is told to have come back.
    note_restore(path).map_err(BackupError::file(path))?;
    make_durable(draft).map_err(BackupError::file(draft))?;
    // Never in the place of one that has come meanwhile.
    let placed = only_for_its_owner(draft).and_then(|()| fs::hard_link(draft, path));
    placed.and_then(|()| make_durable(path)).map_err(BackupError::file(path))
}

/// What is known of all jobs is nobody else's business, whatever its folder is like.
#[cfg(unix)]
fn only_for_its_owner(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn only_for_its_owner(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether something is not there any more, or never was.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn set_aside(file: &Path) -> Result<(), BackupError> {
    gone(fs::rename(file, beside(file, ".lost"))).map_err(BackupError::file(file))
}

/// Removes a database that is none yet, with what may lie beside it.
pub(super) fn remove_with_log(file: &Path) -> Result<(), BackupError> {
    for ending in ["", "-wal", "-shm", "-journal", ".tmp"] {
        let one = beside(file, ending);
        gone(fs::remove_file(&one)).map_err(BackupError::file(&one))?;
    }
    Ok(())
}

pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
