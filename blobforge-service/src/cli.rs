//! The command line: `blobforge` and everything it can do.

mod accounts;
mod backup;
mod blobs;
mod candidates;
mod config;
mod connection;
mod conversion;
mod demo;
mod doctor;
mod download;
mod error;
mod export;
mod fingerprint;
mod health;
mod host;
mod hydrate;
mod import;
mod ingest;
mod intake;
mod jobs;
mod listing;
mod profile;
mod shell;
mod stats;
mod status;
mod submit;
mod terminal;
mod tokens;
mod types;
mod walk;
mod watch;
mod worker;
mod workers;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use blobforge_core::{Invalid, JobType};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use connection::Connection;
pub use error::CliError;

use crate::{
    config::{Layers, LogFormat, Misread, ServeArgs, ServeConfig},
    pdf_text, serve,
    service::ServiceError,
};

/// A job queue for large files and slow work: the service, its workers and its tools in one program.
#[derive(Debug, Parser)]
#[command(name = "blobforge", version, about, max_term_width = 100, after_help = error::EXIT_CODES)]
struct Cli {
    /// File of settings, in TOML; by default blobforge.toml in this folder, if there is one.
    #[arg(long, global = true, env = "BLOBFORGE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service (also what happens without a command).
    Serve(Box<ServiceArgs>),
    /// Run a worker against a service.
    Worker(Box<worker::WorkerArgs>),
    /// Hand in files.
    Submit(submit::SubmitArgs),
    /// Hand in everything that lies in folders, as often as you like: nothing is sent twice.
    Ingest(Box<ingest::IngestArgs>),
    /// Look at jobs, run them again, call them off.
    #[command(subcommand)]
    Jobs(jobs::JobsCommand),
    /// Put what came out of each file beside it, as Markdown and a folder of what that shows.
    Hydrate(Box<hydrate::HydrateArgs>),
    /// Save what jobs produced.
    Download(download::DownloadArgs),
    /// Print the beginning of what a job produced.
    Preview(download::PreviewArgs),
    /// Show what became of files, by their hashes.
    Status(status::StatusArgs),
    /// Show how much waits, runs and is done.
    Stats(stats::StatsArgs),
    /// Watch what goes on, live.
    Watch(watch::WatchArgs),
    /// Look whether everything is well, and what to do about what is not.
    Doctor(doctor::DoctorArgs),
    /// Ask whether a service is well, for whoever watches over its process.
    Health(health::HealthArgs),
    /// Look at workers, and give them work or none.
    #[command(subcommand)]
    Workers(workers::WorkersCommand),
    /// Look at types of work, pause them, and change what holds for them.
    #[command(subcommand)]
    Types(types::TypesCommand),
    /// Write all jobs and files into a folder that anything can read.
    Export(Box<export::ExportArgs>),
    /// Bring the jobs and files of another installation over.
    Import(Box<import::ImportArgs>),
    /// Have systemd run the service or a worker.
    #[command(subcommand)]
    Service(host::ServiceCommand),
    /// Copy the database, try whether a copy is good, and bring one back.
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Manage where files are kept.
    #[command(subcommand)]
    Blobs(blobs::BlobsCommand),
    /// Manage what opens the door.
    #[command(subcommand)]
    Tokens(tokens::TokensCommand),
    /// List who has an account.
    Users(accounts::UsersArgs),
    /// List who did what only administrators may do, the newest first.
    Audit(accounts::AuditArgs),
    /// Look at the settings.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Start a service and a worker, convert PDFs and show what comes out.
    Demo(demo::DemoArgs),
    /// Print what completes these commands in a shell.
    Completions(shell::CompletionsArgs),
    /// Write the manual pages of these commands.
    Manual(shell::ManualArgs),
}

/// How long the service may take to stop once it was told to and its own worker has given back what it ran.
const END_WITHIN: Duration = Duration::from_secs(5);
/// How much longer where the database is copied: what was written last is copied at the end.
const LAST_COPY: Duration = Duration::from_secs(5);

/// All commands, as the program takes them.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program with the arguments that it was started with.
pub fn main() -> ExitCode {
    clap_complete::CompleteEnv::with_factory(Cli::command).complete();
    let args: Vec<OsString> = std::env::args_os().collect();
    // The child has no runtime, no log and no environment: it goes its own way before anything else begins.
    if args.get(1).is_some_and(|arg| arg == pdf_text::CHILD_COMMAND) {
        return pdf_text::child_main(args.into_iter().skip(2));
    }
    let (cli, layers) = match read(args) {
        Ok(read) => read,
        Err(Misread::Usage(usage)) => usage.exit(),
        // A disk that is not there yet may be there later; what is not understood never will be.
        Err(Misread::File(error @ ServiceError::File { .. })) => return failed(&error, ExitCode::FAILURE),
        Err(wrong) => return failed(&wrong, CliError::usage(String::new()).code()),
    };
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::from)
        .and_then(|runtime| runtime.block_on(run(cli, &layers)));
    outcome.unwrap_or_else(|error| failed(&error, error.code()))
}

fn failed(error: &dyn std::error::Error, code: ExitCode) -> ExitCode {
    use std::io::Write as _;
    // Nothing is left to be done about a standard error that is closed.
    let _ = writeln!(std::io::stderr().lock(), "blobforge: {error}");
    code
}

/// Without a command it is `serve`.
fn read(mut args: Vec<OsString>) -> Result<(Cli, Layers), Misread> {
    if Cli::command().try_get_matches_from(&args).is_ok_and(|matches| matches.subcommand().is_none()) {
        args.push("serve".into());
    }
    let layers = Layers::read(&Cli::command(), &args)?;
    let cli = Cli::from_arg_matches(&layers.matches)?;
    Ok((cli, layers))
}

/// What `blobforge serve` takes.
#[derive(Debug, clap::Args)]
struct ServiceArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Also run a worker for pdf-text, beside the service.
    #[arg(long)]
    with_worker: bool,
}

/// The settings that the service would have here.
fn settings_of_serve(file: Option<PathBuf>) -> Result<ServeConfig, CliError> {
    let named = file.into_iter().flat_map(|file| ["--config".into(), file.into_os_string()]);
    let args: Vec<OsString> = ["blobforge".into(), "serve".into()].into_iter().chain(named).collect();
    let (cli, _) = read(args).map_err(|error| CliError::new(error.to_string()))?;
    let Some(Command::Serve(args)) = cli.command else {
        return Err(CliError::new("serve is another command"));
    };
    Ok(ServeConfig::new(args.serve)?)
}

async fn run(cli: Cli, layers: &Layers) -> Result<ExitCode, CliError> {
    let Some(command) = cli.command else { return Err(CliError::new("say what to do: blobforge --help")) };
    match command {
        Command::Serve(args) => {
            log_to_stderr("info", args.serve.log_format);
            let settings = layers.settings(&ServeArgs::command());
            let config = ServeConfig { settings, ..ServeConfig::new(args.serve)? };
            let within = END_WITHIN + if config.backup.replicate { LAST_COPY } else { Duration::ZERO };
            serve::run_until(config, args.with_worker, || end_in_time(within)).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Worker(args) => {
            log_to_stderr(args.log_level(), args.log_format);
            worker::run(*args, layers.of_command()).await
        }
        Command::Submit(args) => submit::run(args).await,
        Command::Ingest(args) => ingest::run(*args).await,
        Command::Jobs(command) => jobs::run(command).await,
        Command::Hydrate(args) => hydrate::run(*args).await,
        Command::Download(args) => download::download(args).await,
        Command::Preview(args) => download::preview(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Watch(args) => watch::run(args).await,
        Command::Doctor(args) => doctor::run(args, settings_of_serve(cli.config)).await,
        Command::Health(args) => health::run(args, settings_of_serve(cli.config)).await,
        Command::Workers(command) => workers::run(command).await,
        Command::Types(command) => types::run(command).await,
        Command::Users(args) => accounts::users(args).await,
        Command::Audit(args) => accounts::audit(args).await,
        Command::Completions(args) => shell::completions(&args),
        Command::Manual(args) => shell::manual(&args, Cli::command()),
        Command::Stats(args) => stats::run(args).await,
        Command::Export(args) => {
            log_to_stderr("warn", LogFormat::Text);
            export::run(*args).await
        }
        Command::Import(args) => {
            log_to_stderr("warn", LogFormat::Text);
            import::run(*args).await
        }
        Command::Service(command) => host::run(command),
        Command::Backup(command) => {
            log_to_stderr("warn", LogFormat::Text);
            backup::run(command).await
        }
        Command::Blobs(command) => {
            log_to_stderr("warn", LogFormat::Text);
            blobs::run(command).await
        }
        Command::Tokens(command) => {
            log_to_stderr("warn", LogFormat::Text);
            tokens::run(command).await
        }
        Command::Config(command) => config::run(&command, layers),
        Command::Demo(args) => {
            log_to_stderr("error", LogFormat::Text);
            demo::run(args).await
        }
    }
}

/// Ends the process when the service has not ended by itself in time, such as over a disk that does not answer: whoever
/// sent SIGTERM sends SIGKILL next. What was acknowledged is durable by then.
fn end_in_time(within: Duration) {
    let watch = move || {
        std::thread::sleep(within);
        tracing::error!("not stopped within {within:?}: ending the process");
        std::process::exit(1);
    };
    if let Err(error) = std::thread::Builder::new().name("end-in-time".to_owned()).spawn(watch) {
        tracing::warn!(%error, "nobody watches how long the service takes to stop");
    }
}

/// Logs go to standard error, so that standard output stays for what was asked for. RUST_LOG overrides the level.
fn log_to_stderr(level: &str, format: LogFormat) {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A second subscriber can only come from a program that embeds this one, and then the first one stays.
    // Who reads it may leave: to complain of that on the same standard error would end whatever wanted to say something.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let _ = match format {
        LogFormat::Text => log.with_ansi(color).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}

/// Reads a type that was given on the command line.
fn job_type(text: &str) -> Result<JobType, Invalid> {
    JobType::new(text)
}

/// What is free on the disk of a folder. It may not be there yet; then the disk is that of the nearest folder which is.
fn free_bytes(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok());
    there.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}
