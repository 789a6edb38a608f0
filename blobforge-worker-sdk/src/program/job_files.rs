//! The files of a job where a program finds them, and what it is told of the job.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{JobContext, JobError};

/// The most files that a job's output folder may hold.
const MAX_FILES: usize = blobforge_core::queue::MAX_OUTPUTS;

/// The files of one attempt, fetched.
pub(crate) struct JobFiles {
    pub(crate) source: Option<PathBuf>,
    pub(crate) output_dir: PathBuf,
    pub(crate) scratch_dir: PathBuf,
    pub(crate) checkpoints: Vec<(String, PathBuf)>,
}

impl JobFiles {
    /// Fetches the source and what earlier attempts left. A checkpoint that is not whole is left out.
    pub(crate) async fn fetch(job: &JobContext) -> Result<Self, JobError> {
        let source = if job.has_source() { Some(job.source_file().await?) } else { None };
        let mut checkpoints = Vec::new();
        for kept in job.checkpoints() {
            if let Some(path) = job.load_checkpoint(&kept.name).await? {
                checkpoints.push((kept.name.clone(), path));
            }
        }
        Ok(Self { source, output_dir: job.output_dir(), scratch_dir: job.scratch_dir(), checkpoints })
    }

    /// Empties the folders after a program that was on its way out.
    pub(super) async fn clear(&self) -> Result<(), JobError> {
        for folder in [&self.output_dir, &self.scratch_dir] {
            tokio::fs::remove_dir_all(folder).await?;
            tokio::fs::create_dir(folder).await?;
        }
        Ok(())
    }

    /// The job as a program is told it.
    pub(crate) fn told(&self, job: &JobContext) -> Value {
        let checkpoints = self.checkpoints.iter();
        json!({
            "id": job.id(),
            "type": job.job_type(),
            "attempt": job.attempt(),
            "failures": job.failures(),
            "losses": job.losses(),
            "params": job.raw_params(),
            "tags": job.tags(),
            "metadata": job.metadata(),
            "source": self.source,
            "source_label": job.source_label(),
            "output_dir": self.output_dir,
            "scratch_dir": self.scratch_dir,
            "checkpoints": checkpoints.map(|(name, path)| json!({"name": name, "path": path})).collect::<Vec<_>>(),
        })
    }
}

/// Sends every file below the output folder, under its path in there.
pub(crate) async fn send_outputs(job: &JobContext) -> Result<(), JobError> {
    let folder = job.output_dir();
    let listed = spawn_blocking(move || outputs(&folder)).await;
    let outputs = listed.unwrap_or_else(|broken| Err(io::Error::other(broken)))?;
    if outputs.len() > MAX_FILES {
        let message = format!(
            "the program left {} files, and a job has at most {MAX_FILES}: put them into an archive",
            outputs.len()
        );
        return Err(JobError::permanent("too_many_outputs", message));
    }
    for (name, file) in outputs {
        job.output(&name, &file).await?;
    }
    Ok(())
}

/// The files below a folder, by name. Links are no files: they could lead anywhere.
fn outputs(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if !kind.is_file() {
                tracing::warn!(path = %entry.path().display(), "this is no file, and is left out of the outputs");
            } else {
                found.push((name_below(folder, &entry.path())?, entry.path()));
            }
        }
        if found.len() > MAX_FILES {
            break;
        }
    }
    found.sort();
    Ok(found)
}

fn name_below(folder: &Path, file: &Path) -> io::Result<String> {
    let name = file.strip_prefix(folder).ok().and_then(Path::to_str);
    let unnamed = || io::Error::other(format!("{} has a name that is no UTF-8", file.display()));
    name.map(str::to_owned).ok_or_else(unnamed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_their_place_and_links_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("images/small")).unwrap();
        fs::write(root.join("text.md"), "x").unwrap();
        fs::write(root.join("images/small/1.png"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("secrets")).unwrap();
        let names: Vec<_> = outputs(root).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["images/small/1.png", "text.md"]);
    }
}
