//! The program that copies the database: where it is, how it is set up, and what it is asked to do.

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use blobforge_core::blob::{ObjectBlobs, S3Options};
use blobforge_worker_sdk::child::{ChildLimits, ChildSpec};
use futures_util::StreamExt;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::{BackupError, address, behind_prefix, restoring::EARLIER_STATE};
use crate::config::ServeConfig;

/// How long the last copy may take once the service has stopped, how long the program tries again when it is told to end, and
/// until it is killed.
pub(super) const LAST_COPY: Duration = Duration::from_secs(3);
const ENDING: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(2);
/// What of this process's environment it gets: how to reach others, and whom to trust.
const INHERITED: [&str; 9] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "TZ",
];

/// Litestream, as it is to copy one database.
#[derive(Clone)]
pub(crate) struct Litestream {
    program: PathBuf,
    database: PathBuf,
    bucket: S3Options,
    keys: (String, String),
    options: crate::config::BackupOptions,
}

impl std::fmt::Debug for Litestream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Litestream({} to {})", self.database.display(), self.replica())
    }
}

impl Litestream {
    /// That of these settings.
    ///
    /// # Errors
    /// When there is no bucket, or no such program.
    pub(crate) fn new(config: &ServeConfig) -> Result<Self, BackupError> {
        Ok(Self { program: program(config.backup.program.as_deref())?, ..Self::unstarted(config)? })
    }

    /// One that is only asked for its configuration.
    pub(crate) fn unstarted(config: &ServeConfig) -> Result<Self, BackupError> {
        let Some(bucket) = config.s3.clone() else {
            let what = "there is no bucket to copy the database to: set BLOBFORGE_S3_ENDPOINT and what belongs to it";
            return Err(BackupError::None(what.to_owned()));
        };
        let keys = match &config.backup.keys {
            Some((id, secret)) => (id.reveal().to_owned(), secret.reveal().to_owned()),
            None => (bucket.access_key.clone(), bucket.secret_key.clone()),
        };
        let database = std::path::absolute(&config.db_path).map_err(BackupError::file(&config.db_path))?;
        Ok(Self { program: PathBuf::new(), database, bucket, keys, options: config.backup.clone() })
    }

    /// The database that is copied.
    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    /// How often what is new is copied.
    pub(super) fn sync(&self) -> Duration {
        self.options.sync
    }

    /// Where the copy lies, for people.
    pub(crate) fn replica(&self) -> String {
        address(&self.bucket, &self.options.path)
    }

    fn key(&self) -> String {
        behind_prefix(&self.bucket, &self.options.path)
    }

    /// What it is told by a file. The key is not in it: Litestream reads that from its environment.
    pub(crate) fn configuration(&self, socket: Option<&Path>) -> String {
        let Self { bucket, options, .. } = self;
        let text = |value: &str| Value::from(value).to_string();
        let path = |value: &Path| text(&value.to_string_lossy());
        let seconds = |span: Duration| format!("{}s", span.as_secs());
        let mut written = String::from(
            "# Litestream 0.5, as BlobForge runs it. It reads its key from LITESTREAM_ACCESS_KEY_ID and\n\
             # LITESTREAM_SECRET_ACCESS_KEY. Run it with -no-expand-env.\n\
             logging:\n  type: json\n  level: info\n",
        );
        // Writing to a string does not fail.
        let _ = writeln!(written, "shutdown-sync-timeout: {}", seconds(ENDING));
        let _ = writeln!(
            written,
            "snapshot:\n  interval: {}\n  retention: {}",
            seconds(options.snapshots),
            seconds(options.retention)
        );
        if let Some(socket) = socket {
            let _ = writeln!(written, "socket:\n  enabled: true\n  path: {}", path(socket));
        }
        let _ = writeln!(written, "dbs:\n  - path: {}\n    replica:\n      type: s3", path(&self.database));
        for (name, value) in [
            ("endpoint", &bucket.endpoint),
            ("region", &bucket.region),
            ("bucket", &bucket.bucket),
            ("path", &self.key()),
        ] {
            let _ = writeln!(written, "      {name}: {}", text(value));
        }
        let _ =
            writeln!(written, "      force-path-style: true\n      sync-interval: {}", seconds(options.sync));
        written
    }

    /// The child that copies for as long as it runs. What it needs lies in `folder`.
    pub(super) fn replicating(&self, folder: &Folder) -> Result<ChildSpec, BackupError> {
        let file = folder.write(&self.configuration(Some(&folder.socket())))?;
        let mut spec = ChildSpec::new(&self.program, folder.0.path())
            .limits(ChildLimits { grace: GRACE, ..ChildLimits::none() });
        for argument in ["replicate".into(), "-no-expand-env".into(), "-config".into(), file.into_os_string()]
        {
            spec = spec.arg(argument);
        }
        Ok(self.environment().into_iter().fold(spec, |spec, (name, value)| spec.env(name, value)))
    }

    /// Writes the newest state of the copy, or that of a time, to a file that is not there. `false` if there is no copy.
    ///
    /// # Errors
    /// When Litestream fails, which says nothing about whether there is a copy.
    pub(super) async fn restore(&self, to: &Path, at: Option<&str>) -> Result<bool, BackupError> {
        let folder = Folder::new()?;
        let file = folder.write(&self.configuration(None))?;
        let mut command = Command::new(&self.program);
        command.args([
            "restore",
            "-no-expand-env",
            "-if-replica-exists",
            "-integrity-check",
            "quick",
            "-config",
        ]);
        command.arg(file).arg("-o").arg(to);
        if let Some(at) = at {
            command.args(["-timestamp", at]);
        }
        command.arg(&self.database).env_clear().envs(self.environment());
        let command = command.stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(BackupError::file(&self.program))?;
        if !output.status.success() {
            return Err(BackupError::Failed {
                doing: "restore the database",
                said: last_words(&output),
                remedy: "Nothing was changed, and no empty database was begun in its place. Look whether the bucket can be \
                         reached and its key is right; if so, the copy is damaged: restore an earlier state with `blobforge \
                         backup restore --timestamp`, or a snapshot with `--from`",
            });
        }
        if to.is_file() {
            return Ok(true);
        }
        // It says the same of a copy that is not there and of one from which nothing can be made.
        if !self.has_files().await? {
            return Ok(false);
        }
        let when = at.map(|at| format!(" as it was at {at}")).unwrap_or_default();
        Err(BackupError::Unusable {
            at: self.replica(),
            why: format!("it has files, but no state of the database{when} can be made of them"),
            remedy: match at {
                None => EARLIER_STATE,
                Some(_) => "Name a later time, or restore a snapshot with `--from`",
            },
        })
    }

    /// Whether anything lies where the copy is.
    pub(super) async fn has_files(&self) -> Result<bool, BackupError> {
        let mut options = self.bucket.clone();
        // With the keys that Litestream has.
        (options.access_key, options.secret_key) = self.keys.clone();
        let blobs = ObjectBlobs::s3(&options).map_err(BackupError::bucket)?;
        let first = blobs.list(&self.options.path).next().await.transpose().map_err(BackupError::bucket)?;
        Ok(first.is_some())
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let inherited = INHERITED.into_iter().filter_map(|name| Some((name.into(), env::var_os(name)?)));
        let (id, secret) = &self.keys;
        let keys = [("LITESTREAM_ACCESS_KEY_ID", id), ("LITESTREAM_SECRET_ACCESS_KEY", secret)];
        inherited.chain(keys.map(|(name, value)| (name.into(), value.into()))).collect()
    }
}

/// A folder for what Litestream is told and asked by, short enough for the path of a socket, and gone when it is dropped.
#[derive(Debug)]
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Result<Self, BackupError> {
        let made = tempfile::Builder::new().prefix("blobforge-").tempdir();
        Ok(Self(made.map_err(BackupError::file(&env::temp_dir()))?))
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.0.path().join("litestream.sock")
    }

    fn write(&self, configuration: &str) -> Result<PathBuf, BackupError> {
        let file = self.0.path().join("litestream.yml");
        fs::write(&file, configuration).map_err(BackupError::file(&file))?;
        Ok(file)
    }
}

/// Where the program is: where it is said to be, or in the PATH.
fn program(said: Option<&Path>) -> Result<PathBuf, BackupError> {
    let is_program = |path: &Path| path.metadata().is_ok_and(|found| found.is_file());
    match said {
        Some(path) if is_program(path) => std::path::absolute(path).map_err(BackupError::file(path)),
        // A name alone is looked up, as a shell would.
        Some(path) if path.components().count() > 1 => {
            Err(BackupError::NoProgram(format!("LITESTREAM_BIN is {}", path.display())))
        }
        _ => {
            let name = said.unwrap_or(Path::new("litestream"));
            let paths = env::var_os("PATH").unwrap_or_default();
            let found =
                env::split_paths(&paths).map(|folder| folder.join(name)).find(|path| is_program(path));
            found.ok_or_else(|| BackupError::NoProgram(format!("no {} in the PATH", name.display())))
        }
    }
}

/// How much is kept of what it said at last.
const SAID: usize = 500;

/// What it said at last, which is where it complains.
fn last_words(output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    let line = said.iter().rev().find_map(|text| text.lines().next_back().map(str::to_owned));
    match line {
        Some(line) => crate::words::cut(line.trim_start_matches("Error: "), SAID),
        None => output.status.to_string(),
    }
}

/// A line of its log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) is_error: bool,
    pub(super) text: String,
}

/// Reads a line of its log, which has one JSON object for each.
pub(super) fn read_line(line: &str) -> Option<Line> {
    let Ok(Value::Object(said)) = serde_json::from_str(line) else { return None };
    let field = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut text = field("msg").to_owned();
    if !field("error").is_empty() {
        text = format!("{text}: {}", field("error"));
    }
    Some(Line { is_error: field("level") == "ERROR", text: crate::words::cut(&text, SAID) })
}

/// Has the one that runs copy what is new, and waits until it has. What it says of itself without being asked to is when it
/// last tried, be it that nothing was copied.
///
/// # Errors
/// When it cannot, or not in time.
pub(super) async fn copy_now(socket: &Path, database: &Path, within: Duration) -> io::Result<()> {
    let wish = json!({"path": database, "wait": true, "timeout": within.as_secs()});
    let copy = |http: &Client| http.post("http://litestream/sync").json(&wish).timeout(within);
    let reply = asked(copy, socket).await?;
    match reply["error"].as_str() {
        Some(error) => Err(io::Error::other(error.to_owned())),
        None => Ok(()),
    }
}

async fn asked(ask: impl FnOnce(&Client) -> RequestBuilder, socket: &Path) -> io::Result<Value> {
    let http = Client::builder().unix_socket(socket).no_proxy().build().map_err(io::Error::other)?;
    ask(&http).send().await.map_err(io::Error::other)?.json().await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn litestream(prefix: &str) -> Litestream {
        let mut bucket = S3Options::new("https://s3.example.org", "a \"bucket\"", "an id", "canary");
        bucket.prefix = prefix.to_owned();
        let config = ServeConfig { s3: Some(bucket), ..ServeConfig::local("/forge") };
        Litestream::unstarted(&config).unwrap()
    }

    #[test]
    fn the_configuration_holds_no_key_and_says_everything_else() {
        let said = litestream("forge/").configuration(None);
        assert!(!said.contains("canary") && !said.contains("an id"), "{said}");
        for line in [
            "  interval: 21600s",
            "  retention: 604800s",
            "  - path: \"/forge/blobforge.db\"",
            "      bucket: \"a \\\"bucket\\\"\"",
            "      path: \"forge/litestream/blobforge\"",
            "      sync-interval: 10s",
        ] {
            assert!(said.lines().any(|said| said == line), "{line} is not in\n{said}");
        }
        assert!(litestream("").configuration(None).contains("path: \"litestream/blobforge\""));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let missing = program(Some(Path::new("/nowhere/litestream"))).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/litestream") && missing.contains("install"), "{missing}");
        let unknown = program(Some(Path::new("no-such-program-anywhere"))).unwrap_err().to_string();
        assert!(unknown.contains("no-such-program-anywhere"), "{unknown}");
        assert!(program(Some(Path::new("sh"))).unwrap().is_absolute());
    }

    #[test]
    fn its_log_is_read_line_by_line() {
        let line = r#"{"time":"2026-03-01T12:00:00Z","level":"ERROR","msg":"sync error","db":"a.db","error":"no route"}"#;
        assert_eq!(read_line(line), Some(Line { is_error: true, text: "sync error: no route".to_owned() }));
        assert!(!read_line(r#"{"level":"INFO","msg":"snapshot complete"}"#).unwrap().is_error);
        assert_eq!(read_line("panic: something"), None);
    }
}
