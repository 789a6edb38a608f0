//! Where the files are kept.

use std::time::Duration;

use blobforge_core::blob::{BlobError, BlobStore as _, ObjectBlobs, S3Options, read_bytes};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use reqwest::{
    Client, Method,
    header::{self, HeaderMap, HeaderName},
};

use super::Finding;
use crate::{config::ServeConfig, service::probe_bucket};

/// What is written to see whether it can be.
const PROBE: &str = "written by blobforge doctor, and deleted";
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

pub(super) async fn look(config: &ServeConfig) -> Vec<Finding> {
    let Some(options) = &config.s3 else {
        // Where no service is, none of its folders is made.
        return if config.db_path.exists() { vec![folder(config).await] } else { Vec::new() };
    };
    let mut findings = Vec::new();
    findings.push(match probe_bucket(config, options).await {
        Ok(()) => {
            let found = format!(
                "a file was written, read and deleted in {:?}, by URL as well; clocks agree",
                options.bucket
            );
            Finding::ok("bucket", found)
        }
        Err(error) => Finding::fail("bucket", error.to_string(), "Put the settings BLOBFORGE_S3_… right"),
    });
    if let Some(origin) = &config.public_url {
        findings.push(cors(options, origin).await);
    }
    findings
}

/// Whether files can be kept in the data folder.
async fn folder(config: &ServeConfig) -> Finding {
    let folder = config.files_folder();
    if !folder.is_dir() {
        let found =
            format!("there is no folder {}, which the service makes when it starts", folder.display());
        return Finding::warn("files", found, "Start the service");
    }
    let key = format!("doctor/{}", std::process::id());
    let probed = async {
        let files = ObjectBlobs::local(&folder)?;
        let written = files.put(&key, read_bytes(PROBE), PROBE.len() as u64).await;
        let read = async {
            written?;
            let read: Vec<Bytes> =
                files.get(&key, None).await?.try_collect().await.map_err(BlobError::BrokenOff)?;
            Ok::<_, BlobError>(read.concat() == PROBE.as_bytes())
        };
        let read = read.await;
        files.delete(&key).await?;
        read
    };
    match probed.await {
        Ok(true) => {
            Finding::ok("files", format!("one was written, read and deleted in {}", folder.display()))
        }
        Ok(false) => {
            let found = format!("{} gives back something else than was written", folder.display());
            Finding::fail("files", found, "Look at that disk")
        }
        Err(error) => {
            let remedy = "Let the service's user write there, and make room";
            Finding::fail("files", format!("{}: {error}", folder.display()), remedy)
        }
    }
}

/// Whether browsers that have a page of the service open may send files to the bucket.
async fn cors(options: &S3Options, origin: &str) -> Finding {
    let endpoint = options.public_endpoint.as_ref().unwrap_or(&options.endpoint);
    let url = format!("{}/{}/probe", endpoint.trim_end_matches('/'), options.bucket);
    let asked = async {
        let http = Client::builder().timeout(ANSWER_WITHIN).build()?;
        let asked = http
            .request(Method::OPTIONS, &url)
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "PUT")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "content-type");
        asked.send().await
    };
    let remedy = format!(
        "Allow GET and PUT with Content-Type from {origin} in the CORS rules of the bucket, and expose ETag"
    );
    match asked.await {
        Ok(reply) => {
            // Each is needed, and each is forgotten now and then.
            let lacking = [
                ("the origin", header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
                ("PUT", header::ACCESS_CONTROL_ALLOW_METHODS, "PUT"),
                ("the header Content-Type", header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
            ];
            match lacking.into_iter().find(|(_, name, wanted)| !allows(reply.headers(), name, wanted)) {
                None => Finding::ok("CORS", format!("browsers may send files from {origin}")),
                Some((what, ..)) => {
                    let found = format!("browsers may not send files from {origin}: {what} is not allowed");
                    Finding::warn("CORS", found, remedy)
                }
            }
        }
        Err(error) => {
            Finding::warn("CORS", format!("{endpoint} does not say: {}", error.without_url()), remedy)
        }
    }
}

/// Whether one of the words in a header, or a star, allows what is wanted.
fn allows(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|word| word == "*" || word.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn what_a_bucket_allows_is_read_word_by_word() {
        let mut headers = HeaderMap::new();
        let methods = header::ACCESS_CONTROL_ALLOW_METHODS;
        assert!(!allows(&headers, &methods, "PUT"));
        headers.insert(&methods, "GET, PUT".parse().unwrap());
        assert!(allows(&headers, &methods, "PUT") && !allows(&headers, &methods, "POST"));
        headers.insert(&methods, "*".parse().unwrap());
        assert!(allows(&headers, &methods, "POST"));
    }

    #[tokio::test]
    async fn a_folder_that_takes_no_files_is_seen() {
        let data = tempfile::tempdir().unwrap();
        let config = ServeConfig::local(data.path());
        assert!(look(&config).await.is_empty(), "no service is here");
        std::fs::write(&config.db_path, "").unwrap();
        assert_eq!(look(&config).await[0].state, State::Warn);
        assert!(
            !config.files_folder().exists(),
            "nothing is made that the service would make as its own user"
        );
        std::fs::create_dir(config.files_folder()).unwrap();
        let found = look(&config).await;
        assert_eq!((found.len(), found[0].state), (1, State::Ok), "{}", found[0].found);
        assert_eq!(
            std::fs::read_dir(config.files_folder()).unwrap().count(),
            0,
            "nothing of the probe is left"
        );
        std::fs::write(config.files_folder().join("doctor"), "no folder").unwrap();
        assert_eq!(look(&config).await[0].state, State::Fail);
    }
}
