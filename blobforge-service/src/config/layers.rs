//! Command line over environment over file over default.

use std::{
    error::Error as _,
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use clap::{
    Arg, ArgMatches, Command,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use super::{SettingsFile, key_of};
use crate::service::ServiceError;

/// The argument that names the file.
const FILE_ARGUMENT: &str = "config";
/// What stands for a secret.
const MASK: &str = "••••••••";

/// Why a command line cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Misread {
    /// It asks for help, or is none.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// A setting has a value that it cannot have.
    #[error("{called} is {value} ({origin}): {why}")]
    Value { called: String, value: String, origin: String, why: String },
    /// The file cannot be followed.
    #[error(transparent)]
    File(#[from] ServiceError),
}

/// A command line, read with what lies below it.
#[derive(Debug)]
pub(crate) struct Layers {
    pub(crate) matches: ArgMatches,
    pub(crate) file: Option<SettingsFile>,
}

/// One setting as it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What the environment calls it.
    pub name: String,
    /// What it is; secrets are masked.
    pub value: Option<String>,
    /// Where that comes from.
    pub from: String,
}

impl Layers {
    /// Reads a command line. The file is read in between: the command line and the environment say which one it is.
    pub(crate) fn read(command: &Command, arguments: &[OsString]) -> Result<Self, Misread> {
        let read = |with: Command, file: Option<&SettingsFile>| {
            let matches = without_empty_variables(with).try_get_matches_from(arguments);
            matches.map_err(|error| explained(error, command, arguments, file))
        };
        let matches = read(command.clone(), None)?;
        let named = deepest(&matches).get_one::<PathBuf>(FILE_ARGUMENT);
        let file = SettingsFile::find(named.map(PathBuf::as_path), &known(command))?;
        let Some(file) = file else { return Ok(Self { matches, file: None }) };
        let matches = read(above(command.clone(), &file), Some(&file))?;
        Ok(Self { matches, file: Some(file) })
    }

    /// What was said to the command that was given.
    pub(crate) fn of_command(&self) -> &ArgMatches {
        deepest(&self.matches)
    }

    /// The settings among these arguments, as they hold for the command that was given.
    pub(crate) fn settings(&self, of: &Command) -> Vec<Setting> {
        let matches = self.of_command();
        of.get_arguments().filter_map(|argument| self.setting(argument, matches)).collect()
    }

    fn setting(&self, argument: &Arg, matches: &ArgMatches) -> Option<Setting> {
        let name = argument.get_env()?.to_string_lossy().into_owned();
        let id = argument.get_id().as_str();
        let value = matches
            .get_raw(id)
            .map(|values| values.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(","));
        let is_secret = argument.is_hide_env_values_set();
        let file = self.file.as_ref().filter(|file| file.get(&name).is_some());
        let from = match (matches.value_source(id), file) {
            (Some(ValueSource::CommandLine), _) => "command line".to_owned(),
            (Some(ValueSource::EnvVariable), _) => "environment".to_owned(),
            (_, Some(file)) => file.origin(),
            _ => "default".to_owned(),
        };
        Some(Setting {
            name,
            value: value.map(|value| if is_secret { MASK.to_owned() } else { value }),
            from,
        })
    }
}

/// What was said for the command that was given, below all others.
fn deepest(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, below)| deepest(below))
}

/// What is set to nothing is not set, as people expect who leave a line of their environment empty.
fn without_empty_variables(command: Command) -> Command {
    for_each_argument(command, &|argument| {
        let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
        let empty = argument.get_env().is_some_and(is_empty);
        if empty { argument.env(Resettable::Reset) } else { argument }
    })
}

/// Puts what a file says in the place of the defaults.
fn above(command: Command, file: &SettingsFile) -> Command {
    for_each_argument(command, &|argument| {
        let name = argument.get_env().map(|name| name.to_string_lossy().into_owned());
        match name.as_deref().and_then(|name| file.get(name)) {
            Some(value) => argument.default_value(value.to_owned()),
            None => argument,
        }
    })
}

fn for_each_argument(command: Command, change: &dyn Fn(Arg) -> Arg) -> Command {
    command.mut_args(change).mut_subcommands(|below| for_each_argument(below, change))
}

/// All names that a file can have a line for.
fn known(command: &Command) -> Vec<String> {
    let of_arguments = arguments(command).into_iter().filter(|argument| argument.get_id() != FILE_ARGUMENT);
    let named = of_arguments.filter_map(|argument| Some(argument.get_env()?.to_string_lossy().into_owned()));
    let mut names: Vec<_> = named.collect();
    names.sort();
    names.dedup();
    names
}

fn arguments(command: &Command) -> Vec<&Arg> {
    command.get_arguments().chain(command.get_subcommands().flat_map(arguments)).collect()
}

/// Says of a wrong value where it comes from.
fn explained(
    error: clap::Error,
    command: &Command,
    given: &[OsString],
    file: Option<&SettingsFile>,
) -> Misread {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    // As usage texts have it: `--port <PORT>`.
    let shown = text(ContextKind::InvalidArg);
    let flag = shown.split(' ').next().unwrap_or_default().to_owned();
    let is_it = |argument: &&Arg| argument.get_long().is_some_and(|long| flag == format!("--{long}"));
    let setting = arguments(command).into_iter().filter(|argument| argument.get_env().is_some()).find(is_it);
    let (Some(setting), ErrorKind::ValueValidation | ErrorKind::InvalidValue) = (setting, error.kind())
    else {
        return error.into();
    };
    let name = setting.get_env().unwrap_or_default().to_string_lossy().into_owned();
    let is_flag = |given: &OsString| {
        let given = given.to_string_lossy();
        given == flag || given.strip_prefix(&flag).is_some_and(|rest| rest.starts_with('='))
    };
    let by_environment = std::env::var_os(&name).is_some_and(|value| !value.is_empty());
    let (called, origin) = match file {
        _ if given.iter().any(is_flag) => (flag, "command line".to_owned()),
        Some(file) if !by_environment => (key_of(&name), file.origin()),
        _ => (name, "environment".to_owned()),
    };
    let is_secret = setting.is_hide_env_values_set();
    let value = text(ContextKind::InvalidValue);
    let value = if is_secret { MASK.to_owned() } else { format!("{value:?}") };
    let why = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(why), _) => why.to_string(),
        (None, Some(ContextValue::Strings(all))) => format!("use one of {}", all.join(", ")),
        (None, _) => "use another value".to_owned(),
    };
    Misread::Value { called, value, origin, why }
}
