//! Files that are written for systemd, and not over what somebody has changed.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

use sha2::{Digest, Sha256};

use super::CliError;
use crate::service::write_private;

/// How the first line of what was written here begins.
const MARK: &str =
    "# Written by `blobforge service install`, and left alone once it was changed. SHA-256 of the rest: ";

/// What lies where a file is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// What was written here, whole and with its first line.
    Ours(String),
    /// What is somebody else's, or was changed.
    Foreign,
}

/// A text with the line before it that tells whether it was changed.
pub(super) fn marked(text: &str) -> String {
    format!("{MARK}{}\n{text}", hex::encode(Sha256::digest(text)))
}

/// Looks at what lies at a path.
///
/// # Errors
/// When that cannot be read.
pub(super) fn look(path: &Path) -> Result<Found, CliError> {
    let there = match fs::read_to_string(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(unusable(path, &error)),
    };
    let first_and_rest = there.strip_prefix(MARK).and_then(|rest| rest.split_once('\n'));
    let is_ours = first_and_rest.is_some_and(|(hash, rest)| hash == hex::encode(Sha256::digest(rest)));
    Ok(if is_ours { Found::Ours(there) } else { Found::Foreign })
}

/// Writes a file that everybody may read, in one step.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_public(path: &Path, text: &str) -> Result<(), CliError> {
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let written = folder_of(path)
        .and_then(|()| fs::write(&draft, text))
        .and_then(|()| fs::set_permissions(&draft, fs::Permissions::from_mode(0o644)))
        .and_then(|()| fs::rename(&draft, path));
    written.map_err(|error| unusable(path, &error))
}

/// Writes a file that only its owner may read, in one step.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<(), CliError> {
    let written = folder_of(path).and_then(|()| write_private(path, text.trim_end()));
    written.map_err(|error| unusable(path, &error))
}

fn folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// Removes a file, if it is there.
///
/// # Errors
/// When it stays.
pub(super) fn remove(path: &Path) -> Result<(), CliError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(path, &error)),
        _ => Ok(()),
    }
}

fn unusable(path: &Path, error: &io::Error) -> CliError {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => ". Run it as root, or say --user to have it for yourself alone",
        _ => "",
    };
    CliError::new(format!("cannot use {}: {error}{remedy}", path.display()))
}
