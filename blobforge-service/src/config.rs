//! How the service is set up: flags over environment over file over defaults.

mod backup;
mod file;
mod layers;
mod oidc;
mod private_host;
mod provider;
mod s3;
mod secret;

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use blobforge_core::{Clock, SystemClock, blob::S3Options, files_beside};
use ipnet::IpNet;

pub(crate) use backup::BackupArgs;
pub use backup::BackupOptions;
pub(crate) use file::SettingsFile;
pub use layers::Setting;
pub(crate) use layers::{Layers, Misread};
pub(crate) use oidc::OidcArgs;
pub(crate) use private_host::is_private;
pub use provider::{Guests, OidcOptions};
pub(crate) use s3::S3Args;
pub use secret::SecretText;

use crate::{auth::TokenText, service::ServiceError};

/// How the environment names every setting.
const PREFIX: &str = "BLOBFORGE_";

/// What a file calls a setting of the environment.
fn key_of(name: &str) -> String {
    name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase()
}

/// What `blobforge serve` takes.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "blobforge serve", about = "Run the service")]
pub struct ServeArgs {
    /// Address to listen on; 0.0.0.0 for every one that this machine has.
    #[arg(long, env = "BLOBFORGE_HOST", default_value = "127.0.0.1", value_parser = ip_address)]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one and prints it.
    #[arg(long, env = "BLOBFORGE_PORT", default_value_t = 8080, value_parser = number::<u16, 0, 65_535>)]
    pub port: u16,
    /// Database file. Its folder is the data folder: files, the admin token and secrets lie there.
    #[arg(long, env = "BLOBFORGE_DB_PATH", default_value = "./data/blobforge.db")]
    pub db_path: PathBuf,
    /// Seconds that a lease lasts without a heartbeat.
    #[arg(long, env = "BLOBFORGE_WORKER_TIMEOUT", default_value_t = 180, value_parser = number::<u64, 1, 86_400>)]
    pub worker_timeout: u64,
    /// Seconds between heartbeats that workers are told to keep; at most a third of the lease is used.
    #[arg(long, env = "BLOBFORGE_HEARTBEAT_INTERVAL", default_value_t = 30, value_parser = number::<u64, 1, 86_400>)]
    pub heartbeat_interval: u64,
    /// Failing runs that a job gets unless it says otherwise.
    #[arg(long, env = "BLOBFORGE_MAX_ATTEMPTS", default_value_t = 3, value_parser = number::<u32, 1, 1000>)]
    pub max_attempts: u32,
    /// Address under which people reach the service, such as `https://forge.example.org`.
    #[arg(long, env = "BLOBFORGE_PUBLIC_URL", value_parser = web_address)]
    pub public_url: Option<String>,
    /// Admin token, instead of one that the service makes: 32 or more printable characters. Better given in a file.
    #[arg(long, env = "BLOBFORGE_ADMIN_TOKEN", hide_env_values = true, value_parser = token)]
    pub admin_token: Option<TokenText>,
    /// File with the admin token.
    #[arg(long, env = "BLOBFORGE_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// File with a token for workers, of any name and for nothing else. It is good as long as this names it.
    #[arg(long, env = "BLOBFORGE_WORKER_TOKEN_FILE")]
    pub worker_token_file: Option<PathBuf>,
    /// Addresses of proxies in front, such as 10.0.0.1 or 10.0.0.0/8, with commas between them: whom they forward for is
    /// believed.
    #[arg(long, env = "BLOBFORGE_TRUSTED_PROXIES", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<IpNet>,
    /// Changes a minute that one account may ask for, and ten times as many of one address or of workers; 0 for no limit.
    #[arg(long, env = "BLOBFORGE_RATE_LIMIT", default_value_t = 6000, value_parser = number::<u32, 0, 100_000_000>)]
    pub rate_limit: u32,
    /// Logins a minute that one address may try; 0 for no limit.
    #[arg(long, env = "BLOBFORGE_LOGIN_RATE_LIMIT", default_value_t = 10, value_parser = number::<u32, 0, 100_000_000>)]
    pub login_rate_limit: u32,
    /// Seconds within which a request has to come, and each further 16 KiB of its body.
    #[arg(long, env = "BLOBFORGE_READ_TIMEOUT", default_value_t = 30, value_parser = number::<u64, 1, 3600>)]
    pub read_timeout: u64,
    /// Event streams that one account may have open at a time; 0 for no limit.
    #[arg(long, env = "BLOBFORGE_MAX_STREAMS", default_value_t = 100, value_parser = number::<u32, 0, 100_000>)]
    pub max_streams: u32,
    /// Address and port to tell Prometheus at what is measured, without a token, such as 127.0.0.1:9090.
    #[arg(long, env = "BLOBFORGE_METRICS_ADDR", value_parser = socket_address)]
    pub metrics_addr: Option<SocketAddr>,
    /// How the log is written: text, or json with one object for each line.
    #[arg(long, env = "BLOBFORGE_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Networks of private addresses that webhooks may lead to all the same, such as 10.1.0.0/16, with commas between
    /// them.
    #[arg(long, env = "BLOBFORGE_WEBHOOK_ALLOW_PRIVATE", value_delimiter = ',', value_parser = network)]
    pub webhook_allow_private: Vec<IpNet>,
    /// The bucket that keeps the files, if one does.
    #[command(flatten)]
    pub s3: S3Args,
    /// How the database is copied.
    #[command(flatten)]
    pub backup: BackupArgs,
    /// The provider that people log in with, if they do.
    #[command(flatten)]
    pub oidc: OidcArgs,
}

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object for each line, for programs.
    Json,
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
    /// Admin token, instead of one that the service makes.
    pub admin_token: Option<TokenText>,
    /// File with the admin token.
    pub admin_token_file: Option<PathBuf>,
    /// File with a token for workers.
    pub worker_token_file: Option<PathBuf>,
    /// Proxies in front: whom they forward for is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Changes a minute that one account may ask for; 0 for no limit.
    pub rate_limit: u32,
    /// Logins a minute that one address may try; 0 for no limit.
    pub login_rate_limit: u32,
    /// How long a request may take to come, and each further 16 KiB of its body.
    pub read_timeout: Duration,
    /// Event streams that one account may have open at a time; 0 for no limit.
    pub max_streams: u32,
    /// Where what is measured is told without a token, if it is.
    pub metrics_addr: Option<SocketAddr>,
    /// Networks of private addresses that webhooks may lead to all the same.
    pub webhook_allow_private: Vec<IpNet>,
    /// The bucket that keeps the files; the data folder does without one.
    pub s3: Option<S3Options>,
    /// How the database is copied, and brought back.
    pub backup: BackupOptions,
    /// The provider that people log in with; they do with tokens without one.
    pub oidc: Option<OidcOptions>,
    /// Where the time comes from, if not from the machine.
    pub clock: Option<Arc<dyn Clock>>,
    /// Each setting and where it comes from, to be shown to administrators; nothing is decided by it.
    pub settings: Vec<Setting>,
}

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
            admin_token: None,
            admin_token_file: None,
            worker_token_file: None,
            trusted_proxies: Vec::new(),
            rate_limit: 6000,
            login_rate_limit: 10,
            read_timeout: Duration::from_secs(30),
            max_streams: 100,
            metrics_addr: None,
            webhook_allow_private: Vec::new(),
            s3: None,
            backup: BackupOptions::default(),
            oidc: None,
            clock: None,
            settings: Vec::new(),
        }
    }

    /// What these arguments ask for.
    ///
    /// # Errors
    /// When the settings contradict each other, or would let in people whom nobody meant.
    pub fn new(args: ServeArgs) -> Result<Self, ServiceError> {
        if args.admin_token.is_some() && args.admin_token_file.is_some() {
            let what = "set either BLOBFORGE_ADMIN_TOKEN or BLOBFORGE_ADMIN_TOKEN_FILE, not both";
            return Err(ServiceError::Config(what.to_owned()));
        }
        let oidc = args.oidc.into_options(args.public_url.as_deref())?;
        let s3 = args.s3.into_options()?;
        let backup = args.backup.into_options(s3.as_ref())?;
        let public_url = args.public_url.or_else(|| oidc.as_ref().map(|oidc| oidc.origin().to_owned()));
        Ok(Self {
            host: args.host,
            port: args.port,
            db_path: args.db_path,
            worker_timeout: Duration::from_secs(args.worker_timeout),
            heartbeat_interval: Duration::from_secs(args.heartbeat_interval),
            max_attempts: args.max_attempts,
            public_url,
            admin_token: args.admin_token,
            admin_token_file: args.admin_token_file,
            worker_token_file: args.worker_token_file,
            trusted_proxies: args.trusted_proxies,
            rate_limit: args.rate_limit,
            login_rate_limit: args.login_rate_limit,
            read_timeout: Duration::from_secs(args.read_timeout),
            max_streams: args.max_streams,
            metrics_addr: args.metrics_addr,
            webhook_allow_private: args.webhook_allow_private,
            s3,
            backup,
            oidc,
            clock: None,
            settings: Vec::new(),
        })
    }

    /// The folder in which everything lies.
    pub fn data_folder(&self) -> PathBuf {
        match self.db_path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Where programs on this machine reach a service that listens as this one is told to.
    pub(crate) fn local_url(&self) -> String {
        reached_at(SocketAddr::new(self.host, self.port))
    }

    /// The folder of the files, where they lie in no bucket: that of a queue which was embedded before, if this is its database.
    pub(crate) fn files_folder(&self) -> PathBuf {
        let usual = self.data_folder().join("files");
        let embedded = files_beside(&self.db_path);
        let is_unused = std::fs::read_dir(&usual).map_or(true, |mut entries| entries.next().is_none());
        if is_unused && embedded.is_dir() { embedded } else { usual }
    }

    /// Where the time comes from.
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock))
    }

    /// Whether people reach the service over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.public_url.as_ref().is_some_and(|url| url.starts_with("https://"))
    }
}

/// How programs on this machine reach what listens at an address.
pub(crate) fn reached_at(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}

/// A whole number within bounds.
fn number<N: TryFrom<u64>, const LEAST: u64, const MOST: u64>(text: &str) -> Result<N, String> {
    let number = text.parse::<u64>().ok().filter(|number| (LEAST..=MOST).contains(number));
    let number = number.and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| format!("use a whole number from {LEAST} to {MOST}"))
}

fn ip_address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "use an IP address of this machine, or 0.0.0.0 for all of them".to_owned())
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "use an IP address of this machine and a port, such as 127.0.0.1:9090".to_owned())
}

/// `http(s)://host[:port]` and nothing more.
fn web_address(url: &str) -> Result<String, String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_address = rest.map(|rest| rest.trim_end_matches('/')).is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
    });
    if is_address {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    Err("use an address without a path, such as https://forge.example.org".to_owned())
}

fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    network.ok_or_else(|| "use IP addresses or networks, such as 10.0.0.1 or 10.0.0.0/8".to_owned())
}

fn token(text: &str) -> Result<TokenText, String> {
    TokenText::parse(text.trim()).ok_or_else(|| {
        "use 32 or more printable characters, for example from `openssl rand -hex 32`".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_has_no_path() {
        assert_eq!(web_address("https://a.example/").unwrap(), "https://a.example");
        for bad in ["forge.example", "https://", "https://a.example/x", "ftp://a", "https://a b"] {
            assert!(web_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_queue_that_was_embedded_before_keeps_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let config = ServeConfig { db_path: folder.path().join("later.db"), ..ServeConfig::local(&folder) };
        assert_eq!(config.files_folder(), folder.path().join("files"));
        std::fs::create_dir(folder.path().join("later.db-files")).unwrap();
        assert_eq!(config.files_folder(), folder.path().join("later.db-files"));
        std::fs::create_dir(folder.path().join("files")).unwrap();
        assert_eq!(
            config.files_folder(),
            folder.path().join("later.db-files"),
            "an empty one was never used"
        );
        std::fs::create_dir(folder.path().join("files/sources")).unwrap();
        assert_eq!(config.files_folder(), folder.path().join("files"), "what a service has had stays");
    }

    #[test]
    fn a_number_keeps_its_bounds() {
        assert_eq!(number::<u16, 0, 65_535>("65535"), Ok(65_535));
        for bad in ["0", "86401", "", "-1", "+-1", "1.5", "99999999999999999999"] {
            assert_eq!(
                number::<u64, 1, 86_400>(bad),
                Err("use a whole number from 1 to 86400".to_owned()),
                "{bad}"
            );
        }
    }
}
