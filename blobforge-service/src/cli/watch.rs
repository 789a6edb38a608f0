//! `blobforge watch`: what goes on, as it goes on.

mod screen;

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
    time::Duration,
};

use blobforge_core::Status;
use blobforge_worker_sdk::client::{Client, ClientError, JobQuery, JobView};
use serde_json::Value;

use super::{CliError, Connection, terminal::say};

/// How many of the running jobs are shown.
const RUNNING_SHOWN: usize = 50;

/// What `blobforge watch` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In a terminal q ends it. Elsewhere a line is printed whenever something has changed.

Examples:
  blobforge watch
  blobforge watch --until-empty && blobforge hydrate /books")]
pub(super) struct WatchArgs {
    /// Seconds between looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// End as soon as nothing waits or runs any more.
    #[arg(long)]
    until_empty: bool,
    /// Print lines, also in a terminal.
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What goes on at a moment.
#[derive(Clone, Debug, Default)]
struct Sight {
    stats: Value,
    workers: Vec<Value>,
    running: Vec<JobView>,
}

impl Sight {
    async fn take(client: &Client) -> Result<Self, ClientError> {
        let running = JobQuery { status: Some(Status::Running), limit: RUNNING_SHOWN, ..JobQuery::default() };
        let (stats, workers, running) =
            tokio::try_join!(client.stats(), client.workers(), client.jobs(&running))?;
        Ok(Self { stats, workers, running })
    }

    fn number(&self, key: &str) -> u64 {
        self.stats[key].as_u64().unwrap_or(0)
    }

    fn is_empty(&self) -> bool {
        self.waiting() == 0 && self.number("running_jobs") == 0
    }

    /// How many jobs have not begun, whether their files are there or not.
    fn waiting(&self) -> u64 {
        self.number("pending_jobs") + self.number("uploading_jobs")
    }

    /// All of it in a line.
    fn line(&self) -> String {
        let number = |key| self.number(key);
        format!(
            "{} waiting, {} running, {} completed, {} failed; {} of {} workers online",
            self.waiting(),
            number("running_jobs"),
            number("completed_jobs"),
            number("failed_jobs"),
            number("online_workers"),
            number("total_workers"),
        )
    }
}

pub(super) async fn run(args: WatchArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let every = Duration::from_secs(args.every);
    if io::stdout().is_terminal() && io::stdin().is_terminal() && !args.plain {
        // The first look comes before the screen is taken: what is wrong with it is to be read.
        let first = Sight::take(&client).await?;
        return screen::show(client, first, every, args.until_empty).await;
    }
    let mut said = String::new();
    loop {
        let sight = Sight::take(&client).await?;
        let line = sight.line();
        if line != said {
            say(&line)?;
            said = line;
        }
        if args.until_empty && sight.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(every).await;
    }
}
