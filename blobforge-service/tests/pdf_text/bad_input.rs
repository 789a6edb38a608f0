//! Files that are broken, locked, or made to do harm. Each ends with a kind and a sentence, and nothing hangs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use blobforge_service::pdf_text::{SAMPLES, convert};
use blobforge_worker_sdk::child::{ChildError, ChildLimits};
use tokio_util::sync::CancellationToken;

use super::maker::{Maker, document, text};
use super::{convert_bytes, convert_within};

fn letter() -> Vec<u8> {
    SAMPLES[0].bytes.to_vec()
}

async fn refused(pdf: &[u8], kind: &str) -> String {
    let Err(error) = convert_bytes(pdf).await else { panic!("converted, not {kind}") };
    assert_eq!(error.kind(), kind, "{error}");
    assert!(matches!(error, ChildError::Failed { retryable: Some(false), .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.starts_with("This ") && message.ends_with('.') && message.contains(". "), "{message}");
    message
}

#[tokio::test]
async fn an_empty_file() {
    refused(b"", "empty_file").await;
}

#[tokio::test]
async fn files_that_are_no_pdf() {
    let message = refused(b"<!DOCTYPE html><p>Sign in to download", "not_a_pdf").await;
    assert!(message.contains("begins with “<!DOCTYPE html><”"), "{message}");
    let message = refused(b"PK\x03\x04\x14\0\x06\0", "not_a_pdf").await;
    assert!(message.contains("ZIP archive"), "{message}");
    refused(&[0; 4096], "not_a_pdf").await;
    refused(&[0xa5; 1 << 20], "not_a_pdf").await;
}

#[tokio::test]
async fn files_that_were_cut_off() {
    let letter = letter();
    for part in [1, 2, 3] {
        let message = refused(&letter[..letter.len() * part / 4], "damaged").await;
        assert!(message.contains("its end is missing"), "{message}");
    }
    refused(b"%PDF-1.7\n", "damaged").await;
}

#[tokio::test]
async fn a_file_whose_middle_is_gone() {
    let mut letter = letter();
    let (from, to) = (40, letter.len() - 200);
    letter[from..to].fill(b' ');
    refused(&letter, "damaged").await;
}

#[tokio::test]
async fn a_file_that_needs_a_password() {
    let locked = SAMPLES.iter().find(|sample| sample.name == "encrypted.pdf").unwrap();
    let message = refused(locked.bytes, "encrypted").await;
    assert!(message.contains("password"), "{message}");
}

#[tokio::test]
async fn a_file_that_is_locked_only_against_changes_converts() {
    let outcome = convert_bytes(include_bytes!("owner-password.pdf")).await.unwrap();
    assert!(outcome.document.starts_with("# A Letter from the Forge\n"), "{}", outcome.document);
}

#[tokio::test]
async fn a_million_pages_that_are_there() {
    // A tree of a thousand nodes with a thousand pages each.
    let mut maker = Maker::default();
    maker.object("<< /Type /Catalog /Pages 2 0 R >>");
    let nodes: String = (0..1_000).map(|n| format!("{} 0 R ", 3 + n * 1_001)).collect();
    // The root says nothing of how many there are.
    maker.object(format!("<< /Type /Pages /Count 10 /Kids [{nodes}] >>"));
    for node in 0..1_000 {
        let first = 4 + node * 1_001;
        let pages: String = (first..first + 1_000).map(|page| format!("{page} 0 R ")).collect();
        maker.object(format!("<< /Type /Pages /Parent 2 0 R /Count 1000 /Kids [{pages}] >>"));
        for _ in 0..1_000 {
            maker.object("<</Type/Page>>");
        }
    }
    let limits = ChildLimits { memory_bytes: 1 << 30, ..ChildLimits::default() };
    let error = convert_within(&maker.file(1), limits).await.err().unwrap();
    assert_eq!(error.kind(), "too_many_pages", "{error}");
    assert!(error.to_string().contains("20000"), "{error}");
}

#[tokio::test]
async fn a_million_pages_that_are_claimed_or_one_page_a_million_times() {
    let mut maker = Maker::default();
    maker.object("<< /Type /Catalog /Pages 2 0 R >>");
    maker.object("<< /Type /Pages /Count 1000000 /Kids [3 0 R] >>");
    maker.object("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>");
    refused(&maker.file(1), "too_many_pages").await;

    let mut maker = Maker::default();
    maker.object("<< /Type /Catalog /Pages 2 0 R >>");
    maker.object(format!("<< /Type /Pages /Count 1 /Kids [{}] >>", "3 0 R ".repeat(1_000_000)));
    maker.object("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>");
    refused(&maker.file(1), "too_many_pages").await;
}

#[tokio::test]
async fn page_trees_that_lead_back_to_themselves() {
    for kids in ["2 0 R 2 0 R", "3 0 R 3 0 R"] {
        let mut maker = Maker::default();
        maker.object("<< /Type /Catalog /Pages 2 0 R >>");
        maker.object(format!("<< /Type /Pages /Count 2 /Kids [{kids}] >>"));
        maker.object("<< /Type /Pages /Count 1 /Kids [2 0 R] >>");
        refused(&maker.file(1), "damaged").await;
    }
}

#[tokio::test]
async fn a_page_tree_as_deep_as_a_well() {
    let mut maker = Maker::default();
    maker.object("<< /Type /Catalog /Pages 2 0 R >>");
    for node in 0..5_000 {
        maker.object(format!("<< /Type /Pages /Count 1 /Kids [{} 0 R] >>", node + 3));
    }
    maker.object("<< /Type /Page /MediaBox [0 0 9 9] >>");
    refused(&maker.file(1), "damaged").await;
}

#[tokio::test]
async fn a_document_without_pages() {
    let mut maker = Maker::default();
    maker.object("<< /Type /Catalog /Pages 2 0 R >>");
    maker.object("<< /Type /Pages /Count 0 /Kids [] >>");
    refused(&maker.file(1), "damaged").await;
    let mut maker = Maker::default();
    maker.object("<< /Type /Catalog >>");
    refused(&maker.file(1), "damaged").await;
}

#[tokio::test]
async fn arrays_and_dictionaries_a_hundred_thousand_deep() {
    for (open, close) in [("[", "]"), ("<< /A ", ">>")] {
        let mut maker = Maker::default();
        maker.object(format!(
            "<< /Type /Catalog /Pages 2 0 R /Deep {}0{} >>",
            open.repeat(100_000),
            close.repeat(100_000)
        ));
        maker.object("<< /Type /Pages /Count 1 /Kids [3 0 R] >>");
        maker.object("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>");
        refused(&maker.file(1), "damaged").await;
    }
}

/// Text, also where it is deflated, ends somehow; a plain sentence follows where it ends with an error.
async fn ends(pdf: &[u8]) -> Result<String, String> {
    let limits = ChildLimits {
        no_progress: Some(Duration::from_secs(30)),
        memory_bytes: 1 << 30,
        ..ChildLimits::default()
    };
    match convert_within(pdf, limits).await {
        Ok(outcome) => Ok(outcome.document),
        Err(error @ (ChildError::Failed { .. } | ChildError::MemoryExceeded { .. })) => {
            assert!(!error.is_retryable(), "{error:?}");
            Err(error.to_string())
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn content_nested_a_hundred_thousand_deep() {
    let arrays = format!("{} {} TJ", "[".repeat(100_000), "]".repeat(100_000));
    let states = format!("{}{}", "q ".repeat(100_000), text(&["Deep."]));
    for content in [arrays, states] {
        // Either the library reads past it, or the file is refused.
        let _ = ends(&document(&[&content], None)).await;
        let _ = ends(&deflated_page(content.as_bytes())).await;
    }
}

fn deflated_page(content: &[u8]) -> Vec<u8> {
    let mut maker = Maker::default();
    maker.object("<< /Type /Catalog /Pages 2 0 R >>");
    maker.object("<< /Type /Pages /Count 1 /Kids [4 0 R] >>");
    maker.object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>");
    maker.object(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> /Contents 5 0 R >>",
    );
    maker.stream("/Filter /FlateDecode", &deflate(content));
    maker.file(1)
}

fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_little_file_that_swells_to_a_gigabyte() {
    let file = swelling(1 << 10);
    assert!(file.len() < 100_000, "{} bytes", file.len());
    let message = refused(&file, "damaged").await;
    assert!(message.contains("none of its pages can be read"), "{message}");
    // Less of the same is read.
    assert!(ends(&swelling(8)).await.is_ok());
}

/// A page of so many mebibytes of zeros, deflated twice, so that the file stays small.
fn swelling(mebibytes: usize) -> Vec<u8> {
    // One block that refers to nothing before it may be repeated as it is.
    let mut block = Vec::with_capacity(1 << 16);
    let mut deflate_raw = flate2::Compress::new(flate2::Compression::best(), false);
    deflate_raw.compress_vec(&vec![0; 1 << 20], &mut block, flate2::FlushCompress::Sync).unwrap();
    let mut inner = vec![0x78, 0x01];
    inner.extend(block.repeat(mebibytes));
    inner.extend([0x01, 0x00, 0x00, 0xff, 0xff]);
    let sum = ((mebibytes << 20) % 65_521) as u32;
    inner.extend((sum << 16 | 1).to_be_bytes());
    let mut maker = Maker::default();
    maker.object("<< /Type /Catalog /Pages 2 0 R >>");
    maker.object("<< /Type /Pages /Count 1 /Kids [3 0 R] >>");
    maker.object("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R >>");
    maker.stream("/Filter [/FlateDecode /FlateDecode]", &deflate(&inner));
    maker.file(1)
}

#[tokio::test]
async fn a_page_that_cannot_be_read_is_named_and_the_others_are_read() {
    let mut maker = Maker::default();
    maker.object("<< /Type /Catalog /Pages 2 0 R >>");
    maker.object("<< /Type /Pages /Count 2 /Kids [4 0 R 6 0 R] >>");
    maker.object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>");
    for (content, filter) in
        [(text(&["The first page."]), ""), (text(&["The second page."]), "/Filter /Sealed")]
    {
        let number = maker.object(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> /Contents {} 0 R >>",
            if filter.is_empty() { 5 } else { 7 }
        ));
        assert!(number == 4 || number == 6);
        maker.stream(filter, content.as_bytes());
    }
    let outcome = convert_bytes(&maker.file(1)).await.unwrap();
    assert!(
        outcome.document.starts_with("The first page.\n\n> Page 2 could not be read: "),
        "{}",
        outcome.document
    );
    assert_eq!(outcome.metadata["pages_unreadable"], serde_json::json!([2]));
}

#[tokio::test]
async fn a_form_that_draws_itself() {
    let mut maker = Maker::default();
    maker.object("<< /Type /Catalog /Pages 2 0 R >>");
    maker.object("<< /Type /Pages /Count 1 /Kids [3 0 R] >>");
    maker.object(
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /XObject << /X 4 0 R >> >> /Contents 5 0 R >>",
    );
    maker.stream(
        "/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 4 0 R >> >>",
        b"/X Do /X Do",
    );
    maker.stream("", b"/X Do");
    let _ = ends(&maker.file(1)).await;
}

#[tokio::test]
async fn twenty_thousand_words_at_random_places() {
    let mut content = String::from("BT /F1 9 Tf ");
    for n in 0_u32..20_000 {
        let (x, y) = (n.wrapping_mul(2_654_435_761) % 595, n.wrapping_mul(40_503) % 842);
        write!(content, "1 0 0 1 {x} {y} Tm (ore) Tj ").unwrap();
    }
    content.push_str("ET");
    let text = ends(&document(&[&content], None)).await.unwrap();
    assert!(text.matches("ore").count() >= 15_000, "{}", text.matches("ore").count());
}

/// What `convert` makes of an engine that ends like this.
async fn engine_that(does: &str) -> ChildError {
    let folder = tempfile::tempdir().unwrap();
    let engine = folder.path().join("engine");
    std::fs::write(&engine, format!("#!/bin/sh\n{does}\n")).unwrap();
    std::fs::set_permissions(&engine, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (source, out) = (folder.path().join("source.pdf"), folder.path().join("out"));
    convert(&engine, &source, None, &out, ChildLimits::default(), CancellationToken::new(), |_| {})
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_crash_of_the_engine_is_the_files_doing_and_a_kill_is_not() {
    for signal in ["SEGV", "ABRT"] {
        let error = engine_that(&format!("kill -{signal} $$")).await;
        assert_eq!((error.kind(), error.is_retryable()), ("engine_crash", false), "{error:?}");
        assert!(error.to_string().starts_with("The PDF engine crashed on this file."), "{error}");
    }
    let error = engine_that("kill -KILL $$").await;
    assert_eq!((error.kind(), error.is_retryable()), ("killed", true), "{error:?}");
    let error = engine_that("echo '{\"type\":\"result\",\"result\":{}}'").await;
    assert_eq!(error.kind(), "protocol", "{error:?}");
}

#[tokio::test]
async fn a_file_too_large_for_the_memory() {
    let limits = ChildLimits { memory_bytes: 64 << 20, ..ChildLimits::default() };
    let error = convert_within(&vec![b' '; 17 << 20], limits).await.err().unwrap();
    assert_eq!(error.kind(), "too_large", "{error}");
}
