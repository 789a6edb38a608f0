//! in progress
pub mod child;
