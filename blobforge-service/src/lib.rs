//! The BlobForge service, worker and command line.

mod api;
mod archive;
mod audit;
mod auth;
mod backup;
pub mod cli;
mod config;
mod dashboard;
mod events;
mod hashing;
mod metrics;
pub mod pdf_text;
mod problem;
pub mod serve;
mod service;
mod stats;
mod steering;
mod webhooks;
mod words;

pub use auth::{Access, ROUTES, Route, Scope, TokenText};
pub use backup::BackupError;
pub use config::{BackupOptions, Guests, OidcOptions, SecretText, ServeArgs, ServeConfig, Setting};
pub use problem::Problem;
pub use service::{Service, ServiceError};
