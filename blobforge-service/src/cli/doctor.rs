//! `blobforge doctor`: what is well and what is not, with what to do about it.

mod engine;
mod machine;
mod oidc;
mod service;
mod store;

use std::process::ExitCode;

use serde::Serialize;

use super::{
    CliError, Connection,
    terminal::{Column, say, table},
    worker,
};
use crate::config::ServeConfig;

/// What `blobforge doctor` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It looks at the service that the other commands would use, and at this machine with the settings that `blobforge serve` would
have here. It ends with 1 if a line says fail, and with 0 otherwise.")]
pub(super) struct DoctorArgs {
    /// Print JSON, one line for each thing that was looked at.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warn,
    Fail,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    what: &'static str,
    state: State,
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, state: State::Ok, found: found.into(), remedy: None }
    }

    fn warn(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, state: State::Warn, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn fail(what: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what, state: State::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn row(&self) -> Vec<String> {
        let state = match self.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "fail",
        };
        let end = if self.found.ends_with(['.', '?', '!']) { "" } else { "." };
        let remedy = self.remedy.as_ref().map_or(String::new(), |remedy| format!("{end} {remedy}"));
        vec![state.to_owned(), self.what.to_owned(), format!("{}{remedy}", self.found)]
    }
}

/// Looks at everything, also when something is wrong: people want to put it all right in one go. `settings` are those that
/// the service would have here.
pub(super) async fn run(
    args: DoctorArgs,
    settings: Result<ServeConfig, CliError>,
) -> Result<ExitCode, CliError> {
    let mut findings = service::look(&args.connection).await;
    match settings {
        Ok(config) => {
            let db_path = args.connection.database().unwrap_or(&config.db_path).to_owned();
            let config = ServeConfig { db_path, ..config };
            findings.push(Finding::ok("settings", "they make sense"));
            findings.extend(store::look(&config).await);
            findings.extend(oidc::look(&config).await);
            findings.extend(machine::look_at_data(&config));
        }
        Err(error) => {
            let remedy = "Put it right: blobforge config show says where each setting comes from";
            findings.push(Finding::fail("settings", error.to_string(), remedy));
        }
    }
    let worker = worker::settings_of_marker();
    findings.extend(machine::look(worker.as_ref().is_ok_and(|settings| settings.use_gpu)).await);
    findings.push(match worker {
        Ok(settings) => engine::look(&settings).await,
        Err(error) => Finding::fail("worker settings", error.to_string(), "Put that one right"),
    });
    if args.json {
        for finding in &findings {
            say(serde_json::to_string(finding)?)?;
        }
    } else {
        let columns = [Column::Text("state"), Column::Text("what"), Column::Text("found")];
        say(table(&columns, findings.iter().map(Finding::row).collect()))?;
        let count = |state| findings.iter().filter(|finding| finding.state == state).count();
        let (ok, warn, fail) = (count(State::Ok), count(State::Warn), count(State::Fail));
        say(format!("{ok} ok, {warn} to look at, {fail} wrong"))?;
    }
    let worst = findings.iter().map(|finding| finding.state).max();
    Ok(if worst == Some(State::Fail) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
