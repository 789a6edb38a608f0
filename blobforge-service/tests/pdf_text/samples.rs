//! The samples, against documents that were read by a person, and against what they must hold whatever the wording
//! of the rest. Set UPDATE_GOLDENS to write the documents anew, and read the difference.

use std::fs;
use std::path::PathBuf;

use blobforge_service::pdf_text::{Expect, SAMPLES};

use super::{Outcome, convert_bytes};

async fn sample(name: &str) -> Outcome {
    let sample = SAMPLES.iter().find(|sample| sample.name == name).unwrap();
    convert_bytes(sample.bytes).await.unwrap()
}

/// The lines that begin so, without that beginning.
fn after<'a>(document: &'a str, beginning: &str) -> Vec<&'a str> {
    document.lines().filter_map(|line| line.strip_prefix(beginning)).collect()
}

/// The cells of each table row.
fn tables(document: &str) -> Vec<Vec<Vec<&str>>> {
    let mut tables: Vec<Vec<Vec<&str>>> = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        let Some(row) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            inside = false;
            continue;
        };
        if !std::mem::replace(&mut inside, true) {
            tables.push(Vec::new());
        }
        tables.last_mut().unwrap().push(row.split(" | ").collect());
    }
    tables
}

#[tokio::test]
async fn every_sample_ends_as_it_says() {
    for sample in SAMPLES {
        match (convert_bytes(sample.bytes).await, sample.expect) {
            (Ok(outcome), Expect::Readable) => {
                assert_eq!(outcome.converted.files[0], "document.md", "{}", sample.name);
            }
            (Err(error), Expect::Unreadable(kind)) => {
                assert_eq!((error.kind(), error.is_retryable()), (kind, false), "{}: {error}", sample.name);
            }
            (Ok(_), expected) => panic!("{} is readable, not {expected:?}", sample.name),
            (Err(error), _) => panic!("{}: {error}", sample.name),
        }
    }
}

#[tokio::test]
async fn readable_samples_match_their_goldens() {
    let goldens = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    for sample in SAMPLES.iter().filter(|sample| sample.expect == Expect::Readable) {
        let document = convert_bytes(sample.bytes).await.unwrap().document;
        let golden = goldens.join(sample.name).with_extension("md");
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            fs::write(&golden, &document).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap();
        let differs = document.lines().zip(expected.lines()).find(|(now, then)| now != then);
        assert!(document == expected, "{} differs from its golden, first at {differs:#?}", sample.name);
    }
}

#[tokio::test]
async fn a_letter_has_its_headings_lists_and_paragraphs() {
    let letter = sample("letter.pdf").await;
    let document = &letter.document;
    assert_eq!(letter.converted.pages, 2);
    assert_eq!(after(document, "# "), ["A Letter from the Forge"]);
    assert_eq!(
        after(document, "## "),
        ["How the day runs", "What became of the old wheel", "A last request"]
    );
    assert_eq!(after(document, "### "), ["What we need from you", "How a hinge is made"]);
    let bullets = after(document, "- ");
    assert_eq!(bullets.len(), 3);
    assert!(bullets[2].ends_with("the river took two barrels of lamp oil with it."), "{bullets:?}");
    let steps: Vec<_> =
        document.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
    assert_eq!(steps.len(), 4);
    assert_eq!(steps[3], "4. Let it cool in ash, never in water.");
    // Three lines of print are one paragraph, and the page numbers are gone.
    assert!(
        document.contains(
            "\n\nWe light the fire at five. By six the coals are white in the middle and orange at"
        )
    );
    assert!(!document.lines().any(|line| line == "1" || line.ends_with(" 2")));
    assert!(document.ends_with("\n\nTobias Ferrow, master of the forge\n"));
}

#[tokio::test]
async fn tables_come_with_all_their_cells() {
    let document = sample("tables.pdf").await.document;
    let tables = tables(&document);
    assert_eq!(tables.len(), 3);
    assert_eq!(tables[0].len(), 6, "a header, a rule and four months");
    assert_eq!(tables[0][0], ["Month", "Reams", "Rags (kg)", "Spoiled"]);
    assert_eq!(tables[0][5], ["April", "430", "1,005", "4"]);
    assert_eq!(tables[1][4][2], "wrapping hinges and nails for the long road to the coast");
    assert_eq!(tables[2][0], ["Tool", "Count", "Condition"]);
    assert_eq!(tables[2][5], ["Bellows", "2", "patched"]);
    for table in &tables {
        assert!(table.iter().all(|row| row.len() == table[0].len()));
        assert!(table[1].iter().all(|cell| *cell == "---"));
    }
    // Each table stands under its own heading, in the order of the page.
    let places: Vec<_> =
        ["## Paper made", "| April", "## Grades", "| Coarse", "## Tools", "| Bellows", "The bellows were"]
            .map(|text| document.find(text).unwrap())
            .to_vec();
    assert!(places.is_sorted(), "{places:?}");
}

#[tokio::test]
async fn columns_are_read_one_after_the_other() {
    let document = sample("columns.pdf").await.document;
    assert_eq!(after(&document, "# "), ["How Paper Is Made"]);
    assert_eq!(after(&document, "## "), ["Rags become pulp", "Pulp becomes sheets", "Sheets become paper"]);
    let paragraphs: Vec<_> =
        document.split("\n\n").filter(|paragraph| !paragraph.starts_with('#')).map(str::trim).collect();
    assert_eq!(paragraphs.len(), 9);
    let beginnings = [
        "Paper begins as shirts.",
        "The clean rags lie wet",
        "A good pulp looks like milk",
        "The vatman dips",
        "The coucher lays it",
        "After the press",
        "In the loft",
        "Last comes the size",
        "Twenty-four sheets",
    ];
    for (paragraph, beginning) in paragraphs.iter().zip(beginnings) {
        assert!(paragraph.starts_with(beginning), "{paragraph}");
        assert!(paragraph.ends_with('.'), "the paragraph is whole: {paragraph}");
    }
}

#[tokio::test]
async fn a_book_comes_with_all_its_pages_in_order() {
    let book = sample("book-100-pages.pdf").await;
    assert_eq!(book.converted.pages, 100);
    let document = &book.document;
    let chapters = after(document, "## ");
    assert_eq!(chapters.len(), 20);
    assert_eq!(
        (chapters[0], chapters[19]),
        ("Chapter 1: The First Winter", "Chapter 20: The Twentieth Winter")
    );
    let entries: Vec<String> = (1..=100).map(|n| format!("Entry {n}")).collect();
    assert_eq!(after(document, "### "), entries);
    let paragraphs = document.split("\n\n").filter(|text| !text.starts_with('#')).count();
    assert_eq!(paragraphs, 601, "six on each page, one under the title, and no page numbers");
}

#[tokio::test]
async fn metadata_says_what_was_read_and_with_what() {
    let letter = sample("letter.pdf").await;
    let bytes = SAMPLES[0].bytes;
    assert_eq!(letter.metadata["pages"], 2);
    assert_eq!(letter.metadata["engine"], "pdf-text");
    assert_eq!(letter.metadata["engine_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(letter.metadata["images"], 0);
    assert!(letter.metadata["seconds"].is_number());
    let expected = {
        use sha2::{Digest, Sha256};
        hex::encode(Sha256::digest(bytes))
    };
    assert_eq!(letter.metadata["source_sha256"], expected);
    assert_eq!(letter.converted.files, ["document.md", "metadata.json"]);
}

#[tokio::test]
async fn the_same_file_makes_the_same_document() {
    for name in ["letter.pdf", "tables.pdf", "columns.pdf"] {
        assert_eq!(sample(name).await.document, sample(name).await.document);
    }
}
