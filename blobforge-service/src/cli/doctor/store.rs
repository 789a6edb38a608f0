//! Where the files are kept.

use std::time::Duration;

use blobforge_core::blob::S3Options;
use reqwest::{Client, Method, header};

use super::Finding;
use crate::{config::ServeConfig, service::probe_bucket};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

pub(super) async fn look(config: &ServeConfig) -> Vec<Finding> {
    let Some(options) = &config.s3 else { return Vec::new() };
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

/// Whether browsers that have a page of the service open may send files to the bucket.
async fn cors(options: &S3Options, origin: &str) -> Finding {
    let endpoint = options.public_endpoint.as_ref().unwrap_or(&options.endpoint);
    let url = format!("{}/{}/probe", endpoint.trim_end_matches('/'), options.bucket);
    let asked = async {
        let http = Client::builder().timeout(ANSWER_WITHIN).build()?;
        let asked = http
            .request(Method::OPTIONS, &url)
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "PUT");
        asked.send().await
    };
    let remedy = format!("Allow GET and PUT from {origin} in the CORS rules of the bucket, and expose ETag");
    match asked.await {
        Ok(reply) => {
            let allowed = reply.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            let is_allowed = allowed.is_some_and(|allowed| allowed == "*" || allowed == origin);
            if is_allowed {
                Finding::ok("CORS", format!("browsers may send files from {origin}"))
            } else {
                Finding::warn("CORS", format!("browsers may not send files from {origin}"), remedy)
            }
        }
        Err(error) => {
            Finding::warn("CORS", format!("{endpoint} does not say: {}", error.without_url()), remedy)
        }
    }
}
