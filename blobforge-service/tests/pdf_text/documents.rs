//! Documents made on the spot.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use blobforge_service::pdf_text::{SAMPLES, convert};
use blobforge_worker_sdk::child::{ChildLimits, ChildProgress};
use tokio_util::sync::CancellationToken;

use super::maker::{document, text};
use super::{PROGRAM, convert_bytes};

#[tokio::test]
async fn a_scanned_document_completes_and_says_that_it_holds_no_text() {
    let outcome = convert_bytes(&document(&["", ""], None)).await.unwrap();
    assert_eq!(outcome.metadata["pages_without_text"], serde_json::json!([1, 2]));
    assert!(
        outcome.document.starts_with("> No page of this document has a text layer;"),
        "{}",
        outcome.document
    );
    assert!(outcome.document.contains("> Pages 1 to 2 have no text layer.\n"));
}

#[tokio::test]
async fn a_page_without_text_is_named_where_it_stands() {
    let pages = [text(&["Before."]), String::new(), text(&["After."])];
    let outcome = convert_bytes(&document(&pages.each_ref().map(String::as_str), None)).await.unwrap();
    assert_eq!(outcome.document, "Before.\n\n> Page 2 has no text layer.\n\nAfter.\n");
    assert_eq!(outcome.metadata["pages_without_text"], serde_json::json!([2]));
}

#[tokio::test]
async fn text_that_looks_like_markdown_stays_text() {
    let page = text(&["# five <b>bars</b> of *iron*"]);
    let outcome = convert_bytes(&document(&[&page], None)).await.unwrap();
    assert_eq!(outcome.document, "\\# five \\<b>bars\\</b> of \\*iron\\*\n");
}

#[tokio::test]
async fn a_sentence_that_a_page_broke_off_goes_on() {
    let pages = [text(&["The axle was heavy and the"]), text(&["road was long."])];
    let outcome = convert_bytes(&document(&pages.each_ref().map(String::as_str), None)).await.unwrap();
    assert_eq!(outcome.document, "The axle was heavy and the road was long.\n");
}

#[tokio::test]
async fn running_heads_and_page_numbers_are_left_out() {
    let pages: Vec<String> = (1..=4)
        .map(|n| {
            format!(
                "BT /F1 11 Tf 72 800 Td (The Ledger) Tj ET BT /F1 11 Tf 290 30 Td ({n}) Tj ET {}",
                text(&[&format!("Text of leaf {n}.")])
            )
        })
        .collect();
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    let outcome = convert_bytes(&document(&pages, None)).await.unwrap();
    assert_eq!(
        outcome.document,
        "Text of leaf 1.\n\nText of leaf 2.\n\nText of leaf 3.\n\nText of leaf 4.\n"
    );
}

#[tokio::test]
async fn progress_counts_the_pages() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("letter.pdf");
    fs::write(&source, SAMPLES[0].bytes).unwrap();
    let seen = Mutex::new(Vec::<ChildProgress>::new());
    let out = folder.path().join("out");
    let progress = |progress| seen.lock().unwrap().push(progress);
    convert(
        Path::new(PROGRAM),
        &source,
        Some("feed"),
        &out,
        ChildLimits::default(),
        CancellationToken::new(),
        progress,
    )
    .await
    .unwrap();
    let seen = seen.into_inner().unwrap();
    let read: Vec<_> = seen
        .iter()
        .filter(|progress| progress.stage.as_deref() == Some("read"))
        .map(|progress| (progress.done, progress.total))
        .collect();
    assert_eq!(read, [(Some(1), Some(2)), (Some(2), Some(2))]);
    let metadata = fs::read_to_string(out.join("metadata.json")).unwrap();
    assert!(metadata.contains("\"source_sha256\": \"feed\""), "a known hash is taken over");
}
