//! The conversion itself. It runs in a child process, for it may crash, hang or want too much.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use pdf_oxide::PdfDocument;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::blocks::{self, Block, Typography};
use super::layout::{Layout, layout};
use super::page::Page;
use super::pictures::Album;
use super::refusal::{Refusal, short};
use super::{Converted, checks, furniture, markdown};

/// What the conversion of one file needs to know.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) source: PathBuf,
    pub(super) out_dir: PathBuf,
    /// The source's hash, if somebody computed it already.
    pub(super) source_sha256: Option<String>,
    pub(super) pages_max: usize,
    pub(super) source_bytes_max: u64,
}

/// How far the work has come; stages are `read` and `write`.
pub(super) type OnProgress<'a> = &'a mut dyn FnMut(&'static str, usize, usize);

/// Converts one file, and turns a panic of the library into a refusal.
pub(super) fn convert(order: &Order, on_progress: OnProgress<'_>) -> Result<Converted, Refusal> {
    guarded(|| convert_unguarded(order, on_progress))
}

fn guarded<T>(work: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    // Nothing that the work touched is used after a panic.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Refusal::panicked()))
}

fn convert_unguarded(order: &Order, on_progress: OnProgress<'_>) -> Result<Converted, Refusal> {
    let started = Instant::now();
    let reading = |error| Refusal::io("Reading the file", &error);
    let length = fs::metadata(&order.source).map_err(reading)?.len();
    if length > order.source_bytes_max {
        return Err(Refusal::too_large(length, order.source_bytes_max));
    }
    let bytes = fs::read(&order.source).map_err(reading)?;
    checks::bytes(&bytes, order.pages_max)?;
    let source_sha256 = match &order.source_sha256 {
        Some(known) => known.clone(),
        None => hex::encode(Sha256::digest(&bytes)),
    };
    let document = open(bytes)?;
    let pages = checks::pages(&document, order.pages_max)?;
    let writing = |error| Refusal::io("Writing the result", &error);
    fs::create_dir_all(&order.out_dir).map_err(writing)?;

    let mut album = Album::default();
    let mut reading = Reading::default();
    for index in 0..pages {
        reading.page(&document, index, &mut album, &order.out_dir)?;
        on_progress("read", index + 1, pages);
    }
    if reading.unreadable.len() == pages {
        let reason = reading.unreadable.into_iter().next().map_or_else(String::new, |(_, reason)| reason);
        return Err(Refusal::damaged(&format!("none of its pages can be read ({reason})")));
    }
    let without_text = reading.without_text();
    let warnings = warnings(&document);
    let unreadable: Vec<usize> = reading.unreadable.iter().map(|(page, _)| page + 1).collect();
    let text = reading.into_markdown();
    on_progress("write", 0, 1);
    fs::write(order.out_dir.join("document.md"), &text).map_err(writing)?;
    let metadata = json!({
        "pages": pages,
        "pages_without_text": without_text,
        "pages_unreadable": unreadable,
        "warnings": warnings,
        "images": album.saved.len(),
        "images_skipped": album.skipped,
        "engine": super::ENGINE,
        "engine_version": super::ENGINE_VERSION,
        "seconds": (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        "source_sha256": source_sha256,
    });
    let metadata = serde_json::to_string_pretty(&metadata).unwrap_or_default() + "\n";
    fs::write(order.out_dir.join("metadata.json"), metadata).map_err(writing)?;
    on_progress("write", 1, 1);
    let mut files = vec!["document.md".to_owned()];
    files.append(&mut album.saved);
    files.push("metadata.json".to_owned());
    Ok(Converted { pages, files })
}

fn open(bytes: Vec<u8>) -> Result<PdfDocument, Refusal> {
    let document = PdfDocument::from_bytes(bytes).map_err(|error| Refusal::of(&error))?;
    // Many files are encrypted only to forbid printing: they open with no password at all.
    if document.is_encrypted() && !matches!(document.authenticate(b""), Ok(true)) {
        return Err(Refusal::encrypted());
    }
    Ok(document)
}

/// What the library had to guess or to mend, without repeats.
fn warnings(document: &PdfDocument) -> Vec<String> {
    const WARNINGS_MAX: usize = 50;
    let mut warnings: Vec<String> = Vec::new();
    for warning in document.take_structured_warnings() {
        let place = warning.page.map(|page| format!("page {}: ", page + 1)).unwrap_or_default();
        let text = format!("{place}{}", short(&warning.message));
        if !warnings.contains(&text) && warnings.len() < WARNINGS_MAX {
            warnings.push(text);
        }
    }
    warnings
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    layouts: Vec<Layout>,
    /// Pages that the library cannot read, and why.
    unreadable: Vec<(usize, String)>,
}

impl Reading {
    fn page(
        &mut self,
        document: &PdfDocument,
        index: usize,
        album: &mut Album,
        out_dir: &Path,
    ) -> Result<(), Refusal> {
        match Page::read(document, index) {
            Ok(page) => {
                let pictures = album.add_page(document, index, out_dir)?;
                self.layouts.push(layout(page, pictures));
            }
            Err(pdf_oxide::Error::EncryptedPdf) => return Err(Refusal::encrypted()),
            Err(error) => {
                self.unreadable.push((index, short(&error.to_string())));
                self.layouts.push(Layout::default());
            }
        }
        Ok(())
    }

    fn is_unreadable(&self, index: usize) -> bool {
        self.unreadable.iter().any(|(page, _)| *page == index)
    }

    /// Pages whose text nobody can copy: scans, drawings and blank ones. Counted from 1.
    fn without_text(&self) -> Vec<usize> {
        let pages = self.layouts.iter().enumerate();
        pages
            .filter(|(index, page)| !page.has_text && !self.is_unreadable(*index))
            .map(|(index, _)| index + 1)
            .collect()
    }

    fn into_markdown(mut self) -> String {
        let typography = Typography::of(self.layouts.iter());
        furniture::remove(&mut self.layouts, typography.body_size);
        let nowhere = self.without_text().len() + self.unreadable.len() == self.layouts.len();
        let mut unreadable = self.unreadable.into_iter().peekable();
        let mut blocks = Vec::new();
        for (index, page) in self.layouts.into_iter().enumerate() {
            if let Some((_, reason)) = unreadable.next_if(|(page, _)| *page == index) {
                blocks.push(Block::Unreadable { page: index + 1, reason });
                continue;
            }
            if !page.has_text {
                match blocks.last_mut() {
                    Some(Block::NoText { last_page, .. }) if *last_page == index => *last_page = index + 1,
                    _ => blocks.push(Block::NoText { first_page: index + 1, last_page: index + 1 }),
                }
            }
            blocks::add_page(page, &typography, &mut blocks);
        }
        let text = markdown::write(&blocks, &typography);
        if nowhere {
            return format!(
                "> No page of this document has a text layer; it was probably scanned. Text recognition (OCR) is \
                 needed to read it.\n\n{text}"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_library_is_a_refusal() {
        #[allow(clippy::panic)]
        let refusal = guarded::<()>(|| panic!("index out of bounds")).unwrap_err();
        assert_eq!((refusal.kind, refusal.retryable), ("engine_panic", false));
    }
}
