//! Who a worker is, also after a restart.
//!
//! The state folder has a pair of files for each id: an empty one that is locked while a process works under that id,
//! and one that keeps the id and the secret of the process that last did. Showing that secret when it registers, a
//! restarted worker gets back at once what its predecessor held.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use blobforge_core::WorkerId;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::WorkerError;
use crate::lock;

/// How many processes of one user can have ids of their own on one machine.
const MAX_SLOTS: usize = 1000;

/// A worker's id and secrets, and the files that keep them.
#[derive(Debug)]
pub(super) struct Identity {
    id: WorkerId,
    instance: String,
    previous_instance: Option<String>,
    made_up: bool,
    kept: Option<Kept>,
}

/// A locked pair of files. The lock ends with the process at the latest.
#[derive(Debug)]
struct Kept {
    file: PathBuf,
    lock: File,
}

impl Drop for Kept {
    fn drop(&mut self) {
        // To close it is not enough: a child that was forked and has not called exec yet has it open, too.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

#[derive(Serialize, Deserialize)]
struct State {
    id: WorkerId,
    instance: String,
}

impl Identity {
    /// Takes the wanted id, or makes one up; and says in which folder it is kept.
    pub(super) fn take(
        wanted: Option<WorkerId>,
        folder: Option<&Path>,
    ) -> Result<(Self, Option<PathBuf>), WorkerError> {
        let Some(place) = folder.map(Path::to_owned).or_else(default_folder) else {
            return Ok((Self::passing(wanted)?, None));
        };
        match Self::kept_in(&place, wanted.as_ref()) {
            Ok(identity) => Ok((identity, Some(place))),
            Err(WorkerError::Folder { path, source }) if folder.is_none() => {
                tracing::warn!(
                    path = %path.display(),
                    error = %source,
                    "the worker's state cannot be kept: after a crash its jobs wait until their leases run out"
                );
                Ok((Self::passing(wanted)?, None))
            }
            Err(error) => Err(error),
        }
    }

    /// An identity that ends with the process.
    pub(super) fn passing(wanted: Option<WorkerId>) -> Result<Self, WorkerError> {
        let made_up = wanted.is_none();
        let id = wanted.map_or_else(new_id, Ok)?;
        Ok(Self { id, instance: secret()?, previous_instance: None, made_up, kept: None })
    }

    fn kept_in(folder: &Path, wanted: Option<&WorkerId>) -> Result<Self, WorkerError> {
        let failed = |source| WorkerError::Folder { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        let names = match wanted {
            Some(id) => vec![format!("worker-{id}")],
            None => (0..MAX_SLOTS).map(|slot| format!("slot-{slot}")).collect(),
        };
        for name in names {
            let Some(lock) = locked(&folder.join(format!("{name}.lock"))).map_err(failed)? else { continue };
            let file = folder.join(format!("{name}.json"));
            let state = read(&file).map_err(failed)?;
            let state = state.filter(|state| wanted.is_none_or(|id| *id == state.id));
            let id = match (wanted, &state) {
                (Some(id), _) => id.clone(),
                (None, Some(state)) => state.id.clone(),
                (None, None) => new_id()?,
            };
            return Ok(Self {
                id,
                instance: secret()?,
                previous_instance: state.map(|state| state.instance),
                made_up: wanted.is_none(),
                kept: Some(Kept { file, lock }),
            });
        }
        match wanted {
            Some(id) => Err(WorkerError::IdInUse { id: id.clone() }),
            None => Err(failed(io::Error::other(format!("{MAX_SLOTS} workers run from it already")))),
        }
    }

    pub(super) fn id(&self) -> &WorkerId {
        &self.id
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    pub(super) fn previous_instance(&self) -> Option<&str> {
        self.previous_instance.as_deref()
    }

    /// Takes another id, if this one was made up: the queue knows it as somebody who is alive.
    pub(super) fn another(&mut self) -> Result<bool, WorkerError> {
        if self.made_up {
            self.id = new_id()?;
            self.previous_instance = None;
        }
        Ok(self.made_up)
    }

    /// Keeps the secret that the queue knows now. Called before anything is claimed under it.
    pub(super) fn registered(&mut self) -> Result<(), WorkerError> {
        self.previous_instance = None;
        let Some(kept) = &self.kept else { return Ok(()) };
        let state = State { id: self.id.clone(), instance: self.instance.clone() };
        write(&kept.file, &state).map_err(|source| WorkerError::Folder { path: kept.file.clone(), source })
    }
}

/// A locked file; `None` if another process has it.
pub(super) fn locked(path: &Path) -> io::Result<Option<File>> {
    lock::locked(path, FlockOperation::NonBlockingLockExclusive)
}

fn read(path: &Path) -> io::Result<Option<State>> {
    match fs::read(path) {
        // What cannot be understood is of no use, and is written anew.
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the file whole, so that a crash leaves the old one or the new one.
fn write(path: &Path, state: &State) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(&serde_json::to_vec(state)?)?;
    file.sync_all()?;
    fs::rename(&draft, path)
}

fn default_folder() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("blobforge"))
}

fn new_id() -> Result<WorkerId, WorkerError> {
    let mut host: String = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' })
        .take(60)
        .collect();
    if host.is_empty() {
        host.push_str("worker");
    }
    Ok(WorkerId::new(format!("{host}-{}", hex::encode(random::<4>()?)))?)
}

fn secret() -> Result<String, WorkerError> {
    Ok(hex::encode(random::<16>()?))
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], WorkerError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| WorkerError::Randomness)?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_keeps_the_id_and_remembers_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, _) = Identity::take(None, Some(folder.path())).unwrap();
        assert_eq!(first.previous_instance(), None);
        first.registered().unwrap();
        let (id, instance) = (first.id().clone(), first.instance().to_owned());
        drop(first);
        let (second, _) = Identity::take(None, Some(folder.path())).unwrap();
        assert_eq!(second.id(), &id);
        assert_eq!(second.previous_instance(), Some(instance.as_str()));
        assert_ne!(second.instance(), instance);
    }

    #[test]
    fn workers_that_run_at_the_same_time_have_different_ids() {
        let folder = tempfile::tempdir().unwrap();
        let (first, _) = Identity::take(None, Some(folder.path())).unwrap();
        let (second, _) = Identity::take(None, Some(folder.path())).unwrap();
        assert_ne!(first.id(), second.id());
        let named = || Identity::take(Some(WorkerId::new("gpu:0").unwrap()), Some(folder.path()));
        let taken = named().unwrap();
        assert!(matches!(named(), Err(WorkerError::IdInUse { .. })));
        drop(taken);
        assert!(named().is_ok());
    }

    #[test]
    fn the_secret_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (mut identity, _) = Identity::take(None, Some(folder.path())).unwrap();
        identity.registered().unwrap();
        let mode = fs::metadata(folder.path().join("slot-0.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
