//! `blobforge tokens`: what opens the door of a service.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{
    CliError, Connection,
    listing::{ListStyle, Listing, field},
    terminal::{Column, ago, complain, say},
};
use crate::{
    auth::Scope,
    config::{ServeArgs, ServeConfig},
    service::reset_admin,
};

/// What `blobforge tokens` can do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum TokensCommand {
    /// List tokens, the oldest first, without their texts.
    List(ListArgs),
    /// Make a token; it is shown this once.
    Create(CreateArgs),
    /// Revoke tokens, at once.
    Delete(DeleteArgs),
    /// Make a new admin token on the machine of the service; whoever came in with the old one is out.
    ResetAdmin(Box<ServeArgs>),
}

/// What `blobforge tokens list` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    style: ListStyle,
    #[command(flatten)]
    connection: Connection,
}

/// What `blobforge tokens create` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  blobforge tokens create \"Worker token\" --scope worker
  BLOBFORGE_API_TOKEN=$(blobforge tokens create laptop --quiet)")]
pub(super) struct CreateArgs {
    /// What it is for.
    #[arg(required_unless_present = "description")]
    name: Option<String>,
    /// The same.
    #[arg(long, conflicts_with = "name")]
    description: Option<String>,
    /// It may do everything.
    #[arg(long, conflicts_with = "scope")]
    admin: bool,
    /// What it may do; submit and worker unless said otherwise.
    #[arg(long, value_delimiter = ',', value_parser = scope)]
    scope: Vec<Scope>,
    /// The only worker that it can act as.
    #[arg(long, value_name = "ID")]
    worker: Option<String>,
    /// In how many days it ends; never unless said.
    #[arg(long, value_name = "DAYS")]
    expires_in: Option<u32>,
    /// Print the reply of the service, as JSON.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print the token alone.
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What `blobforge tokens delete` takes.
#[derive(Debug, clap::Args)]
pub(super) struct DeleteArgs {
    /// The tokens' ids, as `blobforge tokens list` shows them.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

fn scope(text: &str) -> Result<Scope, String> {
    serde_json::from_value(text.into()).map_err(|_| "use submit, worker or admin".to_owned())
}

pub(super) async fn run(command: TokensCommand) -> Result<ExitCode, CliError> {
    match command {
        TokensCommand::List(args) => list(args).await,
        TokensCommand::Create(args) => create(args).await,
        TokensCommand::Delete(args) => delete(args).await,
        TokensCommand::ResetAdmin(args) => reset(*args).await,
    }
}

async fn list(args: ListArgs) -> Result<ExitCode, CliError> {
    let tokens = args.connection.client()?.tokens().await?;
    let columns = [
        Column::Text("id"),
        Column::Text("name"),
        Column::Text("scopes"),
        Column::Text("worker"),
        Column::Text("made"),
        Column::Text("last used"),
    ];
    let row = |token: &Value| {
        vec![
            field(token, "id"),
            field(token, "name"),
            field(token, "scopes"),
            field(token, "worker_id"),
            ago(&field(token, "created_at")),
            ago(&field(token, "last_used_at")),
        ]
    };
    let listing = Listing {
        columns: &columns,
        name: &|token| field(token, "id"),
        row: &row,
        nothing: "there are no tokens. Make one with: blobforge tokens create NAME",
    };
    args.style.print(&tokens, &listing)?;
    Ok(ExitCode::SUCCESS)
}

async fn create(args: CreateArgs) -> Result<ExitCode, CliError> {
    let mut wanted = json!({
        "name": args.name.or(args.description),
        "worker_id": args.worker,
        "expires_in": args.expires_in,
    });
    if args.scope.is_empty() {
        wanted["is_admin"] = args.admin.into();
    } else {
        wanted["scopes"] = serde_json::to_value(&args.scope)?;
    }
    let made = args.connection.client()?.create_token(&wanted).await?;
    if args.json {
        say(serde_json::to_string_pretty(&made)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    say(field(&made, "token"))?;
    if !args.quiet {
        let (id, name) = (field(&made, "id"), field(&made, "name"));
        complain(format!(
            "keep it: it is shown this once. {name} is revoked with: blobforge tokens delete {id}"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn delete(args: DeleteArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    let mut code = ExitCode::SUCCESS;
    for id in &args.ids {
        match client.revoke_token(id).await.map_err(CliError::from) {
            Ok(()) => say(format!("token {id} opens nothing any more"))?,
            Err(error) if error.is_away() => return Err(error),
            Err(error) => {
                complain(format!("token {id}: {error}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

async fn reset(args: ServeArgs) -> Result<ExitCode, CliError> {
    let config = ServeConfig::new(args)?;
    let file = reset_admin(&config).await?;
    say(format!("a new admin token lies in {}; the old one opens nothing any more", file.display()))?;
    Ok(ExitCode::SUCCESS)
}
