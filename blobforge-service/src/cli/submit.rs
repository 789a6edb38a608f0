//! `blobforge submit`: hands in files.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use blobforge_core::{JobId, Priority, Status};
use blobforge_worker_sdk::client::{Client, ClientError, JobView, SubmitFile};
use serde_json::{Map, Value};

use super::{
    CliError, Connection,
    download::Folders,
    intake::{self, Fate, How, Outcome, Seen, Summary},
    listing::ListStyle,
    terminal::{Column, complain, say, table},
    walk::Wanted,
};

/// The type of jobs that do not say theirs: the engine that comes with this program serves it.
pub(super) const USUAL_TYPE: &str = "pdf-text";
/// How long one request waits for a job to end.
const WAIT: Duration = Duration::from_secs(50);

/// What is said of every job that is handed in.
#[derive(Debug, clap::Args)]
pub(super) struct JobArgs {
    /// What kind of work it is. Unless said: pdf-text, but a file that was handed in as pdf is not converted anew.
    #[arg(long = "type", value_name = "TYPE")]
    job_type: Option<String>,
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
    /// What kind of work new jobs are.
    pub(super) fn job_type(&self) -> &str {
        self.job_type.as_deref().unwrap_or(USUAL_TYPE)
    }

    /// The one type whose jobs count as a file's, if not all count that convert it.
    pub(super) fn one_type(&self) -> Option<&str> {
        let is_open = self.job_type.is_none() && self.params.is_empty();
        (!is_open).then(|| self.job_type())
    }

    /// A file with what was said.
    pub(super) fn file(&self, path: &Path) -> SubmitFile {
        SubmitFile {
            priority: self.priority,
            tags: self.tags.clone(),
            max_attempts: self.max_attempts,
            params: self.params.iter().cloned().collect::<Map<_, _>>(),
            retry_failed: self.retry_failed,
            ..SubmitFile::new(self.job_type(), path)
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
    style: ListStyle,
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

/// Hands in files; one that fails does not keep the others from being tried.
///
/// # Errors
/// When there is no way to the service at all.
pub(super) async fn run(args: SubmitArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let (mut outcomes, mut files) = (Vec::new(), Vec::new());
    for path in &args.files {
        if path.is_dir() {
            let what = "it is a folder: hand in all files below it with: blobforge ingest";
            outcomes.push(Outcome::failed(path.clone(), format!("{what} {}", path.display())));
        } else {
            files.push(path.clone());
        }
    }
    let how = How { client: client.clone(), job: &args.job, path_tags: false, dry_run: false };
    let heard = |outcome| {
        outcomes.push(outcome);
        Ok(())
    };
    let is_whole = intake::take(how, &files, &Wanted::default(), &mut Seen::new(), heard).await?;
    // As they were named, and not as they came.
    let place = |outcome: &Outcome| args.files.iter().position(|path| *path == outcome.path);
    outcomes.sort_by_key(place);
    let summary = report(&outcomes, is_whole, args.style)?;
    if (args.wait || args.output.is_some())
        && !see_through(&client, &outcomes, args.output.as_deref(), args.style).await?
    {
        return Ok(ExitCode::FAILURE);
    }
    Ok(summary.code())
}

/// Prints what became of each file.
fn report(outcomes: &[Outcome], is_whole: bool, style: ListStyle) -> Result<Summary, CliError> {
    let row = |outcome: &Outcome| {
        let (what, status) = match &outcome.fate {
            Fate::Submitted { status, .. } => ("submitted", *status),
            Fate::Existing { status, .. } => ("existing", *status),
            Fate::Failed { .. } => ("not submitted", None),
        };
        let text = |found: Option<String>| found.unwrap_or_default();
        let name = outcome.path.display().to_string();
        vec![
            text(outcome.job().map(|id| id.to_string())),
            what.to_owned(),
            text(status.map(|status| status.to_string())),
            name,
        ]
    };
    let columns = [Column::Number("job"), Column::Text("what"), Column::Text("status"), Column::Text("file")];
    if style.is_for_people() {
        say(table(&columns, outcomes.iter().map(row).collect()))?;
    }
    let mut summary = Summary::default();
    for outcome in outcomes {
        summary.add(outcome.clone(), style)?;
    }
    if !is_whole {
        summary.breaks_off();
    }
    summary.print(style, false)?;
    Ok(summary)
}

/// Waits for the end of every job that was taken, and saves what it produced; whether all completed.
async fn see_through(
    client: &Client,
    outcomes: &[Outcome],
    output: Option<&Path>,
    style: ListStyle,
) -> Result<bool, CliError> {
    let (mut fine, mut folders) = (true, Folders::default());
    for outcome in outcomes {
        let (path, Some(job)) = (&outcome.path, outcome.job()) else { continue };
        // All that was to be sent has been: what is missing now does not come from here.
        if outcome.is_uploading() && client.job(job).await?.status == Status::Uploading {
            complain(format!("{} has not arrived: submit it again", path.display()));
            fine = false;
            continue;
        }
        let job = ended(client, job).await?;
        if job.status != Status::Completed {
            let why = job.last_error.map_or(String::new(), |error| format!(": {}", error.message));
            complain(format!("{} {}{why}", path.display(), job.status));
            fine = false;
            continue;
        }
        let Some(folder) = output else {
            style.tell_people(format!("{} completed", path.display()))?;
            continue;
        };
        let folder = folders.of(job.id, folder.join(path.file_stem().unwrap_or_default()));
        for saved in client.download_outputs(job.id, &folder).await? {
            style.tell_people(saved.display().to_string())?;
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
