//! Lists, as people, scripts and programs want them.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::{
    CliError,
    terminal::{Column, complain, say, table},
};

/// How a list is printed.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct ListStyle {
    /// Print JSON, one entry a line.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print only what names each entry, one a line.
    #[arg(long, short)]
    quiet: bool,
}

/// What a list looks like.
pub(super) struct Listing<'a, T> {
    pub(super) columns: &'a [Column],
    /// What names an entry where a command wants one.
    pub(super) name: &'a dyn Fn(&T) -> String,
    pub(super) row: &'a dyn Fn(&T) -> Vec<String>,
    /// What is said to people where there is nothing.
    pub(super) nothing: &'a str,
}

impl ListStyle {
    /// Prints a list.
    ///
    /// # Errors
    /// When standard output fails.
    pub(super) fn print<T: Serialize>(self, entries: &[T], listing: &Listing<'_, T>) -> Result<(), CliError> {
        if self.json {
            for entry in entries {
                say(serde_json::to_string(entry)?)?;
            }
        } else if self.quiet {
            for entry in entries {
                say((listing.name)(entry))?;
            }
        } else if entries.is_empty() {
            say(listing.nothing)?;
        } else {
            say(table(listing.columns, entries.iter().map(listing.row).collect()))?;
        }
        Ok(())
    }
}

impl ListStyle {
    /// Whether people read it, and no program.
    pub(super) fn is_for_people(self) -> bool {
        !self.json && !self.quiet
    }

    /// Says something to people: beside the list, where programs read that.
    ///
    /// # Errors
    /// When standard output fails.
    pub(super) fn tell_people(self, text: impl AsRef<str>) -> Result<(), CliError> {
        if !self.is_for_people() {
            complain(text);
        } else {
            say(text)?;
        }
        Ok(())
    }

    /// Prints one entry of a list that is told bit by bit, to whoever is no person.
    ///
    /// # Errors
    /// When standard output fails.
    pub(super) fn tell<T: Serialize>(
        self,
        entry: &T,
        name: impl Fn(&T) -> Option<String>,
    ) -> Result<(), CliError> {
        if self.json {
            say(serde_json::to_string(entry)?)?;
        } else if self.quiet
            && let Some(name) = name(entry)
        {
            say(name)?;
        }
        Ok(())
    }
}

/// A path in JSON, which takes only text: what is none is shown as well as it can be.
pub(super) fn as_text<S: serde::Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

/// What a reply says of a field, for people.
pub(super) fn field(entry: &Value, name: &str) -> String {
    match &entry[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().unwrap_or_default()).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}
