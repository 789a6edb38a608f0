//! Files on this machine's disk, by signed URL.

use std::sync::Arc;

use blobforge_core::{
    blob::{BadSignature, LocalPart, Method, disposition},
    queue::UPLOAD_LIMIT,
    storage::Command,
};
use futures_util::StreamExt;
use poem::{
    Body, IntoResponse, Request, Response, Result, handler,
    http::{StatusCode, header},
    web::{Data, Json},
};
use serde_json::json;

use crate::{
    problem::Problem,
    service::{FILES_PREFIX, LocalFiles, Shared},
};

impl Shared {
    /// The key of the file that a request may use, and what to call the file.
    fn verified(
        &self,
        method: Method,
        request: &Request,
    ) -> Result<(&LocalFiles, String, Option<String>), Problem> {
        let path = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8_lossy();
        let key = path.strip_prefix(FILES_PREFIX).unwrap_or_default().to_owned();
        // Files that lie elsewhere are not to be had here.
        let local = self.local.as_ref().ok_or(BadSignature::Wrong)?;
        let query = request.uri().query().unwrap_or_default();
        let name = local.signer.verify(method, &key, query, self.queue.now())?;
        Ok((local, key, name))
    }
}

#[handler]
pub(super) async fn upload(request: &Request, body: Body, shared: Data<&Arc<Shared>>) -> Result<Response> {
    let (local, key, _) = shared.verified(Method::Put, request)?;
    let arrival = shared.arrivals.begin(&key).await?;
    let content = body.into_bytes_stream().boxed();
    if let Some(part) = LocalPart::of(&key) {
        let etag = local.parts.write(&part, content).await.map_err(Problem::from)?;
        return Ok(StatusCode::OK.with_header(header::ETAG, etag).into_response());
    }
    // A URL works for a while after its file was taken: what a job has by then, and may share with others, is not
    // replaced. Until this arrival ends, nothing is decided about the file.
    shared.queue.run(Command::ReserveFile { key: key.clone(), owner: None }).await.map_err(Problem::from)?;
    let stored = shared.queue.blobs().put(&key, content, UPLOAD_LIMIT).await.map_err(Problem::from)?;
    drop(arrival);
    shared.unannounced.arrived();
    Ok(Json(json!({"size": stored.size, "sha256": stored.sha256.to_string()})).into_response())
}

#[handler]
pub(super) async fn download(request: &Request, shared: Data<&Arc<Shared>>) -> Result<Response> {
    let (_, key, name) = shared.verified(Method::Get, request)?;
    let blobs = shared.queue.blobs();
    let gone = || Problem::not_found("file_not_found", "this file is gone");
    let size = blobs.size(&key).await.map_err(Problem::from)?.ok_or_else(gone)?;
    let wanted = request.headers().get(header::RANGE).and_then(|value| value.to_str().ok());
    let range = match wanted.map(|text| range(text, size)) {
        None | Some(Asked::Whole) => None,
        Some(Asked::Part(from, to)) => Some((from, to)),
        Some(Asked::Outside) => {
            let reply = Problem::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "bad_range",
                format!("the file has {size} bytes"),
            );
            return Ok(reply.into_response().with_content_range(&format!("bytes */{size}")));
        }
    };
    let (from, to) = range.unwrap_or((0, size));
    let content = blobs.get(&key, range.map(|(from, to)| from..to)).await.map_err(Problem::from)?;
    let reply = Response::builder()
        .status(if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK })
        .content_type("application/octet-stream")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_LENGTH, to - from)
        .header(header::CONTENT_DISPOSITION, disposition(name.as_deref().unwrap_or(&key)))
        .body(Body::from_bytes_stream(content));
    match range {
        Some((from, to)) => {
            Ok(reply.with_content_range(&format!("bytes {from}-{}/{size}", to.saturating_sub(1))))
        }
        None => Ok(reply),
    }
}

trait WithContentRange {
    fn with_content_range(self, range: &str) -> Self;
}

impl WithContentRange for Response {
    fn with_content_range(mut self, range: &str) -> Self {
        if let Ok(value) = range.parse() {
            self.headers_mut().insert(header::CONTENT_RANGE, value);
        }
        self
    }
}

/// What a Range header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// Nothing that is understood: then the whole is right.
    Whole,
    /// From one byte up to, but without, another.
    Part(u64, u64),
    /// Nothing that the file has.
    Outside,
}

fn range(text: &str, size: u64) -> Asked {
    let Some((from, to)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Asked::Whole;
    };
    let (from, to) = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) if from <= to => (from, to.saturating_add(1).min(size)),
        (Ok(from), Err(_)) if to.is_empty() => (from, size),
        (Err(_), Ok(last)) if from.is_empty() && last > 0 => (size.saturating_sub(last), size),
        _ => return Asked::Whole,
    };
    if from < to { Asked::Part(from, to) } else { Asked::Outside }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_means_them() {
        for (text, asked) in [
            ("bytes=0-3", Asked::Part(0, 4)),
            ("bytes=4-", Asked::Part(4, 10)),
            ("bytes=-3", Asked::Part(7, 10)),
            ("bytes=-30", Asked::Part(0, 10)),
            ("bytes=8-99", Asked::Part(8, 10)),
            ("bytes=10-", Asked::Outside),
            ("bytes=5-4", Asked::Whole),
            ("bytes=-0", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("lines=1-2", Asked::Whole),
        ] {
            assert_eq!(range(text, 10), asked, "{text}");
        }
        assert_eq!(range("bytes=0-0", 0), Asked::Outside);
    }
}
