//! Every store passes the same suite.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;

use blobforge_core::{
    ManualClock,
    storage::{Storage, memory::MemoryStorage},
};

async fn memory(clock: Arc<ManualClock>) -> (Arc<dyn Storage>, ()) {
    (Arc::new(MemoryStorage::new(clock)), ())
}

mod in_memory {
    blobforge_core::storage_conformance!(super::memory);
}

#[cfg(feature = "sqlite")]
async fn sqlite(clock: Arc<ManualClock>) -> (Arc<dyn Storage>, tempfile::TempDir) {
    use blobforge_core::storage::sqlite::{SqliteOptions, SqliteStorage};

    let folder = tempfile::tempdir().unwrap();
    // A machine that is busy with other tests must not fail this one.
    let read_limit = std::time::Duration::from_secs(60);
    let options = SqliteOptions { clock, read_limit, ..SqliteOptions::default() };
    let storage = SqliteStorage::open(folder.path().join("queue.db"), options).await.unwrap();
    (Arc::new(storage), folder)
}

#[cfg(feature = "sqlite")]
mod in_sqlite {
    blobforge_core::storage_conformance!(super::sqlite);
}

/// A case that is written but not listed would never run.
#[test]
fn the_macro_lists_every_case() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance");
    let suite = std::fs::read_to_string(format!("{folder}/storage.rs")).unwrap();
    let mut cases = 0;
    for file in std::fs::read_dir(format!("{folder}/storage")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for case in text.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next()) {
            assert!(suite.contains(&format!("                {case},\n")), "{case} is not listed");
            cases += 1;
        }
    }
    assert!(cases >= 40, "only {cases} cases were found");
}
