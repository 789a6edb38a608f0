//! The BlobForge service, worker and command line.

pub mod pdf_text;
