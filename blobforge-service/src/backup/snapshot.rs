//! Whole copies of the database at one moment: in files, or in the bucket, each with its hash, and the last ones kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use blobforge_core::{
    Sha256, Timestamp,
    blob::{BlobStore, ObjectBlobs, S3Options, read_bytes, read_file},
    storage::sqlite::{copy_database, make_durable},
};
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::{
    BackupError, address,
    restoring::{beside, looked_through, remove_with_log},
};
use crate::{
    config::ServeConfig,
    hashing,
    service::{folder_to_write, private_folder},
};

/// The folder of snapshots, beside the database and in the bucket.
const FOLDER: &str = "snapshots";
/// What there is in the bucket, so that nothing has to be listed.
const INDEX: &str = "snapshots/index.json";
/// The largest list of them that is read.
const INDEX_BYTES: u64 = 1 << 20;
/// What one is called that is not finished.
const DRAFT: &str = "unfinished.db";
/// How snapshots are named.
const BEGIN: &str = "blobforge-";
const END: &str = ".db";

/// What to do if the database itself is not good.
const DAMAGED: &str = "The database itself is damaged: stop the service, keep the file, and bring a copy back with `blobforge \
                       backup restore`";

/// Where a snapshot is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// This file, which is nobody's to delete.
    File(PathBuf),
    /// The folder beside the database.
    Folder,
    /// The bucket.
    Bucket,
}

/// A snapshot that was made.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Taken {
    /// Where it lies.
    pub(crate) at: String,
    pub(crate) jobs: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// How many older ones were deleted.
    pub(crate) deleted: usize,
}

/// A snapshot in the bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    name: String,
    sha256: String,
    bytes: u64,
}

/// Copies the database as it is now, looks through the copy and puts it in its place. Of those that were not put into a file of
/// their own the last `keep` are kept.
///
/// # Errors
/// When there is no database, or the copy cannot be made or is not good.
pub(crate) async fn take(config: &ServeConfig, place: &Place, keep: usize) -> Result<Taken, BackupError> {
    let database = &config.db_path;
    if !database.is_file() {
        let what =
            format!("there is no database at {}: say with BLOBFORGE_DB_PATH where it is", database.display());
        return Err(BackupError::None(what));
    }
    let name = name_at(config.clock().now());
    let folder = config.data_folder().join(FOLDER);
    let to = match place {
        Place::File(file) => file.clone(),
        Place::Folder | Place::Bucket => folder.join(&name),
    };
    if to.exists() {
        return Err(BackupError::None(format!("{} is there already: name another file", to.display())));
    }
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match place {
        Place::File(_) => private_folder(parent).map_err(BackupError::file(parent))?,
        // Beside the database, whose account has to be able to use it.
        Place::Folder | Place::Bucket => folder_to_write(&config.data_folder())
            .map_err(|error| BackupError::None(error.to_string()))
            .and_then(|()| private_folder(parent).map_err(BackupError::file(parent)))?,
    }
    let draft = match place {
        Place::File(file) => beside(file, ".new"),
        // Always the same, so that what was broken off does not pile up.
        Place::Folder | Place::Bucket => folder.join(DRAFT),
    };
    remove_with_log(&draft)?;
    let made = make(database, &draft).await;
    let (jobs, bytes, sha256) = made.inspect_err(|_| {
        let _ = remove_with_log(&draft);
    })?;
    let mut taken = Taken { at: to.display().to_string(), jobs, bytes, sha256, deleted: 0 };
    match place {
        Place::Bucket => {
            let put = into_bucket(config, &name, &draft, &mut taken, keep).await;
            remove_with_log(&draft)?;
            put?;
        }
        Place::File(_) => settle(&draft, &to, &taken.sha256)?,
        Place::Folder => {
            settle(&draft, &to, &taken.sha256)?;
            taken.deleted = delete_older(&folder, keep)?;
        }
    }
    Ok(taken)
}

/// Makes a copy, looks through it, and says how many jobs it has, how large it is, and its hash.
async fn make(database: &Path, draft: &Path) -> Result<(u64, u64, String), BackupError> {
    let (from, to) = (database.to_owned(), draft.to_owned());
    let copied = tokio::task::spawn_blocking(move || copy_database(&from, &to)).await;
    let copied = copied.map_err(io::Error::other).map_err(BackupError::file(draft))?;
    copied.map_err(|error| BackupError::None(format!("the database could not be copied: {error}")))?;
    let jobs = looked_through(draft, format!("a copy of {}", database.display()), DAMAGED).await?.jobs;
    let file = draft.to_owned();
    let hashed = tokio::task::spawn_blocking(move || hash_of(&file)).await;
    let (bytes, sha256) =
        hashed.map_err(io::Error::other).and_then(|hashed| hashed).map_err(BackupError::file(draft))?;
    Ok((jobs, bytes, sha256))
}

/// A name by which snapshots stand in the order in which they were made.
fn name_at(now: Timestamp) -> String {
    let digits: String = now.to_string().chars().filter(|c| c.is_ascii_digit()).take(17).collect();
    format!("{BEGIN}{digits}{END}")
}

fn is_name(name: &str) -> bool {
    let digits = name.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    digits.is_some_and(|digits| digits.len() >= 14 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// How large a file is, and its hash.
fn hash_of(file: &Path) -> io::Result<(u64, String)> {
    let sha256 = hashing::of_file(file, &|_| {})?;
    Ok((fs::metadata(file)?.len(), sha256.to_string()))
}

/// Gives a copy its name, with its hash beside it as `sha256sum --check` reads it.
fn settle(draft: &Path, to: &Path, sha256: &str) -> Result<(), BackupError> {
    let sum = beside(to, ".sha256");
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    fs::write(&sum, format!("{sha256}  {name}\n")).map_err(BackupError::file(&sum))?;
    make_durable(&sum).map_err(BackupError::file(&sum))?;
    fs::rename(draft, to).and_then(|()| make_durable(to)).map_err(BackupError::file(to))
}

/// Deletes all but the last snapshots of a folder: only what is named like one, and has its hash beside it.
fn delete_older(folder: &Path, keep: usize) -> Result<usize, BackupError> {
    let in_folder = BackupError::file(folder);
    let names = fs::read_dir(folder).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut names: Vec<_> = names.map_err(in_folder)?.into_iter().filter(|name| is_name(name)).collect();
    names.retain(|name| folder.join(format!("{name}.sha256")).exists());
    names.sort_unstable();
    let older = names.len().saturating_sub(keep);
    for name in &names[..older] {
        for file in [folder.join(name), folder.join(format!("{name}.sha256"))] {
            fs::remove_file(&file).map_err(BackupError::file(&file))?;
        }
    }
    Ok(older)
}

fn bucket_of(config: &ServeConfig) -> Result<(ObjectBlobs, &S3Options), BackupError> {
    let Some(options) = &config.s3 else {
        return Err(BackupError::None(
            "there is no bucket: set BLOBFORGE_S3_ENDPOINT and what belongs to it".to_owned(),
        ));
    };
    Ok((ObjectBlobs::s3(options).map_err(BackupError::bucket)?, options))
}

async fn into_bucket(
    config: &ServeConfig,
    name: &str,
    draft: &Path,
    taken: &mut Taken,
    keep: usize,
) -> Result<(), BackupError> {
    let (bucket, options) = bucket_of(config)?;
    let key = format!("{FOLDER}/{name}");
    let at = address(options, &key);
    let content = read_file(draft).await.map_err(BackupError::file(draft))?;
    bucket.put(&key, content, u64::MAX).await.map_err(BackupError::bucket)?;
    let mut index = index(&bucket).await?;
    index.push(Entry { name: name.to_owned(), sha256: taken.sha256.clone(), bytes: taken.bytes });
    index.sort_by(|one, other| one.name.cmp(&other.name));
    let older: Vec<_> = index.drain(..index.len().saturating_sub(keep)).collect();
    // First what is still there, so that nothing is named that is gone.
    let text = serde_json::to_vec_pretty(&index).map_err(|error| BackupError::None(error.to_string()))?;
    bucket.put(INDEX, read_bytes(text), INDEX_BYTES).await.map_err(BackupError::bucket)?;
    for entry in &older {
        bucket.delete(&format!("{FOLDER}/{}", entry.name)).await.map_err(BackupError::bucket)?;
    }
    (taken.at, taken.deleted) = (at, older.len());
    Ok(())
}

async fn index(bucket: &ObjectBlobs) -> Result<Vec<Entry>, BackupError> {
    match bucket.size(INDEX).await.map_err(BackupError::bucket)? {
        None => return Ok(Vec::new()),
        Some(0..=INDEX_BYTES) => {}
        Some(_) => {
            return Err(BackupError::None(format!(
                "{INDEX} is longer than any that was written: look at it"
            )));
        }
    }
    let content: Result<Vec<_>, _> =
        bucket.get(INDEX, None).await.map_err(BackupError::bucket)?.try_collect().await;
    let content =
        content.map_err(|error| BackupError::None(format!("{INDEX} cannot be read: {error}")))?.concat();
    serde_json::from_slice(&content).map_err(|error| {
        BackupError::None(format!("{INDEX} cannot be read: {error}. Name the snapshot's file instead"))
    })
}

/// Gets a snapshot from a file, whose hash is compared if it lies beside it.
pub(super) async fn fetch_file(file: &Path, draft: &Path) -> Result<String, BackupError> {
    if file.is_dir() {
        return Err(BackupError::None(format!(
            "{} is a folder: name the file of a snapshot in it",
            file.display()
        )));
    }
    let log = beside(file, "-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Err(BackupError::None(format!(
            "{} belongs to {} and has what was written to it last: open that once where it is, with `blobforge doctor \
             --db-path {}`, or name a snapshot",
            log.display(),
            file.display(),
            file.display()
        )));
    }
    tokio::fs::copy(file, draft).await.map_err(BackupError::file(file))?;
    let sum = beside(file, ".sha256");
    if let Ok(text) = fs::read_to_string(&sum) {
        let wanted = text.split_whitespace().next().unwrap_or_default();
        check_hash(draft, wanted, &file.display().to_string()).await?;
    }
    Ok(file.display().to_string())
}

/// Gets a snapshot from the bucket.
pub(super) async fn fetch_from_bucket(
    config: &ServeConfig,
    name: Option<&str>,
    draft: &Path,
) -> Result<String, BackupError> {
    let (bucket, options) = bucket_of(config)?;
    let index = index(&bucket).await?;
    let found = match name {
        Some(name) => index.iter().find(|entry| entry.name == name),
        None => index.last(),
    };
    let Some(entry) = found else {
        let names: Vec<_> = index.iter().map(|entry| entry.name.as_str()).collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(BackupError::None(format!("there is no such snapshot in the bucket; there is {there}")));
    };
    let key = format!("{FOLDER}/{}", entry.name);
    let mut content = bucket.get(&key, None).await.map_err(BackupError::bucket)?;
    let mut to = tokio::fs::File::create(draft).await.map_err(BackupError::file(draft))?;
    while let Some(chunk) =
        content.try_next().await.map_err(|e| BackupError::None(format!("{key} cannot be read: {e}")))?
    {
        to.write_all(&chunk).await.map_err(BackupError::file(draft))?;
    }
    to.flush().await.map_err(BackupError::file(draft))?;
    let at = address(options, &key);
    check_hash(draft, &entry.sha256, &at).await?;
    Ok(at)
}

async fn check_hash(file: &Path, wanted: &str, at: &str) -> Result<(), BackupError> {
    let path = file.to_owned();
    let hashed = tokio::task::spawn_blocking(move || hash_of(&path)).await;
    let (_, found) =
        hashed.map_err(io::Error::other).and_then(|hashed| hashed).map_err(BackupError::file(file))?;
    if wanted.parse::<Sha256>().is_ok() && found == wanted {
        return Ok(());
    }
    let why = format!("its SHA-256 is {found}, and was {wanted} when it was made");
    let remedy = "It was changed or damaged since: name another snapshot";
    Err(BackupError::Unusable { at: at.to_owned(), why, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_stand_in_the_order_in_which_they_were_made() {
        let name = |text: &str| name_at(text.parse().unwrap());
        let (one, other) = (name("2026-03-01T12:00:00Z"), name("2026-11-01T02:00:00.25Z"));
        assert!(is_name(&one) && is_name(&other) && one < other, "{one} {other}");
        for foreign in ["blobforge.db", "blobforge-notes.db", "blobforge-1.db", "20260301120000.db"] {
            assert!(!is_name(foreign), "{foreign}");
        }
    }

    #[test]
    fn only_snapshots_are_deleted_and_the_last_ones_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str| fs::write(folder.path().join(name), "").unwrap();
        for day in 1..=4 {
            put(&format!("blobforge-2026030{day}120000.db"));
            put(&format!("blobforge-2026030{day}120000.db.sha256"));
        }
        put("blobforge-20260229120000.db");
        put("notes.db");
        assert_eq!(delete_older(folder.path(), 2).unwrap(), 2);
        let there = |name: &str| folder.path().join(name).exists();
        assert!(!there("blobforge-20260301120000.db") && !there("blobforge-20260302120000.db.sha256"));
        assert!(there("blobforge-20260303120000.db") && there("blobforge-20260304120000.db"));
        assert!(
            there("notes.db") && there("blobforge-20260229120000.db"),
            "without its hash it is another's"
        );
    }
}
