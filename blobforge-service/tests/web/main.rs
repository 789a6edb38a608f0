//! The pages in a real browser, and signing in with a real OpenID provider. `scripts/web` runs this: it installs both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod admin;
#[path = "../../../blobforge-core/tests/bucket/mod.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod bucket;
#[allow(dead_code, reason = "other tests use more of it")]
#[path = "../recovery/forge.rs"]
mod forge;
mod house;
mod lived_in;
mod node;
mod oidc;
mod oidc_sessions;
mod pages;
mod provider;
mod staffed;
mod visitor;
