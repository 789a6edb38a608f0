//! `blobforge users` and `blobforge audit`: who there is, and who did what.

use std::process::ExitCode;

use serde_json::Value;

use super::{
    CliError, Connection,
    listing::{ListStyle, Listing, field},
    terminal::{Column, ago, say},
};

/// What `blobforge users` takes.
#[derive(Debug, clap::Args)]
pub(super) struct UsersArgs {
    /// Log this account out in all browsers, instead of listing.
    #[arg(long, value_name = "ID", conflicts_with_all = ["json", "quiet"])]
    log_out: Option<String>,
    #[command(flatten)]
    style: ListStyle,
    #[command(flatten)]
    connection: Connection,
}

/// What `blobforge audit` takes.
#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    /// At most this many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    style: ListStyle,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn users(args: UsersArgs) -> Result<ExitCode, CliError> {
    let client = args.connection.client()?;
    if let Some(id) = &args.log_out {
        client.end_sessions(id).await?;
        say(format!("{id} is logged in nowhere any more"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let users = client.users().await?;
    let columns = [
        Column::Text("id"),
        Column::Text("kind"),
        Column::Text("name"),
        Column::Text("email"),
        Column::Text("scopes"),
        Column::Number("sessions"),
        Column::Text("last used"),
    ];
    let row = |user: &Value| {
        vec![
            field(user, "id"),
            field(user, "kind"),
            field(user, "name"),
            field(user, "email"),
            field(user, "scopes"),
            field(user, "sessions"),
            ago(&field(user, "last_used_at")),
        ]
    };
    let listing = Listing {
        columns: &columns,
        name: &|user| field(user, "id"),
        row: &row,
        nothing: "nobody has an account",
    };
    args.style.print(&users, &listing)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn audit(args: AuditArgs) -> Result<ExitCode, CliError> {
    let entries = args.connection.client()?.audit(args.limit).await?;
    let columns = [
        Column::Text("when"),
        Column::Text("who"),
        Column::Text("account"),
        Column::Text("what"),
        Column::Text("to what"),
        Column::Text("from"),
    ];
    let row = |entry: &Value| {
        vec![
            ago(&field(entry, "at")),
            field(entry, "account"),
            field(entry, "account_id"),
            field(entry, "action"),
            field(entry, "target"),
            field(entry, "address"),
        ]
    };
    let listing = Listing {
        columns: &columns,
        name: &|entry| field(entry, "id"),
        row: &row,
        nothing: "no administrator has done anything yet",
    };
    args.style.print(&entries, &listing)?;
    Ok(ExitCode::SUCCESS)
}
