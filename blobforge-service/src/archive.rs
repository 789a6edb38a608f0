//! Results in zip files, as earlier versions kept them.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use blobforge_core::saved_names;
use walkdir::WalkDir;
use zip::ZipArchive;

/// The most files that a result has.
const MAX_FILES: usize = 100_000;
/// How large a result is at most once it is unpacked, in bytes: whoever made it need not be trusted.
const MAX_BYTES: u64 = 8 << 30;

/// All files below a folder, in order: what they are called there, and where they lie.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn files_below(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(io::Error::other)?;
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(folder).unwrap_or(entry.path());
            files.push((name.to_string_lossy().into_owned(), entry.into_path()));
        }
    }
    Ok(files)
}

/// Unpacks a zip file into a folder. Whatever its files are called, none lies outside of it.
///
/// # Errors
/// When it is none, or too large, or cannot be unpacked.
pub(crate) fn unpack(zip: &Path, folder: &Path) -> io::Result<()> {
    let mut archive = ZipArchive::new(File::open(zip)?)?;
    if archive.len() > MAX_FILES {
        return Err(io::Error::other(format!("it has {} files: at most {MAX_FILES}", archive.len())));
    }
    let names = (0..archive.len()).map(|at| Ok((at, archive.by_index_raw(at)?.name()?.into_owned())));
    let names = names.collect::<Result<Vec<_>, zip::result::ZipError>>()?;
    let files: Vec<_> = names.into_iter().filter(|(_, name)| !name.ends_with('/')).collect();
    let names = saved_names(files.iter().map(|(_, name)| name.as_str()));
    let mut left = MAX_BYTES;
    for ((at, _), name) in files.iter().zip(names) {
        let to = folder.join(name);
        fs::create_dir_all(to.parent().unwrap_or(folder))?;
        let mut content = archive.by_index(*at)?.take(left);
        left -= io::copy(&mut content, &mut File::create(&to)?)?;
        if left == 0 {
            return Err(io::Error::other(format!("it unpacks to more than {MAX_BYTES} bytes")));
        }
    }
    Ok(())
}
