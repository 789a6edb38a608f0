//! Whether a bucket does what is needed of it, asked once at the start: a wrong key should not show in the first night.

use std::{fmt, time::Duration};

use blobforge_core::{
    Clock, QueueError, Timestamp,
    blob::{BlobError, BlobStore, Grant, Method, ObjectBlobs, S3Options, read_bytes},
};
use futures_util::TryStreamExt;
use reqwest::{Client, RequestBuilder, Response, header};

use super::ServiceError;
use crate::config::ServeConfig;

/// How far the store's clock may be from this machine's: S3 refuses what was signed 15 minutes before or after its time,
/// and URLs have to work for a while.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);
/// How long one request by a URL may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How long the URLs of the probe work.
const LASTS: Duration = Duration::from_secs(60);
/// What is written, read and deleted again.
const CONTENT: &str = "BlobForge was here";
/// How much of a reply is shown that is not understood.
const SHOWN: usize = 200;

/// What the probe found wrong.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    WrongKey,
    WrongSecret,
    WrongBucket,
    WrongRegion,
    Forbidden,
    Skewed,
    Unreachable(String),
    /// Somebody in between answers.
    NotTheStore(String),
    Other(String),
}

/// Does the same for the bucket of these settings, without a service.
pub(crate) async fn check_settings(config: &ServeConfig, options: &S3Options) -> Result<(), ServiceError> {
    let blobs = ObjectBlobs::s3(options).map_err(QueueError::Blob)?;
    check(&blobs, options, &*config.clock()).await
}

/// Writes a small file, reads it whole and in part, both as the service does and by URLs as others do, and deletes it.
pub(super) async fn check(
    blobs: &dyn BlobStore,
    options: &S3Options,
    clock: &dyn Clock,
) -> Result<(), ServiceError> {
    let mut drawn = [0; 8];
    getrandom::fill(&mut drawn).map_err(|error| ServiceError::Config(error.to_string()))?;
    let key = format!("probe/{}", hex::encode(drawn));
    let found = probe(blobs, options, clock, &key).await;
    // Whatever was found: what the probe wrote goes.
    let deleted = blobs.delete(&key).await;
    let (doing, finding) = match (found, deleted) {
        (Ok(()), Ok(())) => return Ok(()),
        (Err(failed), _) => failed,
        (Ok(()), Err(error)) => ("deleting a file", Finding::of(&error)),
    };
    let at = match doing {
        "writing by URL" | "reading by URL" => options.public_endpoint.as_ref().unwrap_or(&options.endpoint),
        _ => &options.endpoint,
    };
    Err(ServiceError::Config(format!(
        "the bucket {:?} at {at} cannot be used ({doing} failed): {finding}",
        options.bucket
    )))
}

async fn probe(
    blobs: &dyn BlobStore,
    options: &S3Options,
    clock: &dyn Clock,
    key: &str,
) -> Result<(), (&'static str, Finding)> {
    let failed = |doing| move |error: BlobError| (doing, Finding::of(&error));
    let writing = "writing a file";
    blobs.put(key, read_bytes(CONTENT), 100).await.map_err(failed(writing))?;
    for (doing, range, wanted) in
        [("reading a file", None, CONTENT), ("reading a part of a file", Some(0..9), &CONTENT[..9])]
    {
        let content = blobs.get(key, range).await.map_err(failed(doing))?;
        let content: Result<Vec<_>, _> = content.try_collect().await;
        let content = content.map_err(|error| (doing, Finding::Other(error.to_string())))?;
        if content.concat() != wanted.as_bytes() {
            return Err((doing, Finding::Other("it is not what was written".to_owned())));
        }
    }
    // Always there: the store was opened with a key to sign with.
    let Some(direct) = blobs.direct() else { return Ok(()) };
    let http = Client::builder().timeout(ANSWER_WITHIN).build();
    let http = http.map_err(|error| ("writing by URL", Finding::Other(error.to_string())))?;
    for (doing, method) in [("writing by URL", Method::Put), ("reading by URL", Method::Get)] {
        let grant = Grant { method, key, name: None, now: clock.now(), lasts: LASTS };
        let url = direct.url(grant).await.map_err(failed(doing))?.url;
        let request = match method {
            Method::Put => http.put(url).body(CONTENT),
            Method::Get => http.get(url),
        };
        let is_public = options.public_endpoint.is_some();
        by_url(request, clock.now(), is_public).await.map_err(|finding| (doing, finding))?;
    }
    Ok(())
}

async fn by_url(request: RequestBuilder, now: Timestamp, is_public: bool) -> Result<(), Finding> {
    let reply =
        request.send().await.map_err(|error| Finding::Unreachable(innermost(&error.without_url())))?;
    if skew(&reply, now).is_some_and(|skew| skew > MAX_SKEW) {
        return Err(Finding::Skewed);
    }
    let status = reply.status();
    if status.is_success() {
        return Ok(());
    }
    let said = reply.text().await.unwrap_or_default();
    if is_public && !said.contains("<Code>") {
        return Err(Finding::NotTheStore(format!("{status}: {}", shortened(&said))));
    }
    Err(Finding::of_text(&format!("{status}: {said}")))
}

/// How far the clock of whoever replied is from this one.
fn skew(reply: &Response, now: Timestamp) -> Option<Duration> {
    let date = reply.headers().get(header::DATE)?.to_str().ok()?;
    let date = httpdate::parse_http_date(date).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let date = i64::try_from(date.as_millis()).ok()?;
    Some(Duration::from_millis(date.abs_diff(now.as_millis())))
}

impl Finding {
    fn of(error: &BlobError) -> Self {
        let text = causes(error);
        match error {
            BlobError::NotFound(_) => Self::WrongBucket,
            _ => Self::of_text(&text),
        }
    }

    /// By the codes of S3, which the reply holds.
    fn of_text(text: &str) -> Self {
        let says = |code: &str| text.contains(code);
        if says("RequestTimeTooSkewed") || says("AccessDenied") && says("Request has expired") {
            Self::Skewed
        } else if says("InvalidAccessKeyId") {
            Self::WrongKey
        } else if says("SignatureDoesNotMatch") {
            Self::WrongSecret
        } else if says("NoSuchBucket") {
            Self::WrongBucket
        } else if says("AuthorizationHeaderMalformed") || says("PermanentRedirect") || says("IllegalLocation")
        {
            Self::WrongRegion
        } else if says("AccessDenied") || says("403") {
            Self::Forbidden
        } else if says("error sending request") || says("onnect") || says("dns error") {
            Self::Unreachable(text.rsplit(": ").next().unwrap_or(text).to_owned())
        } else {
            Self::Other(shortened(text))
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongKey => f.write_str("the store knows no such access key: check BLOBFORGE_S3_ACCESS_KEY"),
            Self::WrongSecret => {
                f.write_str("the signature is wrong: check BLOBFORGE_S3_SECRET_KEY and BLOBFORGE_S3_REGION")
            }
            Self::WrongBucket => f.write_str("there is no such bucket: make it, or check BLOBFORGE_S3_BUCKET"),
            Self::WrongRegion => f.write_str("it is in another region: check BLOBFORGE_S3_REGION"),
            Self::Forbidden => f.write_str(
                "access is denied: check the key, and that it may read, write and delete below BLOBFORGE_S3_PREFIX",
            ),
            Self::Skewed => f.write_str(
                "the clocks of this machine and of the store are more than 5 minutes apart, so that URLs would not work: \
                 set this machine's clock, best by NTP",
            ),
            Self::Unreachable(why) => {
                write!(f, "nothing answers there ({why}): check the address, the network and any firewall between")
            }
            Self::NotTheStore(said) => write!(
                f,
                "what answers is not the store ({said}): a proxy in between may block it or change the host name; check \
                 BLOBFORGE_S3_PUBLIC_ENDPOINT"
            ),
            Self::Other(said) => f.write_str(said),
        }
    }
}

fn shortened(text: &str) -> String {
    text.trim().chars().take(SHOWN).collect()
}

/// An error with all that caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn innermost(error: &dyn std::error::Error) -> String {
    let text = causes(error);
    text.rsplit(": ").next().unwrap_or(&text).to_owned()
}
