//! `blobforge serve`: the service as a process, until it is told to stop.

use std::{io::Write as _, sync::Arc};

use blobforge_core::WorkerId;
use blobforge_worker_sdk::{
    Shutdown, Summary, Worker, WorkerError,
    client::{Client, ClientConfig, ClientError},
    shutdown_signal,
};
use tokio::task::JoinHandle;

use crate::{
    config::ServeConfig,
    pdf_text::PdfText,
    service::{Service, ServiceError},
};

/// Why `blobforge serve` ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The service did not start, or failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The worker beside it did not start, or failed.
    #[error("the worker beside the service: {0}")]
    Worker(#[from] WorkerError),
    /// The worker beside it could not be told where the service is.
    #[error("the worker beside the service: {0}")]
    Client(#[from] ClientError),
    /// The program for child processes was not found.
    #[error("the worker beside the service cannot find its own program: {0}")]
    Program(#[from] std::io::Error),
}

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// When the service does not start, or its storage fails.
pub async fn run(config: ServeConfig, with_worker: bool) -> Result<(), ServeError> {
    run_until(config, with_worker, || {}).await
}

/// As [`run`]; `ending` is called once the service begins to stop.
pub(crate) async fn run_until(
    config: ServeConfig,
    with_worker: bool,
    ending: impl FnOnce(),
) -> Result<(), ServeError> {
    let signal = shutdown_signal();
    let data = config.data_folder();
    let service = Service::start(config).await?;
    announce(&service).await?;
    let worker = if with_worker { Some(start_worker(&service, &data)?) } else { None };
    let stopping = service.stopping();
    tokio::select! {
        () = signal.cancelled() => {}
        () = stopping.cancelled() => {}
    }
    // The worker first: what it gives back has to be heard.
    if let Some((shutdown, task)) = worker {
        shutdown.begin();
        if let Ok(ended) = task.await {
            ended?;
        }
    }
    ending();
    service.stop().await?;
    tracing::info!("stopped in good order");
    Ok(())
}

async fn announce(service: &Service) -> Result<(), ServiceError> {
    let mut out = std::io::stdout().lock();
    // Standard output may be closed; the service serves all the same.
    let _ = writeln!(out, "BlobForge {} serves {}", env!("CARGO_PKG_VERSION"), service.url());
    let _ = writeln!(out, "  API page     {}/docs", service.url());
    if let Some(address) = service.metrics_address() {
        let _ = writeln!(out, "  metrics      http://{address}/metrics, without a token");
    }
    let token = match service.admin_token_file() {
        None => "as it was set".to_owned(),
        Some(file) if file.exists() => file.display().to_string(),
        Some(file) => format!("{} is gone: {ANOTHER_TOKEN}", file.display()),
    };
    let _ = writeln!(out, "  admin token  {token}");
    let _ = writeln!(out, "  log in once  {}", service.login_link()?);
    let _ = out.flush();
    Ok(())
}

const ANOTHER_TOKEN: &str = "`blobforge tokens reset-admin` makes another one";

type Running = (Shutdown, JoinHandle<Result<Summary, WorkerError>>);

/// A worker in this process; what it converts runs in child processes.
fn start_worker(service: &Service, data: &std::path::Path) -> Result<Running, ServeError> {
    if service.admin_token().is_empty() {
        let file = service.admin_token_file().map_or("its file".into(), std::path::Path::to_string_lossy);
        let what =
            format!("--with-worker needs the admin token, but {file} is gone: put it back; {ANOTHER_TOKEN}");
        return Err(ServiceError::Config(what).into());
    }
    let client = Client::new(ClientConfig::new(service.url(), service.admin_token()))?;
    let worker = Worker::builder(Arc::new(client))
        .id(WorkerId::new("beside-the-service").map_err(WorkerError::Invalid)?)
        .handler(PdfText::new()?)
        .state_dir(data.join("worker"))
        .build()?;
    let shutdown = Shutdown::new();
    let task = tokio::spawn(worker.run(shutdown.clone()));
    Ok((shutdown, task))
}
