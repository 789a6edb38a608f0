//! What a program sees of the worker's environment, and where it is found.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What programs need to find their way about a machine. None of it is a secret.
const HANDED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTHONHOME",
    "XDG_CACHE_HOME",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "OMP_NUM_THREADS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The variables that a program inherits: what every program may see, and what this one was allowed besides.
pub(crate) fn inherited(passed: &[String]) -> Vec<(OsString, OsString)> {
    let names = HANDED_ON.iter().copied().chain(passed.iter().map(String::as_str));
    names.filter_map(|name| Some((name.into(), env::var_os(name)?))).collect()
}

/// The file that a program's name stands for.
///
/// # Errors
/// When there is none, or it may not be executed.
pub(crate) fn find(program: &Path) -> io::Result<PathBuf> {
    if program.components().count() > 1 {
        return executable(program).map(|()| program.to_owned());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found =
        env::split_paths(&path).map(|folder| folder.join(program)).find(|file| executable(file).is_ok());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is nowhere on PATH"))
}

fn executable(file: &Path) -> io::Result<()> {
    let metadata = fs::metadata(file)?;
    if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is no program that may be executed"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_program_sees_what_it_needs_and_no_credential() {
        let sees = inherited(&["CARGO_MANIFEST_DIR".to_owned(), "NOBODY_SET_THIS".to_owned()]);
        let names: Vec<_> = sees.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert!(names.contains(&"PATH") && names.contains(&"CARGO_MANIFEST_DIR"), "{names:?}");
        assert!(!names.iter().any(|name| name.starts_with("BLOBFORGE") || *name == "NOBODY_SET_THIS"));
    }

    #[test]
    fn a_program_is_found_where_a_shell_would_find_it() {
        assert!(find(Path::new("sh")).unwrap().is_absolute());
        assert_eq!(find(Path::new("/bin/sh")).unwrap(), Path::new("/bin/sh"));
        assert!(find(Path::new("no-such-forge")).unwrap_err().to_string().contains("PATH"));
        assert!(find(Path::new("/etc/passwd")).is_err());
    }
}
