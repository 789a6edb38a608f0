//! `blobforge download` and `blobforge preview`: what came out of jobs.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use blobforge_core::JobId;
use blobforge_worker_sdk::client::{Client, JobView};

use clap_complete::ArgValueCompleter;

use super::{
    CliError, Connection, candidates, hydrate,
    jobs::JobRef,
    terminal::{complain, say},
};

/// What `blobforge download` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  blobforge download 17                    into the folder letter/, if the source was letter.pdf
  blobforge download 9f86d081884c --output results")]
pub(super) struct DownloadArgs {
    /// The jobs' numbers, or the SHA-256s of their sources or how those begin.
    #[arg(required = true, value_name = "JOB", add = ArgValueCompleter::new(candidates::jobs))]
    jobs: Vec<JobRef>,
    /// Where the folder of each job goes.
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

/// What `blobforge preview` takes.
#[derive(Debug, clap::Args)]
pub(super) struct PreviewArgs {
    /// The job's number, or the SHA-256 of its source or how that begins.
    #[arg(add = ArgValueCompleter::new(candidates::jobs))]
    job: JobRef,
    /// How many lines are shown; 0 for all.
    #[arg(long, short = 'n', default_value_t = 40)]
    lines: usize,
    #[command(flatten)]
    connection: Connection,
}

/// Saves what jobs produced, each in a folder of its own.
///
/// # Errors
/// When the service stays away.
pub(super) async fn download(args: DownloadArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let (mut code, mut folders) = (ExitCode::SUCCESS, Folders::default());
    for job in &args.jobs {
        match one(&client, *job, &args.output, &mut folders).await {
            Ok(saved) => {
                for path in saved {
                    say(path.display().to_string())?;
                }
            }
            Err(error) if error.is_away() => return Err(error),
            Err(error) => {
                complain(format!("job {job}: {error}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

async fn one(
    client: &Client,
    job: JobRef,
    output: &Path,
    folders: &mut Folders,
) -> Result<Vec<PathBuf>, CliError> {
    let job = client.job(job.find(client).await?).await?;
    let folder = folders.of(job.id, output.join(folder_of(&job)));
    Ok(client.download_outputs(job.id, &folder).await?)
}

/// Folders of results, of which no two jobs have one.
#[derive(Debug, Default)]
pub(super) struct Folders(HashMap<PathBuf, JobId>);

impl Folders {
    /// The folder for a job's files: the one that is wanted, or, if another job has that, one that also has its number.
    pub(super) fn of(&mut self, job: JobId, wanted: PathBuf) -> PathBuf {
        if *self.0.entry(wanted.clone()).or_insert(job) == job {
            return wanted;
        }
        let mut name = wanted.file_name().unwrap_or_default().to_owned();
        name.push(format!("-{job}"));
        self.of(job, wanted.with_file_name(name))
    }
}

/// What the folder of a job's files is called: as its source, as far as that makes a name.
fn folder_of(job: &JobView) -> String {
    let path = job.source_path.as_deref().unwrap_or_default();
    let stem = Path::new(path).file_stem().unwrap_or_default().to_string_lossy();
    let name = blobforge_core::saved_names([&*stem]).pop().unwrap_or_default();
    if stem.is_empty() { format!("job-{}", job.id) } else { name }
}

/// Prints the beginning of a job's Markdown.
///
/// # Errors
/// When there is none, or the service refuses or stays away.
pub(super) async fn preview(args: PreviewArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let job = client.job(args.job.find(&client).await?).await?;
    let draft = tempfile::tempdir()?;
    let document = hydrate::fetch(&client, &job, draft.path()).await?;
    let text = document.original()?;
    let most = if args.lines == 0 { usize::MAX } else { args.lines };
    let shown: Vec<_> = text.lines().take(most).collect();
    say(shown.join("\n"))?;
    let more = text.lines().count() - shown.len();
    if more > 0 {
        complain(format!("and {more} more lines: blobforge download {}", job.id));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_jobs_have_one_folder() {
        let mut folders = Folders::default();
        let mut of = |job, name: &str| folders.of(JobId::new(job), name.into());
        assert_eq!(of(1, "r/x"), Path::new("r/x"));
        assert_eq!(of(1, "r/x"), Path::new("r/x"), "the same job again");
        assert_eq!(of(2, "r/x"), Path::new("r/x-2"));
        assert_eq!(of(3, "r/x-2"), Path::new("r/x-2-3"));
    }
}
