//! `blobforge submit`: hands in files.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use blobforge_core::{JobId, Priority, Status};
use blobforge_worker_sdk::client::{Client, ClientError, JobView, SubmitFile, SubmitReply};
use serde_json::{Map, Value};

use super::{
    CliError, Connection,
    download::Folders,
    terminal::{Bars, Column, complain, say, table},
};

/// The type of jobs that do not say theirs: the engine that comes with this program serves it.
pub(super) const USUAL_TYPE: &str = "pdf-text";
/// How long one request waits for a job to end.
const WAIT: Duration = Duration::from_secs(50);

/// What is said of every job that is handed in.
#[derive(Debug, clap::Args)]
pub(super) struct JobArgs {
    /// What kind of work it is.
    #[arg(long = "type", value_name = "TYPE", default_value = USUAL_TYPE)]
    pub(super) job_type: String,
    /// How urgent it is: 1 (critical) to 5 (background), by number or name.
    #[arg(long, default_value = "3")]
    pub(super) priority: Priority,
    /// Words to find the jobs by, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub(super) tags: Vec<String>,
    /// How many failing runs each job may have.
    #[arg(long, value_name = "RUNS")]
    pub(super) max_attempts: Option<u32>,
    /// What the handler is told, as NAME=VALUE; a value that is JSON is meant so. May be given more than once.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    pub(super) params: Vec<(String, Value)>,
    /// Run a job again that has failed before.
    #[arg(long)]
    pub(super) retry_failed: bool,
}

impl JobArgs {
    /// A file with what was said.
    pub(super) fn file(&self, path: &Path) -> SubmitFile {
        SubmitFile {
            priority: self.priority,
            tags: self.tags.clone(),
            max_attempts: self.max_attempts,
            params: self.params.iter().cloned().collect::<Map<_, _>>(),
            retry_failed: self.retry_failed,
            ..SubmitFile::new(&self.job_type, path)
        }
    }
}

/// What `blobforge submit` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  blobforge submit letter.pdf
  blobforge submit urgent.pdf --priority 1 --type pdf --param force_ocr=true
  blobforge submit *.pdf --output results    waits, and saves what comes out below results/")]
pub(super) struct SubmitArgs {
    /// The files to hand in.
    #[arg(required = true, value_name = "PATH")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    job: JobArgs,
    /// Wait until all have ended; one that does not complete makes this command fail.
    #[arg(long)]
    wait: bool,
    /// Wait, and save what each job produced in a folder of its own below this one.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

fn param(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "write NAME=VALUE".to_owned())?;
    if name.is_empty() {
        return Err("write NAME=VALUE".to_owned());
    }
    // What is no JSON is a word.
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

/// What became of one file.
struct Handed {
    path: PathBuf,
    reply: Result<SubmitReply, CliError>,
}

/// Hands in files, one after the other; a file that fails does not keep the others from being tried.
///
/// # Errors
/// When there is no way to the service at all.
pub(super) async fn run(args: SubmitArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let bars = Bars::new();
    let mut handed = Vec::new();
    for path in &args.files {
        let reply = submit_one(&client, &bars, path, &args.job).await;
        let is_away = reply.as_ref().is_err_and(CliError::is_away);
        handed.push(Handed { path: path.clone(), reply });
        if is_away {
            // Each further file would wait for as long and hear the same.
            break;
        }
    }
    let mut fine = report(&handed)?;
    let untried = args.files.len() - handed.len();
    if untried > 0 {
        complain(format!("{untried} more were not tried"));
    }
    if args.wait || args.output.is_some() {
        fine &= see_through(&client, &handed, args.output.as_deref()).await?;
    }
    let away = handed.into_iter().filter_map(|file| file.reply.err()).find(CliError::is_away);
    match away {
        Some(error) => Ok(error.code()),
        None if fine => Ok(ExitCode::SUCCESS),
        None => Ok(ExitCode::FAILURE),
    }
}

async fn submit_one(
    client: &Client,
    bars: &Bars,
    path: &Path,
    args: &JobArgs,
) -> Result<SubmitReply, CliError> {
    if path.is_dir() {
        let what = "it is a folder: hand in all files below it with: blobforge ingest";
        return Err(CliError::new(format!("{what} {}", path.display())));
    }
    let bar = bars.add(&path.file_name().unwrap_or_default().to_string_lossy(), "bytes");
    let shown = bar.clone();
    let reply = client
        .submit_file(args.file(path), move |sent, total| {
            shown.set_length(total);
            shown.set_position(sent);
        })
        .await;
    bar.finish_and_clear();
    Ok(reply?)
}

/// Prints what became of each file; whether all were taken.
fn report(handed: &[Handed]) -> Result<bool, CliError> {
    let (mut new, mut existing, mut failed) = (0, 0, 0);
    let mut warnings: Vec<&String> = Vec::new();
    let mut rows = Vec::new();
    for Handed { path, reply } in handed {
        let name = path.display().to_string();
        rows.push(match reply {
            Ok(reply) => {
                new += usize::from(!reply.existing);
                existing += usize::from(reply.existing);
                if let Some(warning) = &reply.warning
                    && !warnings.contains(&warning)
                {
                    warnings.push(warning);
                }
                let found = if reply.existing { "existing" } else { "submitted" };
                vec![reply.job_id.to_string(), found.to_owned(), reply.status.to_string(), name]
            }
            Err(error) => {
                failed += 1;
                vec![String::new(), "not submitted".to_owned(), error.to_string(), name]
            }
        });
    }
    let columns = [Column::Number("job"), Column::Text("what"), Column::Text("status"), Column::Text("file")];
    say(table(&columns, rows))?;
    for warning in warnings {
        say(format!("note: {warning}"))?;
    }
    say(format!("{new} submitted, {existing} existing, {failed} failed"))?;
    Ok(failed == 0)
}

/// Waits for the end of every job that was taken, and saves what it produced; whether all completed.
async fn see_through(client: &Client, handed: &[Handed], output: Option<&Path>) -> Result<bool, CliError> {
    let (mut fine, mut folders) = (true, Folders::default());
    for Handed { path, reply } in handed {
        let Ok(reply) = reply else { continue };
        let job = ended(client, reply.job_id).await?;
        if job.status != Status::Completed {
            let why = job.last_error.map_or(String::new(), |error| format!(": {}", error.message));
            complain(format!("{} {}{why}", path.display(), job.status));
            fine = false;
            continue;
        }
        let Some(folder) = output else {
            say(format!("{} completed", path.display()))?;
            continue;
        };
        let folder = folders.of(job.id, folder.join(path.file_stem().unwrap_or_default()));
        for saved in client.download_outputs(job.id, &folder).await? {
            say(saved.display().to_string())?;
        }
    }
    Ok(fine)
}

/// A job, once it has ended, however long that takes.
pub(super) async fn ended(client: &Client, id: JobId) -> Result<JobView, ClientError> {
    loop {
        let job = client.wait(id, WAIT).await?;
        if job.status.is_final() {
            return Ok(job);
        }
    }
}
