//! The secret of the webhooks that jobs name themselves, where the service's operator finds it.

use std::{fs, path::Path};

use super::{ServiceError, secret};
use crate::webhooks::Hooks;

/// Writes the secret into a file that only its owner can read, if it is not there: the database has it, and a restored one
/// has the one that receivers know.
pub(super) async fn show_secret(folder: &Path, hooks: &Hooks) -> Result<(), ServiceError> {
    let file = folder.join("webhook-secret");
    let known = hooks.secret_of_jobs().await?;
    if fs::read_to_string(&file).is_ok_and(|text| text.trim() == known.reveal()) {
        return Ok(());
    }
    secret::write_private(&file, known.reveal()).map_err(|source| ServiceError::File { path: file, source })
}
