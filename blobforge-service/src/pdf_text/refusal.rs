//! Why the engine refuses a file, in words that people understand.

use std::fmt;

/// A file that cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A snake_case word for programs.
    pub kind: &'static str,
    /// What is wrong and what to do, for people.
    pub message: String,
    /// Whether another try may succeed.
    pub retryable: bool,
}

impl Refusal {
    pub(super) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retryable: false }
    }

    pub(super) fn io(doing: &str, error: &std::io::Error) -> Self {
        Self {
            kind: "io",
            message: format!("{doing} failed: {error}. Check that the disk has room and try again."),
            retryable: true,
        }
    }

    pub(super) fn empty() -> Self {
        Self::new("empty_file", "This file is empty: it holds no bytes. Upload it again.")
    }

    pub(super) fn too_large(bytes: u64, limit: u64) -> Self {
        let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
        Self::new(
            "too_large",
            format!(
                "This file has {} MiB; within its memory limit this worker reads files of up to {} MiB. Split the \
                 file, or raise the limit.",
                mebibytes(bytes),
                limit >> 20
            ),
        )
    }

    pub(super) fn not_a_pdf(beginning: &[u8]) -> Self {
        Self::new(
            "not_a_pdf",
            format!("This file is not a PDF: it begins with {}. Upload a PDF.", describe(beginning)),
        )
    }

    pub(super) fn cut_off() -> Self {
        Self::new(
            "damaged",
            "This PDF is damaged: its end is missing, as after a transfer that broke off. Upload it again.",
        )
    }

    pub(super) fn damaged(what: &str) -> Self {
        Self::new(
            "damaged",
            format!("This PDF is damaged: {what}. Open it in a PDF reader and save it again."),
        )
    }

    pub(super) fn encrypted() -> Self {
        Self::new(
            "encrypted",
            "This PDF needs a password to be opened. Save it without the password and upload it again.",
        )
    }

    pub(super) fn too_many_pages(limit: usize) -> Self {
        Self::new(
            "too_many_pages",
            format!("This PDF has more than {limit} pages, which is the limit. Split it into smaller files."),
        )
    }

    pub(super) fn nested_too_deeply() -> Self {
        Self::new(
            "damaged",
            "This PDF is damaged: parts of it are nested far deeper than any writer nests them. It may have been made to do harm.",
        )
    }

    pub(super) fn panicked() -> Self {
        Self::new(
            "engine_panic",
            "The PDF engine stumbled over this file and gave up. The file is probably damaged: open it in a PDF reader and save it again.",
        )
    }

    /// What the library reports, where nothing more exact is known.
    pub(super) fn of(error: &pdf_oxide::Error) -> Self {
        match error {
            pdf_oxide::Error::EncryptedPdf => Self::encrypted(),
            pdf_oxide::Error::RecursionLimitExceeded(_) => Self::nested_too_deeply(),
            pdf_oxide::Error::Unsupported(what) => Self::new(
                "unsupported",
                format!("This PDF uses a feature that this engine does not read: {}.", short(what)),
            ),
            other => Self::damaged(&short(&other.to_string())),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// The library's sentence without its full stop, control characters and excess.
pub(super) fn short(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(160).collect();
    text.trim().trim_end_matches('.').to_owned()
}

fn describe(beginning: &[u8]) -> String {
    let known: &[(&[u8], &str)] = &[
        (b"PK\x03\x04", "the mark of a ZIP archive or an Office document"),
        (b"\x89PNG", "the mark of a PNG image"),
        (b"\xff\xd8\xff", "the mark of a JPEG image"),
        (b"GIF8", "the mark of a GIF image"),
        (b"II*\0", "the mark of a TIFF image"),
        (b"MM\0*", "the mark of a TIFF image"),
        (b"\x1f\x8b", "the mark of a gzip archive"),
        (b"\xd0\xcf\x11\xe0", "the mark of an old Office document"),
        (b"{\\rtf", "the mark of an RTF document"),
        (b"%!PS", "the mark of a PostScript document"),
        (b"\x7fELF", "the mark of a program"),
    ];
    if let Some((_, name)) = known.iter().find(|(mark, _)| beginning.starts_with(mark)) {
        return (*name).to_owned();
    }
    if beginning.iter().all(|byte| *byte == 0) {
        return "zeros".to_owned();
    }
    let start = &beginning[..beginning.len().min(16)];
    let is_text = start.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    if is_text {
        let text: String = start.iter().map(|byte| char::from(*byte)).collect();
        return format!("“{}”", text.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let bytes: Vec<String> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("the bytes {}", bytes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_begins_with_is_named() {
        assert_eq!(describe(b"PK\x03\x04...."), "the mark of a ZIP archive or an Office document");
        assert_eq!(describe(b"<!doctype html>\n<html>"), "“<!doctype html>”");
        assert_eq!(describe(&[0xde, 0xad, 0xbe]), "the bytes de ad be");
        assert_eq!(describe(&[0; 30]), "zeros");
    }
}
