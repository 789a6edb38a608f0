//! A bucket of an S3-compatible store.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey},
    multipart::{MultipartStore, PartId},
    path::Path,
    signer::{self, SignedUrlOptions, Signer},
};

use super::{
    BlobError, DirectAccess, Grant, Method, Multipart, SignedUrl, disposition,
    objects::{path, store_error},
};

/// How long it may take to reach the store.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long the store may send nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// How often a request that failed is repeated, and for how long: somebody waits for the answer.
const RETRIES: usize = 3;
const RETRY_WITHIN: Duration = Duration::from_secs(10);
/// The shortest pause before such a repetition, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// The smallest part that S3 takes, apart from the last one, in bytes.
const LEAST_PART_BYTES: u64 = 5 * 1024 * 1024;

/// Where a bucket is, and what opens it.
///
/// ```
/// use blobforge_core::blob::{BlobStore, ObjectBlobs, S3Options};
/// let mut options = S3Options::new("https://s3.example.org", "blobforge", "key", "secret");
/// options.prefix = "forge/one".to_owned();
/// let blobs = ObjectBlobs::s3(&options).unwrap();
/// assert!(blobs.direct().unwrap().multipart().is_some(), "large files go in parts");
/// options.endpoint = "http://s3.example.org".to_owned();
/// assert!(ObjectBlobs::s3(&options).is_err(), "the secret signs, but everybody could read the files on their way");
/// options.allow_http = true;
/// assert!(ObjectBlobs::s3(&options).is_ok());
/// ```
#[derive(Clone)]
pub struct S3Options {
    /// The store's address.
    pub endpoint: String,
    /// The address by which browsers and workers elsewhere reach it, if that is another one.
    pub public_endpoint: Option<String>,
    /// The bucket, which must be there.
    pub bucket: String,
    /// Its region; `auto` where the store has none.
    pub region: String,
    /// The access key's id.
    pub access_key: String,
    /// The access key's secret.
    pub secret_key: String,
    /// What all keys begin with, such as `forge`; empty for nothing.
    pub prefix: String,
    /// Whether addresses may begin with `http://`.
    pub allow_http: bool,
    /// How large the parts of large files are, in bytes: at least 5 MiB.
    pub part_bytes: u64,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Options({}/{}/{})", self.endpoint, self.bucket, self.prefix)
    }
}

impl S3Options {
    /// A bucket at an address, with the key that opens it.
    ///
    /// As in [`S3Options`].
    pub fn new(
        endpoint: impl Into<String>,
        bucket: impl Into<String>,
        access_key: impl Into<String>,
        secret_key: impl Into<String>,
    ) -> Self {
        Self {
            endpoint: endpoint.into(),
            public_endpoint: None,
            bucket: bucket.into(),
            region: "auto".to_owned(),
            access_key: access_key.into(),
            secret_key: secret_key.into(),
            prefix: String::new(),
            allow_http: false,
            part_bytes: 16 * 1024 * 1024,
        }
    }

    fn store(&self, endpoint: &str) -> Result<AmazonS3, BlobError> {
        if endpoint.starts_with("http://") && !self.allow_http {
            let why = format!("{endpoint} is not encrypted, and plain http is not allowed");
            return Err(BlobError::Store(Error::Generic { store: "S3", source: why.into() }));
        }
        let client = ClientOptions::new()
            .with_allow_http(self.allow_http)
            .with_connect_timeout(CONNECT_WITHIN)
            // A large file takes as long as it takes, while something moves.
            .with_timeout_disabled()
            .with_read_timeout(SILENCE);
        let (init_backoff, max_backoff) = PAUSES;
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_WITHIN,
            backoff: BackoffConfig { init_backoff, max_backoff, base: 2.0 },
        };
        AmazonS3Builder::new()
            .with_client_options(client)
            .with_retry(retry)
            .with_endpoint(endpoint.trim_end_matches('/'))
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_access_key_id(&self.access_key)
            .with_secret_access_key(&self.secret_key)
            .with_virtual_hosted_style_request(false)
            // Not every store takes the request that deletes several files at once.
            .with_config(AmazonS3ConfigKey::DisableBulkDelete, "true")
            .build()
            .map_err(BlobError::Store)
    }
}

/// The bucket, and who signs for it.
#[derive(Debug)]
pub(super) struct S3Access {
    store: Arc<AmazonS3>,
    /// The same bucket by the address that others use.
    public: AmazonS3,
    prefix: String,
    part_bytes: u64,
}

impl S3Access {
    pub(super) fn new(options: &S3Options) -> Result<Self, BlobError> {
        let prefix = options.prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        // A prefix that is none shows here, and not at the first file.
        path(&prefix, "sources/a")?;
        Ok(Self {
            store: Arc::new(options.store(&options.endpoint)?),
            public: options.store(options.public_endpoint.as_deref().unwrap_or(&options.endpoint))?,
            prefix,
            part_bytes: options.part_bytes.max(LEAST_PART_BYTES),
        })
    }

    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    fn path(&self, key: &str) -> Result<Path, BlobError> {
        path(&self.prefix, key)
    }

    async fn sign(&self, grant: Grant<'_>, options: SignedUrlOptions) -> Result<SignedUrl, BlobError> {
        let Grant { method, key, now, lasts, .. } = grant;
        let http = match method {
            Method::Get => signer::Method::GET,
            Method::Put => signer::Method::PUT,
        };
        let url = self.public.signed_url_opts(http, &self.path(key)?, lasts, &options).await;
        let url = url.map_err(|error| store_error(key, error))?;
        Ok(SignedUrl { method, url: url.into(), expires_at: now + lasts })
    }
}

#[async_trait]
impl DirectAccess for S3Access {
    async fn url(&self, grant: Grant<'_>) -> Result<SignedUrl, BlobError> {
        let name = grant.name.filter(|_| grant.method == Method::Get).map(disposition);
        let query = name.map(|name| ("response-content-disposition", name));
        self.sign(grant, SignedUrlOptions::new().with_query(query)).await
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        Some(self)
    }
}

#[async_trait]
impl Multipart for S3Access {
    fn part_bytes(&self) -> u64 {
        self.part_bytes
    }

    async fn begin(&self, key: &str) -> Result<String, BlobError> {
        let begun = self.store.create_multipart(&self.path(key)?).await;
        begun.map_err(|error| store_error(key, error))
    }

    async fn part_url(
        &self,
        grant: Grant<'_>,
        upload: &str,
        number: u32,
        _range: Range<u64>,
    ) -> Result<SignedUrl, BlobError> {
        let query = [("partNumber", number.to_string()), ("uploadId", upload.to_owned())];
        self.sign(Grant { method: Method::Put, ..grant }, SignedUrlOptions::new().with_query(query)).await
    }

    async fn complete(&self, key: &str, upload: &str, etags: Vec<String>) -> Result<(), BlobError> {
        let parts = etags.into_iter().map(|content_id| PartId { content_id }).collect();
        match self.store.complete_multipart(&self.path(key)?, &upload.to_owned(), parts).await {
            Ok(_) => Ok(()),
            Err(error) if is_over(&error) => Err(BlobError::NotFound(key.to_owned())),
            Err(error) => Err(store_error(key, error)),
        }
    }

    async fn abort(&self, key: &str, upload: &str) -> Result<(), BlobError> {
        match self.store.abort_multipart(&self.path(key)?, &upload.to_owned()).await {
            Err(error) if !is_over(&error) => Err(store_error(key, error)),
            _ => Ok(()),
        }
    }
}

/// Whether an upload has ended, or cannot end well any more. The store says so in its reply, of which only the text is
/// handed on.
fn is_over(error: &Error) -> bool {
    let said = error.to_string();
    matches!(error, Error::NotFound { .. })
        || ["NoSuchUpload", "InvalidPart", "EntityTooSmall"].iter().any(|code| said.contains(code))
}
