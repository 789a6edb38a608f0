//! The file of settings: TOML, one line for each.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::key_of;
use crate::service::ServiceError;

/// The file that is followed if it lies in the current folder and no other is named.
const USUAL: &str = "./blobforge.toml";
/// A settings file is short; something larger is something else.
const MAX_BYTES: u64 = 1024 * 1024;
/// From which likeness on, of 1 at most, a name is taken for what was meant.
const ALIKE: f64 = 0.85;

/// A file of settings, read. Its keys are the names of the environment without `BLOBFORGE_`, in small letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingsFile {
    path: PathBuf,
    values: BTreeMap<String, String>,
}

impl SettingsFile {
    /// Reads the file that was named, or the one in this folder if there is one.
    ///
    /// # Errors
    /// When the named one is missing, or one cannot be read, or says something that none of the `known` settings is.
    pub(crate) fn find(named: Option<&Path>, known: &[String]) -> Result<Option<Self>, ServiceError> {
        let path = named.unwrap_or(Path::new(USUAL));
        match read(path) {
            Ok(text) => Self::parse(path, &text, known).map(Some),
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ServiceError::File { path: path.to_owned(), source }),
        }
    }

    fn parse(path: &Path, text: &str, known: &[String]) -> Result<Self, ServiceError> {
        let wrong = |what: String| ServiceError::Config(format!("{}: {what}", path.display()));
        // The parser's own text quotes the line, which may hold a secret.
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            wrong(format!("line {line} is no TOML: {}", error.message()))
        })?;
        let mut values = BTreeMap::new();
        for (key, value) in table {
            if !known.iter().any(|name| key_of(name) == key) {
                return Err(wrong(format!("there is no setting {key:?}{}", instead(&key, known))));
            }
            let Some(text) = one_line(&value) else {
                return Err(wrong(format!("{key} is a {}: write one value", value.type_str())));
            };
            values.insert(key, text);
        }
        Ok(Self { path: path.to_owned(), values })
    }

    /// What it says of the setting that the environment calls `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(&key_of(name)).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// How people know it.
    pub(crate) fn origin(&self) -> String {
        format!("file {}", self.path.display())
    }
}

fn read(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it is larger than {MAX_BYTES} bytes: this is no file of settings"
        )));
    }
    fs::read_to_string(path)
}

/// A value as a flag would have it; `None` if it is nothing that one could say with a flag.
fn one_line(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(is) => Some(is.to_string()),
        Value::Array(values) => {
            values.iter().map(one_line).collect::<Option<Vec<_>>>().map(|all| all.join(","))
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// What was meant by a setting that there is not: the one whose name is nearest to it, or one of them all.
fn instead(key: &str, known: &[String]) -> String {
    let all: Vec<_> = known.iter().map(|name| key_of(name)).collect();
    let nearness = |name: &String| strsim::jaro_winkler(name, key);
    let nearest = all.iter().max_by(|one, other| nearness(one).total_cmp(&nearness(other)));
    match nearest.filter(|name| nearness(name) > ALIKE) {
        Some(name) => format!(": did you mean {name}? `blobforge config show` names all"),
        None => format!(". There are: {}", all.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PREFIX;

    fn parse(text: &str) -> Result<SettingsFile, String> {
        let known = ["PORT", "HOST", "TRUSTED_PROXIES"].map(|name| format!("{PREFIX}{name}"));
        SettingsFile::parse(Path::new("a.toml"), text, &known).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_what_a_flag_would_say() {
        let file =
            parse("port = 80\nhost = \"\"\ntrusted_proxies = [\"10.0.0.1\", \"10.1.0.0/16\"]").unwrap();
        assert_eq!(file.get("BLOBFORGE_PORT"), Some("80"));
        assert_eq!(file.get("BLOBFORGE_HOST"), None, "empty is unset");
        assert_eq!(file.get("BLOBFORGE_TRUSTED_PROXIES"), Some("10.0.0.1,10.1.0.0/16"));
    }

    #[test]
    fn what_is_no_setting_is_told_with_those_that_there_are() {
        assert!(parse("colour = 80").unwrap_err().contains("There are: port, host, trusted_proxies"));
        let alike = parse("prot = 80").unwrap_err();
        assert!(alike.contains("\"prot\": did you mean port?") && !alike.contains("host"), "{alike}");
        assert!(parse("port = 80\n\nhost = {a = 1}").unwrap_err().contains("host is a table"));
        assert!(parse("port = 80\nhost = \"open").unwrap_err().starts_with("a.toml: line 2 is no TOML"));
    }
}
