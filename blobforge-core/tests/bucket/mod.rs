//! A bucket of a real S3 server, which checks signatures and how long they last.

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Mutex,
};

use blobforge_core::blob::S3Options;
use hyper::{
    Method, Request,
    body::Incoming,
    header::{HeaderName, HeaderValue},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{
    Body, HttpError, HttpResponse, S3, S3ErrorCode, S3Request, S3Response, S3Result,
    auth::{S3Auth, SecretKey},
    dto, s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use s3s_fs::FileSystem;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) const BUCKET: &str = "blobforge";
pub(crate) const ACCESS_KEY: &str = "AKIAFORGE";
pub(crate) const SECRET_KEY: &str = "the secret of the forge, which nobody knows";

/// A server with one empty bucket, until it is dropped.
pub(crate) struct Bucket {
    pub(crate) endpoint: String,
    /// Where the server keeps its files.
    pub(crate) folder: TempDir,
    server: JoinHandle<()>,
}

impl Bucket {
    pub(crate) async fn start() -> Self {
        Self::serve(false).await
    }

    /// One that pages of any site may send to, as its CORS rules say.
    #[allow(dead_code, reason = "the tests without a browser need no such rules")]
    pub(crate) async fn open_to_pages() -> Self {
        Self::serve(true).await
    }

    async fn serve(to_pages: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut service = S3ServiceBuilder::new(Flat::new(folder.path()));
        service.set_auth(OneKey);
        let service = service.build();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let service = service.clone();
                let answer = move |request| answer(service.clone(), request, to_pages);
                tokio::spawn(async move {
                    let http = Builder::new(TokioExecutor::new());
                    // Whoever hangs up is no error of the server.
                    let _ = http.serve_connection(TokioIo::new(connection), service_fn(answer)).await;
                });
            }
        });
        Self { endpoint, folder, server }
    }

    pub(crate) fn options(&self) -> S3Options {
        let mut options = S3Options::new(&self.endpoint, BUCKET, ACCESS_KEY, SECRET_KEY);
        options.allow_http = true;
        options.part_bytes = 5 * 1024 * 1024;
        options
    }

    /// The server's own files of uploads that are not over.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.folder.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains("upload")).collect()
    }
}

/// What the server says, and to a page that it may ask and hear all of it.
async fn answer(
    service: S3Service,
    request: Request<Incoming>,
    to_pages: bool,
) -> Result<HttpResponse, HttpError> {
    let is_preflight = to_pages && request.method() == Method::OPTIONS;
    let mut reply = if is_preflight {
        HttpResponse::new(Body::empty())
    } else {
        service.call(request.map(Body::from)).await?
    };
    if to_pages {
        for name in ["allow-origin", "allow-methods", "allow-headers", "expose-headers"] {
            let name = HeaderName::try_from(format!("access-control-{name}")).unwrap();
            let value = if name.as_str().ends_with("expose-headers") { "etag" } else { "*" };
            reply.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    Ok(reply)
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Knows one key, and says of any other what S3 says.
struct OneKey;

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == ACCESS_KEY { Ok(SECRET_KEY.into()) } else { Err(s3_error!(InvalidAccessKeyId)) }
    }
}

/// Keys are names in S3, and nothing else: they have no folders, and may be longer than the name of a file. The server
/// underneath makes paths of them, so it gets short ones.
struct Flat(FileSystem, PathBuf, Mutex<HashMap<String, String>>);

impl Flat {
    fn new(folder: &Path) -> Self {
        Self(FileSystem::new(folder).unwrap(), folder.to_owned(), Mutex::default())
    }

    /// As [`flat`], and remembers what it was for lists.
    fn remembered(&self, key: &mut String) {
        let name = key.clone();
        flat(key);
        self.2.lock().unwrap().insert(key.clone(), name);
    }
}

fn flat(key: &mut String) {
    *key = hex::encode(Sha256::digest(&*key));
}

#[async_trait::async_trait]
impl S3 for Flat {
    async fn put_object(
        &self,
        mut request: S3Request<dto::PutObjectInput>,
    ) -> S3Result<S3Response<dto::PutObjectOutput>> {
        // The server underneath would make one.
        if !self.1.join(&request.input.bucket).is_dir() {
            return Err(s3_error!(NoSuchBucket));
        }
        self.remembered(&mut request.input.key);
        self.0.put_object(request).await
    }

    async fn list_objects(
        &self,
        request: S3Request<dto::ListObjectsInput>,
    ) -> S3Result<S3Response<dto::ListObjectsOutput>> {
        let listed = self.list_objects_v2(request.map_input(Into::into)).await?;
        Ok(listed.map_output(|listed| dto::ListObjectsOutput {
            contents: listed.contents,
            common_prefixes: listed.common_prefixes,
            is_truncated: listed.is_truncated,
            name: listed.name,
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        mut request: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        let below = request.input.prefix.take().unwrap_or_default();
        let folders = request.input.delimiter.take();
        let behind = request.input.start_after.take().unwrap_or_default();
        // All at once: who asks for a page gets a longer one.
        request.input.max_keys = Some(i32::MAX);
        let mut listed = self.0.list_objects_v2(request).await?;
        let names = self.2.lock().unwrap();
        let mut found = listed.output.contents.take().unwrap_or_default();
        for object in &mut found {
            object.key = object.key.as_ref().and_then(|key| names.get(key).cloned());
        }
        let key = |object: &dto::Object| object.key.clone().unwrap_or_default();
        found.retain(|object| key(object).starts_with(&below) && key(object) > behind);
        found.sort_by_key(key);
        if let Some(end) = folders {
            let folder_of = |object: &dto::Object| {
                let name = key(object)[below.len()..].split_once(&end)?.0.to_owned();
                Some(format!("{below}{name}{end}"))
            };
            let folders: BTreeSet<_> = found.iter().filter_map(folder_of).collect();
            found.retain(|object| folder_of(object).is_none());
            let prefix = |folder| dto::CommonPrefix { prefix: Some(folder) };
            listed.output.common_prefixes = Some(folders.into_iter().map(prefix).collect());
        }
        listed.output.key_count = i32::try_from(found.len()).ok();
        listed.output.contents = Some(found);
        Ok(listed)
    }

    async fn delete_objects(
        &self,
        mut request: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        for object in &mut request.input.delete.objects {
            flat(&mut object.key);
        }
        let mut deleted = self.0.delete_objects(request).await?;
        let names = self.2.lock().unwrap();
        for object in deleted.output.deleted.iter_mut().flatten() {
            object.key = object.key.as_ref().and_then(|key| names.get(key).cloned());
        }
        Ok(deleted)
    }

    async fn get_object(
        &self,
        mut request: S3Request<dto::GetObjectInput>,
    ) -> S3Result<S3Response<dto::GetObjectOutput>> {
        flat(&mut request.input.key);
        self.0.get_object(request).await
    }

    async fn head_object(
        &self,
        mut request: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        flat(&mut request.input.key);
        self.0.head_object(request).await
    }

    async fn delete_object(
        &self,
        mut request: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        flat(&mut request.input.key);
        self.0.delete_object(request).await
    }

    async fn create_multipart_upload(
        &self,
        mut request: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        flat(&mut request.input.key);
        self.0.create_multipart_upload(request).await
    }

    async fn upload_part(
        &self,
        mut request: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        flat(&mut request.input.key);
        self.0.upload_part(request).await
    }

    async fn complete_multipart_upload(
        &self,
        mut request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        flat(&mut request.input.key);
        known(self.0.complete_multipart_upload(request).await)
    }

    async fn abort_multipart_upload(
        &self,
        mut request: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        flat(&mut request.input.key);
        known(self.0.abort_multipart_upload(request).await)
    }
}

/// The server underneath denies access to an upload that it does not know; S3 says that there is none.
fn known<T>(result: S3Result<T>) -> S3Result<T> {
    result.map_err(|error| match error.code() {
        S3ErrorCode::AccessDenied => s3_error!(NoSuchUpload),
        _ => error,
    })
}
