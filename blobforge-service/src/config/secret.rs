//! Secrets among the settings: given once, by value or in a file, and never shown.

use std::{convert::Infallible, fmt, fs, path::Path, str::FromStr};

use crate::service::ServiceError;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// The text itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretText {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// A secret that the environment calls `name`: its text, or what a file holds, but not both.
pub(super) fn secret(
    name: &str,
    text: Option<SecretText>,
    file: Option<&Path>,
) -> Result<Option<SecretText>, ServiceError> {
    match (text, file) {
        (Some(_), Some(_)) => {
            Err(ServiceError::Config(format!("set either {name} or {name}_FILE, not both")))
        }
        (text, None) => Ok(text),
        (None, Some(file)) => {
            let read = fs::read_to_string(file);
            let read = read.map_err(|source| ServiceError::File { path: file.to_owned(), source })?;
            let text = read.trim();
            if text.is_empty() {
                return Err(ServiceError::Config(format!(
                    "{}, which {name}_FILE names, is empty",
                    file.display()
                )));
            }
            Ok(Some(SecretText(text.to_owned())))
        }
    }
}
