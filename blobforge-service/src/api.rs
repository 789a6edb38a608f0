//! What the service answers over HTTP.

mod body;
mod checkpoints;
mod claims;
mod events;
mod files;
mod health;
mod job;
mod jobs;
mod local_files;
mod openapi;
mod output;
mod pages;
mod reports;
mod steering;
mod submission;
mod time;
mod tokens;
mod workers;

use std::sync::Arc;

use poem::{Endpoint, EndpointExt, IntoEndpoint, Route, get};
use poem_openapi::OpenApiService;

use crate::service::{FILES_PREFIX, Shared};

/// Everything behind the door.
pub(crate) fn endpoint(shared: &Arc<Shared>) -> impl Endpoint + use<> {
    let operations = (
        health::HealthApi(shared.clone()),
        jobs::JobsApi(shared.clone()),
        submission::SubmissionApi(shared.clone()),
        steering::SteeringApi(shared.clone()),
        claims::ClaimsApi(shared.clone()),
        reports::ReportsApi(shared.clone()),
        files::FilesApi(shared.clone()),
        workers::WorkersApi(shared.clone()),
        events::EventsApi(shared.clone()),
        tokens::TokensApi(shared.clone()),
    );
    let service = OpenApiService::new(operations, "BlobForge", env!("CARGO_PKG_VERSION"))
        .description(openapi::INTRODUCTION)
        .url_prefix("/api");
    let document = openapi::document(&service.spec());
    Route::new()
        .at("/api/openapi.json", get(openapi::Document::new(&document)))
        .at("/docs", get(openapi::Page::new(&service.swagger_ui_html(), &service.spec(), &document)))
        .at("/assets/:file", get(pages::asset))
        .at("/auth/login", get(pages::login_page).post(pages::log_in))
        .at("/auth/logout", poem::post(pages::log_out))
        .at("/", get(pages::status_page))
        .at(format!("{FILES_PREFIX}*key"), get(local_files::download).put(local_files::upload).head(local_files::download))
        .nest("/api", service.into_endpoint())
        .data(shared.clone())
}
