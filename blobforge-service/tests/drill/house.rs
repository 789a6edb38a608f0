//! A bucket that lasts, and a service whose disk does not.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use blobforge_core::{JobType, Registration, WorkerId, broker::Broker};
use blobforge_worker_sdk::client::{Client, ClientConfig};
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};

use crate::bucket::{ACCESS_KEY, BUCKET, Bucket, SECRET_KEY};

/// Far longer than anything takes; only so that a test which has failed ends.
const PATIENCE: Duration = Duration::from_secs(180);
/// Given from outside, since a lost disk would take one along that the service made.
pub(crate) const TOKEN: &str = "the-token-of-the-forge-which-outlasts-its-disk";

pub(crate) struct House {
    pub(crate) bucket: Arc<Bucket>,
    folder: tempfile::TempDir,
    port: u16,
    service: Option<Child>,
    pub(crate) http: reqwest::Client,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::on(Arc::new(Bucket::start().await))
    }

    /// Another one on the same bucket, with an empty disk.
    pub(crate) fn on(bucket: Arc<Bucket>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        Self { bucket, folder, port, service: None, http: reqwest::Client::new() }
    }

    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.disk().join("blobforge.db")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("service.log")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// A command with the settings of this house.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
        command.args(arguments).env("BLOBFORGE_DB_PATH", self.database()).stdin(Stdio::null());
        command.env("BLOBFORGE_S3_ENDPOINT", &self.bucket.endpoint).env("BLOBFORGE_S3_BUCKET", BUCKET);
        command.env("BLOBFORGE_S3_ACCESS_KEY", ACCESS_KEY).env("BLOBFORGE_S3_SECRET_KEY", SECRET_KEY);
        command.env("BLOBFORGE_S3_PREFIX", "forge").env("BLOBFORGE_ADMIN_TOKEN", TOKEN);
        command.env("LITESTREAM_BIN", litestream()).env("BLOBFORGE_LITESTREAM_SYNC", "1");
        command.env("BLOBFORGE_PORT", self.port.to_string()).env("XDG_CONFIG_HOME", "/nonexistent");
        command.env("BLOBFORGE_WORKER_TIMEOUT", "600");
        command
    }

    /// Starts the service, and says how it ended if it did not come up.
    pub(crate) async fn try_serve(&mut self, environment: &[(&str, &str)]) -> Result<(), ExitStatus> {
        let log = File::create(self.log_file()).unwrap();
        let mut command = self.command(&["serve", "--replicate"]);
        command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(log);
        self.service = Some(command.spawn().unwrap());
        let begun = Instant::now();
        loop {
            if self
                .http
                .get(self.url("/api/health"))
                .send()
                .await
                .is_ok_and(|reply| reply.status().is_success())
            {
                return Ok(());
            }
            if let Some(status) = self.service.as_mut().unwrap().try_wait().unwrap() {
                self.service = None;
                return Err(status);
            }
            assert!(begun.elapsed() < PATIENCE, "the service does not come up\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn serve(&mut self) {
        let served = self.try_serve(&[]).await;
        assert!(served.is_ok(), "{served:?}\n{}", self.log());
    }

    /// Why the service does not start with these settings.
    pub(crate) async fn refusal(&mut self, environment: &[(&str, &str)]) -> String {
        let Err(ended) = self.try_serve(environment).await else { panic!("it starts\n{}", self.log()) };
        assert_eq!(ended.code(), Some(1), "{}", self.log());
        assert!(!self.database().exists(), "no empty database was begun in its place");
        self.log()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn process(&self) -> Pid {
        Pid::from_child(self.service.as_ref().unwrap())
    }

    /// Kills the service and Litestream, which dies with it, in this instant.
    pub(crate) fn kill(&mut self) {
        let copier = self.litestream_process().unwrap();
        let mut service = self.service.take().unwrap();
        service.kill().unwrap();
        service.wait().unwrap();
        let begun = Instant::now();
        while Path::new(&format!("/proc/{copier}/exe")).exists() {
            assert!(begun.elapsed() < PATIENCE, "litestream outlives its service");
            std::thread::yield_now();
        }
    }

    /// Tells the service to stop, and waits until it has.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        kill_process(self.process(), Signal::TERM).unwrap();
        self.service.take().unwrap().wait().unwrap()
    }

    /// The disk is gone, with all that was on it.
    pub(crate) fn lose_disk(&self) {
        fs::remove_dir_all(self.disk()).unwrap();
    }

    /// The number of Litestream's process, which the service started.
    pub(crate) fn litestream_process(&self) -> Option<i32> {
        let service = self.process().as_raw_nonzero().get();
        let children = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
            let number: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent: i32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            (parent == service && stat.contains("(litestream)")).then_some(number)
        });
        children.last()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(ClientConfig::new(self.url(""), TOKEN)).unwrap()
    }

    /// A worker of this name, registered for a type.
    pub(crate) async fn worker(&self, client: &Client, name: &str, job_type: &str) -> WorkerId {
        let worker = WorkerId::new(name).unwrap();
        let registration = Registration::new(worker.clone(), [JobType::new(job_type).unwrap()], name);
        client.register(&registration).await.unwrap();
        worker
    }

    /// Hands in a job without a file; `None` if the service is gone.
    pub(crate) async fn submit(&self, job_type: &str) -> Option<i64> {
        let body = serde_json::json!({"type": job_type, "source": "none"});
        let request = self.http.post(self.url("/api/jobs")).bearer_auth(TOKEN).json(&body);
        let reply = request.send().await.ok()?.error_for_status().ok()?;
        reply.json::<serde_json::Value>().await.ok()?["job_id"].as_i64()
    }

    /// What is measured under this name.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let reply =
            self.http.get(self.url("/metrics")).bearer_auth(TOKEN).send().await.ok()?.text().await.ok()?;
        reply.lines().find_map(|line| line.strip_prefix(&format!("{name} "))?.parse().ok())
    }

    /// The time up to which everything is copied, as the service knows it; 0 before the first time.
    pub(crate) async fn copied_at(&self) -> f64 {
        self.metric("blobforge_backup_copied_timestamp_seconds").await.unwrap_or(0.0)
    }

    /// Waits until the copy has gone on since `earlier`, and says up to when.
    pub(crate) async fn copied_after(&self, earlier: f64) -> f64 {
        self.eventually("the copy goes on", async || {
            Some(self.copied_at().await).filter(|copied| *copied > earlier)
        })
        .await
    }

    pub(crate) async fn eventually<T>(&self, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn look(&self) -> Connection {
        Connection::open_with_flags(self.database(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
    }

    /// Every job and its kept status: 1 waits or runs, 3 is completed.
    pub(crate) fn jobs(&self) -> BTreeMap<i64, i64> {
        let database = self.look();
        let mut select = database.prepare("SELECT id, status FROM jobs").unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    pub(crate) fn generation(&self) -> u32 {
        self.look()
            .query_row("SELECT value FROM meta WHERE key = 'generation'", [], |row| row.get(0))
            .unwrap()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut service) = self.service.take() {
            let _ = service.kill();
            let _ = service.wait();
        }
    }
}

/// The program, which `scripts/drill` installs.
pub(crate) fn litestream() -> PathBuf {
    given("BLOBFORGE_TEST_LITESTREAM")
}

/// The last of the versions whose copies look otherwise.
pub(crate) fn old_litestream() -> PathBuf {
    given("BLOBFORGE_TEST_LITESTREAM_OLD")
}

fn given(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run scripts/drill")).into()
}
