//! Who asks, and how people and programs log in.

use std::sync::Arc;

use poem::Request;
use poem_openapi::{Object, OpenApi, payload::Json};

use crate::{
    auth::{LOGIN, Oidc, Principal, Scope, csrf_token, session_secret},
    service::Shared,
};

pub(super) struct AuthApi(pub(super) Arc<Shared>);

/// How people and programs log in, and who asks.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct AuthInfo {
    /// A token in `Authorization: Bearer …` works everywhere.
    bearer: bool,
    /// Whether people can log in through an identity provider.
    oidc: bool,
    /// The host of that provider.
    provider: Option<String>,
    /// Where browsers log in.
    login_url: String,
    /// Who asks, if credentials came with the request.
    account: Option<Asking>,
    /// What a page sends back as `X-CSRF-Token` with every change that it asks for in this session; with a token nothing
    /// of the kind is needed.
    csrf_token: Option<String>,
}

/// Whoever asks.
#[derive(Debug, Object)]
struct Asking {
    /// The account's id.
    id: String,
    /// What it is called.
    name: String,
    /// What it may do.
    scopes: Vec<Scope>,
    /// Whether it may do everything.
    is_admin: bool,
}

impl From<&Principal> for Asking {
    fn from(principal: &Principal) -> Self {
        Self {
            id: principal.id.clone(),
            name: principal.name.clone(),
            scopes: principal.scopes.clone(),
            is_admin: principal.has(Scope::Admin),
        }
    }
}

#[OpenApi(tag = "super::openapi::Section::Service")]
impl AuthApi {
    /// How to log in, and who asks
    #[oai(path = "/auth/info", method = "get", operation_id = "auth_info")]
    async fn info(&self, request: &Request) -> Json<AuthInfo> {
        let asking = request.extensions().get::<Principal>();
        let of_session = || session_secret(request.headers(), self.0.config.is_https()).map(csrf_token);
        Json(AuthInfo {
            bearer: true,
            oidc: self.0.oidc.is_some(),
            provider: self.0.oidc.as_ref().map(Oidc::host),
            login_url: LOGIN.to_owned(),
            account: asking.map(Asking::from),
            csrf_token: asking.filter(|asking| asking.by_session).and_then(|_| of_session()),
        })
    }
}
