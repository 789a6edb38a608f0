//! Services that somebody works with, by name: a file of addresses and tokens.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::CliError;

/// The profile that holds where nothing else is said.
pub(super) const USUAL: &str = "default";

/// One service.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    /// Its address.
    pub(super) server: String,
    /// What opens its door.
    pub(super) token: Option<String>,
    /// The file with that.
    pub(super) token_file: Option<PathBuf>,
}

/// The file of profiles of this user.
pub(super) fn usual_file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("blobforge/profiles.toml"))
}

/// The profile of this name in a file; `None` if there is none, or no file.
///
/// # Errors
/// When the file cannot be read, or is no file of profiles. What it says is not repeated: it has secrets.
pub(super) fn find(file: &Path, name: &str) -> Result<Option<Profile>, CliError> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CliError::new(format!("{}: {error}", file.display()))),
    };
    let mut profiles: BTreeMap<String, Profile> = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
        let what = "a profile is [NAME] with server, and token or token_file";
        CliError::new(format!("{}: line {line} cannot be followed: {what}", file.display()))
    })?;
    Ok(profiles.remove(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_in_a_file_of_profiles_is_said_without_what_is_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profiles.toml");
        assert!(find(&file, "office").unwrap().is_none());
        fs::write(&file, "[office]\nserver = \"http://a\"\ntoken = \"canary\"\n").unwrap();
        assert_eq!(find(&file, "office").unwrap().unwrap().token.as_deref(), Some("canary"));
        assert!(find(&file, "home").unwrap().is_none());
        for wrong in
            ["[office]\nserver = \"canary\n", "[office]\ntoken = \"canary\"\n", "office = \"canary\"\n"]
        {
            fs::write(&file, wrong).unwrap();
            let said = find(&file, "office").err().unwrap().to_string();
            assert!(said.contains("profiles.toml: line") && !said.contains("canary"), "{said}");
        }
    }
}
