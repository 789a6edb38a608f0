//! The engine for `pdf-text`, through the real child process of the real program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bad_input;
mod documents;
mod maker;
mod mutations;
mod pictures;
mod samples;

use std::fs;
use std::path::Path;

use blobforge_service::pdf_text::{Converted, convert};
use blobforge_worker_sdk::child::{ChildError, ChildLimits};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const PROGRAM: &str = env!("CARGO_BIN_EXE_blobforge");

/// What came of a PDF.
struct Outcome {
    converted: Converted,
    document: String,
    metadata: serde_json::Value,
    folder: TempDir,
}

async fn convert_bytes(pdf: &[u8]) -> Result<Outcome, ChildError> {
    convert_within(pdf, ChildLimits::default()).await
}

async fn convert_within(pdf: &[u8], limits: ChildLimits) -> Result<Outcome, ChildError> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.pdf");
    fs::write(&source, pdf).unwrap();
    let out = folder.path().join("out");
    let cancel = CancellationToken::new();
    let converted = convert(Path::new(PROGRAM), &source, None, &out, limits, cancel, |_| {}).await?;
    let document = fs::read_to_string(out.join("document.md")).unwrap();
    let metadata = serde_json::from_slice(&fs::read(out.join("metadata.json")).unwrap()).unwrap();
    Ok(Outcome { converted, document, metadata, folder })
}
