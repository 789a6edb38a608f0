//! A service and its workers as processes of their own, to be killed.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Client, Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Far longer than anything takes; only so that a test which has failed ends.
const PATIENCE: Duration = Duration::from_secs(300);

/// A process that dies with the test.
pub(crate) struct Process(Child);

impl Process {
    fn start(command: &mut Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let both = log.try_clone().unwrap();
        Self(command.stdin(Stdio::null()).stdout(log).stderr(both).spawn().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service that can be killed and started again on the same data and port.
pub(crate) struct Forge {
    pub(crate) dir: tempfile::TempDir,
    port: u16,
    lease_seconds: u32,
    service: Option<Process>,
    http: Client,
}

impl Forge {
    pub(crate) async fn start(lease_seconds: u32) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let mut forge = Self { dir, port, lease_seconds, service: None, http: Client::new() };
        forge.serve().await;
        forge
    }

    pub(crate) async fn serve(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
        command.arg("serve").args(["--port", &self.port.to_string(), "--db-path"]).arg(self.database());
        command.args(["--worker-timeout", &self.lease_seconds.to_string()]).env_remove("BLOBFORGE_HOST");
        // Receivers of webhooks are on this machine.
        command.env("BLOBFORGE_WEBHOOK_ALLOW_PRIVATE", "127.0.0.1");
        self.service = Some(Process::start(&mut command, &self.path("service.log")));
        let live = format!("{}/api/health/live", self.url());
        let http = self.http.clone();
        self.eventually("the service answers", async || http.get(&live).send().await.ok()).await;
    }

    /// Kills the service at once, from wherever it is called; [`Forge::bury_service`] follows.
    pub(crate) fn strike_service(&self) {
        self.service.as_ref().unwrap().signal(Signal::KILL);
    }

    pub(crate) fn bury_service(&mut self) {
        self.service.take().unwrap().kill();
    }

    pub(crate) fn worker(&self, id: &str) -> Process {
        self.worker_with(id, |_| {})
    }

    pub(crate) fn gated_worker(&self, id: &str, gate: &Path) -> Process {
        let program =
            Path::new(env!("CARGO_BIN_EXE_blobforge")).parent().unwrap().join("examples/gated_worker");
        let mut command = Command::new(program);
        command.arg(id).arg(self.path(id)).arg(gate);
        Process::start(self.reaching_us(&mut command), &self.path(&format!("{id}.log")))
    }

    /// A worker that calls a shell for each job of this type.
    pub(crate) fn shell_worker(&self, id: &str, job_type: &str, more: &[&str], script: &str) -> Process {
        self.worker_with(id, |command| {
            command.args(["--type", job_type]).args(more).args(["--", "sh", "-c", script]);
        })
    }

    /// A worker that is set up by the test.
    pub(crate) fn worker_with(&self, id: &str, set_up: impl FnOnce(&mut Command)) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
        command.args(["worker", "--id", id, "--work-dir"]).arg(self.path(id));
        set_up(&mut command);
        Process::start(self.reaching_us(&mut command), &self.path(&format!("{id}.log")))
    }

    fn reaching_us<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("BLOBFORGE_SERVER_URL", self.url()).env("BLOBFORGE_API_TOKEN", self.token())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn database(&self) -> PathBuf {
        self.path("blobforge.db")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.path("admin-token")).unwrap().trim().to_owned()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url())).bearer_auth(self.token())
    }

    /// What a GET answers, once the service does.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let request = async || self.request(Method::GET, path).send().await.ok()?.json().await.ok();
        self.eventually(path, request).await
    }

    pub(crate) async fn submit(&self, job_type: &str) -> i64 {
        let body = serde_json::json!({"type": job_type, "source": "none"});
        let reply = self.request(Method::POST, "/api/jobs").json(&body).send().await.unwrap();
        assert_eq!(reply.status(), StatusCode::CREATED);
        reply.json::<Value>().await.unwrap()["job_id"].as_i64().unwrap()
    }

    /// The job, once it is as wanted.
    pub(crate) async fn until(&self, job: i64, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/jobs/{job}");
        let look = async || Some(self.get(&path).await).filter(|job| wanted(job));
        self.eventually(&format!("job {job}: {what}"), look).await
    }

    /// Asks again and again until there is an answer.
    pub(crate) async fn eventually<T>(&self, what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn logs(&self) -> String {
        let entries = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let logs = entries.filter(|path| path.extension().is_some_and(|e| e == "log"));
        logs.map(|path| format!("── {}\n{}", path.display(), std::fs::read_to_string(&path).unwrap()))
            .collect()
    }
}
