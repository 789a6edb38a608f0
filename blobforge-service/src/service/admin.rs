//! The tokens that an installation begins with: the admin's, which opens the door for the first time, and one for workers.

use std::{fs, path::PathBuf};

use blobforge_core::QueueError;

use super::{ServiceError, secret};
use crate::{
    audit::Actor,
    auth::{ADMIN_ID, Accounts, TokenText},
    config::ServeConfig,
};

/// The admin's token as this process knows it.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) token: Option<TokenText>,
    /// Where it lies; `None` if it was given as a setting.
    pub(super) file: Option<PathBuf>,
}

/// Takes the token that was provided, or the one that an earlier start has made, or makes one: the first, or another one if the
/// database came back and the file with the token did not.
pub(super) async fn find_or_make(
    config: &ServeConfig,
    accounts: &Accounts,
    came_back: bool,
) -> Result<Admin, ServiceError> {
    if let Some(token) = &config.admin_token {
        accounts.set_admin(token, None).await?;
        return Ok(Admin { token: Some(token.clone()), file: None });
    }
    if let Some(file) = &config.admin_token_file {
        let token = provided(file)?;
        accounts.set_admin(&token, None).await?;
        return Ok(Admin { token: Some(token), file: Some(file.clone()) });
    }
    let file = config.data_folder().join("admin-token");
    let is_lost = came_back && !file.exists();
    if !is_lost && accounts.has_admin().await? {
        let token = fs::read_to_string(&file).ok().and_then(|text| TokenText::parse(text.trim()));
        if came_back && let Some(token) = &token {
            // What came back may know one that was replaced since.
            accounts.set_admin(token, None).await?;
        }
        return Ok(Admin { token, file: Some(file) });
    }
    let token = TokenText::draw().map_err(QueueError::Randomness)?;
    // The file first: a token that is in force but that nobody knows would lock everybody out.
    secret::write_private(&file, token.reveal())
        .map_err(|source| ServiceError::File { path: file.clone(), source })?;
    accounts.set_admin(&token, None).await?;
    if is_lost {
        tracing::warn!("{} is gone with the disk: there is another admin token in it now", file.display());
    }
    Ok(Admin { token: Some(token), file: Some(file) })
}

/// Lets workers in with the token that was provided for them, and no longer with one that is provided no more.
pub(super) async fn provide_for_workers(
    config: &ServeConfig,
    accounts: &Accounts,
) -> Result<(), ServiceError> {
    let token = config.worker_token_file.as_deref().map(provided).transpose()?;
    if accounts.set_workers(token.as_ref()).await? {
        return Ok(());
    }
    let what = "the token in BLOBFORGE_WORKER_TOKEN_FILE is another account's, such as the admin's: put one of its own there, \
                for example from `openssl rand -hex 32`";
    Err(ServiceError::Config(what.to_owned()))
}

/// Makes a new admin token in place of the one that there is, for whoever has the service's files. What goes on under the
/// old one ends, in a service that runs too.
///
/// # Errors
/// When the token is one that was provided, there is no database, or it cannot be written.
pub(crate) async fn reset_admin(config: &ServeConfig) -> Result<PathBuf, ServiceError> {
    if config.admin_token.is_some() || config.admin_token_file.is_some() {
        let what = "the admin token is provided by BLOBFORGE_ADMIN_TOKEN or BLOBFORGE_ADMIN_TOKEN_FILE: \
                    put a new one there and restart the service";
        return Err(ServiceError::Config(what.to_owned()));
    }
    super::has_database(config)?;
    let queue = super::open_beside(config).await?;
    let file = config.data_folder().join("admin-token");
    let token = TokenText::draw().map_err(QueueError::Randomness)?;
    // The file first, as at the first start: whoever is interrupted in between does it again.
    let reset = match secret::write_private(&file, token.reveal()) {
        Ok(()) => {
            let entry = Actor::on_the_machine().did("admin_token_reset", ADMIN_ID, queue.now());
            let accounts = Accounts::new(queue.clone(), &config.clock(), None);
            accounts.set_admin(&token, Some(entry)).await.map_err(ServiceError::from)
        }
        Err(source) => Err(ServiceError::File { path: file.clone(), source }),
    };
    queue.close().await;
    reset.map(|()| file)
}

fn provided(file: &std::path::Path) -> Result<TokenText, ServiceError> {
    let text =
        fs::read_to_string(file).map_err(|source| ServiceError::File { path: file.to_owned(), source })?;
    TokenText::parse(text.trim()).ok_or_else(|| {
        ServiceError::Config(format!(
            "{} holds no token: put 32 or more printable characters into it, for example from `openssl rand -hex 32`",
            file.display()
        ))
    })
}
