//! The service, running: a queue with a door in front.

mod admin;
mod arrivals;
mod connection;
mod copying;
mod export;
mod import;
mod pace;
mod probe;
mod repeats;
mod reply;
mod secret;
mod streams;
mod unannounced;
mod webhooks;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use blobforge_core::{
    Generation, Queue, QueueError, Timestamp,
    blob::{BlobStore, LocalParts, ObjectBlobs, UrlSigner},
    queue::Meter,
    storage::{
        Storage,
        sqlite::{SqliteOptions, SqliteStorage},
    },
};
use poem::{
    Endpoint, EndpointExt, IntoResponse, Server,
    listener::{Acceptor, Listener, TcpAcceptor, TcpListener},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use admin::reset_admin;
pub(crate) use arrivals::Arrivals;
pub(crate) use copying::{Home, copy as copy_files};
pub(crate) use export::export;
pub(crate) use import::{Wish as ImportWish, import};
pub(crate) use pace::paced;
pub(crate) use probe::check_settings as probe_bucket;
pub(crate) use repeats::{Named, Ran, Repeats};
pub(crate) use secret::{folder_to_write, private_folder, write_private};
pub(crate) use unannounced::Unannounced;

pub(crate) use reply::{Served, Traced};
pub(crate) use streams::Streams;

pub(crate) use connection::Breaker;
use connection::{Connections, Doorkeeper};
use reply::Replies;

use crate::{
    api,
    auth::{Accounts, Budgets, Gate, LoginLinks, Oidc, Provider, Rules},
    backup::{self, BackupError, Litestream, Replication, Standing},
    config::{ServeConfig, reached_at},
    events::EventHub,
    metrics::Metrics,
    webhooks::{Deliverer, Hooks, Reach},
};

/// How long open connections may take to end once the service stops.
const STOP_WITHIN: Duration = Duration::from_millis(3500);
/// Where signed URLs of local files begin.
pub(crate) const FILES_PREFIX: &str = "/files/";

/// The file in the data folder that tells the commands on this machine where the service is.
pub(crate) const ADDRESS_FILE: &str = "address";

/// Why the service does not run, or runs no more.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// What it was told makes no sense.
    #[error("{0}")]
    Config(String),
    /// The queue did not open, or has stopped.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A file or folder could not be used.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}. {}", remedy_of(source, flag))]
    Bind {
        /// The flag that says where to listen.
        flag: &'static str,
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The database could not be brought back, or nobody can copy it.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Connections could not be served.
    #[error("the server failed: {0}")]
    Server(#[source] io::Error),
}

/// Files in the data folder, by signed URL.
#[derive(Debug)]
pub(crate) struct LocalFiles {
    pub(crate) signer: UrlSigner,
    pub(crate) parts: LocalParts,
}

/// What every handler shares.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ServeConfig,
    pub(crate) queue: Queue,
    pub(crate) accounts: Accounts,
    pub(crate) links: LoginLinks,
    /// Logging in with an identity provider, where there is one.
    pub(crate) oidc: Option<Oidc>,
    pub(crate) events: EventHub,
    pub(crate) streams: Streams,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) arrivals: Arrivals,
    pub(crate) unannounced: Unannounced,
    pub(crate) budgets: Budgets,
    pub(crate) repeats: Repeats,
    pub(crate) hooks: Hooks,
    pub(crate) started_at: Timestamp,
    /// How the copy of the database stands, where one is made.
    pub(crate) backup: Option<Arc<Standing>>,
    /// Files that go through the service; none where they lie elsewhere.
    pub(crate) local: Option<LocalFiles>,
    pub(crate) stop: CancellationToken,
}

/// A service that runs in this process, until it is stopped or dropped.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use blobforge_service::{Service, ServeConfig};
/// let folder = tempfile::tempdir()?;
/// let service = Service::start(ServeConfig::local(folder.path())).await?;
/// println!("it answers at {}", service.url());
/// service.stop().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    admin: admin::Admin,
    shared: Arc<Shared>,
    task: JoinHandle<Result<(), ServiceError>>,
}

impl Service {
    /// Opens the queue, finds or makes the admin's token, and begins to answer.
    ///
    /// # Errors
    /// When the data folder or the address cannot be used.
    pub async fn start(config: ServeConfig) -> Result<Self, ServiceError> {
        let folder = config.data_folder();
        secret::own_folder(&folder)?;
        let address = SocketAddr::new(config.host, config.port);
        // Listening comes first, so that a second service on the same address changes nothing in the data folder.
        let (acceptor, chosen) = listen(address, "--port").await?;
        let for_metrics = match config.metrics_addr {
            Some(address) => Some(listen(address, "--metrics-addr").await?),
            None => None,
        };
        let metrics = Arc::new(Metrics::new(config.clock()));
        let oidc = open_oidc(&config)?;
        // Found before anything begins: a service that is to be copied does not run without.
        let litestream = config.backup.replicate.then(|| Litestream::new(&config)).transpose()?;
        if let Some(options) = &config.s3 {
            probe::check_settings(&config, options).await?;
            warn_of_files_left(&config.files_folder());
        }
        backup::bring_back(&config).await?;
        let storage = open_storage(&config).await?;
        let came_back = storage.came_back();
        let (blobs, local) = files_of(&config, storage.generation())?;
        let queue = queue_on(storage, &config, blobs, Some(metrics.clone()))?;
        let rules = config.oidc.as_ref().map(Rules::of);
        let accounts = Accounts::new(queue.clone(), &config.clock(), rules);
        let admin = admin::find_or_make(&config, &accounts, came_back).await?;
        admin::provide_for_workers(&config, &accounts).await?;
        let hooks = Hooks::new(queue.clone(), Reach::new(config.webhook_allow_private.clone()));
        webhooks::show_secret(&folder, &hooks).await?;
        let deliverer = Deliverer::new(queue.clone(), config.clock(), hooks.clone())?;
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(deliverer.run()));
        tokio::spawn(stop.clone().run_until_cancelled_owned(accounts.clone().watch()));
        let arrivals = Arrivals::default();
        let unannounced = Unannounced::new(queue.clone(), arrivals.clone(), config.clock());
        tokio::spawn(stop.clone().run_until_cancelled_owned(unannounced.clone().watch()));
        let shared = Arc::new(Shared {
            events: EventHub::start(queue.clone(), metrics.clone(), stop.clone()),
            streams: Streams::new(config.max_streams),
            metrics,
            links: LoginLinks::default(),
            oidc,
            arrivals,
            unannounced,
            budgets: Budgets::new(&config),
            repeats: Repeats::new(queue.clone()),
            hooks,
            started_at: queue.now(),
            backup: litestream
                .is_some()
                .then(|| Arc::new(Standing::new(&config.backup, &config.db_path, queue.now()))),
            local,
            config,
            queue,
            accounts,
            stop: stop.clone(),
        });
        let routes = api::endpoint(&shared).map_to_response();
        let serving = serve(acceptor, Gate::new(routes, shared.clone()), &shared);
        let (for_metrics, metrics_address) = for_metrics.unzip();
        if let Some(acceptor) = for_metrics {
            tokio::spawn(serve(acceptor, api::metrics_alone(&shared), &shared));
        }
        let copied = litestream.zip(shared.backup.clone());
        let replication = copied
            .map(|(litestream, standing)| Replication::start(litestream, standing, shared.config.clock()))
            .transpose()?;
        if replication.is_some() {
            tokio::spawn(stop.run_until_cancelled_owned(backup::verify_again_and_again(shared.clone())));
        }
        note_address(&folder, chosen);
        let running = run(serving, shared.clone(), replication);
        let task = tokio::spawn(async move {
            let ended = running.await;
            forget_address(&folder, chosen);
            ended
        });
        Ok(Self { address: chosen, metrics_address, admin, shared, task })
    }

    /// Where what is measured is told without a token, if it is.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where programs on this machine reach it.
    pub fn url(&self) -> String {
        reached_at(self.address)
    }

    /// The admin's token; empty if it was made at an earlier start and its file is gone.
    pub fn admin_token(&self) -> &str {
        self.admin.token.as_ref().map_or("", |token| token.reveal())
    }

    /// The file in which the admin's token lies; `None` if the token was given as a setting.
    pub fn admin_token_file(&self) -> Option<&std::path::Path> {
        self.admin.file.as_deref()
    }

    /// A link that logs a browser in as the admin, once and within 15 minutes.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn login_link(&self) -> Result<String, ServiceError> {
        let drawn = self.shared.links.draw(self.shared.queue.now());
        let code = drawn.map_err(|error| ServiceError::Queue(QueueError::Randomness(error)))?;
        let base = self.shared.config.public_url.clone().unwrap_or_else(|| self.url());
        Ok(format!("{base}/auth/login?link={code}"))
    }

    /// The queue that it serves.
    pub fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    /// Cancelled once the service begins to stop; cancelling it stops the service.
    pub fn stopping(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    /// Waits until the service has stopped, and says why if it was not asked to.
    ///
    /// # Errors
    /// When the storage or the server failed.
    pub async fn stopped(self) -> Result<(), ServiceError> {
        self.task.await.map_err(|error| ServiceError::Server(io::Error::other(error)))?
    }

    /// Lets requests that are under way finish, ends streams and waits, and closes the queue.
    ///
    /// # Errors
    /// When the storage or the server failed.
    pub async fn stop(self) -> Result<(), ServiceError> {
        self.shared.stop.cancel();
        self.stopped().await
    }
}

/// Listens on an address, and says which it is.
async fn listen(address: SocketAddr, flag: &'static str) -> Result<(TcpAcceptor, SocketAddr), ServiceError> {
    let acceptor = TcpListener::bind(address).into_acceptor().await;
    let acceptor = acceptor.map_err(|source| ServiceError::Bind { flag, address, source })?;
    let chosen = acceptor.local_addr().into_iter().find_map(|local| local.as_socket_addr().copied());
    Ok((acceptor, chosen.unwrap_or(address)))
}

/// Answers what comes in until the service stops.
fn serve<E>(
    acceptor: TcpAcceptor,
    endpoint: E,
    shared: &Arc<Shared>,
) -> impl Future<Output = io::Result<()>> + Send + use<E>
where
    E: Endpoint + 'static,
    E::Output: IntoResponse,
{
    let connections = Connections::default();
    let endpoint = Replies::new(endpoint, connections.clone(), shared.clone());
    let acceptor = Doorkeeper::new(acceptor, connections, shared.config.read_timeout);
    let signal = shared.stop.clone().cancelled_owned();
    Server::new_with_acceptor(acceptor).run_with_graceful_shutdown(endpoint, signal, Some(STOP_WITHIN))
}

/// How people log in with an identity provider. It is asked once somebody does: the service runs without it as well.
fn open_oidc(config: &ServeConfig) -> Result<Option<Oidc>, ServiceError> {
    let Some(options) = &config.oidc else { return Ok(None) };
    options.check().map_err(ServiceError::Config)?;
    if options.guests.everybody {
        tracing::warn!("everybody whom {} knows may log in", options.host());
    }
    let provider = Provider::new(options.clone(), config.clock())
        .map_err(|error| ServiceError::Config(format!("no HTTP client can be made: {error}")))?;
    Ok(Some(Oidc::new(provider)))
}

/// Where files are kept, for a command, which gives nobody a URL.
fn open_files(config: &ServeConfig) -> Result<(Arc<dyn BlobStore>, Option<LocalFiles>), ServiceError> {
    files_of(config, Generation::new(1))
}

/// Where files are kept, and what is needed of them if they go through the service. URLs of local files are good for one
/// generation of the store.
fn files_of(
    config: &ServeConfig,
    generation: Generation,
) -> Result<(Arc<dyn BlobStore>, Option<LocalFiles>), ServiceError> {
    if let Some(options) = &config.s3 {
        return Ok((Arc::new(ObjectBlobs::s3(options).map_err(QueueError::Blob)?), None));
    }
    let folder = config.data_folder();
    let secret = secret::of_generation(&secret::url_secret(&folder.join("url-secret"))?, generation);
    let signer = UrlSigner::new(secret, FILES_PREFIX);
    let blobs = ObjectBlobs::local(config.files_folder()).map_err(QueueError::Blob)?;
    let local = blobs.local_parts().map(|parts| LocalFiles { signer: signer.clone(), parts });
    Ok((Arc::new(blobs.with_signer(signer)), local))
}

/// Says that there are files where nobody looks for them any more.
fn warn_of_files_left(files: &Path) {
    if std::fs::read_dir(files).is_ok_and(|mut files| files.next().is_some()) {
        tracing::warn!(
            "files go to the bucket, but there are some in {} as well, and jobs that need those fail: copy them with \
             `blobforge blobs copy --from local --to s3`, and move the folder away when you no longer need it",
            files.display()
        );
    }
}

/// What to do about an address that cannot be listened on.
fn remedy_of(source: &io::Error, flag: &str) -> String {
    match source.kind() {
        io::ErrorKind::AddrNotAvailable => {
            "That is no address of this machine: 0.0.0.0 listens on all that it has".to_owned()
        }
        io::ErrorKind::PermissionDenied => format!("Choose a port from 1024 on with {flag}"),
        _ => format!("Choose another port with {flag}, or 0 for a free one"),
    }
}

async fn open_storage(config: &ServeConfig) -> Result<SqliteStorage, ServiceError> {
    secret::make_private(&config.db_path)
        .map_err(|source| ServiceError::File { path: config.db_path.clone(), source })?;
    let usual = SqliteOptions::default();
    // While Litestream copies the log, it alone works that into the file.
    let wal_autocheckpoint = if config.backup.replicate { 0 } else { usual.wal_autocheckpoint };
    let options = SqliteOptions { clock: config.clock(), wal_autocheckpoint, ..usual };
    Ok(SqliteStorage::open(&config.db_path, options).await.map_err(QueueError::from)?)
}

fn queue_on(
    storage: SqliteStorage,
    config: &ServeConfig,
    blobs: Arc<dyn BlobStore>,
    meter: Option<Arc<dyn Meter>>,
) -> Result<Queue, ServiceError> {
    let mut builder = Queue::builder()
        .clock(config.clock())
        .lease(config.worker_timeout)
        .heartbeat_every(config.heartbeat_interval)
        .max_attempts(config.max_attempts)
        .blobs(blobs);
    if let Some(meter) = meter {
        builder = builder.meter(meter);
    }
    Ok(builder.open_on(Arc::new(storage))?)
}

/// The queue of these settings beside a service that may run, for a command.
pub(crate) async fn open_beside(config: &ServeConfig) -> Result<Queue, ServiceError> {
    open_beside_with(config, || Ok(open_files(config)?.0)).await
}

/// The same, whose files lie elsewhere.
async fn open_beside_with(
    config: &ServeConfig,
    blobs: impl FnOnce() -> Result<Arc<dyn BlobStore>, ServiceError>,
) -> Result<Queue, ServiceError> {
    secret::folder_to_write(&config.data_folder())?;
    let blobs = blobs()?;
    queue_on(open_storage(config).await?, config, blobs, None)
}

/// Tells the commands on this machine where the service is.
fn note_address(folder: &Path, address: SocketAddr) {
    if let Err(error) = secret::write_private(&folder.join(ADDRESS_FILE), &reached_at(address)) {
        tracing::warn!(%error, "commands on this machine have to be told by --server where this service is");
    }
}

/// Somebody else may be there later. A second service on the same data keeps its own.
fn forget_address(folder: &Path, address: SocketAddr) {
    let file = folder.join(ADDRESS_FILE);
    if std::fs::read_to_string(&file).is_ok_and(|said| said.trim() == reached_at(address)) {
        let _ = std::fs::remove_file(&file);
    }
}

/// Refuses where there is no database yet.
fn has_database(config: &ServeConfig) -> Result<(), ServiceError> {
    if config.db_path.is_file() {
        return Ok(());
    }
    let at = config.db_path.display();
    Err(ServiceError::Config(format!(
        "there is no database at {at}: say with --db-path or BLOBFORGE_DB_PATH where it is"
    )))
}

/// Serves until it is told to stop, or until there is no queue left to serve.
async fn run(
    serving: impl Future<Output = io::Result<()>>,
    shared: Arc<Shared>,
    replication: Option<Replication>,
) -> Result<(), ServiceError> {
    let ended = run_queue(serving, shared).await;
    // Last, so that whatever was acknowledged is copied.
    if let Some(replication) = replication {
        replication.finish().await;
    }
    ended
}

async fn run_queue(
    serving: impl Future<Output = io::Result<()>>,
    shared: Arc<Shared>,
) -> Result<(), ServiceError> {
    let (queue, stop) = (shared.queue.clone(), shared.stop.clone());
    let halted = async {
        let error = queue.halted().await;
        stop.cancel();
        error
    };
    tokio::pin!(serving, halted);
    let failure = tokio::select! {
        served = &mut serving => {
            queue.close().await;
            return served.map_err(ServiceError::Server);
        }
        error = &mut halted => error,
    };
    // Its requests learn from the queue that it has halted; they are still to be answered.
    serving.await.map_err(ServiceError::Server)?;
    Err(failure.into())
}
