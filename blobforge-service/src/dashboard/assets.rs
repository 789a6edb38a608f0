//! The files that pages load, all of them within the program.

use poem::{
    Endpoint, IntoResponse, Request, Response, Result,
    http::{StatusCode, header},
};
use sha2::{Digest, Sha256};

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

/// A script that works beside a page goes by its own policy: it may load its parts.
const POLICY: &str = "default-src 'none'; script-src 'self'; frame-ancestors 'none'";

macro_rules! files {
    ($($name:literal $kind:ident $path:literal),* $(,)?) => {
        [$(Asset::new($name, $kind, include_bytes!(concat!("assets/", $path)))),*]
    };
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = Asset> {
    files! {
        "style.css" STYLE "style.css",
        "manage.css" STYLE "manage.css",
        "document.css" STYLE "document.css",
        "icon.svg" PICTURE "icon.svg",
        "theme.js" SCRIPT "theme.js",
        "act.js" SCRIPT "act.js",
        "live.js" SCRIPT "live.js",
        "times.js" SCRIPT "times.js",
        "keys.js" SCRIPT "keys.js",
        "select.js" SCRIPT "select.js",
        "form.js" SCRIPT "form.js",
        "submit.js" SCRIPT "submit.js",
        "hash-worker.js" SCRIPT "hash-worker.js",
        "sha2.js" SCRIPT "vendor/noble-hashes/sha2.js",
        "_md.js" SCRIPT "vendor/noble-hashes/_md.js",
        "_u64.js" SCRIPT "vendor/noble-hashes/_u64.js",
        "utils.js" SCRIPT "vendor/noble-hashes/utils.js",
        "htmx.js" SCRIPT "vendor/htmx/htmx.min.js",
    }
    .into_iter()
}

/// A file within the program. Browsers keep it, and ask whether it is still the same.
pub(super) struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
    tag: String,
}

impl Asset {
    fn new(name: &'static str, kind: &'static str, content: &'static [u8]) -> Self {
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(content)[..12]));
        Self { name, kind, content, tag }
    }

    /// What it is called below `/assets/`.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}

impl Endpoint for Asset {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let reply = Response::builder()
            .header(header::ETAG, &self.tag)
            .header(header::CACHE_CONTROL, "no-cache")
            .header(header::CONTENT_SECURITY_POLICY, POLICY);
        if request.header(header::IF_NONE_MATCH).is_some_and(|known| known == self.tag) {
            return Ok(reply.status(StatusCode::NOT_MODIFIED).finish());
        }
        Ok(reply.content_type(self.kind).body(self.content).into_response())
    }
}
