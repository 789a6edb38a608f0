//! Which files are opened, and what is said of those that are not.

use std::{fs, path::Path};

use blobforge_core::{
    Generation, NewJob, NewSource,
    rusqlite::Connection,
    storage::{
        JobFilter, Storage, StorageError,
        sqlite::{CheckedFile, SqliteOptions, SqliteStorage, check_file, copy_database, examine},
    },
};

use super::{claimed, open, pdf, register, submit};

/// Opens a file that must be refused, and gives what was said. The file must be left as it was.
async fn refusal(path: &Path) -> String {
    let before = fs::read(path).ok();
    let refused = SqliteStorage::open(path, SqliteOptions::default()).await;
    assert_eq!(fs::read(path).ok(), before, "a refused file is left alone");
    match refused {
        Err(error @ StorageError::Unusable(_)) => {
            assert!(!error.is_retryable());
            error.to_string()
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn database(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[tokio::test]
async fn a_missing_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some/where/queue.db");
    let store = open(&path).await;
    store.commit(vec![pdf()]).await.unwrap();
    assert!(path.exists());
    assert_eq!(store.path(), path.canonicalize().unwrap());
}

#[tokio::test]
async fn an_empty_file_and_an_empty_database_are_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, bare) = (folder.path().join("empty.db"), folder.path().join("bare.db"));
    fs::write(&empty, "").unwrap();
    database(&bare, "VACUUM");
    for path in [empty, bare] {
        let store = open(&path).await;
        store.commit(vec![pdf()]).await.unwrap();
        drop(store);
        let connection = Connection::open(&path).unwrap();
        let pragma =
            |name: &str| -> i32 { connection.pragma_query_value(None, name, |row| row.get(0)).unwrap() };
        assert_eq!((pragma("user_version"), pragma("application_id")), (4, 0x424C_4246));
        let store = open(&path).await;
        assert_eq!(store.counts().await.unwrap().total(), 1, "and not a second time");
    }
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    drop(open(&path).await);
    database(&path, "PRAGMA user_version = 99");
    says(&refusal(&path).await, &["newer BlobForge", "99", "install"]);
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, marked) = (folder.path().join("plain.db"), folder.path().join("marked.db"));
    database(&plain, "CREATE TABLE jobs (id)");
    database(&marked, "PRAGMA application_id = 77");
    for path in [plain, marked] {
        says(&refusal(&path).await, &["another program", "left as it is"]);
    }
}

/// Makes a file what it was in version 2.
const BACK_TO_TWO: &str = "DROP TABLE hours; DROP INDEX jobs_completed; DROP TABLE texts; DROP TABLE texts_changed; \
                           ALTER TABLE counts DROP COLUMN bytes; DELETE FROM meta WHERE key = 'texts_up_to'; \
                           PRAGMA user_version = 2";

#[tokio::test]
async fn a_file_of_version_two_keeps_its_jobs_and_begins_to_count_hours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let store = open(&path).await;
    let source = NewSource::Upload { sha256: None, size: Some(7) };
    let mut named = NewJob::new("pdf").unwrap().source(source);
    named.body.source_path = Some("Codex.pdf".to_owned());
    store.commit(vec![register(), pdf(), pdf(), submit(named)]).await.unwrap();
    let job = claimed(&store).await.job.id;
    drop(store);
    database(&path, BACK_TO_TWO);
    let store = open(&path).await;
    assert_eq!((store.counts().await.unwrap().total(), store.hours().await.unwrap()), (3, vec![]));
    assert!(store.job(job).await.unwrap().unwrap().lease().is_some());
    for _ in 0..2 {
        let filter = JobFilter { text: Some("codex".to_owned()), ..JobFilter::all(9) };
        assert_eq!(
            store.jobs(&filter).await.unwrap().items.len(),
            1,
            "before and after its names are indexed"
        );
        while store.upkeep().await.unwrap() {}
    }
    let bytes = "SELECT status, bytes FROM counts WHERE bytes > 0";
    let bytes = Connection::open(&path).unwrap().query_row(bytes, [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(bytes, Ok((0, 7)), "what waits for its source is counted with its size");
}

#[tokio::test]
async fn a_database_of_the_earlier_blobforge_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blobforge.db");
    database(&path, "CREATE TABLE jobs (id); CREATE TABLE api_tokens (id)");
    says(&refusal(&path).await, &["earlier BlobForge", "cannot read it", "another file"]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter.txt");
    fs::write(&path, "Dear reader, ".repeat(100)).unwrap();
    says(&refusal(&path).await, &["is not an SQLite database", "letter.txt"]);
}

#[tokio::test]
async fn a_path_that_can_hold_no_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    says(&refusal(folder.path()).await, &["cannot be opened for writing"]);
    says(&refusal(Path::new("/")).await, &["no path to a file"]);
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    says(&refusal(&file.join("queue.db")).await, &["folder could not be made"]);
}

#[tokio::test]
async fn the_generation_is_kept_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let store = open(&path).await;
    assert_eq!(store.generation(), Generation::new(1));
    store.commit(vec![register(), pdf()]).await.unwrap();
    drop(store);
    database(&path, "UPDATE meta SET value = 5 WHERE key = 'generation'");
    let store = open(&path).await;
    assert_eq!(store.generation(), Generation::new(5));
    assert_eq!(claimed(&store).await.token.generation, Generation::new(5));
}

#[tokio::test]
async fn a_file_whose_name_looks_like_a_uri_is_just_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file:queue.db?mode=memory");
    let store = open(&path).await;
    store.commit(vec![pdf()]).await.unwrap();
    assert_eq!(store.counts().await.unwrap().total(), 1);
    assert!(path.exists());
}

#[tokio::test]
async fn nothing_stays_beside_the_file_though_somebody_else_has_it_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let store = open(&path).await;
    store.commit(vec![pdf()]).await.unwrap();
    // Its end would not be the end of the last connection.
    let other = Connection::open(&path).unwrap();
    let jobs = || other.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(jobs(), 1);
    let log = folder.path().join("queue.db-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0);
    drop(store);
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
    assert_eq!(jobs(), 1);
}

#[tokio::test]
async fn a_file_is_kept_as_it_was_before_its_tables_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let kept = |version: i32| folder.path().join(format!("jobs.db-schema-{version}"));
    let store = open(&path).await;
    store.commit(vec![pdf()]).await.unwrap();
    drop(store);
    let latest = examine(&path).unwrap().schema;
    assert!(!kept(latest).exists(), "nothing changed");
    // Two that are older, from before: one of them is one too many.
    fs::write(kept(1), "").unwrap();
    fs::write(kept(2), "").unwrap();
    database(&path, BACK_TO_TWO);
    let store = open(&path).await;
    assert_eq!(store.counts().await.unwrap().total(), 1);
    drop(store);
    assert_eq!(check_file(&kept(2)).unwrap(), CheckedFile { schema: 2, jobs: 1 });
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().filter(|one| name_of(one).contains("-schema-")).count(),
        2
    );

    // Where there is no room for it, nothing is changed.
    database(&path, BACK_TO_TWO);
    fs::create_dir_all(folder.path().join("jobs.db-schema-2-new/in the way")).unwrap();
    says(&refusal(&path).await, &["could not be kept as it is before", "make room"]);
}

fn name_of(entry: &std::io::Result<fs::DirEntry>) -> String {
    entry.as_ref().unwrap().file_name().to_string_lossy().into_owned()
}

#[tokio::test]
async fn a_damaged_file_is_found_out_when_it_is_looked_through() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("jobs.db"), folder.path().join("copy.db"));
    let store = open(&path).await;
    for _ in 0..500 {
        store.commit(vec![pdf()]).await.unwrap();
    }
    copy_database(&path, &copy).unwrap();
    assert_eq!(examine(&copy).unwrap().jobs, 500);
    assert!(copy_database(&path, &copy).unwrap_err().to_string().contains("is there already"));
    let whole = fs::read(&copy).unwrap();
    // A page in the middle, as of a disk that lost it.
    let middle = whole.len() / 2 / 4096 * 4096;
    let mut lost = whole.clone();
    lost[middle..middle + 4096].fill(0);
    fs::write(&copy, &lost).unwrap();
    let found = examine(&copy).unwrap_err().to_string();
    assert!(found.contains("damaged") || found.contains("malformed"), "{found}");
    fs::write(&copy, &whole[..middle]).unwrap();
    assert!(examine(&copy).is_err());
    fs::write(&copy, &whole).unwrap();
    database(&copy, "DELETE FROM jobs WHERE id = 7");
    says(&examine(&copy).unwrap_err().to_string(), &["499 jobs", "counted 500"]);
    fs::write(&copy, "").unwrap();
    says(&examine(&copy).unwrap_err().to_string(), &["empty"]);
}
