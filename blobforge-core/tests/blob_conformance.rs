//! Every blob store passes the same suite.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{path::Path, sync::Arc};

use blobforge_core::blob::{BlobError, BlobStore, ObjectBlobs, read_bytes};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tempfile::TempDir;

async fn memory() -> (Arc<dyn BlobStore>, ()) {
    (Arc::new(ObjectBlobs::in_memory()), ())
}

mod in_memory {
    blobforge_core::blob_conformance!(super::memory);
}

async fn local() -> (Arc<dyn BlobStore>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Arc::new(ObjectBlobs::local(folder.path()).unwrap()), folder)
}

mod in_a_folder {
    blobforge_core::blob_conformance!(super::local);
}

/// More than is written at once, so that a part of it has reached the disk.
fn a_part() -> Bytes {
    vec![7; 20 * 1024 * 1024].into()
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}

#[tokio::test]
async fn a_put_that_fails_leaves_no_rubbish_in_the_folder() {
    let (blobs, folder) = local().await;
    let broken = stream::iter([Ok(a_part()), Err(std::io::ErrorKind::ConnectionReset.into())]).boxed();
    assert!(blobs.put("outputs/a", broken, u64::MAX).await.is_err());
    assert!(blobs.put("outputs/a", read_bytes(a_part()), 100).await.is_err());
    assert_eq!(files_below(folder.path()), 0);
}

#[test]
fn a_put_that_is_dropped_leaves_no_rubbish_in_the_folder() {
    // With one thread for what blocks, the removal is done when whatever comes after it is.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.max_blocking_threads(1).build().unwrap().block_on(async {
        let (blobs, folder) = local().await;
        let (taken, part_taken) = tokio::sync::oneshot::channel();
        let waiting = stream::once(async move {
            taken.send(()).unwrap();
            std::future::pending().await
        });
        let content = stream::iter([Ok(a_part())]).chain(waiting).boxed();
        tokio::select! {
            _ = blobs.put("outputs/a", content, u64::MAX) => panic!("the stream never ends"),
            taken = part_taken => taken.unwrap(),
        }
        tokio::task::spawn_blocking(|| {}).await.unwrap();
        assert_eq!(files_below(folder.path()), 0);
        assert_eq!(blobs.size("outputs/a").await.unwrap(), None);
    });
}

#[tokio::test]
async fn a_file_where_a_folder_is_needed_is_told_apart_from_trouble_that_passes() {
    let (blobs, _folder) = local().await;
    blobs.put("outputs/a/b", read_bytes("there first"), 100).await.unwrap();
    for key in ["outputs/a", "outputs/a/b/c"] {
        for content in [read_bytes("too late"), read_bytes(a_part())] {
            let refused = blobs.put(key, content, u64::MAX).await.unwrap_err();
            assert!(matches!(refused, BlobError::BadKey(_)), "{key}: {refused}");
        }
    }
    assert_eq!(blobs.size("outputs/a/b").await.unwrap(), Some(11));
}

#[tokio::test]
async fn files_survive_the_store_that_wrote_them() {
    let (blobs, folder) = local().await;
    blobs.put("outputs/a", read_bytes("kept"), 100).await.unwrap();
    drop(blobs);
    let again = ObjectBlobs::local(folder.path()).unwrap();
    assert_eq!(again.size("outputs/a").await.unwrap(), Some(4));
}

#[tokio::test]
async fn what_cannot_be_a_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(ObjectBlobs::local(file.join("files")).is_err());
}

/// A case that is written but not listed would never run.
#[test]
fn the_macro_lists_every_case() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance/blob.rs");
    let suite = std::fs::read_to_string(path).unwrap();
    let named = |line: &str| Some(line.strip_prefix("pub async fn ")?.split('(').next()?.to_owned());
    let cases: Vec<String> = suite.lines().filter_map(named).collect();
    for case in &cases {
        assert!(suite.contains(&format!("            {case},\n")), "{case} is not listed");
    }
    assert!(cases.len() >= 20, "only {} cases were found", cases.len());
}
