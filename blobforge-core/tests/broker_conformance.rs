//! Every broker passes the same suite; here the queue itself, without a network between.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{sync::Arc, time::Duration};

use blobforge_core::{Queue, QueueBuilder, blob::ObjectBlobs, broker::Broker};
use tempfile::TempDir;

fn builder() -> QueueBuilder {
    Queue::builder().lease(Duration::from_secs(60))
}

async fn memory() -> (Queue, Arc<dyn Broker>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let files = ObjectBlobs::local(folder.path()).unwrap();
    let queue = builder().blobs(Arc::new(files)).open_in_memory().unwrap();
    (queue.clone(), Arc::new(queue), folder)
}

mod in_memory {
    blobforge_core::broker_conformance!(super::memory);
}

#[cfg(feature = "sqlite")]
async fn sqlite() -> (Queue, Arc<dyn Broker>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let queue = builder().open(folder.path().join("queue.db")).await.unwrap();
    (queue.clone(), Arc::new(queue), folder)
}

#[cfg(feature = "sqlite")]
mod in_sqlite {
    blobforge_core::broker_conformance!(super::sqlite);
}

/// A case that is written but not listed would never run.
#[test]
fn the_macro_lists_every_case() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance");
    let suite = std::fs::read_to_string(format!("{folder}/broker.rs")).unwrap();
    let mut cases = 0;
    for file in std::fs::read_dir(format!("{folder}/broker")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let named = |line: &str| Some(line.strip_prefix("pub async fn ")?.split('(').next()?.to_owned());
        for case in text.lines().filter_map(named) {
            assert!(suite.contains(&format!("                {case},\n")), "{case} is not listed");
            cases += 1;
        }
    }
    assert!(cases >= 40, "only {cases} cases were found");
}
