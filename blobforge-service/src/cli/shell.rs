//! `blobforge completions` and `blobforge manual`: what shells and `man` want to know.

use std::{path::PathBuf, process::ExitCode};

use clap_complete::Shell;

use super::{CliError, terminal::say};

/// What `blobforge completions` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  source <(blobforge completions bash)
  blobforge completions fish > ~/.config/fish/completions/blobforge.fish")]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// What `blobforge manual` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  blobforge manual ~/.local/share/man/man1")]
pub(super) struct ManualArgs {
    /// Folder for the pages.
    dir: PathBuf,
}

/// Prints what completes the commands, their flags and the ids of jobs in a shell.
///
/// # Errors
/// When standard output fails.
pub(super) fn completions(args: &CompletionsArgs) -> Result<ExitCode, CliError> {
    let shell = args.shell.to_string();
    let engine = clap_complete::env::Shells::builtins();
    let Some(completer) = engine.completer(&shell) else {
        return Err(CliError::usage(format!("nothing is known of how {shell} completes")));
    };
    let mut script = Vec::new();
    completer.write_registration("COMPLETE", "blobforge", "blobforge", "blobforge", &mut script)?;
    say(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a page for each command.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn manual(args: &ManualArgs, command: clap::Command) -> Result<ExitCode, CliError> {
    std::fs::create_dir_all(&args.dir)?;
    clap_mangen::generate_to(command, &args.dir)?;
    say(format!("the pages lie in {}", args.dir.display()))?;
    Ok(ExitCode::SUCCESS)
}
