//! The Python environment with marker-pdf in it: found, or made.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::settings::Settings;
use crate::{
    JobError,
    child::{ChildLimits, ChildSpec, Finished, Folders, Heard, Listener, Process, Watch},
    program,
};

/// The version that this handler knows. Another one may do other things.
pub const MARKER_VERSION: &str = "2.0.0";
/// Everything that is installed, with the hashes of the files.
pub const REQUIREMENTS: &str = include_str!("../../python/marker-requirements.txt");
/// What is downloaded and what is on the disk then, in bytes, on Linux with x86_64.
pub const DOWNLOAD_BYTES: u64 = 3_000_000_000;
/// See [`DOWNLOAD_BYTES`].
pub const INSTALLED_BYTES: u64 = 5_800_000_000;

/// The file by which a whole environment is known, with the hash of what was to be installed.
const STAMP: &str = "blobforge-requirements";
/// Looks for the weights of the vision model, and fetches them if they are not there.
const WEIGHTS: &str = include_str!("../../python/marker_runner/weights.py");
/// Says what is installed.
const LOOK: &str = "import importlib.metadata as m, json, sys
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
print(json.dumps({'python': list(sys.version_info[:2]), 'marker': version('marker-pdf')}))";
/// How long a question to a Python may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long an installation, or fetching weights, may take.
const FETCH_WITHIN: Duration = Duration::from_secs(4 * 60 * 60);
/// The oldest Python that marker runs on.
const OLDEST_PYTHON: (u32, u32) = (3, 10);

/// A Python that has marker-pdf.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Its interpreter.
    pub python: PathBuf,
}

/// What a Python says of itself.
#[derive(Deserialize)]
struct Seen {
    python: (u32, u32),
    marker: Option<String>,
}

impl Environment {
    /// The one that is there already: the one that was named, or the one that is active, or the one that was made before.
    ///
    /// # Errors
    /// When one was named that cannot be used.
    pub async fn find(settings: &Settings) -> Result<Option<Self>, JobError> {
        if let Some(python) = &settings.python {
            let seen = look(python).await.map_err(|why| missing(format!("{}: {why}", python.display())))?;
            return match seen.marker.as_deref() {
                Some(MARKER_VERSION) => Ok(Some(Self { python: python.clone() })),
                other => Err(missing(format!(
                    "{} has {}, and marker-pdf {MARKER_VERSION} is needed: install it there, or let the worker make an \
                     environment of its own by naming no Python",
                    python.display(),
                    other.map_or_else(
                        || "no marker-pdf".to_owned(),
                        |version| format!("marker-pdf {version}")
                    )
                ))),
            };
        }
        if let Some(active) = env::var_os("VIRTUAL_ENV") {
            let python = Path::new(&active).join("bin/python");
            if look(&python).await.is_ok_and(|seen| seen.marker.as_deref() == Some(MARKER_VERSION)) {
                return Ok(Some(Self { python }));
            }
        }
        let Some(made) = Self::made(&Self::place(settings)) else { return Ok(None) };
        // One whose Python was removed with an older system is none.
        Ok(look(&made.python).await.is_ok().then_some(made))
    }

    /// The one that is there, or a new one. `tell` hears what is about to be done, which may take long.
    ///
    /// # Errors
    /// When there is none and none can be made here.
    pub async fn find_or_make(settings: &Settings, tell: &(dyn Fn(&str) + Sync)) -> Result<Self, JobError> {
        if let Some(found) = Self::find(settings).await? {
            return Ok(found);
        }
        let folder = Self::place(settings);
        make(&folder, tell).await.map_err(|why| {
            missing(format!(
                "{why}. Nothing was left half done in {}: start the worker again",
                folder.display()
            ))
        })
    }

    fn made(folder: &Path) -> Option<Self> {
        let stamp = fs::read_to_string(folder.join(STAMP)).ok()?;
        (stamp == requirements_hash()).then(|| Self { python: folder.join("bin/python") })
    }

    /// Where the weights of the vision model are, for `llama-server`: the model's and the projector's.
    pub(super) async fn vlm_weights(&self, settings: &Settings) -> Result<[PathBuf; 2], String> {
        let local = |name: &str| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        if let (Some(model), Some(projector)) =
            (local("SURYA_GGUF_LOCAL_MODEL_PATH"), local("SURYA_GGUF_LOCAL_MMPROJ_PATH"))
        {
            return Ok([model, projector]);
        }
        tracing::info!(
            "looking for the weights of the vision model, which are fetched if they are not there"
        );
        let said = self.run(&["-c", WEIGHTS, "fetch"], settings, FETCH_WITHIN).await?;
        serde_json::from_str(&said).map_err(|error| format!("the weights were not found: {error}: {said}"))
    }

    /// Whether the weights of the vision model are on this machine, and where they are fetched from.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn vlm_weights_are_here(&self, settings: &Settings) -> Result<bool, String> {
        Ok(self.run(&["-c", WEIGHTS, "look"], settings, ANSWER_WITHIN).await?.trim() != "null")
    }

    /// What a few lines of Python print, run as a model server would be.
    pub(super) async fn say(&self, lines: &str, settings: &Settings) -> Result<String, String> {
        let said = self.run(&["-c", lines], settings, ANSWER_WITHIN).await?;
        Ok(said.trim().to_owned())
    }

    /// Has the interpreter run something as it would a model server.
    async fn run(&self, args: &[&str], settings: &Settings, within: Duration) -> Result<String, String> {
        let args: Vec<_> = args.iter().map(OsStr::new).collect();
        call(&self.python, &args, settings.server_variables(), within).await
    }

    /// Where one is made if none is found.
    pub fn place(settings: &Settings) -> PathBuf {
        let hash = requirements_hash();
        settings.folder().join(format!("marker-{MARKER_VERSION}-{}", hash.get(..8).unwrap_or_default()))
    }
}

fn requirements_hash() -> String {
    hex::encode(Sha256::digest(REQUIREMENTS))
}

async fn make(folder: &Path, tell: &(dyn Fn(&str) + Sync)) -> Result<Environment, String> {
    let at = |error: io::Error| format!("{} cannot be used: {error}", folder.display());
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(at)?;
    // Workers that are started together make one.
    let mut lock = folder.as_os_str().to_owned();
    lock.push(".lock");
    let lock = fs::File::create(lock).map_err(at)?;
    let lock =
        tokio::task::spawn_blocking(move || flock(&lock, FlockOperation::LockExclusive).map(|()| lock))
            .await
            .map_err(|error| error.to_string())?;
    let _lock = lock.map_err(|error| at(error.into()))?;
    if let Some(made) = Environment::made(folder)
        && look(&made.python).await.is_ok()
    {
        return Ok(made);
    }
    let base = newest_python().await?;
    let uv = program::find(Path::new("uv")).ok();
    room_for(parent)?;
    tell(&format!(
        "making a Python environment for marker-pdf {MARKER_VERSION} in {}: {:.1} GB to download with {}, {:.1} GB on disk",
        folder.display(),
        gigabytes(DOWNLOAD_BYTES),
        if uv.is_some() { "uv" } else { "pip (uv is faster, if you install it)" },
        gigabytes(INSTALLED_BYTES),
    ));
    // What was begun and not ended.
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(at(error)),
        _ => {}
    }
    let python = folder.join("bin/python");
    install(&base, uv.as_deref(), folder, &python).await?;
    fs::write(folder.join(STAMP), requirements_hash()).map_err(at)?;
    tell("the Python environment is ready");
    Ok(Environment { python })
}

async fn install(base: &Path, uv: Option<&Path>, folder: &Path, python: &Path) -> Result<(), String> {
    let list = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    fs::write(list.path(), REQUIREMENTS).map_err(|error| error.to_string())?;
    let list = list.path().as_os_str();
    let (make, fill): (Vec<&OsStr>, Vec<&OsStr>);
    let (maker, filler);
    if let Some(uv) = uv {
        (maker, filler) = (uv, uv);
        make = vec!["venv".as_ref(), "--quiet".as_ref(), "--python".as_ref(), base.as_ref(), folder.as_ref()];
        fill = ["pip", "install", "--require-hashes", "--python"]
            .map(OsStr::new)
            .into_iter()
            .chain([python.as_os_str()])
            .collect();
    } else {
        (maker, filler) = (base, python);
        make = vec!["-m".as_ref(), "venv".as_ref(), folder.as_ref()];
        fill = ["-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--require-hashes"]
            .map(OsStr::new)
            .into();
    }
    let fill: Vec<_> = fill.into_iter().chain([OsStr::new("-r"), list]).collect();
    for (program, args) in [(maker, make), (filler, fill)] {
        call(program, &args, all_variables(), FETCH_WITHIN)
            .await
            .map_err(|why| format!("{} did not install marker-pdf: {why}", program.display()))?;
    }
    Ok(())
}

/// Runs a command with nothing but these variables, and gives what it printed. What it says meanwhile is for people. It ends
/// with this process, and with everything that it started.
async fn call(
    program: &Path,
    args: &[&OsStr],
    env: Vec<(OsString, OsString)>,
    within: Duration,
) -> Result<String, String> {
    let limits = ChildLimits { total: Some(within), ..ChildLimits::none() };
    let mut spec = ChildSpec::new(program, env::temp_dir()).limits(limits);
    spec.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    spec.env = env;
    // What takes long shows how far it is.
    let mut ear = Ear { is_loud: within > ANSWER_WITHIN, ..Ear::default() };
    let never = CancellationToken::new();
    // The folder it writes to is nobody's business here.
    let watch = Watch { limits: &spec.limits, folders: &Folders::default(), cancel: &never };
    let mut process = Process::start(&spec).await.map_err(|error| error.to_string())?;
    let Finished { status, .. } = process.attend(watch, &mut ear).await.map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(ear.printed);
    }
    let said = process.stderr_tail();
    let last = said.trim().lines().last().unwrap_or("it said nothing");
    Err(format!("{status}: {last}"))
}

/// Keeps what is printed, and hands on what is said beside it.
#[derive(Default)]
struct Ear {
    printed: String,
    /// Whether that is for people.
    is_loud: bool,
}

impl Listener for Ear {
    type Answer = ();

    fn line(&mut self, line: &[u8]) -> Heard<()> {
        self.printed.push_str(&String::from_utf8_lossy(line));
        Heard::Nothing
    }

    fn stderr(&mut self, piece: &[u8]) -> bool {
        if self.is_loud {
            // Nobody is there to hear that this fails.
            let _ = io::stderr().write_all(piece);
        }
        false
    }
}

/// The same variables as those of this process.
fn all_variables() -> Vec<(OsString, OsString)> {
    env::vars_os().collect()
}

async fn look(python: &Path) -> Result<Seen, String> {
    let said = call(python, &["-E", "-c", LOOK].map(OsStr::new), all_variables(), ANSWER_WITHIN).await?;
    serde_json::from_str(&said).map_err(|error| format!("it is no Python that can be used: {error}"))
}

/// The newest Python of this machine that marker runs on.
async fn newest_python() -> Result<PathBuf, String> {
    for name in ["python3.13", "python3.12", "python3.11", "python3.10", "python3"] {
        let Ok(python) = program::find(Path::new(name)) else { continue };
        // One that cannot be called, such as that of a version manager which has none, is none.
        if look(&python).await.is_ok_and(|seen| seen.python >= OLDEST_PYTHON && seen.python < (3, 14)) {
            return Ok(python);
        }
    }
    Err("marker-pdf needs Python 3.10 to 3.13, and there is none: install python3 and python3-venv"
        .to_owned())
}

fn room_for(folder: &Path) -> Result<(), String> {
    let disk = rustix::fs::statvfs(folder).map_err(|error| error.to_string())?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    // While it is installed it is there as a download as well.
    let needed = DOWNLOAD_BYTES + INSTALLED_BYTES;
    if free >= needed {
        return Ok(());
    }
    Err(format!(
        "marker-pdf needs {:.1} GB of disk while it is installed, and {} has {:.1} GB free",
        gigabytes(needed),
        folder.display(),
        gigabytes(free)
    ))
}

#[allow(clippy::cast_precision_loss)] // For people.
fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

fn missing(why: String) -> JobError {
    JobError::host_trouble("no_marker", why)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_what_is_known_and_bears_hashes() {
        assert!(REQUIREMENTS.contains(&format!("marker-pdf=={MARKER_VERSION}")));
        let lines = REQUIREMENTS.lines().filter(|line| !line.starts_with('#'));
        let (packages, hashes): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains("=="));
        assert!(packages.len() > 90 && hashes.iter().all(|line| line.contains("--hash=sha256:")));
        // A package without a hash would be followed by another package.
        assert!(packages.iter().all(|line| line.ends_with('\\')));
    }

    #[tokio::test]
    async fn a_python_without_marker_is_refused_with_what_to_do() {
        let settings = Settings { python: Some("/usr/bin/env".into()), ..Settings::default() };
        assert!(Environment::find(&settings).await.unwrap_err().to_string().contains("/usr/bin/env"));
    }

    #[tokio::test]
    async fn an_environment_that_was_not_finished_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { folder: Some(folder.path().to_owned()), ..Settings::default() };
        let place = Environment::place(&settings);
        fs::create_dir_all(place.join("bin")).unwrap();
        assert!(Environment::made(&place).is_none());
        fs::write(place.join(STAMP), "another list").unwrap();
        assert!(Environment::made(&place).is_none());
        fs::write(place.join(STAMP), requirements_hash()).unwrap();
        assert!(Environment::made(&place).is_some());
    }
}
