//! How the service is set up: flags over environment over defaults.

use std::{
    ffi::OsString,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use blobforge_core::Clock;

use crate::service::ServiceError;

/// What `blobforge serve` takes.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "blobforge serve", about = "Run the service")]
pub struct ServeArgs {
    /// Address to listen on; 0.0.0.0 for every one that this machine has.
    #[arg(long, env = "BLOBFORGE_HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one and prints it.
    #[arg(long, env = "BLOBFORGE_PORT", default_value_t = 8080)]
    pub port: u16,
    /// Database file. Its folder is the data folder: files, the admin token and secrets lie there.
    #[arg(long, env = "BLOBFORGE_DB_PATH", default_value = "./data/blobforge.db")]
    pub db_path: PathBuf,
    /// Seconds that a lease lasts without a heartbeat.
    #[arg(long, env = "BLOBFORGE_WORKER_TIMEOUT", default_value_t = 180,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub worker_timeout: u64,
    /// Seconds between heartbeats that workers are told to keep; at most a third of the lease is used.
    #[arg(long, env = "BLOBFORGE_HEARTBEAT_INTERVAL", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub heartbeat_interval: u64,
    /// Failing runs that a job gets unless it says otherwise.
    #[arg(long, env = "BLOBFORGE_MAX_ATTEMPTS", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_attempts: u32,
    /// Address under which people reach the service, such as `https://forge.example.org`.
    #[arg(long, env = "BLOBFORGE_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// File with the admin token, instead of one that the service makes.
    #[arg(long, env = "BLOBFORGE_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Also run a worker for pdf-text, beside the service.
    #[arg(long)]
    pub with_worker: bool,
}

/// Everything the service needs to know to start.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Database file; its folder is the data folder.
    pub db_path: PathBuf,
    /// For how long a lease is good without a heartbeat.
    pub worker_timeout: Duration,
    /// How often workers are told to send one.
    pub heartbeat_interval: Duration,
    /// Failing runs that a job gets unless it says otherwise.
    pub max_attempts: u32,
    /// Address under which people reach the service.
    pub public_url: Option<String>,
    /// File with the admin token, instead of one that the service makes.
    pub admin_token_file: Option<PathBuf>,
    /// Where the time comes from, if not from the machine.
    pub clock: Option<Arc<dyn Clock>>,
}

/// Settings that people know and that this version would otherwise silently do without.
const NOT_YET: [(&str, &str); 6] = [
    ("BLOBFORGE_S3_ENDPOINT", S3_IS_MISSING),
    ("BLOBFORGE_S3_BUCKET", S3_IS_MISSING),
    ("BLOBFORGE_S3_ACCESS_KEY", S3_IS_MISSING),
    ("BLOBFORGE_S3_SECRET_KEY", S3_IS_MISSING),
    ("BLOBFORGE_S3_PREFIX", S3_IS_MISSING),
    (
        "BLOBFORGE_OIDC_ISSUER",
        "login through OIDC is not supported yet: people log in with a token or a login link",
    ),
];

const S3_IS_MISSING: &str =
    "files in S3 are not supported yet: they would go to the local data folder instead";

impl ServeConfig {
    /// A service on a free loopback port with all its data in `folder`.
    pub fn local(folder: impl AsRef<Path>) -> Self {
        Self {
            host: IpAddr::from([127, 0, 0, 1]),
            port: 0,
            db_path: folder.as_ref().join("blobforge.db"),
            worker_timeout: Duration::from_secs(180),
            heartbeat_interval: Duration::from_secs(30),
            max_attempts: 3,
            public_url: None,
            admin_token_file: None,
            clock: None,
        }
    }

    /// What these arguments and this environment ask for.
    ///
    /// # Errors
    /// When the environment asks for something that this version does not do, or a value makes no sense.
    pub fn new(args: ServeArgs, env: impl Fn(&str) -> Option<OsString>) -> Result<Self, ServiceError> {
        let asked = |name: &str| env(name).is_some_and(|value| !value.is_empty());
        if let Some((name, why)) = NOT_YET.into_iter().find(|(name, _)| asked(name)) {
            return Err(ServiceError::Config(format!("{name} is set, but {why}. Unset it to go on without")));
        }
        let public_url = args.public_url.filter(|url| !url.is_empty());
        if let Some(url) = &public_url
            && !is_web_address(url)
        {
            return Err(ServiceError::Config(format!(
                "BLOBFORGE_PUBLIC_URL is {url:?}: use an address without a path, such as https://forge.example.org"
            )));
        }
        Ok(Self {
            host: args.host,
            port: args.port,
            db_path: args.db_path,
            worker_timeout: Duration::from_secs(args.worker_timeout),
            heartbeat_interval: Duration::from_secs(args.heartbeat_interval),
            max_attempts: args.max_attempts,
            public_url: public_url.map(|url| url.trim_end_matches('/').to_owned()),
            admin_token_file: args.admin_token_file,
            clock: None,
        })
    }

    /// The folder in which everything lies.
    pub fn data_folder(&self) -> PathBuf {
        match self.db_path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Whether people reach the service over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.public_url.as_ref().is_some_and(|url| url.starts_with("https://"))
    }
}

/// Whether this is `http(s)://host[:port]` and nothing more.
fn is_web_address(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.map(|rest| rest.trim_end_matches('/')).is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn config(args: &[&str], env: &[(&str, &str)]) -> Result<ServeConfig, ServiceError> {
        let args = ServeArgs::try_parse_from([&["serve"], args].concat()).unwrap();
        let look_up = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        ServeConfig::new(args, look_up)
    }

    #[test]
    fn what_is_not_supported_stops_the_start_instead_of_being_ignored() {
        for (name, _) in NOT_YET {
            let error = config(&[], &[(name, "x")]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("not supported yet"), "{error}");
        }
        assert!(config(&[], &[("BLOBFORGE_S3_ENDPOINT", "")]).is_ok(), "empty is unset");
    }

    #[test]
    fn a_public_url_has_no_path() {
        assert_eq!(
            config(&["--public-url", "https://a.example/"], &[]).unwrap().public_url.unwrap(),
            "https://a.example"
        );
        for bad in ["forge.example", "https://", "https://a.example/x", "ftp://a", "https://a b"] {
            assert!(config(&["--public-url", bad], &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lease_of_no_time_is_refused() {
        assert!(ServeArgs::try_parse_from(["serve", "--worker-timeout", "0"]).is_err());
    }
}
