//! Pictures of a page, saved beside the document.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use pdf_oxide::extractors::ColorSpace;
use pdf_oxide::{PdfDocument, PdfFilter, PdfImageHandle};
use sha2::{Digest, Sha256};

use super::layout::Picture;
use super::page::Bounds;
use super::refusal::Refusal;

/// Smaller pictures are rules, bullets and ornaments.
const SIDE_PIXELS_MIN: u32 = 24;
/// Larger ones cost more memory than a worker should give them: 200 MB at four bytes a pixel.
const PIXELS_MAX: u64 = 50_000_000;
/// A document with more than this is a drawing in pieces.
const PICTURES_MAX: usize = 5_000;

/// Saves pictures, each once.
#[derive(Debug, Default)]
pub(super) struct Album {
    files: HashMap<[u8; 32], String>,
    /// Saved files, in the order of the document.
    pub(super) saved: Vec<String>,
    /// Pictures that could not be decoded, or were too large.
    pub(super) skipped: usize,
}

impl Album {
    /// Saves the pictures of one page.
    pub(super) fn add_page(
        &mut self,
        document: &PdfDocument,
        page: usize,
        out_dir: &Path,
    ) -> Result<Vec<Picture>, Refusal> {
        let Ok(handles) = document.page_image_handles(page) else { return Ok(Vec::new()) };
        let mut pictures = Vec::new();
        for handle in &handles {
            if handle.width.min(handle.height) < SIDE_PIXELS_MIN {
                continue;
            }
            let pixels = u64::from(handle.width) * u64::from(handle.height);
            let Some(bounds) = Bounds::of(&handle.bbox) else { continue };
            let encoded =
                (pixels <= PIXELS_MAX && self.saved.len() < PICTURES_MAX).then(|| encode(handle)).flatten();
            let Some((bytes, extension)) = encoded else {
                self.skipped += 1;
                continue;
            };
            let file = self.save(&bytes, extension, page, out_dir)?;
            pictures.push(Picture { bounds, file });
        }
        Ok(pictures)
    }

    fn save(
        &mut self,
        bytes: &[u8],
        extension: &str,
        page: usize,
        out_dir: &Path,
    ) -> Result<String, Refusal> {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        // A logo on every page is one file.
        if let Some(file) = self.files.get(&digest) {
            return Ok(file.clone());
        }
        let file = format!("images/page-{:04}-{}.{extension}", page + 1, self.saved.len() + 1);
        let failed = |error| Refusal::io("Saving a picture", &error);
        if self.saved.is_empty() {
            fs::create_dir_all(out_dir.join("images")).map_err(failed)?;
        }
        fs::write(out_dir.join(&file), bytes).map_err(failed)?;
        self.files.insert(digest, file.clone());
        self.saved.push(file.clone());
        Ok(file)
    }
}

fn encode(handle: &PdfImageHandle<'_>) -> Option<(Vec<u8>, &'static str)> {
    // Colours that every viewer understands go through as they are.
    let plain = matches!(handle.color_space, ColorSpace::DeviceRGB | ColorSpace::DeviceGray);
    if plain && handle.filter_chain == [PdfFilter::DCTDecode] {
        let bytes = handle.raw_compressed_bytes().ok()?;
        return bytes.starts_with(&[0xff, 0xd8]).then_some((bytes, "jpg"));
    }
    Some((handle.decode().ok()?.to_png_bytes().ok()?, "png"))
}
