//! Tokens for programs.

use std::{sync::Arc, time::Duration};

use blobforge_core::{Invalid, WorkerId};
use poem::http::StatusCode;
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Header, Path, Query},
    payload::Json,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    body::Body,
    paging::{Age, Asked, List},
    reports::{DONE, Done},
    time::Time,
};
use crate::{
    audit::Actor,
    auth::{Account, NewToken, Principal, Scope, TokenRecord, TokenText},
    problem::Problem,
    service::{Named, Ran, Shared},
};

/// The longest life of a token that has an end, in days.
const MAX_DAYS: u32 = 36_500;

pub(super) struct TokensApi(pub(super) Arc<Shared>);

/// A token to be made.
#[derive(Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    /// What it is for.
    name: Option<String>,
    /// The same.
    description: Option<String>,
    /// What it allows; `admin` includes the others.
    scopes: Option<Vec<Scope>>,
    /// An earlier way to say `scopes: ["admin"]`.
    is_admin: Option<bool>,
    /// The only worker that it can act as.
    worker_id: Option<String>,
    /// In how many days it ends; never unless said.
    expires_in: Option<u32>,
}

/// A token, without its text.
#[derive(Debug, Object)]
#[oai(rename = "Token")]
struct TokenView {
    /// By what it is revoked.
    id: String,
    /// What it is for.
    name: String,
    /// What it allows.
    scopes: Vec<Scope>,
    /// The only worker that it can act as.
    worker_id: Option<String>,
    /// When it was made.
    created_at: Time,
    /// When it ends.
    expires_at: Option<Time>,
    /// When it was last used, to the minute.
    last_used_at: Option<Time>,
    /// It opens nothing until its worker is enabled again.
    disabled: bool,
}

impl From<Account> for TokenView {
    fn from(Account { token, is_disabled, last_used_at, .. }: Account) -> Self {
        Self {
            id: token.id,
            name: token.name,
            scopes: token.scopes,
            worker_id: token.worker_id.map(String::from),
            created_at: token.created_at.into(),
            expires_at: token.expires_at.map(Time),
            last_used_at: last_used_at.map(Time),
            disabled: is_disabled,
        }
    }
}

/// A token that was just made.
#[derive(Debug, Object)]
struct NewTokenView {
    /// The token itself: it is shown this once.
    token: String,
    /// By what it is revoked.
    id: String,
    /// What it is for.
    name: String,
    /// What it allows.
    scopes: Vec<Scope>,
    /// The only worker that it can act as.
    worker_id: Option<String>,
    /// When it ends.
    expires_at: Option<Time>,
}

#[derive(Debug, ApiResponse)]
enum TokenReply {
    /// The token was made.
    #[oai(status = 201)]
    Created(Json<NewTokenView>),
}

#[OpenApi(tag = "super::openapi::Section::Tokens")]
impl TokensApi {
    /// List tokens, the oldest first
    #[oai(path = "/admin/tokens", method = "get", operation_id = "list_tokens")]
    async fn list(
        &self,
        /// The `next_cursor` of the page before, empty for the first page; without it there are no pages.
        cursor: Query<Option<String>>,
        /// At most this many, 1 to 1,000.
        limit: Query<Option<usize>>,
    ) -> Result<Json<List<TokenView>>, Problem> {
        let tokens = self.0.accounts.list().await?.into_iter().map(TokenView::from).collect();
        let asked = Asked { cursor: cursor.0, limit: limit.0 };
        Ok(Json(asked.of(tokens, |token| Age::new(token.created_at.0, &token.id))?))
    }

    /// Make a token; it is shown once
    #[oai(path = "/admin/tokens", method = "post", operation_id = "create_token")]
    async fn create(
        &self,
        principal: Data<&Principal>,
        actor: Data<&Actor>,
        /// A name for this request, 1 to 255 printable ASCII characters, such as a UUID. Repeated under it within 7 days,
        /// the request makes no second token and is answered with 409: a token is shown once.
        #[oai(name = "Idempotency-Key")]
        idempotency_key: Header<Option<String>>,
        body: Body<TokenRequest>,
    ) -> Result<TokenReply, Problem> {
        let Body(request, said) = body;
        let (new, accounts) = (new_token(request)?, self.0.accounts.clone());
        let entry = actor.did("token_created", &new.name, self.0.queue.now());
        let create = async move { accounts.create(new, entry).await };
        let named = |key| Named { by: &principal, route: "POST /api/admin/tokens", key, said: &said };
        let named = idempotency_key.0.as_deref().map(named);
        let keep = |(_, record): &(TokenText, TokenRecord)| record.id.clone().into();
        let (token, record) = match self.0.repeats.once(named, create, keep).await? {
            Ran::Now(made) => made,
            Ran::Before(id) => return Err(shown_once(&id)),
        };
        tracing::info!(id = record.id, name = record.name, "a token was made");
        Ok(TokenReply::Created(Json(NewTokenView {
            token: token.reveal().to_owned(),
            id: record.id,
            name: record.name,
            scopes: record.scopes,
            worker_id: record.worker_id.map(String::from),
            expires_at: record.expires_at.map(Time),
        })))
    }

    /// Revoke a token, at once
    #[oai(path = "/admin/tokens/:id", method = "delete", operation_id = "revoke_token")]
    async fn revoke(
        &self,
        actor: Data<&Actor>,
        /// The token's id, not its text.
        id: Path<String>,
    ) -> Result<Json<Done>, Problem> {
        if id.0 == crate::auth::ADMIN_ID {
            let detail =
                "the admin token of this machine cannot be revoked over HTTP: everybody would be locked out";
            return Err(Problem::new(StatusCode::CONFLICT, "admin_token", detail)
                .hint("run `blobforge tokens reset-admin` on the machine of the service"));
        }
        if crate::auth::is_of_the_settings(&id.0) {
            let detail = "the token of BLOBFORGE_WORKER_TOKEN_FILE cannot be revoked over HTTP: the next start would bring it back";
            return Err(Problem::conflict("provided_token", detail).hint(
                "put another token into that file, or take the setting away, and restart the service",
            ));
        }
        let entry = actor.did("token_revoked", &id.0, self.0.queue.now());
        if !self.0.accounts.revoke(&id.0, entry).await? {
            return Err(Problem::not_found("token_not_found", "there is no token with this id"));
        }
        tracing::info!(id = id.0, "a token was revoked");
        Ok(Json(DONE))
    }
}

fn shown_once(id: &Value) -> Problem {
    let detail = format!("this request made the token {id} already, and its text is shown once");
    Problem::conflict("token_shown_once", detail)
        .hint("if it did not arrive, revoke that token and make another one with a new key")
}

fn new_token(request: TokenRequest) -> Result<NewToken, Problem> {
    let name = request.name.or(request.description).unwrap_or_default();
    check_name(&name)?;
    let scopes = match (request.scopes, request.is_admin) {
        (Some(scopes), _) if !scopes.is_empty() => scopes,
        (_, Some(true)) => vec![Scope::Admin],
        (None, Some(false)) => vec![Scope::Submit, Scope::Worker],
        _ => return Err(Invalid::new("scopes", "name at least one of submit, worker and admin").into()),
    };
    if request.worker_id.is_some() && scopes.contains(&Scope::Admin) {
        let reason = "a token of one worker cannot have the scope admin, which is everybody's";
        return Err(Invalid::new("worker_id", reason).into());
    }
    let lifetime = lifetime(request.expires_in)?;
    Ok(NewToken { name, scopes, worker_id: request.worker_id.map(WorkerId::new).transpose()?, lifetime })
}

/// Refuses names that say nothing, or too much.
pub(super) fn check_name(name: &str) -> Result<(), Invalid> {
    if (1..=200).contains(&name.len()) {
        return Ok(());
    }
    Err(Invalid::new("name", "say in 1 to 200 bytes what the token is for"))
}

/// How long a token lives that ends in so many days.
pub(super) fn lifetime(days: Option<u32>) -> Result<Option<Duration>, Invalid> {
    let days = days.map(|days| match days {
        1..=MAX_DAYS => Ok(Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
        _ => Err(Invalid::new("expires_in", format!("use 1 to {MAX_DAYS} days, or leave it out"))),
    });
    days.transpose()
}
