//! `blobforge worker`: does jobs for a service, with the built-in engine or with a program of yours.

mod check;
mod marker;
mod once;
mod program;

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use blobforge_core::WorkerId;
use blobforge_worker_sdk::{
    RunWindow, Worker, WorkerBuilder, marker::Settings, program::PYTHON_HELPER, shutdown_signal,
};
use clap::{ArgMatches, Parser};

use super::{CliError, Connection, terminal::say};
use crate::config::LogFormat;
use once::OnceArgs;
use program::HandlerArgs;

/// What `blobforge worker` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct WorkerArgs {
    /// Name of this worker; by default one that this machine keeps for each process.
    #[arg(long, env = "BLOBFORGE_WORKER_ID")]
    id: Option<String>,
    /// How many jobs run at once.
    #[arg(long, default_value_t = 1)]
    concurrency: usize,
    /// Folder for work in progress and for the worker's name.
    #[arg(long, env = "BLOBFORGE_WORKER_DIR")]
    work_dir: Option<PathBuf>,
    /// Seconds between questions for work, should the service not let the worker wait for it.
    #[arg(long, env = "BLOBFORGE_POLL_INTERVAL", value_name = "SECONDS", value_parser = seconds)]
    poll_interval: Option<Duration>,
    /// Seconds between heartbeats, if fewer than the service asks for.
    #[arg(long, env = "BLOBFORGE_HEARTBEAT_INTERVAL", value_name = "SECONDS", value_parser = seconds)]
    heartbeat_interval: Option<Duration>,
    /// Offer a GPU: the label gpu is true then, and programs see BLOBFORGE_USE_GPU.
    #[arg(long, env = "BLOBFORGE_USE_GPU", value_parser = clap::builder::BoolishValueParser::new(), num_args = 0..=1, default_value = "false", default_missing_value = "true")]
    use_gpu: bool,
    /// Part of the day in which it runs, such as 22:00-06:00, by the local time of this machine; may be given more than once.
    #[arg(long, env = "BLOBFORGE_RUN_WINDOW", value_delimiter = ',')]
    run_window: Vec<RunWindow>,
    /// Give back what runs when the last open run window closes, instead of finishing it.
    #[arg(long)]
    abort_outside_window: bool,
    /// How the log is written: text, or json with one object for each line.
    #[arg(long, env = "BLOBFORGE_LOG_FORMAT", default_value = "text")]
    pub(super) log_format: LogFormat,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    handler: HandlerArgs,
    #[command(flatten)]
    once: OnceArgs,
    /// Look whether everything is there that the worker needs, and stop.
    #[arg(long, conflicts_with = "once")]
    check: bool,
    /// Print the file that runners in Python import, and stop.
    #[arg(long, conflicts_with_all = ["once", "check"])]
    print_python_helper: bool,
}

const EXAMPLES: &str = "\
Examples:
  blobforge worker
      serves pdf-text with the built-in engine
  blobforge worker --engine marker --use-gpu
      turns PDFs into Markdown with marker-pdf, for which a Python environment is made if there is none
  blobforge worker --type book -- pandoc {source} -o {outdir}/book.html
      starts pandoc for each job; every file in {outdir} is an output
  blobforge worker --type word-count --runner -- python3 convert.py
      keeps python3 running; `blobforge worker --print-python-helper` is what convert.py imports
  blobforge worker --once letter.txt --type word-count --runner -- python3 convert.py
      does that for one file, without a service";

/// A number of seconds from one thousandth on.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.001..=31_536_000.0).contains(number));
    number
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "say how many seconds, from 0.001 to 31536000".to_owned())
}

impl WorkerArgs {
    /// What is logged: who tries a handler wants to read the handler, and not the worker around it.
    pub(super) fn log_level(&self) -> &'static str {
        if self.once.once.is_some() {
            "warn,blobforge_worker_sdk::context=info"
        } else if self.check {
            "off"
        } else {
            "info"
        }
    }
}

/// How the engine marker is set up for a worker that is given no flags.
///
/// # Errors
/// When the environment says what makes no sense.
pub(super) fn settings_of_marker() -> Result<Settings, CliError> {
    let args = Alone::try_parse_from(["blobforge", "--engine", "marker"]).map_err(|error| {
        // The rest is about a command line that nobody has written.
        let text = error.to_string();
        CliError::new(text.lines().next().unwrap_or_default().trim_start_matches("error: "))
    });
    let WorkerArgs { handler, use_gpu, .. } = args?.worker;
    Ok(handler.marker_settings(use_gpu).unwrap_or_default())
}

/// A worker without the rest of the command line.
#[derive(Debug, Parser)]
struct Alone {
    #[command(flatten)]
    worker: WorkerArgs,
}

/// Does jobs, or what else was asked for. `matches` tells what was said, and where.
pub(super) async fn run(args: WorkerArgs, matches: &ArgMatches) -> Result<ExitCode, CliError> {
    args.handler.check(matches)?;
    if args.print_python_helper {
        say(PYTHON_HELPER.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.check {
        return check::run(&args).await;
    }
    if let Some(file) = &args.once.once {
        return once::run(file, &args).await;
    }
    let client = args.connection.client()?;
    let worker = args.handler.added_to(Worker::builder(Arc::new(client)), args.use_gpu).await?;
    let worker = builder(&args, worker)?.build()?;
    say(format!("worker {} serves {}; stop it with Ctrl-C", worker.id(), args.handler.job_type()))?;
    let summary = worker.run(shutdown_signal()).await?;
    say(summary.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// What the arguments say of the worker, whatever it serves.
fn builder(args: &WorkerArgs, mut builder: WorkerBuilder) -> Result<WorkerBuilder, CliError> {
    builder = builder.concurrency(args.concurrency);
    builder = builder.abort_outside_window(args.abort_outside_window);
    builder = args.run_window.iter().copied().fold(builder, WorkerBuilder::run_window);
    if args.use_gpu {
        builder = builder.label("gpu", true);
    }
    if let Some(id) = &args.id {
        builder = builder.id(WorkerId::new(id)?);
    }
    if let Some(dir) = &args.work_dir {
        builder = builder.state_dir(dir);
    }
    if let Some(interval) = args.poll_interval {
        builder = builder.poll_interval(interval);
    }
    if let Some(interval) = args.heartbeat_interval {
        builder = builder.heartbeat_interval(interval);
    }
    Ok(builder)
}
