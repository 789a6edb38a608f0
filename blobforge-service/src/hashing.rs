//! The hash of a file on this machine.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use blobforge_core::Sha256;
use sha2::{Digest as _, Sha256 as Hasher};

/// How much of a file is read at once, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// The hash of what is in a file; `heard` is told how many bytes more were read.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn of_file(path: &Path, heard: &dyn Fn(u64)) -> io::Result<Sha256> {
    let mut file = File::open(path)?;
    let (mut hasher, mut piece) = (Hasher::new(), vec![0; PIECE_BYTES]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(Sha256::from_bytes(hasher.finalize().into()));
        }
        hasher.update(&piece[..read]);
        heard(read as u64);
    }
}
