//! `blobforge service`: has systemd run the service or a worker.

mod unit;
mod writing;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Arg, CommandFactory, Parser};

use super::{Cli, CliError, terminal::say};
use unit::{Kind, Layout};
use writing::Found;

/// Folders that a unit of the system cannot see, or that are emptied.
const HIDDEN: [&str; 4] = ["/home", "/root", "/run/user", "/tmp"];

/// What `blobforge service` can do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ServiceCommand {
    /// Write a unit and a file of settings for systemd, and say how to start it.
    Install(InstallArgs),
    /// Remove the unit. Settings and data stay.
    Uninstall(UninstallArgs),
}

/// Which unit is meant.
#[derive(Debug, clap::Args)]
struct Which {
    /// A worker, instead of the service.
    #[arg(long)]
    worker: bool,
    /// For yourself alone, instead of the whole machine; needs no root.
    #[arg(long)]
    user: bool,
    /// Folder to take for `/`, such as that of an image that is being made.
    #[arg(long, value_name = "DIR", default_value = "/", conflicts_with = "user")]
    root: PathBuf,
    /// Only say what would be done, and show what would be written.
    #[arg(long)]
    dry_run: bool,
}

/// What `blobforge service install` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is started, and nothing is written over what somebody has changed: `systemctl edit` keeps changes apart from the unit.

Examples:
  blobforge service install                                           the service, with its data in /var/lib/blobforge
  blobforge service install --set BLOBFORGE_PUBLIC_URL=https://forge.example.org
  blobforge service install --worker --set BLOBFORGE_SERVER_URL=https://forge.example.org --token-file token
  blobforge service install --worker --user --token-file token -- --engine marker --use-gpu")]
pub(super) struct InstallArgs {
    #[command(flatten)]
    which: Which,
    /// The program blobforge, if not the one that runs now.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// A setting for the file of settings; may be given more than once.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// File with the token of a worker, which is copied into the file of settings.
    #[arg(long, value_name = "FILE", requires = "worker")]
    token_file: Option<PathBuf>,
    /// What else the command line of it is to have; if nothing is named, what it has. To have nothing, uninstall it first.
    #[arg(last = true, value_name = "ARGUMENT")]
    args: Vec<String>,
}

/// What `blobforge service uninstall` takes.
#[derive(Debug, clap::Args)]
pub(super) struct UninstallArgs {
    #[command(flatten)]
    which: Which,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("say NAME=VALUE")?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_name { Ok((name.to_owned(), value.to_owned())) } else { Err("say NAME=VALUE".to_owned()) }
}

pub(super) fn run(command: ServiceCommand) -> Result<ExitCode, CliError> {
    match command {
        ServiceCommand::Install(args) => install(args),
        ServiceCommand::Uninstall(args) => uninstall(&args.which),
    }
}

impl Which {
    fn kind(&self) -> Kind {
        if self.worker { Kind::Worker } else { Kind::Service }
    }

    fn layout(&self) -> Result<Layout, CliError> {
        if !self.user {
            return Ok(Layout::of_the_system(&self.root));
        }
        let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
        let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
        let config =
            config.ok_or_else(|| CliError::new("neither XDG_CONFIG_HOME nor HOME is set: set one"))?;
        Ok(Layout::of_a_user(&config))
    }
}

fn install(args: InstallArgs) -> Result<ExitCode, CliError> {
    let (kind, layout) = (args.which.kind(), args.which.layout()?);
    let program = program(args.program, &layout)?;
    let mut values = args.settings;
    if let Some(file) = &args.token_file {
        let unreadable =
            |error| CliError::new(format!("the token in {} cannot be read: {error}", file.display()));
        let token = std::fs::read_to_string(file).map_err(unreadable)?;
        values.push(("BLOBFORGE_API_TOKEN".to_owned(), token.trim().to_owned()));
    }
    let (path, settings) = (layout.unit(kind), layout.settings(kind));
    let found = writing::look(&path)?;
    // Who installs another program wants it to do the same.
    let arguments = match &found {
        Found::Ours(there) if args.args.is_empty() => unit::arguments(there),
        _ => args.args,
    };
    check(kind, &values, &arguments)?;
    let text = writing::marked(&unit::unit(kind, &layout, &program, &arguments)?);
    if found == Found::Foreign {
        return Err(CliError::new(format!(
            "{} was changed, or is not ours. Nothing was written: keep your changes with `{} edit {}`, move the file away, \
             and install again",
            path.display(),
            layout.systemctl(),
            kind.name()
        )));
    }
    let kept = settings.exists();
    if kept && !values.is_empty() {
        let what = "is there already, and is left alone: put the settings there, and leave out --set and --token-file";
        return Err(CliError::new(format!("{} {what}. Nothing was written", settings.display())));
    }
    let of_settings = unit::settings(kind, &layout, &values)?;
    if args.which.dry_run {
        say(format!("would write {}:\n\n{text}", path.display()))?;
        if kept {
            say(format!("would keep {}", settings.display()))?;
        } else {
            say(format!("would write {}, for its owner alone, with {}", settings.display(), names(&values)))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    // The settings first: a unit without them would start with none.
    if !kept {
        writing::write_secret(&settings, &of_settings)?;
    }
    let is_there = found == Found::Ours(text.clone());
    if !is_there {
        writing::write_public(&path, &text)?;
    }
    say(format!("{}  {}", if is_there { "there " } else { "wrote " }, path.display()))?;
    say(format!("{}  {}", if kept { "kept  " } else { "wrote " }, settings.display()))?;
    if layout.runs_here {
        say(next_steps(kind, &layout, found != Found::Nothing))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The settings by name: values may be secret.
fn names(values: &[(String, String)]) -> String {
    if values.is_empty() {
        return "no setting".to_owned();
    }
    values.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn next_steps(kind: Kind, layout: &Layout, is_update: bool) -> String {
    let (systemctl, name) = (layout.systemctl(), kind.name());
    let journal = if layout.for_user { "journalctl --user --unit" } else { "journalctl --unit" };
    let linger = if layout.for_user {
        "\n  loginctl enable-linger    # it runs also while you are not logged in"
    } else {
        ""
    };
    // One that runs goes on with the program and the settings that it was started with.
    let start = if is_update {
        format!("{systemctl} restart {name}")
    } else {
        format!("{systemctl} enable --now {name}")
    };
    format!(
        "next:\n  {systemctl} daemon-reload\n  {start}{linger}\n  {journal} {name} --follow\n\
         its data lie in {}",
        layout.data(kind)
    )
}

/// The program that is to run, where a unit can see it.
fn program(named: Option<PathBuf>, layout: &Layout) -> Result<PathBuf, CliError> {
    let program = match named {
        Some(named) => std::path::absolute(named)?,
        None => std::env::current_exe()?,
    };
    if !layout.for_user && HIDDEN.iter().any(|folder| program.starts_with(folder)) {
        return Err(CliError::new(format!(
            "{} lies where a unit of the system does not look: copy it first, with `install -m 755 {} /usr/local/bin/blobforge`, \
             and run that one",
            program.display(),
            program.display()
        )));
    }
    Ok(program)
}

/// Reads settings and arguments as the command will: what is wrong is better said now than in a log.
fn check(kind: Kind, values: &[(String, String)], args: &[String]) -> Result<(), CliError> {
    let whole = Cli::command();
    let command = whole.find_subcommand(kind.command());
    let known: Vec<&Arg> = command.into_iter().flat_map(clap::Command::get_arguments).collect();
    let mut line: Vec<OsString> = vec!["blobforge".into(), kind.command().into()];
    for (name, value) in values {
        let of_it = known.iter().find(|arg| arg.get_env().is_some_and(|env| env == name.as_str()));
        match of_it.and_then(|arg| arg.get_long()) {
            Some(long) => line.push(format!("--{long}={value}").into()),
            None if name.starts_with("BLOBFORGE_") => {
                let what =
                    format!("{name} is no setting of it: blobforge {} --help names all", kind.command());
                return Err(CliError::usage(what));
            }
            // It may be one of a program that it starts.
            None => {}
        }
    }
    line.extend(args.iter().map(OsString::from));
    Cli::try_parse_from(line).map(drop).map_err(|error| {
        let text = error.to_string();
        // What is wrong, without how it is to be used.
        let wrong: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
        let mut text = wrong.join(" ").trim_start_matches("error: ").to_owned();
        // A secret is none the less one for being wrong.
        for (_, secret) in values.iter().filter(|(name, _)| is_secret(&known, name)) {
            text = text.replace(secret.as_str(), "••••••••");
        }
        CliError::usage(text)
    })
}

fn is_secret(known: &[&Arg], name: &str) -> bool {
    known.iter().any(|arg| arg.is_hide_env_values_set() && arg.get_env().is_some_and(|env| env == name))
}

fn uninstall(which: &Which) -> Result<ExitCode, CliError> {
    let (kind, layout) = (which.kind(), which.layout()?);
    let (path, name) = (layout.unit(kind), kind.name());
    match writing::look(&path)? {
        Found::Nothing => {
            say(format!("there is no {}: nothing is to be removed", path.display()))?;
            return Ok(ExitCode::SUCCESS);
        }
        Found::Foreign => {
            let what = "was changed, or is not ours, and is left alone: remove it yourself if it is to go";
            return Err(CliError::new(format!("{} {what}", path.display())));
        }
        Found::Ours(_) => {}
    }
    let (done, verb) = if which.dry_run { ("would remove", "would keep") } else { ("removed", "kept") };
    if !which.dry_run {
        // By it the unit would be started again, and complained of.
        remove_link(&layout.wanted(kind))?;
        writing::remove(&path)?;
    }
    say(format!("{done}  {}", path.display()))?;
    say(format!("{verb}  {} and {}", layout.settings(kind).display(), layout.data(kind)))?;
    if layout.runs_here {
        let systemctl = layout.systemctl();
        say(format!("next:\n  {systemctl} stop {name}\n  {systemctl} daemon-reload"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn remove_link(link: &Path) -> Result<(), CliError> {
    if link.is_symlink() { writing::remove(link) } else { Ok(()) }
}
