//! Where results come from: a service, or the zip files of an earlier installation.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

use blobforge_core::{HashBeginning, Sha256, Status};
use blobforge_worker_sdk::client::{Client, JobView};
use sha2::{Digest as _, Sha256 as Hasher};

use super::{
    Document, HydrateArgs,
    memory::Memory,
    place::{Place, Placed},
    summary::Fate,
};
use crate::{
    archive::unpack,
    cli::{CliError, conversion, fingerprint::Version},
};

/// A result that is ready.
pub(super) enum Ready {
    Job(Box<JobView>),
    Zip(PathBuf),
}

impl Ready {
    /// The same for results that are the same.
    fn name(&self, source: Sha256) -> String {
        let job = match self {
            Self::Job(job) => job,
            // Somebody may put another one there.
            Self::Zip(zip) => return format!("zip {source} {:?}", Version::of(zip)),
        };
        let mut hasher = Hasher::new();
        for output in &job.outputs {
            let hash = output.sha256.map_or_else(|| format!("of job {}", job.id), |hash| hash.to_string());
            hasher.update(format!("{} {} {hash}\n", output.name, output.size));
        }
        Sha256::from_bytes(hasher.finalize().into()).to_string()
    }
}

/// Where results come from.
pub(super) enum Origin {
    Service { client: Client, job_type: Option<String> },
    Folder(PathBuf),
}

impl Origin {
    /// The results that are ready, by the hashes of their sources.
    pub(super) async fn ready(&self, sources: &[Sha256]) -> Result<HashMap<Sha256, Ready>, CliError> {
        match self {
            Self::Folder(folder) => {
                let zip = |sha256: &Sha256| (*sha256, folder.join(format!("{sha256}.zip")));
                let there = sources.iter().map(zip).filter(|(_, zip)| zip.is_file());
                Ok(there.map(|(sha256, zip)| (sha256, Ready::Zip(zip))).collect())
            }
            Self::Service { client, job_type } => {
                let beginnings: Vec<_> = sources.iter().map(|hash| HashBeginning::from(*hash)).collect();
                let known = client.look_up(&beginnings, job_type.as_deref()).await?;
                let best = |jobs: Vec<JobView>| match job_type {
                    Some(_) => jobs.into_iter().find(has_result),
                    None => conversion::result(jobs),
                };
                let jobs = sources.iter().zip(known).filter_map(|(hash, jobs)| Some((*hash, best(jobs)?)));
                Ok(jobs.map(|(hash, job)| (hash, Ready::Job(Box::new(job)))).collect())
            }
        }
    }

    /// Puts a result beside its source, unless it is known what comes of that; what the result is called, and its fate.
    pub(super) async fn see_to(
        &self,
        path: &Path,
        sha256: Sha256,
        ready: Option<&Ready>,
        args: &HydrateArgs,
        memory: &Memory,
    ) -> (Option<String>, Result<Fate, CliError>) {
        let Some(ready) = ready else { return (None, Ok(Fate::Waiting)) };
        let (place, name) = (Place::beside(path), ready.name(sha256));
        let fate = match memory.of(path, &name) {
            Some(fate) => Ok(fate),
            None => self.placed(&place, ready, &name, args).await,
        };
        (Some(name), fate)
    }

    async fn placed(
        &self,
        place: &Place,
        ready: &Ready,
        name: &str,
        args: &HydrateArgs,
    ) -> Result<Fate, CliError> {
        if place.has(name) {
            return Ok(Fate::Unchanged);
        }
        if args.dry_run {
            let is_kept = !args.force && place.is_changed()?;
            return Ok(if is_kept { Fate::Kept } else { Fate::Written });
        }
        Ok(match self.put(place, ready, name.to_owned(), args.force).await? {
            Placed::Written => Fate::Written,
            Placed::Same => Fate::Unchanged,
            Placed::Changed => Fate::Kept,
        })
    }

    async fn put(&self, place: &Place, ready: &Ready, name: String, force: bool) -> Result<Placed, CliError> {
        let draft = place.draft()?;
        let document = self.fetch(ready, draft.path()).await?;
        let place = place.clone();
        let put = move || {
            let placed = place.put(&document, &name, force);
            // Until here it holds what is put.
            drop(draft);
            placed
        };
        let put = tokio::task::spawn_blocking(put).await;
        Ok(put.map_err(io::Error::other)??)
    }

    /// Fetches a result into a folder, and finds out what is what.
    async fn fetch(&self, ready: &Ready, draft: &Path) -> Result<Document, CliError> {
        match (self, ready) {
            (Self::Service { client, .. }, Ready::Job(job)) => fetch(client, job, draft).await,
            (_, Ready::Zip(zip)) => unpacked(zip.clone(), draft.join("unpacked")).await,
            (Self::Folder(_), Ready::Job(_)) => Err(CliError::new("a job's result is with its service")),
        }
    }
}

fn has_result(job: &JobView) -> bool {
    job.status == Status::Completed && !job.outputs.is_empty()
}

/// Fetches what a job produced into a folder, and finds out what is what.
pub(in crate::cli) async fn fetch(
    client: &Client,
    job: &JobView,
    draft: &Path,
) -> Result<Document, CliError> {
    let fetched = client.download_outputs(job.id, &draft.join("fetched")).await?;
    if let [only] = &fetched[..]
        && only.extension().is_some_and(|extension| extension == "zip")
    {
        return unpacked(only.clone(), draft.join("unpacked")).await;
    }
    Document::in_folder(&draft.join("fetched"))?.ok_or_else(|| {
        let what = "it has no Markdown, or several: save its files with: blobforge download";
        CliError::new(format!("job {}: {what} {}", job.id, job.id))
    })
}

async fn unpacked(zip: PathBuf, to: PathBuf) -> Result<Document, CliError> {
    let name = zip.display().to_string();
    let unpacked = tokio::task::spawn_blocking(move || {
        unpack(&zip, &to)?;
        Document::in_folder(&to)
    });
    let document = unpacked.await.map_err(io::Error::other)?;
    let document = document.map_err(|error| CliError::new(format!("{name}: {error}")))?;
    document.ok_or_else(|| CliError::new(format!("{name}: it has no content.md")))
}
