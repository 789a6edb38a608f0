//! The suites that every backend has to pass, for those who write one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // These are tests, and they run in other crates.

pub mod blob;
pub mod broker;
pub mod storage;
