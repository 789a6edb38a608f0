//! `blobforge submit`: files in.

use std::{path::PathBuf, process::ExitCode};

use blobforge_core::Priority;
use blobforge_worker_sdk::client::{Client, SubmitFile, SubmitReply};

use super::{
    CliError, Connection,
    terminal::{Bars, Column, say, table},
};

/// What `blobforge submit` takes.
#[derive(Debug, clap::Args)]
pub(super) struct SubmitArgs {
    /// The files to hand in.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// What kind of work it is.
    #[arg(long = "type", default_value = "pdf-text")]
    job_type: String,
    /// How urgent it is: 1 (critical) to 5 (background), by number or name.
    #[arg(long, default_value = "3")]
    priority: Priority,
    /// Words to find the jobs by, separated by commas.
    #[arg(long, value_delimiter = ',')]
    tags: Vec<String>,
    /// How many failing runs each job may have.
    #[arg(long)]
    max_attempts: Option<u32>,
    #[command(flatten)]
    connection: Connection,
}

/// Hands in files, one after the other; a file that fails does not keep the others from being tried.
///
/// # Errors
/// When there is no way to the service at all.
pub(super) async fn run(args: SubmitArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let bars = Bars::new();
    let mut rows = Vec::new();
    let (mut new, mut existing, mut failed) = (0, 0, 0);
    let mut warnings: Vec<String> = Vec::new();
    for path in &args.files {
        let name = path.display().to_string();
        let row = match submit_one(&client, &bars, path, &args).await {
            Ok(reply) => {
                new += usize::from(!reply.existing);
                existing += usize::from(reply.existing);
                warnings.extend(reply.warning.filter(|warning| !warnings.contains(warning)));
                let found = if reply.existing { "existing" } else { "submitted" };
                vec![reply.job_id.to_string(), found.to_owned(), reply.status.to_string(), name]
            }
            Err(error) => {
                failed += 1;
                vec![String::new(), "not submitted".to_owned(), error.to_string(), name]
            }
        };
        rows.push(row);
    }
    let columns = [Column::Number("job"), Column::Text("what"), Column::Text("status"), Column::Text("file")];
    say(table(&columns, rows))?;
    for warning in warnings {
        say(format!("note: {warning}"))?;
    }
    say(format!("{new} submitted, {existing} existing, {failed} failed"))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn submit_one(
    client: &Client,
    bars: &Bars,
    path: &PathBuf,
    args: &SubmitArgs,
) -> Result<SubmitReply, CliError> {
    let bar = bars.add(&path.file_name().unwrap_or_default().to_string_lossy(), "bytes");
    let file = SubmitFile {
        priority: args.priority,
        tags: args.tags.clone(),
        max_attempts: args.max_attempts,
        ..SubmitFile::new(&args.job_type, path)
    };
    let shown = bar.clone();
    let reply = client
        .submit_file(file, move |sent, total| {
            shown.set_length(total);
            shown.set_position(sent);
        })
        .await;
    bar.finish_and_clear();
    Ok(reply?)
}
