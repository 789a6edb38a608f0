//! Secrets in files that only their owner can read.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use blobforge_core::Generation;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::ServiceError;

/// Makes a folder if it is missing, for its owner alone.
pub(crate) fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Refuses to write as root into the data of an account that could not use it afterwards.
pub(super) fn not_as_root(folder: &Path) -> Result<(), ServiceError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // What this very process is, where the system shows it.
        let me = fs::metadata("/proc/self").map(|process| process.uid());
        let owner = fs::metadata(folder).map(|folder| folder.uid());
        if let (Ok(me), Ok(owner)) = (me, owner)
            && is_foreign(me, owner)
        {
            return Err(ServiceError::Config(format!(
                "{} belongs to the account {owner}, and the service that runs as that could not use what root writes \
                 there: run this as that account, as docs/linux.md says for a unit of systemd",
                folder.display()
            )));
        }
    }
    Ok(())
}

/// Anybody but root is kept out by the folder itself.
#[cfg(unix)]
fn is_foreign(me: u32, owner: u32) -> bool {
    me == 0 && owner != 0
}

/// The data folder for a command that writes into it.
pub(crate) fn folder_to_write(folder: &Path) -> Result<(), ServiceError> {
    not_as_root(folder)?;
    own_folder(folder)
}

/// The same as [`private_folder`], for who has a service or would have one.
pub(super) fn own_folder(folder: &Path) -> Result<(), ServiceError> {
    private_folder(folder).map_err(|source| ServiceError::File { path: folder.to_owned(), source })
}

/// The secret that signs URLs of local files, made at the first start.
pub(super) fn url_secret(file: &Path) -> Result<[u8; 32], ServiceError> {
    let in_file = |source| ServiceError::File { path: file.to_owned(), source };
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(io::Error::other).map_err(in_file)?;
            write_private(file, &hex::encode(bytes)).map_err(in_file)?;
            return Ok(bytes);
        }
        Err(error) => return Err(in_file(error)),
    };
    let mut bytes = [0; 32];
    let read = hex::decode_to_slice(text.trim(), &mut bytes);
    read.map_err(|_| in_file(io::Error::other("it holds no secret of 64 hexadecimal digits: delete it")))?;
    Ok(bytes)
}

/// The secret by which URLs are signed in one generation of a store: after a restore those that were given out before open nothing.
pub(super) fn of_generation(secret: &[u8; 32], generation: Generation) -> [u8; 32] {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return *secret };
    mac.update(format!("generation {}", generation.get()).as_bytes());
    mac.finalize().into_bytes().into()
}

/// A new file for its owner alone, in place of one that is left over from a crash, which others may have opened.
pub(super) fn new_private(file: &Path) -> io::Result<fs::File> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    create_private(file)
}

/// Has a file be there, and nobody else read it if it was not: what is in it is filled in by others.
pub(super) fn make_private(file: &Path) -> io::Result<()> {
    match create_private(file) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn create_private(file: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}

/// Writes a secret so that a crash leaves the old file or the new one, and nobody else can ever read it.
pub(crate) fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = file.with_file_name(name);
    let mut opened = new_private(&fresh)?;
    writeln!(opened, "{text}")?;
    opened.sync_all()?;
    fs::rename(&fresh, file)
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn root_writes_into_its_own_data_and_not_into_those_of_others() {
        assert!(is_foreign(0, 10_001));
        assert!(!is_foreign(0, 0) && !is_foreign(10_001, 10_001));
        assert!(!is_foreign(1000, 10_001), "whom the folder keeps out need not be told more");
        let mine = tempfile::tempdir().unwrap();
        not_as_root(mine.path()).unwrap();
        not_as_root(&mine.path().join("to be made")).unwrap();
    }
}
