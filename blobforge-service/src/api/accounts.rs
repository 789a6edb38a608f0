//! Who has an account, and the tokens that belong to one worker.

use std::sync::Arc;

use blobforge_core::{Timestamp, WorkerId};
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Enum, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use serde::Deserialize;

use super::{
    body::Body,
    paging::{Age, Asked, List},
    reports::{DONE, Done},
    time::Time,
    tokens::{check_name, lifetime},
};
use crate::{
    audit::Actor,
    auth::{Account, Bound, Known, NewToken, Person, Scope, User},
    problem::Problem,
    service::Shared,
};

pub(super) struct AccountsApi(pub(super) Arc<Shared>);

/// Who has an account: whoever holds a token, or somebody whom an identity provider has let in.
#[derive(Debug, Object)]
#[oai(rename = "User")]
struct UserView {
    /// The account's id: the token's, or one that stands for the person.
    id: String,
    /// Whether this is a `token`, or a `person`.
    kind: Kind,
    /// What it is called.
    name: String,
    /// The person's address, if the provider has made sure of it.
    email: Option<String>,
    /// The provider that knows the person.
    issuer: Option<String>,
    /// As whom it knows the person.
    subject: Option<String>,
    /// What it may do.
    scopes: Vec<Scope>,
    /// Whether it may do everything.
    is_admin: bool,
    /// The only worker that it can act as.
    worker_id: Option<String>,
    /// It can do nothing until its worker is enabled again.
    disabled: bool,
    /// In how many browsers it is logged in.
    sessions: u32,
    /// Since when it is there.
    created_at: Time,
    /// When it ends.
    expires_at: Option<Time>,
    /// When it was last used, to the minute.
    last_used_at: Option<Time>,
}

/// What an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum Kind {
    /// A token, with whoever is logged in by it.
    Token,
    /// Somebody whom an identity provider has let in.
    Person,
}

impl From<User> for UserView {
    fn from(User { who, sessions }: User) -> Self {
        match who {
            Known::Token(account) => Self::of_token(account, sessions),
            Known::Person(person, last_seen_at) => Self::of_person(person, last_seen_at, sessions),
        }
    }
}

impl UserView {
    fn of_token(Account { token, is_disabled, last_used_at, .. }: Account, sessions: u32) -> Self {
        Self {
            is_admin: token.scopes.contains(&Scope::Admin),
            id: token.id,
            kind: Kind::Token,
            name: token.name,
            email: None,
            issuer: None,
            subject: None,
            scopes: token.scopes,
            worker_id: token.worker_id.map(String::from),
            disabled: is_disabled,
            sessions,
            created_at: token.created_at.into(),
            expires_at: token.expires_at.map(Time),
            last_used_at: last_used_at.map(Time),
        }
    }

    fn of_person(person: Person, last_seen_at: Option<Timestamp>, sessions: u32) -> Self {
        Self {
            is_admin: person.scopes.contains(&Scope::Admin),
            id: person.id,
            kind: Kind::Person,
            name: person.name,
            email: person.email,
            issuer: Some(person.issuer),
            subject: Some(person.subject),
            scopes: person.scopes,
            worker_id: None,
            disabled: false,
            sessions,
            created_at: person.created_at.into(),
            expires_at: None,
            last_used_at: Some(Time(last_seen_at.unwrap_or(person.logged_in_at))),
        }
    }
}

/// How many sessions have ended.
#[derive(Debug, Object)]
struct EndedSessions {
    /// In so many browsers somebody has to log in again.
    sessions: u32,
}

/// A worker that is to get a token of its own.
#[derive(Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkerRequest {
    /// Its id: 1 to 128 letters, digits, `.`, `_`, `:` and `-`.
    id: String,
    /// What the token is for; the worker's id unless said.
    name: Option<String>,
    /// In how many days the token ends; never unless said.
    expires_in: Option<u32>,
}

/// Nothing has to be said.
#[derive(Debug, Default, Object, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

/// The token of one worker, which can register, claim and report as that worker only.
#[derive(Debug, Object)]
#[oai(rename = "WorkerToken")]
struct WorkerTokenView {
    /// The worker.
    worker_id: String,
    /// The token itself: it is shown this once.
    token: String,
    /// By what the token is revoked.
    token_id: String,
    /// Whether it opens anything: a worker that was disabled stays so.
    enabled: bool,
    /// When it ends.
    expires_at: Option<Time>,
}

fn shown(worker: &WorkerId, made: Bound) -> Json<WorkerTokenView> {
    Json(WorkerTokenView {
        worker_id: worker.to_string(),
        token: made.token.reveal().to_owned(),
        token_id: made.record.id,
        enabled: !made.is_disabled,
        expires_at: made.record.expires_at.map(Time),
    })
}

#[derive(Debug, ApiResponse)]
enum WorkerTokenReply {
    /// The token was made.
    #[oai(status = 201)]
    Created(Json<WorkerTokenView>),
}

#[OpenApi(tag = "super::openapi::Section::Tokens")]
impl AccountsApi {
    /// List accounts, the oldest first
    #[oai(path = "/admin/users", method = "get", operation_id = "list_users")]
    async fn users(
        &self,
        /// The `next_cursor` of the page before, empty for the first page; without it there are no pages.
        cursor: Query<Option<String>>,
        /// At most this many, 1 to 1,000.
        limit: Query<Option<usize>>,
    ) -> Result<Json<List<UserView>>, Problem> {
        let users = self.0.accounts.users().await?.into_iter().map(UserView::from).collect();
        let asked = Asked { cursor: cursor.0, limit: limit.0 };
        Ok(Json(asked.of(users, |user| Age::new(user.created_at.0, &user.id))?))
    }

    /// Log an account out everywhere, at once. A token itself stays good; a person can log in again while the provider
    /// lets them in
    #[oai(path = "/admin/users/:id/sessions", method = "delete", operation_id = "end_sessions")]
    async fn end_sessions(
        &self,
        actor: Data<&Actor>,
        /// The account's id.
        id: Path<String>,
    ) -> Result<Json<EndedSessions>, Problem> {
        let entry = actor.did("sessions_ended", &id.0, self.0.queue.now());
        let ended = self.0.accounts.end_sessions(&id.0, entry).await?;
        let sessions = ended.ok_or_else(|| {
            Problem::not_found("user_not_found", format!("there is no account {:?}", id.0))
                .hint("GET /api/admin/users lists them")
        })?;
        Ok(Json(EndedSessions { sessions }))
    }

    /// Make the token of one worker; it is shown once
    #[oai(path = "/admin/workers", method = "post", operation_id = "create_worker")]
    async fn create(
        &self,
        actor: Data<&Actor>,
        body: Body<WorkerRequest>,
    ) -> Result<WorkerTokenReply, Problem> {
        let worker = WorkerId::new(body.0.id)?;
        let name = body.0.name.unwrap_or_else(|| worker.to_string());
        check_name(&name)?;
        let lifetime = lifetime(body.0.expires_in)?;
        let new = NewToken { name, scopes: vec![Scope::Worker], worker_id: Some(worker.clone()), lifetime };
        let entry = actor.did("worker_created", &worker, self.0.queue.now());
        let made = self.0.accounts.create_for(&worker, new, entry).await?;
        Ok(WorkerTokenReply::Created(shown(&worker, made)))
    }

    /// Make a new token in place of a worker's; the old one ends at once
    #[oai(path = "/admin/workers/:id/regenerate", method = "post", operation_id = "regenerate_worker")]
    async fn regenerate(
        &self,
        actor: Data<&Actor>,
        /// The worker's id.
        id: Path<String>,
        _body: Body<Option<NoFields>>,
    ) -> Result<Json<WorkerTokenView>, Problem> {
        let worker = WorkerId::new(id.0)?;
        let entry = actor.did("worker_token_regenerated", &worker, self.0.queue.now());
        let made = self.0.accounts.regenerate(&worker, entry).await?;
        Ok(shown(&worker, made.ok_or_else(|| no_token(&worker))?))
    }

    /// Let a worker in again
    #[oai(path = "/admin/workers/:id/enable", method = "post", operation_id = "enable_worker")]
    async fn enable(
        &self,
        actor: Data<&Actor>,
        /// The worker's id.
        id: Path<String>,
        _body: Body<Option<NoFields>>,
    ) -> Result<Json<Done>, Problem> {
        self.set_enabled(&actor, id.0, true).await
    }

    /// Shut a worker out, at once: its token opens nothing until it is enabled again
    #[oai(path = "/admin/workers/:id/disable", method = "post", operation_id = "disable_worker")]
    async fn disable(
        &self,
        actor: Data<&Actor>,
        /// The worker's id.
        id: Path<String>,
        _body: Body<Option<NoFields>>,
    ) -> Result<Json<Done>, Problem> {
        self.set_enabled(&actor, id.0, false).await
    }
}

impl AccountsApi {
    async fn set_enabled(&self, actor: &Actor, id: String, enabled: bool) -> Result<Json<Done>, Problem> {
        let worker = WorkerId::new(id)?;
        let action = if enabled { "worker_enabled" } else { "worker_disabled" };
        let entry = actor.did(action, &worker, self.0.queue.now());
        if self.0.accounts.set_enabled(&worker, enabled, entry).await? {
            return Ok(Json(DONE));
        }
        Err(no_token(&worker))
    }
}

fn no_token(worker: &WorkerId) -> Problem {
    Problem::not_found("worker_not_found", format!("worker {worker} has no token of its own"))
        .hint("POST /api/admin/workers makes one")
}
