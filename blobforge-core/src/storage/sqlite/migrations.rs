//! What the file looks like, and how an older one is brought up to date.

use rusqlite::{Connection, TransactionBehavior};

/// Marks a file as BlobForge's: `BLBF`.
pub(super) const APPLICATION_ID: i32 = 0x424C_4246;

/// Each version of the file, with the statements that make it of the one before.
const MIGRATIONS: &[(i32, &str)] = &[
    (1, include_str!("migrations/1.sql")),
    (2, include_str!("migrations/2.sql")),
    (3, include_str!("migrations/3.sql")),
    (4, include_str!("migrations/4.sql")),
];

/// The version that this program writes.
pub(super) fn latest() -> i32 {
    MIGRATIONS.last().map_or(0, |(version, _)| *version)
}

/// Brings the file to the latest version, or leaves it as it is.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    if version(connection)? == latest() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again: another process may have done it while this one waited.
    let from = version(&transaction)?;
    for (version, statements) in MIGRATIONS.iter().filter(|(version, _)| *version > from) {
        transaction.execute_batch(statements)?;
        transaction.pragma_update(None, "user_version", version)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()
}

/// The version of the file: 0 when it is new.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// What a file consists of, but for the order in which it was made.
    fn objects(connection: &Connection) -> Vec<String> {
        let mut statement = connection.prepare("SELECT name FROM sqlite_master ORDER BY name").unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn a_file_of_any_version_becomes_what_a_new_one_is() {
        let mut new = Connection::open_in_memory().unwrap();
        migrate(&mut new).unwrap();
        for (at, (version_before, _)) in MIGRATIONS.iter().enumerate() {
            let mut old = Connection::open_in_memory().unwrap();
            for (_, statements) in &MIGRATIONS[..=at] {
                old.execute_batch(statements).unwrap();
            }
            old.pragma_update(None, "user_version", version_before).unwrap();
            migrate(&mut old).unwrap();
            assert_eq!((version(&old).unwrap(), objects(&old)), (latest(), objects(&new)));
        }
    }
}
