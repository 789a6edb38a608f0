//! A document to read, in a frame of its own in which nothing runs, and the pictures in it.

use std::sync::Arc;

use askama::Template;
use blobforge_core::{
    Job, JobId, Output, QueueError, Status,
    blob::{BlobError, disposition},
};
use bytes::Bytes;
use futures_util::TryStreamExt;
use poem::{
    Body, IntoResponse, Response, handler,
    http::{HeaderValue, header},
    web::{Data, Html, Path, Query},
};
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{
    fault::Fault,
    library::{is_markdown, readable},
    markdown::{Document, Heading, Pictures},
};
use crate::{api::path_of, problem::Problem, service::Shared, words};

/// How much of a document is shown, in bytes: some thousand pages.
const SHOWN_BYTES: u64 = 2 * 1024 * 1024;
/// The largest picture that is shown, in bytes.
const PICTURE_BYTES: u64 = 64 * 1024 * 1024;
/// How many documents are made ready at a time; whoever asks for one more waits.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// A document's page: styles and pictures of this service, in no frame but its own pages', and no scripts. It is a sandbox
/// wherever it is opened; that it counts as of this origin is what lets it load pictures.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; base-uri 'none'; \
                      frame-ancestors 'self'; \
                      sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox";
/// A picture that is opened by itself: an SVG is a document too.
const PICTURE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox";

#[derive(Template)]
#[template(path = "preview.html")]
struct PreviewPage {
    name: String,
    html: String,
    contents: Vec<Heading>,
    /// Only so much of it is shown.
    cut_at: Option<String>,
    /// The theme that was chosen on the page around it.
    theme: Option<&'static str>,
}

/// Which document.
#[derive(Deserialize)]
pub(super) struct Asked {
    name: Option<String>,
    theme: Option<Theme>,
}

/// How a document is to look, if not as the system does.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Theme {
    Light,
    Dark,
    System,
}

impl Theme {
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Light => Some("light"),
            Self::Dark => Some("dark"),
            Self::System => None,
        }
    }
}

/// Shows a document that a job made.
#[handler]
pub(super) async fn page(
    shared: Data<&Arc<Shared>>,
    Path(id): Path<i64>,
    Query(asked): Query<Asked>,
) -> Result<Response, Fault> {
    let job = shared.queue.job(JobId::new(id)).await?;
    let output = match &asked.name {
        Some(name) => completed(&job).iter().find(|output| output.name == *name && is_markdown(&output.name)),
        None => readable(&job),
    };
    let output = output.ok_or_else(|| gone("this job made no such document"))?;
    // Never closed. Taken before anything is read, and given back when the work has ended, whoever still waits for it.
    let turn = AT_ONCE.acquire().await.map_err(|_| Problem::internal())?;
    let text = beginning(&shared, output).await?;
    let pictures = pictures(&job, &output.name);
    let made = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        Document::new(&String::from_utf8_lossy(&text), pictures)
    });
    let made = made.await;
    let Document { html, contents } = made.map_err(|error| {
        tracing::error!(%error, job = id, "a document could not be shown");
        Problem::internal()
    })?;
    let cut_at = (output.size > SHOWN_BYTES).then(|| words::size(SHOWN_BYTES));
    let theme = asked.theme.and_then(Theme::name);
    let template = PreviewPage { name: output.name.clone(), html, contents, cut_at, theme };
    let mut reply = Html(template.render().map_err(|_| Problem::internal())?).into_response();
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    Ok(reply)
}

/// The beginning of an output.
async fn beginning(shared: &Shared, output: &Output) -> Result<Vec<u8>, Fault> {
    if output.size == 0 {
        return Ok(Vec::new());
    }
    let content = shared.queue.blobs().get(&output.key, Some(0..SHOWN_BYTES)).await.map_err(missing)?;
    let pieces: Vec<Bytes> = content.try_collect().await.map_err(|error| {
        tracing::warn!(%error, "a document could not be read");
        Problem::internal()
    })?;
    Ok(pieces.concat())
}

/// Sends a picture that a job made.
#[handler]
pub(super) async fn picture(
    shared: Data<&Arc<Shared>>,
    Path((id, name)): Path<(i64, String)>,
) -> Result<Response, Fault> {
    let job = shared.queue.job(JobId::new(id)).await?;
    let kind = kind(&name).ok_or_else(|| gone("this is no picture"))?;
    let output = completed(&job).iter().find(|output| output.name == name);
    let output = output.filter(|output| output.size <= PICTURE_BYTES);
    let output = output.ok_or_else(|| gone("this job made no such picture"))?;
    let content = shared.queue.blobs().get(&output.key, None).await.map_err(missing)?;
    // Beside being a picture, an SVG is a page: opened by itself it is saved instead.
    let reply = Response::builder()
        .content_type(kind)
        .header(header::CONTENT_DISPOSITION, disposition(&output.name))
        .header(header::CONTENT_SECURITY_POLICY, PICTURE_POLICY)
        .header(header::CACHE_CONTROL, "private, max-age=300");
    Ok(reply.body(Body::from_bytes_stream(content)))
}

/// The files of a job that has completed; of any other none.
fn completed(job: &Job) -> &[Output] {
    if job.status() == Status::Completed { &job.outputs } else { &[] }
}

/// The pictures that a document of a job may show, by the names that it has for them from its own folder.
fn pictures(job: &Job, document: &str) -> Pictures {
    let folder = document.rfind('/').map_or("", |end| &document[..=end]);
    let shown = completed(job).iter().filter(|output| kind(&output.name).is_some());
    let named = shown.filter_map(|output| Some((output.name.strip_prefix(folder)?.to_owned(), &output.name)));
    let addresses = named.map(|(name, whole)| (name, format!("/jobs/{}/files/{}", job.id, path_of(whole))));
    Pictures { addresses: addresses.collect() }
}

/// What a picture is, by its name.
fn kind(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}

fn gone(what: &str) -> Problem {
    Problem::not_found("output_not_found", what)
}

fn missing(error: BlobError) -> Problem {
    match error {
        BlobError::NotFound(_) => Problem::not_found("file_not_found", "this file is gone"),
        error => QueueError::from(error).into(),
    }
}
