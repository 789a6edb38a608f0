//! Where files lie if not in the data folder: a bucket of an S3-compatible store.

use std::{net::IpAddr, path::PathBuf};

use blobforge_core::blob::S3Options;

use super::{SecretText, number, secret::secret, web_address};
use crate::service::ServiceError;

/// The settings of the bucket. An endpoint switches from local files to it.
#[derive(Clone, Debug, clap::Args)]
pub struct S3Args {
    /// Address of the S3-compatible store that keeps the files, such as `https://s3.eu-central-1.amazonaws.com`; without one
    /// they lie in the data folder.
    #[arg(long, env = "BLOBFORGE_S3_ENDPOINT", value_parser = web_address)]
    pub s3_endpoint: Option<String>,
    /// Another name for `BLOBFORGE_S3_ENDPOINT`.
    #[arg(long, env = "BLOBFORGE_S3_ENDPOINT_URL", hide = true, value_parser = web_address)]
    pub s3_endpoint_url: Option<String>,
    /// Address of the same store for browsers and workers, if they reach it by another one.
    #[arg(long, env = "BLOBFORGE_S3_PUBLIC_ENDPOINT", value_parser = web_address)]
    pub s3_public_endpoint: Option<String>,
    /// Bucket, which must be there.
    #[arg(long, env = "BLOBFORGE_S3_BUCKET", default_value = "blobforge")]
    pub s3_bucket: String,
    /// Region of the bucket; `auto` for stores that have none.
    #[arg(long, env = "BLOBFORGE_S3_REGION", default_value = "auto")]
    pub s3_region: String,
    /// Id of the access key.
    #[arg(long, env = "BLOBFORGE_S3_ACCESS_KEY", hide_env_values = true)]
    pub s3_access_key: Option<SecretText>,
    /// Another name for `BLOBFORGE_S3_ACCESS_KEY`.
    #[arg(long, env = "S3_ACCESS_KEY_ID", hide = true, hide_env_values = true)]
    pub s3_access_key_id: Option<SecretText>,
    /// File with the id of the access key.
    #[arg(long, env = "BLOBFORGE_S3_ACCESS_KEY_FILE")]
    pub s3_access_key_file: Option<PathBuf>,
    /// Secret of the access key. Better given in a file.
    #[arg(long, env = "BLOBFORGE_S3_SECRET_KEY", hide_env_values = true)]
    pub s3_secret_key: Option<SecretText>,
    /// Another name for `BLOBFORGE_S3_SECRET_KEY`.
    #[arg(long, env = "S3_SECRET_ACCESS_KEY", hide = true, hide_env_values = true)]
    pub s3_secret_access_key: Option<SecretText>,
    /// File with the secret of the access key.
    #[arg(long, env = "BLOBFORGE_S3_SECRET_KEY_FILE")]
    pub s3_secret_key_file: Option<PathBuf>,
    /// What all keys in the bucket begin with, such as `forge`.
    #[arg(long, env = "BLOBFORGE_S3_PREFIX", default_value = "")]
    pub s3_prefix: String,
    /// Allow addresses that begin with `http://`, whose files everybody on the way can read. Those of this machine always
    /// may.
    #[arg(long, env = "BLOBFORGE_S3_ALLOW_HTTP", value_parser = clap::builder::BoolishValueParser::new())]
    pub s3_allow_http: bool,
    /// Size in MiB of the parts in which large files go.
    #[arg(long, env = "BLOBFORGE_S3_PART_MIB", default_value_t = 16, value_parser = number::<u64, 5, 5120>)]
    pub s3_part_mib: u64,
}

impl S3Args {
    /// The bucket that is asked for, if one is.
    pub(super) fn into_options(self) -> Result<Option<S3Options>, ServiceError> {
        let access_key = secret(
            "BLOBFORGE_S3_ACCESS_KEY",
            self.s3_access_key.or(self.s3_access_key_id),
            self.s3_access_key_file.as_deref(),
        )?;
        let secret_key = secret(
            "BLOBFORGE_S3_SECRET_KEY",
            self.s3_secret_key.or(self.s3_secret_access_key),
            self.s3_secret_key_file.as_deref(),
        )?;
        let Some(endpoint) = self.s3_endpoint.or(self.s3_endpoint_url) else {
            if access_key.is_some() || secret_key.is_some() || !self.s3_prefix.is_empty() {
                let what = "settings of a bucket are given, but no BLOBFORGE_S3_ENDPOINT: files would go to the data \
                            folder. Set it, or unset the others";
                return Err(ServiceError::Config(what.to_owned()));
            }
            return Ok(None);
        };
        let (Some(access_key), Some(secret_key)) = (access_key, secret_key) else {
            let what = "BLOBFORGE_S3_ENDPOINT is set, but not the key that opens the bucket: set \
                        BLOBFORGE_S3_ACCESS_KEY and BLOBFORGE_S3_SECRET_KEY, or their …_FILE";
            return Err(ServiceError::Config(what.to_owned()));
        };
        let addresses = [
            ("BLOBFORGE_S3_ENDPOINT", Some(&endpoint)),
            ("BLOBFORGE_S3_PUBLIC_ENDPOINT", self.s3_public_endpoint.as_ref()),
        ];
        for (name, address) in addresses.into_iter().filter_map(|(name, address)| Some((name, address?))) {
            if !self.s3_allow_http && is_plain(address) {
                let what = format!(
                    "{name} is {address}, which is not encrypted: everybody on the way could read the files. Use https, or \
                     set BLOBFORGE_S3_ALLOW_HTTP=true"
                );
                return Err(ServiceError::Config(what));
            }
        }
        let mut options = S3Options::new(endpoint, self.s3_bucket, access_key.reveal(), secret_key.reveal());
        options.public_endpoint = self.s3_public_endpoint;
        options.region = self.s3_region;
        options.prefix = self.s3_prefix;
        options.allow_http = true;
        options.part_bytes = self.s3_part_mib * 1024 * 1024;
        Ok(Some(options))
    }
}

/// Whether what goes to an address can be read on its way.
fn is_plain(address: &str) -> bool {
    let Some(host) = address.strip_prefix("http://") else { return false };
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host).trim_matches(['[', ']']);
    host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;

    use super::*;
    use crate::config::ServeArgs;

    fn options(arguments: &[&str]) -> Result<Option<S3Options>, String> {
        let arguments = ["serve"].iter().chain(arguments);
        let args = ServeArgs::try_parse_from(arguments).map_err(|error| error.to_string())?;
        args.s3.into_options().map_err(|error| error.to_string())
    }

    const KEY: [&str; 4] = ["--s3-access-key", "a", "--s3-secret-key", "s"];

    #[test]
    fn an_endpoint_switches_to_the_bucket() {
        assert!(options(&[]).unwrap().is_none());
        let found =
            options(&[&["--s3-endpoint", "https://s3.example.org/"], &KEY[..]].concat()).unwrap().unwrap();
        assert_eq!((found.endpoint.as_str(), found.bucket.as_str()), ("https://s3.example.org", "blobforge"));
        let other =
            ["--s3-endpoint-url", "https://a", "--s3-access-key-id", "a", "--s3-secret-access-key", "s"];
        assert_eq!(options(&other).unwrap().unwrap().secret_key, "s", "the other names");
    }

    #[test]
    fn what_would_leave_files_where_nobody_looks_stops_the_start() {
        assert!(options(&KEY).unwrap_err().contains("BLOBFORGE_S3_ENDPOINT"));
        assert!(options(&["--s3-prefix", "a"]).unwrap_err().contains("BLOBFORGE_S3_ENDPOINT"));
        assert!(options(&["--s3-endpoint", "https://a"]).unwrap_err().contains("BLOBFORGE_S3_ACCESS_KEY"));
    }

    #[test]
    fn plain_http_is_for_this_machine_unless_it_is_allowed() {
        let at = |address| options(&[&["--s3-endpoint", address], &KEY[..]].concat());
        for local in ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"] {
            assert!(at(local).is_ok(), "{local}");
        }
        assert!(at("http://minio:9000").unwrap_err().contains("BLOBFORGE_S3_ALLOW_HTTP"));
        let allowed = [&["--s3-endpoint", "http://minio:9000", "--s3-allow-http"], &KEY[..]].concat();
        assert!(options(&allowed).is_ok());
    }

    #[test]
    fn a_secret_may_lie_in_a_file_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "from a file\n").unwrap();
        let file = file.to_str().unwrap();
        let in_file = ["--s3-endpoint", "https://a", "--s3-access-key", "a", "--s3-secret-key-file", file];
        assert_eq!(options(&in_file).unwrap().unwrap().secret_key, "from a file");
        let twice = [&in_file[..], &["--s3-secret-key", "s"]].concat();
        assert!(options(&twice).unwrap_err().contains("not both"));
        let args = ServeArgs::try_parse_from(["serve", "--s3-secret-key", "canary"]).unwrap();
        assert!(!format!("{args:?}").contains("canary"));
    }
}
