//! One model server: somebody else's, which is only asked whether it is well, or one of this machine's, which is started
//! when it is needed and stopped when nobody needs it.
//!
//! Workers of one machine that share a graphics card share their servers, too. Who starts one holds a lock for as long as
//! it runs and has written down its port; the others find it there. When its worker ends, however that happens, the server
//! ends with it, and whoever needs it next starts another one.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    Workplace,
    child::{ChildLimits, ChildSpec, Process},
    lock::locked,
};

/// How long a server may take to say that it is well.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often a server that starts is asked.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long one that runs may give no answer before it is started again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a server has to end when it is told to.
const GRACE: Duration = Duration::from_secs(5);

/// Where a server is.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Somebody else runs it, at this address, and should run this model.
    At { url: String, model: String },
    /// It is started here.
    Started(Call),
    /// There is none, for this reason.
    Missing(String),
}

/// How a server is started. `{port}` stands for its port.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    /// What it says to be.
    pub(super) model: String,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Until it is well; it may have to fetch its weights first.
    pub(super) start: Duration,
    /// Until one that nobody needs is stopped.
    pub(super) idle: Duration,
}

/// See [the module](self).
#[derive(Debug)]
pub(super) struct Server {
    name: &'static str,
    source: Source,
    /// Where it is written down that it runs.
    folder: PathBuf,
    times: Times,
    http: reqwest::Client,
    /// The one that this process started.
    own: Arc<Mutex<Option<Own>>>,
}

/// What a server should say that it is.
#[derive(Clone, Copy)]
enum Expect<'a> {
    /// This, since a stranger may have got the port of one that is gone.
    Model(&'a str),
    /// This, if it says anything: some ask for a key first.
    IfItSays(&'a str),
}

/// A server that runs as long as this.
#[derive(Debug)]
struct Own {
    stop: CancellationToken,
    gone: CancellationToken,
    last_words: Arc<std::sync::Mutex<String>>,
    used: Instant,
    // With them the server ends, and others may start one.
    _running: AbortOnDropHandle<()>,
    _until_idle: AbortOnDropHandle<()>,
    _lock: Lock,
}

/// As long as this is held the server is not stopped for want of work.
#[derive(Debug)]
pub(super) struct Hold {
    /// Where it answers.
    pub(super) url: String,
    _use: Option<Lock>,
}

impl Server {
    pub(super) fn new(name: &'static str, source: Source, folder: &Path, times: Times) -> Self {
        // As the runners, which know of no proxy: most servers are on this machine.
        let http = reqwest::Client::builder().no_proxy().build().unwrap_or_default();
        Self { name, source, folder: folder.to_owned(), times, http, own: Arc::default() }
    }

    /// What stands against using it, if that can be said without starting it.
    pub(super) async fn trouble(&self) -> Option<String> {
        match &self.source {
            Source::At { url, model } => self.ask(url, Expect::IfItSays(model)).await.err(),
            Source::Started(_) => None,
            Source::Missing(why) => Some(why.clone()),
        }
    }

    /// Whether there is none, and cannot be one as things are.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.source, Source::Missing(_))
    }

    /// Why it does not answer any more where it was held, if it does not.
    pub(super) async fn is_down(&self, held: &Hold) -> Option<String> {
        match &self.source {
            Source::Started(call) => match self.written_port().map(url) {
                Some(url) if url == held.url => self.ask(&url, Expect::Model(&call.model)).await.err(),
                // Whoever started it again had a reason.
                _ => Some(format!("the {} server ended", self.name)),
            },
            _ => self.trouble().await,
        }
    }

    /// The server, brought up if need be. It stays up as long as the hold is kept.
    ///
    /// # Errors
    /// Why it cannot be used now, for people.
    pub(super) async fn hold(&self, place: &Workplace) -> Result<Hold, String> {
        match &self.source {
            Source::At { url, model } => {
                self.ask(url, Expect::IfItSays(model)).await?;
                Ok(Hold { url: url.clone(), _use: None })
            }
            Source::Started(call) => self.hold_started(call, place).await,
            Source::Missing(why) => Err(why.clone()),
        }
    }

    async fn hold_started(&self, call: &Call, place: &Workplace) -> Result<Hold, String> {
        fs::create_dir_all(&self.folder).map_err(|error| self.unusable(&error))?;
        let begun = Instant::now();
        // Only one job of this process looks after it at a time.
        let mut own = self.own.lock().await;
        loop {
            // First of all: who stops it looks whether somebody has this.
            let in_use = Lock::shared(&self.file("use")).map_err(|error| self.unusable(&error))?;
            if let Some(in_use) = in_use
                && let Some(port) = self.written_port()
                && self.ask(&url(port), Expect::Model(&call.model)).await.is_ok()
            {
                if let Some(own) = own.as_mut() {
                    own.used = Instant::now();
                }
                return Ok(Hold { url: url(port), _use: Some(in_use) });
            }
            // One that is very busy may be slow to say so.
            if own.as_ref().is_some_and(|own| !own.gone.is_cancelled()) && begun.elapsed() < PATIENCE {
                sleep(ASK_EVERY).await;
                continue;
            }
            if let Some(broken) = own.take() {
                tracing::warn!("the {} server does not answer any more: starting it again", self.name);
                broken.end().await;
            }
            if let Some(lock) = Lock::exclusive(&self.file("lock")).map_err(|error| self.unusable(&error))? {
                *own = Some(self.start(call, place, lock).await?);
            } else if begun.elapsed() > self.times.start {
                return Err(format!(
                    "another worker of this machine should have started the {} server, and it does not answer: see {}",
                    self.name,
                    self.file("port").display()
                ));
            } else {
                sleep(ASK_EVERY).await;
            }
        }
    }

    /// Starts it and waits until it is well.
    async fn start(&self, call: &Call, place: &Workplace, lock: Lock) -> Result<Own, String> {
        let port = free_port().map_err(|error| self.unusable(&error))?;
        let process = Process::start(&call.spec(port, &self.folder, place)).await;
        let process = process.map_err(|error| {
            format!("the {} server cannot be started as {}: {error}", self.name, call.program.display())
        })?;
        tracing::info!(port, "starting the {} server", self.name);
        let own = self.watched(process, lock);
        let begun = Instant::now();
        while let Err(why) = self.ask(&url(port), Expect::Model(&call.model)).await {
            let said = || own.last_words.lock().map(|words| words.trim().to_owned()).unwrap_or_default();
            if own.gone.is_cancelled() {
                return Err(format!("the {} server ended while it started: {}", self.name, said()));
            }
            if begun.elapsed() > self.times.start {
                return Err(format!("{why} within {:?} of its start: {}", self.times.start, said()));
            }
            sleep(ASK_EVERY).await;
        }
        fs::write(self.file("port"), port.to_string()).map_err(|error| self.unusable(&error))?;
        tracing::info!(port, seconds = begun.elapsed().as_secs(), "the {} server is up", self.name);
        Ok(own)
    }

    /// Reads what it says, and ends it when it is told to or has had nothing to do for a while.
    fn watched(&self, mut process: Process, lock: Lock) -> Own {
        let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
        let last_words = Arc::<std::sync::Mutex<String>>::default();
        let (told, over, words) = (stop.clone(), gone.clone(), last_words.clone());
        let (name, port_file) = (self.name, self.file("port"));
        let running = tokio::spawn(async move {
            tokio::select! {
                () = process.exited() => {
                    let said = process.stderr_tail();
                    tracing::warn!("the {name} server ended: {}", said.trim());
                    if let Ok(mut words) = words.lock() {
                        *words = said;
                    }
                }
                () = told.cancelled() => {}
            }
            let _ = fs::remove_file(port_file);
            process.stop(GRACE).await;
            over.cancel();
        });
        Own {
            _until_idle: AbortOnDropHandle::new(tokio::spawn(self.until_idle(stop.clone()))),
            stop,
            gone,
            last_words,
            used: Instant::now(),
            _running: AbortOnDropHandle::new(running),
            _lock: lock,
        }
    }

    /// Stops it when nobody of this machine has needed it for a while.
    fn until_idle(&self, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
        let (idle, name, in_use) = (self.times.idle, self.name, self.file("use"));
        // Not to keep alive what ends when it is dropped.
        let own = Arc::downgrade(&self.own);
        async move {
            loop {
                sleep((idle / 4).max(ASK_EVERY)).await;
                let Some(own) = own.upgrade() else { return };
                let mut own = own.lock().await;
                // Whoever uses it has a share of this lock, also in another process.
                let Ok(Some(_nobody)) = Lock::exclusive(&in_use) else {
                    if let Some(own) = own.as_mut() {
                        own.used = Instant::now();
                    }
                    continue;
                };
                if own.as_ref().is_some_and(|own| own.used.elapsed() >= idle) {
                    tracing::info!("nothing needed the {name} server for {idle:?}: stopping it");
                    stop.cancel();
                    if let Some(own) = own.as_ref() {
                        own.gone.cancelled().await;
                    }
                    // This task ends with what it takes; nothing comes after it.
                    *own = None;
                    return;
                }
            }
        }
    }

    /// Ends the one that this process started.
    pub(super) async fn close(&self) {
        let own = self.own.lock().await.take();
        if let Some(own) = own {
            own.end().await;
        }
    }

    /// Asks whether it is well, and whether it is what it should be.
    async fn ask(&self, url: &str, expected: Expect<'_>) -> Result<(), String> {
        let base = url.trim_end_matches('/').trim_end_matches("/v1");
        let asked = self.http.get(format!("{base}/health")).timeout(ANSWER_WITHIN).send().await;
        let answer = asked.map_err(|error| {
            format!("the {} server at {url} cannot be reached: {}", self.name, without_url(error))
        })?;
        if !answer.status().is_success() {
            return Err(format!(
                "the {} server at {url} is not ready: it says {}",
                self.name,
                answer.status()
            ));
        }
        self.ask_model(url, base, expected).await
    }

    async fn ask_model(&self, url: &str, base: &str, expected: Expect<'_>) -> Result<(), String> {
        let asked = self.http.get(format!("{base}/v1/models")).timeout(ANSWER_WITHIN).send().await;
        let models: Result<Value, _> = async { asked?.error_for_status()?.json().await }.await;
        let found = models.as_ref().ok().and_then(|models| models["data"][0]["id"].as_str());
        match (found, expected) {
            (Some(found), Expect::Model(model) | Expect::IfItSays(model)) if found == model => Ok(()),
            (None, Expect::IfItSays(_)) => Ok(()),
            (Some(found), Expect::Model(model) | Expect::IfItSays(model)) => {
                Err(format!("the {} server at {url} serves {found} instead of {model}", self.name))
            }
            (None, Expect::Model(_)) => Err(format!("what answers at {url} is no {} server", self.name)),
        }
    }

    fn written_port(&self) -> Option<u16> {
        fs::read_to_string(self.file("port")).ok()?.trim().parse().ok()
    }

    fn file(&self, what: &str) -> PathBuf {
        self.folder.join(format!("{}.{what}", self.name))
    }

    fn unusable(&self, error: &io::Error) -> String {
        format!("the {} server cannot be run from {}: {error}", self.name, self.folder.display())
    }
}

impl Own {
    async fn end(self) {
        self.stop.cancel();
        self.gone.cancelled().await;
    }
}

impl Call {
    fn spec(&self, port: u16, folder: &Path, place: &Workplace) -> ChildSpec {
        // What it needs is decided by the models and not by any job.
        let mut spec = ChildSpec::new(&self.program, folder).limits(ChildLimits::none());
        let port = port.to_string();
        spec.args = self
            .args
            .iter()
            .map(|arg| if arg == "{port}" { port.clone().into() } else { arg.clone() })
            .collect();
        spec.env.clone_from(&self.env);
        spec.mark = Some(place.next_mark());
        spec
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/v1")
}

/// A port that nobody has now. Should somebody take it before the server does, the server says so and ends.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn without_url(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        said = deeper.to_string();
        cause = deeper.source();
    }
    said
}

/// A lock on a file, which ends with this value and at the latest with the process.
#[derive(Debug)]
struct Lock(File);

impl Lock {
    /// For one alone; `None` if somebody has it.
    fn exclusive(path: &Path) -> io::Result<Option<Self>> {
        Ok(locked(path, FlockOperation::NonBlockingLockExclusive)?.map(Self))
    }

    /// For any number of users; `None` if somebody has it alone.
    fn shared(path: &Path) -> io::Result<Option<Self>> {
        Ok(locked(path, FlockOperation::NonBlockingLockShared)?.map(Self))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // To close it is not enough: a child that was forked and has not called exec yet has it open, too.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
