//! Databases of every schema that there was, as the program of its time wrote them, each brought up to date.
//!
//! They lie as SQL in `schemas/`, since that can be read, and what differs in a change can be seen. Whoever is about to write a
//! migration first keeps the database of the schema that is then the one before: `UPDATE_SCHEMAS=1 cargo test -p
//! blobforge-core --test storage_sqlite -- schemas --ignored`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use blobforge_core::{
    Ends, Failure, JobId, JobType, Limits, ManualClock, NewJob, NewSource, Priority, Queue, Registration,
    Status, Subscriber, Timestamp, TypeSettings, WorkerId,
    blob::read_bytes,
    rusqlite::{Connection, types::ValueRef},
    storage::{Beat, Command, Done, HeldLease, JobFilter, RecordChange, Report},
};
use serde_json::json;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/storage_sqlite/schemas")
}

const BEGAN: &str = "2025-06-01T08:00:00Z";

async fn open(path: &Path) -> (Queue, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(BEGAN.parse().unwrap()));
    let queue = Queue::builder().clock(clock.clone()).open(path).await.unwrap();
    (queue, clock)
}

fn pdf() -> NewJob {
    NewJob::new("pdf").unwrap()
}

/// Something of everything, in ten jobs.
async fn live(queue: &Queue, clock: &ManualClock) {
    let (smith, types) = (WorkerId::new("smith").unwrap(), [JobType::new("pdf").unwrap()]);
    let mut registration = Registration::new(smith.clone(), types.clone(), "secret of this process");
    registration.host = Some("basement".to_owned());
    queue.register(registration).await.unwrap();
    let limits = Limits { running: Some(5), starts: None };
    queue.set_type(types[0].clone(), TypeSettings { limits, ..TypeSettings::default() }).await.unwrap();
    let subscriber = Subscriber { name: "ledger".to_owned(), job_type: None, ends: Ends::ALL };
    queue.run(Command::Subscribe(subscriber)).await.unwrap();

    let mut named = pdf().tag("shelf a").param("dpi", 300).priority(Priority::Critical);
    named.body.source_path = Some("books/dune.pdf".to_owned());
    named.body.metadata.insert("order".to_owned(), json!([1, null]));
    let done = queue.submit_stream(named, read_bytes("a book"), 100).await.unwrap().id;
    let failed = queue.submit(pdf().priority(Priority::High)).await.unwrap().id;
    let running = queue.submit(pdf().priority(Priority::High)).await.unwrap().id;
    queue.submit(pdf().requires("vram_gb >= 24".parse().unwrap())).await.unwrap();
    queue.submit(pdf().idempotency_key("once").priority(Priority::Low)).await.unwrap();
    queue.submit(pdf().run_at("2025-07-01T08:00:00Z".parse().unwrap())).await.unwrap();
    queue.submit(pdf().source(NewSource::Upload { sha256: None, size: Some(7) })).await.unwrap();
    let called_off = queue.submit(pdf().tag("no more")).await.unwrap().id;
    queue.cancel(called_off).await.unwrap();
    let mail = JobType::new("mail").unwrap();
    queue.submit(NewJob::new("mail").unwrap()).await.unwrap();
    queue.pause(mail).await.unwrap();

    let claimed = queue.claim(&smith, &types, 3, Duration::ZERO).await.unwrap();
    assert_eq!(claimed.iter().map(|one| one.job.id).collect::<Vec<_>>(), [done, failed, running]);
    clock.advance(Duration::from_secs(60));
    let complete = Report::Complete { outputs: Vec::new(), result: Some(json!({"pages": 12})) };
    queue.report(done, claimed[0].token, complete).await.unwrap();
    let failure = Failure::new("encrypted", "This PDF needs a password.");
    queue.fail(failed, claimed[1].token, failure, false).await.unwrap();
    let (collection, key) = ("tokens".to_owned(), "lease".to_owned());
    let value = json!({"job": running, "lease": claimed[2].token.to_string()});
    let records = vec![RecordChange::Put { collection, key, value }];
    queue.run(Command::Recorded { command: None, records }).await.unwrap();
    queue.submit(pdf().priority(Priority::Background)).await.unwrap();
}

/// The database of a version, out of its SQL.
fn restored(version: i32, path: &Path) {
    let sql = fs::read_to_string(folder().join(format!("{version}.sql"))).unwrap();
    let database = Connection::open(path).unwrap();
    database.execute_batch(&sql).unwrap();
    assert_eq!(schema(&database), version, "its own last line says so");
}

fn schema(database: &Connection) -> i32 {
    database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// The schema of a new database.
async fn latest(folder: &Path) -> i32 {
    let path = folder.join("new.db");
    open(&path).await.0.close().await;
    schema(&Connection::open(path).unwrap())
}

#[tokio::test]
async fn a_database_of_every_earlier_schema_is_kept_and_goes_on_as_it_was() {
    let temporary = tempfile::tempdir().unwrap();
    let latest = latest(temporary.path()).await;
    assert!(latest >= 3, "{latest}");
    for version in 1..latest {
        println!("schema {version} becomes {latest}");
        let path = temporary.path().join(format!("{version}.db"));
        restored(version, &path);
        let (queue, clock) = open(&path).await;
        clock.advance(Duration::from_secs(120));
        goes_on(&queue).await;
        queue.close().await;
        assert_eq!(schema(&Connection::open(&path).unwrap()), latest);
    }
}

/// Everything is as it was left, and what was under way goes on.
async fn goes_on(queue: &Queue) {
    let all = queue.list(&JobFilter::all(100)).await.unwrap().items;
    let status = |id: i64| all.iter().find(|job| job.id.get() == id).unwrap().status();
    let statuses: Vec<_> = (1..=10).map(status).collect();
    use Status::{Cancelled, Completed, Failed, Pending, Running, Uploading};
    assert_eq!(
        statuses,
        [Completed, Failed, Running, Pending, Pending, Pending, Uploading, Cancelled, Pending, Pending]
    );
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.total(), counts.of_status(Pending), counts.of_status(Running)), (10, 5, 1));

    let done = queue.job(JobId::new(1)).await.unwrap();
    assert_eq!((done.body.tags, done.body.params["dpi"].clone()), (vec!["shelf a".to_owned()], 300.into()));
    assert_eq!(done.body.metadata["order"], json!([1, null]));
    assert_eq!((done.result, done.created_at.to_string()), (Some(json!({"pages": 12})), at(0)));
    assert_eq!(done.ended_at.unwrap().to_string(), at(60));
    let history = queue.history(JobId::new(1)).await.unwrap();
    assert_eq!((history.len(), history[0].host.as_deref()), (1, Some("basement")));
    let hash = done.source.unwrap().sha256;
    let known = JobFilter { source_hash: Some(hash.unwrap().into()), ..JobFilter::all(9) };
    assert_eq!(queue.list(&known).await.unwrap().items.len(), 1, "it is found by its hash");
    let found = JobFilter { text: Some("DUNE".to_owned()), ..JobFilter::all(9) };
    assert_eq!(queue.list(&found).await.unwrap().items.len(), 1, "and by its name");
    let failed = queue.job(JobId::new(2)).await.unwrap();
    assert_eq!(failed.last_error.unwrap().kind, "encrypted");
    assert_eq!(queue.failure_groups(None, 9).await.unwrap()[0].jobs, 1);
    let again = queue.submit(pdf().idempotency_key("once").priority(Priority::Low)).await.unwrap();
    assert_eq!((again.id.get(), again.replayed), (5, true), "its key is known");

    // The lease of the one that runs is good, and its worker ends it.
    let (smith, types) = (WorkerId::new("smith").unwrap(), [JobType::new("pdf").unwrap()]);
    let kept = queue.storage().record("tokens", "lease").await.unwrap().unwrap();
    let (job, token) = (JobId::new(3), kept["lease"].as_str().unwrap().parse().unwrap());
    let held = HeldLease { job, token, progress: None, log_tail: None, ahead: None };
    let beat = Beat { worker: smith.clone(), leases: vec![held], condition: None };
    queue.heartbeat(beat).await.unwrap();
    let complete = || Report::Complete { outputs: Vec::new(), result: None };
    queue.report(job, token, complete()).await.unwrap();
    // Whoever waits is served in order, and one that asks for more than the worker has is not.
    let claimed = queue.claim(&smith, &types, 9, Duration::ZERO).await.unwrap();
    assert_eq!(claimed.iter().map(|one| one.job.id.get()).collect::<Vec<_>>(), [5, 10]);
    for one in claimed {
        assert_eq!(one.token.epoch.get(), 1);
        queue.report(one.job.id, one.token, complete()).await.unwrap();
    }
    let types = queue.types().await.unwrap();
    let of = |name: &str| types.iter().find(|one| one.job_type.as_str() == name).unwrap();
    assert!(of("mail").paused && !of("pdf").paused);
    assert_eq!(of("pdf").settings.limits.running, Some(5));
    // What was to be told to others still is, and what has ended since.
    let take = Command::TakeMessages { limit: 9, hold: Duration::from_secs(60) };
    let Done::Messages(messages) = queue.run(take).await.unwrap() else { panic!("no messages") };
    let told: Vec<_> = messages.iter().map(|message| message.job.get()).collect();
    assert!([1, 2, 8, 3].iter().all(|job| told.contains(job)), "{told:?}");
    let retried = queue.retry(JobId::new(8)).await.unwrap();
    assert_eq!(retried.status(), Pending);
}

fn at(seconds: u64) -> String {
    (BEGAN.parse::<Timestamp>().unwrap() + Duration::from_secs(seconds)).to_string()
}

/// A database as SQL that makes it again.
fn dump(database: &Connection) -> String {
    let mut sql = String::new();
    let mut made = database
        .prepare("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'sqlite_sequence' ORDER BY type <> 'table', name")
        .unwrap();
    let rows = made.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let objects: Vec<(String, String, String)> = rows.map(Result::unwrap).collect();
    for (kind, name, text) in &objects {
        if kind == "table" {
            sql += &format!("{text};\n{}", rows_of(database, name));
        }
    }
    sql += "DELETE FROM sqlite_sequence;\n";
    sql += &rows_of(database, "sqlite_sequence");
    for (_, _, text) in objects.iter().filter(|(kind, ..)| kind != "table") {
        sql += &format!("{text};\n");
    }
    let pragma = |name: &str| database.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    sql += &format!(
        "PRAGMA application_id = {};\nPRAGMA user_version = {};\n",
        pragma("application_id"),
        pragma("user_version")
    );
    sql
}

fn rows_of(database: &Connection, table: &str) -> String {
    let mut read = database.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
    let columns = read.column_count();
    let mut rows = read.query([]).unwrap();
    let mut sql = String::new();
    while let Some(row) = rows.next().unwrap() {
        let values: Vec<String> = (0..columns)
            .map(|column| match row.get_ref(column).unwrap() {
                ValueRef::Null => "NULL".to_owned(),
                ValueRef::Integer(number) => number.to_string(),
                ValueRef::Real(number) => format!("{number:?}"),
                ValueRef::Text(text) => format!("'{}'", String::from_utf8_lossy(text).replace('\'', "''")),
                ValueRef::Blob(bytes) => format!("x'{}'", hex::encode(bytes)),
            })
            .collect();
        sql += &format!("INSERT INTO \"{table}\" VALUES ({});\n", values.join(", "));
    }
    sql
}

#[tokio::test]
#[ignore = "writes the database of this schema down: UPDATE_SCHEMAS=1, before a migration is written"]
async fn the_database_of_this_schema_is_written_down() {
    assert!(std::env::var_os("UPDATE_SCHEMAS").is_some(), "say UPDATE_SCHEMAS=1");
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("jobs.db");
    let (queue, clock) = open(&path).await;
    live(&queue, &clock).await;
    queue.close().await;
    let database = Connection::open(&path).unwrap();
    let file = folder().join(format!("{}.sql", schema(&database)));
    fs::create_dir_all(folder()).unwrap();
    fs::write(&file, dump(&database)).unwrap();
    let again = temporary.path().join("again.db");
    restored(schema(&database), &again);
    assert_eq!(dump(&Connection::open(&again).unwrap()), fs::read_to_string(&file).unwrap());
}
