//! Write workers for BlobForge: so far, the supervision of child processes.

pub mod child;
