//! What SQLite's errors mean to who called.

use rusqlite::{Error, ErrorCode};

use crate::storage::StorageError;

/// SQLite could not enlarge the index of its write-ahead log: the disk is full, and nothing of the file is in doubt.
const IOERR_SHMSIZE: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

/// What an error of a statement means.
///
/// Whatever is not known to be harmless is [`StorageError::Broken`]: above all a failed flush, since what a later
/// flush says of the same pages is no longer true, and a violated constraint, which is a bug. A single value that makes
/// no sense says nothing about the rest.
pub(super) fn storage_error(error: &Error) -> StorageError {
    let text = error.to_string();
    if let Error::FromSqlConversionFailure(_, _, why) = error {
        return StorageError::Unreadable(why.to_string());
    }
    if matches!(error, Error::InvalidColumnType(..) | Error::IntegralValueOutOfRange(..)) {
        return StorageError::Unreadable(text);
    }
    let Some(failure) = error.sqlite_error() else { return StorageError::Broken(text) };
    match failure.code {
        ErrorCode::DiskFull => StorageError::Full(text),
        ErrorCode::SystemIoFailure if failure.extended_code == IOERR_SHMSIZE => StorageError::Full(text),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StorageError::Busy(text),
        ErrorCode::OperationInterrupted => StorageError::Busy("the read took too long".to_owned()),
        _ => StorageError::Broken(text),
    }
}

/// Whether a read was interrupted because its time was up.
pub(super) fn is_interrupted(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn meaning(code: i32) -> StorageError {
        storage_error(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn a_full_disk_and_a_busy_file_may_be_tried_again() {
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE] {
            assert!(matches!(meaning(code), StorageError::Full(_)), "{code}");
        }
        for code in [ffi::SQLITE_BUSY, ffi::SQLITE_BUSY_SNAPSHOT, ffi::SQLITE_LOCKED, ffi::SQLITE_INTERRUPT] {
            assert!(matches!(meaning(code), StorageError::Busy(_)), "{code}");
        }
    }

    #[test]
    fn everything_else_breaks_the_store() {
        let codes = [
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_CONSTRAINT_PRIMARYKEY,
            ffi::SQLITE_READONLY,
        ];
        for code in codes {
            assert!(matches!(meaning(code), StorageError::Broken(_)), "{code}");
        }
        assert!(matches!(storage_error(&Error::InvalidQuery), StorageError::Broken(_)));
    }

    #[test]
    fn a_value_that_makes_no_sense_does_not() {
        let unreadable = Error::FromSqlConversionFailure(3, rusqlite::types::Type::Text, "no status".into());
        let meaning = storage_error(&unreadable);
        assert!(matches!(&meaning, StorageError::Unreadable(why) if why == "no status"), "{meaning}");
        assert!(meaning.is_retryable(), "whoever was in the same batch can try again");
    }
}
