//! What the service answers over HTTP.

mod accounts;
mod audit;
mod auth;
mod body;
mod bulk;
mod claims;
mod condition;
mod events;
mod failures;
mod files;
mod health;
mod job;
mod jobs;
mod local_files;
mod lookup;
mod metrics;
mod openapi;
mod outputs_zip;
mod pages;
mod paging;
mod reports;
mod settings;
mod steering;
mod submission;
mod time;
mod tokens;
mod types;
mod webhooks;
mod workers;

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Route, get};
use poem_openapi::OpenApiService;

use crate::{
    auth::{LOGIN, OIDC_CALLBACK, OIDC_LOGIN},
    dashboard,
    service::{FILES_PREFIX, Shared},
};

pub(crate) use bulk::FilterRequest;
pub(crate) use files::source_name;
pub(crate) use health::files_are_reachable;
pub(crate) use job::{JobView, path_of};
pub(crate) use jobs::total;

/// Everything behind the door.
pub(crate) fn endpoint(shared: &Arc<Shared>) -> impl Endpoint + use<> {
    let operations = (
        (health::HealthApi(shared.clone()), auth::AuthApi(shared.clone())),
        jobs::JobsApi(shared.clone()),
        submission::SubmissionApi(shared.clone()),
        steering::SteeringApi(shared.clone()),
        (bulk::BulkApi(shared.clone()), lookup::LookupApi(shared.clone())),
        failures::FailuresApi(shared.clone()),
        claims::ClaimsApi(shared.clone()),
        reports::ReportsApi(shared.clone()),
        files::FilesApi(shared.clone()),
        workers::WorkersApi(shared.clone()),
        types::TypesApi(shared.clone()),
        events::EventsApi(shared.clone()),
        webhooks::WebhooksApi(shared.clone()),
        tokens::TokensApi(shared.clone()),
        accounts::AccountsApi(shared.clone()),
        audit::AuditApi(shared.clone()),
    );
    let service = OpenApiService::new(operations, "BlobForge", env!("CARGO_PKG_VERSION"))
        .description(openapi::INTRODUCTION)
        .url_prefix("/api");
    let document = openapi::document(&service.spec());
    let docs = openapi::Docs::new(&service.swagger_ui_html());
    let files = get(local_files::download).head(local_files::download).put(local_files::upload);
    dashboard::routes(Route::new())
        .at("/api/openapi.json", get(openapi::Fixed::json(document)))
        .at("/docs", get(docs.page))
        .at("/assets/swagger-ui.css", get(docs.style))
        .at("/assets/swagger-ui.js", get(docs.bundle))
        .at("/assets/docs.js", get(docs.start))
        .at(LOGIN, get(pages::login_page).post(pages::log_in))
        .at(OIDC_LOGIN, get(pages::oidc_login))
        .at(OIDC_CALLBACK, get(pages::oidc_callback))
        .at("/auth/logout", poem::post(pages::log_out))
        .at("/metrics", get(metrics::metrics))
        .at(format!("{FILES_PREFIX}*key"), files)
        .nest("/api", service)
        .data(shared.clone())
}

/// What is measured, for a listener that nobody has to show a token at.
pub(crate) fn metrics_alone(shared: &Arc<Shared>) -> impl Endpoint + use<> {
    Route::new().at("/metrics", get(metrics::metrics)).data(shared.clone())
}
