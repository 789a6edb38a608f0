//! The pages of the dashboard: made here, on the server, and kept as things are by the events of the service.
//!
//! # How a page works
//! - A handler reads through the same functions as the API and fills a template from `templates/`; [`frame::page`] sends it
//!   with the policy that lets a browser load nothing but this service's own files, and run no script within a page.
//! - Every template begins with `{% extends "base.html" %}` and has a [`Frame`](frame::Frame) called `frame`; its block
//!   `main` is what the page shows. `templates/words.html` has what all of them say in the same way: a status, a time, a
//!   button to copy something.
//! - `main` is *live*: on an event of the service it is asked for again by its own address (`frame.here`) and htmx changes
//!   what is different. So the address is the state, and a page needs nothing of its own to be live. An element that must
//!   survive that has an `id`; in a list each row has one and `data-row`, and a list with `data-hold` neither grows nor
//!   moves while somebody points into it.
//! - What a button does is an attribute: `data-send="POST" data-to="/api/jobs/7/retry"`, listed in `assets/act.js`. It goes
//!   to the HTTP interface that programs use, with the session's CSRF token, so that no right and no rule is told twice.
//!   There are no other ways for a page to change anything. What a form sends goes the same way (`assets/form.js`), and what
//!   is shown once is shown by the browser that asked for it: no page is made with a secret in it.
//! - A new page is a handler, a template, a line in [`routes`], in `auth::ROUTES`, and in [`Section`](frame::Section) if it
//!   stands in the navigation. `Access::Page` lets in who is logged in, `Access::AdminPage` administrators alone.
//!
//! **Invariant:** a page changes nothing, examines a bounded number of rows, and shows what strangers wrote as text.

mod add_worker;
mod admin;
mod assets;
mod chart;
mod fault;
mod frame;
mod job;
mod jobs;
mod library;
mod markdown;
mod overview;
mod preview;
mod search;
mod shown;
mod submit;
mod workers;

pub(crate) use fault::told;
use poem::{Route, get};

/// Adds the pages, and what they load.
pub(crate) fn routes(mut route: Route) -> Route {
    for asset in assets::all() {
        route = route.at(format!("/assets/{}", asset.name()), get(asset));
    }
    route
        .at("/", get(overview::page))
        .at("/jobs", get(jobs::page))
        .at("/jobs/:id", get(job::page))
        .at("/jobs/:id/source", get(job::source_file))
        .at("/jobs/:id/preview", get(preview::page))
        .at("/jobs/:id/files/*name", get(preview::picture))
        .at("/library", get(library::page))
        .at("/submit", get(submit::page))
        .at("/workers", get(workers::page))
        .at("/workers/add", get(add_worker::page))
        .at("/admin/tokens", get(admin::tokens::page))
        .at("/admin/users", get(admin::users::page))
        .at("/admin/audit", get(admin::audit::page))
        .at("/admin/types", get(admin::types::page))
        .at("/admin/webhooks", get(admin::webhooks::page))
        .at("/admin/webhooks/:id", get(admin::webhooks::deliveries))
        .at("/admin/system", get(admin::system::page))
}
