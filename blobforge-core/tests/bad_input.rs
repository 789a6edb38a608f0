//! What is out of bounds, or cannot be read, is an error of the call that brought it, and of nothing else.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod forge;

use std::time::Duration;

use blobforge_core::{
    Checkpoint, Failure, Jitter, JobType, KeyLimits, LimitBy, Limits, MAX_ATTEMPTS_LIMIT, MAX_FILE_BYTES,
    MAX_HOST_BYTES, MAX_INSTANCE_BYTES, MAX_JSON_BYTES, MAX_KEY_BYTES, MAX_LABEL_BYTES,
    MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_OLDEST_SHARE, MAX_REQUIREMENTS, MAX_RESULT_BYTES,
    MAX_SOURCE_PATH_BYTES, MAX_SPAN, MAX_SUBMITTER_BYTES, MAX_TAG_BYTES, MAX_TAGS, MAX_WORKER_NAME_BYTES,
    MAX_WORKER_TYPES, MIN_RETENTION, NewJob, NewSource, Output, Queue, QueueError, Registration, Requirement,
    Requirements, Retention, RetryPolicy, Sha256, TypeSettings, WorkerId,
    queue::{MAX_BEAT, MAX_CLAIM, MAX_OUTPUTS},
    storage::{Beat, Command, HeldLease, RecordChange, Report, Submit},
};
use forge::{Forge, LEASE, complete, in_both, job, work};
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

in_both! {
    a_requirement_is_refused_or_reads_back_whatever_its_length,
    what_is_nested_too_deeply_is_refused_and_stops_nobody,
    details_that_are_nested_too_deeply_are_cut,
    numbers_are_kept_exactly,
    each_field_of_a_job_has_a_bound_by_every_way_in,
    each_thing_that_a_worker_says_of_itself_has_a_bound,
    each_setting_of_a_type_has_a_bound_by_every_way_in,
    what_a_worker_says_of_its_work_has_bounds_and_costs_it_no_lease,
    a_claim_asks_for_something_and_for_not_too_much,
    a_record_has_bounds,
}

/// The field that a call was refused for.
fn field<T: std::fmt::Debug>(result: Result<T, QueueError>) -> &'static str {
    match result {
        Err(QueueError::Invalid(invalid)) => invalid.field,
        other => panic!("not refused: {other:?}"),
    }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

async fn a_requirement_is_refused_or_reads_back_whatever_its_length(forge: Forge) {
    for bytes in 1020..=1026 {
        let text = format!("engine = {}", "x".repeat(bytes));
        let Ok(requirement) = text.parse::<Requirement>() else { continue };
        let id = forge.queue.submit(job().requires(requirement.clone())).await.unwrap().id;
        let body = forge.queue.job(id).await.unwrap().body;
        assert_eq!(body.requires.iter().collect::<Vec<_>>(), [&requirement], "{bytes} bytes");
        // Whatever else touches the type reads what its jobs require.
        forge.submit().await;
    }
    let forge = forge.reopened().await;
    forge.submit().await;
}

async fn what_is_nested_too_deeply_is_refused_and_stops_nobody(forge: Forge) {
    let worker = forge.worker("w").await;
    let queue = &forge.queue;
    let object = |depth| json!({"a": nested(depth)}).as_object().unwrap().clone();
    assert_eq!(field(queue.submit(job().param("a", nested(200))).await), "params");
    let mut with_metadata = job();
    with_metadata.body.metadata = object(200);
    assert_eq!(field(queue.submit(with_metadata).await), "metadata");
    let (collection, key) = ("notes".to_owned(), "a".to_owned());
    let record = Command::PutRecord { collection, key, value: nested(200) };
    assert_eq!(field(queue.run(record.clone()).await), "value");
    let recorded = |command, records| Command::Recorded { command, records };
    assert_eq!(field(queue.run(recorded(Some(Box::new(record)), Vec::new())).await), "value");
    let append = |entry, keep| RecordChange::Append { log: "book".to_owned(), entry, keep };
    for (change, named) in [(append(nested(200), 1), "entry"), (append(nested(1), 0), "keep")] {
        assert_eq!(field(queue.run(recorded(None, vec![change])).await), named);
    }
    let within = recorded(Some(Box::new(recorded(None, vec![append(nested(1), 1)]))), Vec::new());
    assert_eq!(field(queue.run(within).await), "command");
    assert_eq!(queue.storage().log("book", None, 10).await.unwrap(), []);

    let id = queue.submit(job().param("a", nested(60))).await.unwrap().id;
    let held = forge.claim(&worker).await.unwrap();
    assert_eq!(held.job.body.params["a"], nested(60));
    let deep = Report::Complete { outputs: Vec::new(), result: Some(nested(200)) };
    assert_eq!(field(queue.report(id, held.token, deep).await), "result");
    queue.report(id, held.token, complete()).await.unwrap();
    let forge = forge.reopened().await;
    assert_eq!(forge.queue.job(id).await.unwrap().body.params["a"], nested(60));
}

async fn details_that_are_nested_too_deeply_are_cut(forge: Forge) {
    let worker = forge.worker("w").await;
    let id = forge.submit().await;
    let held = forge.claim(&worker).await.unwrap();
    let failure = Failure { details: Some(nested(500)), ..Failure::new("parse", "a tree") };
    forge.queue.fail(id, held.token, failure, false).await.unwrap();
    let details = forge.queue.job(id).await.unwrap().last_error.unwrap().details.unwrap();
    assert!(details["cut"].as_str().unwrap().starts_with("[[["), "{details}");
    forge.queue.retry(id).await.unwrap();
}

async fn numbers_are_kept_exactly(forge: Forge) {
    // The nearest doubles of texts that a quick reader gets wrong by one.
    for number in [1004.9999999999999, 0.1 + 0.2, 1e23, f64::MAX, 5e-324] {
        let id = forge.queue.submit(job().param("scale", number)).await.unwrap().id;
        assert_eq!(forge.queue.job(id).await.unwrap().body.params["scale"], json!(number));
    }
}

/// A way to give a field of something a size of its own.
type Field<T> = (&'static str, u64, fn(&mut T, usize));

type Change = fn(&mut NewJob);

fn text(bytes: usize) -> String {
    "x".repeat(bytes)
}

fn types(many: usize) -> Vec<JobType> {
    (0..many).map(|n| JobType::new(format!("t{n}")).unwrap()).collect()
}

/// An object that has so many bytes as JSON.
fn object(bytes: usize) -> serde_json::Map<String, Value> {
    json!({"a": text(bytes - r#"{"a":""}"#.len())}).as_object().unwrap().clone()
}

/// Tries each field at its bound and one above, by every way in. Says how often something was taken in.
async fn try_bounds<T: Clone>(
    good: &T,
    fields: &[Field<T>],
    ways: &[&dyn Fn(T) -> BoxFuture<'static, Result<(), QueueError>>],
) -> u64 {
    let mut taken = 0;
    for (name, bound, set) in fields {
        let with = |size: u64| {
            let mut some = good.clone();
            set(&mut some, usize::try_from(size).unwrap());
            some
        };
        for way in ways {
            way(with(*bound)).await.unwrap_or_else(|error| panic!("{name} at its bound: {error}"));
            taken += 1;
            assert_eq!(field(way(with(*bound + 1)).await), *name);
        }
    }
    taken
}

async fn each_field_of_a_job_has_a_bound_by_every_way_in(forge: Forge) {
    let fields: [Field<NewJob>; 10] = [
        ("params", MAX_JSON_BYTES as u64, |job, bytes| job.body.params = object(bytes)),
        ("metadata", MAX_JSON_BYTES as u64, |job, bytes| job.body.metadata = object(bytes)),
        ("tags", MAX_TAGS as u64, |job, tags| job.body.tags = vec!["tag".to_owned(); tags]),
        ("tags", MAX_TAG_BYTES as u64, |job, bytes| job.body.tags = vec![text(bytes)]),
        ("requires", MAX_REQUIREMENTS as u64, |job, asked| {
            job.body.requires = Requirements::parse((0..asked).map(|n| format!("label{n}"))).unwrap();
        }),
        ("source_path", MAX_SOURCE_PATH_BYTES as u64, |job, bytes| job.body.source_path = Some(text(bytes))),
        ("submitter", MAX_SUBMITTER_BYTES as u64, |job, bytes| job.body.submitter = Some(text(bytes))),
        ("idempotency_key", MAX_KEY_BYTES as u64, |job, bytes| job.idempotency_key = Some(text(bytes))),
        ("max_attempts", MAX_ATTEMPTS_LIMIT.into(), |job, runs| job.max_attempts = Some(runs as u32)),
        ("source_size", MAX_FILE_BYTES, |job, size| {
            job.source = NewSource::Upload { sha256: None, size: Some(size as u64) };
        }),
    ];
    let queue = forge.queue.clone();
    let plain = |job| -> BoxFuture<'static, _> {
        let queue = queue.clone();
        async move { queue.submit(job).await.map(drop) }.boxed()
    };
    let many = |job| -> BoxFuture<'static, _> {
        let queue = queue.clone();
        async move { queue.submit_many(vec![self::job(), job]).await.map(drop) }.boxed()
    };
    let raw = |job| -> BoxFuture<'static, _> {
        let (queue, upload_key) = (queue.clone(), "sources/raw".to_owned());
        let submit = Submit { job, upload_key, default_max_attempts: 3 };
        async move { queue.run(Command::Submit(Box::new(submit))).await.map(drop) }.boxed()
    };
    let taken = try_bounds(&job(), &fields, &[&plain, &many, &raw]).await;
    // What was submitted under one key by three ways is one job.
    let jobs = taken + fields.len() as u64 - 2;
    assert_eq!(queue.counts().await.unwrap().total(), jobs, "what is refused leaves nothing");

    let nothing: [(&str, Change); 5] = [
        ("tags", |job| job.body.tags = vec![String::new()]),
        ("source_path", |job| job.body.source_path = Some(String::new())),
        ("submitter", |job| job.body.submitter = Some(String::new())),
        ("idempotency_key", |job| job.idempotency_key = Some(String::new())),
        ("max_attempts", |job| job.max_attempts = Some(0)),
    ];
    for (name, set) in nothing {
        let mut job = job();
        set(&mut job);
        assert_eq!(field(queue.submit(job).await), name);
    }
    assert_eq!(queue.counts().await.unwrap().total(), jobs);
}

async fn each_thing_that_a_worker_says_of_itself_has_a_bound(forge: Forge) {
    let fields: [Field<Registration>; 9] = [
        ("types", MAX_WORKER_TYPES as u64, |worker, many| {
            worker.types = types(many);
        }),
        ("instance", MAX_INSTANCE_BYTES as u64, |worker, bytes| worker.instance = text(bytes)),
        ("previous_instance", MAX_INSTANCE_BYTES as u64, |worker, bytes| {
            worker.previous_instance = Some(text(bytes));
        }),
        ("name", MAX_WORKER_NAME_BYTES as u64, |worker, bytes| worker.name = Some(text(bytes))),
        ("host", MAX_HOST_BYTES as u64, |worker, bytes| worker.host = Some(text(bytes))),
        ("metadata", MAX_JSON_BYTES as u64, |worker, bytes| worker.metadata = object(bytes)),
        ("labels", MAX_LABELS as u64, |worker, many| {
            worker.labels = (0..many).map(|n| (format!("l{n}"), json!(1))).collect();
        }),
        ("labels", MAX_LABEL_BYTES as u64, |worker, bytes| {
            worker.labels = [(text(bytes), json!(1))].into_iter().collect();
        }),
        ("labels", MAX_LABEL_VALUE_BYTES as u64, |worker, bytes| {
            worker.labels = [("l".to_owned(), json!(text(bytes - 2)))].into_iter().collect();
        }),
    ];
    let queue = forge.queue.clone();
    let numbers = std::sync::atomic::AtomicUsize::new(0);
    // Each is a process of its own: another instance would find the name in use.
    let named = |worker: Registration| {
        let number = numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Registration { id: WorkerId::new(format!("w{number}")).unwrap(), ..worker }
    };
    let plain = |worker| -> BoxFuture<'static, _> {
        let (queue, worker) = (queue.clone(), named(worker));
        async move { queue.register(worker).await }.boxed()
    };
    let raw = |worker| -> BoxFuture<'static, _> {
        let (queue, registration) = (queue.clone(), Box::new(named(worker)));
        let command = Command::Register { registration, alive_for: LEASE };
        async move { queue.run(command).await.map(drop) }.boxed()
    };
    let good = Registration::new(WorkerId::new("w").unwrap(), [work()], "an instance");
    let taken = try_bounds(&good, &fields, &[&plain, &raw]).await;
    assert_eq!(queue.workers().await.unwrap().len() as u64, taken, "what is refused leaves nothing");
    let nameless = Registration { instance: String::new(), ..good };
    assert_eq!(field(queue.register(nameless).await), "instance");
}

async fn each_setting_of_a_type_has_a_bound_by_every_way_in(forge: Forge) {
    let of_key = |by| Some(KeyLimits { by, limits: Limits::default() });
    let none = Limits { running: Some(0), starts: None };
    let short = MIN_RETENTION - Duration::from_millis(1);
    let long = MAX_SPAN + Duration::from_millis(1);
    let at_most = |span| RetryPolicy { first: span, longest: span };
    let default = TypeSettings::default;
    let cases = [
        ("max_attempts", TypeSettings { max_attempts: Some(MAX_ATTEMPTS_LIMIT + 1), ..default() }),
        ("lease", TypeSettings { lease: Some(Duration::from_millis(999)), ..default() }),
        ("lease", TypeSettings { lease: Some(long), ..default() }),
        ("no_progress", TypeSettings { no_progress: Some(Duration::MAX), ..default() }),
        ("retry", TypeSettings { retry: Some(at_most(long)), ..default() }),
        (
            "retention",
            TypeSettings { retention: Retention { failed: Some(short), ..default().retention }, ..default() },
        ),
        ("limits.running", TypeSettings { limits: none, ..default() }),
        (
            "per_key.limits.running",
            TypeSettings { per_key: Some(KeyLimits { by: LimitBy::Submitter, limits: none }), ..default() },
        ),
        ("per_key.by", TypeSettings { per_key: of_key(LimitBy::Param(String::new())), ..default() }),
        ("per_key.by", TypeSettings { per_key: of_key(LimitBy::Tag(text(MAX_TAG_BYTES + 1))), ..default() }),
        ("oldest_share", TypeSettings { oldest_share: Some(MAX_OLDEST_SHARE + 1), ..default() }),
    ];
    for (name, settings) in cases {
        assert_eq!(field(forge.queue.set_type(work(), settings.clone()).await), name);
        let raw = Command::SetType { job_type: work(), settings: Box::new(settings) };
        assert_eq!(field(forge.queue.run(raw).await), name);
    }
    assert_eq!(forge.queue.types().await.unwrap(), [], "what is refused leaves nothing");
    let widest = TypeSettings {
        max_attempts: Some(MAX_ATTEMPTS_LIMIT),
        lease: Some(MAX_SPAN),
        no_progress: Some(MAX_SPAN),
        retry: Some(at_most(MAX_SPAN)),
        retention: Retention { completed: Some(Duration::MAX), failed: Some(MIN_RETENTION), cancelled: None },
        per_key: of_key(LimitBy::Tag(text(MAX_TAG_BYTES))),
        oldest_share: Some(MAX_OLDEST_SHARE),
        ..default()
    };
    forge.queue.set_type(work(), widest.clone()).await.unwrap();
    let kept = forge.reopened().await.queue.types().await.unwrap().remove(0).settings;
    assert_eq!(TypeSettings { retention: widest.retention, ..kept }, widest);
}

async fn what_a_worker_says_of_its_work_has_bounds_and_costs_it_no_lease(forge: Forge) {
    let (queue, worker) = (&forge.queue, forge.worker("w").await);
    let id = forge.submit().await;
    let held = forge.claim(&worker).await.unwrap();
    let output = |n: usize| Output { name: format!("{n}"), size: 1, sha256: None, key: format!("k{n}") };
    let endless = RetryPolicy { longest: Duration::MAX, ..RetryPolicy::default() };
    let fail = |kind: &str, policy| Report::Fail {
        failure: Failure::new(kind, "it jams"),
        retryable: true,
        policy,
        jitter: Jitter::NONE,
    };
    let complete = |outputs| Report::Complete { outputs, result: None };
    let large = json!(text(MAX_RESULT_BYTES - 1));
    let reports = [
        ("outputs", complete((0..=MAX_OUTPUTS).map(output).collect())),
        ("outputs", complete(vec![output(1), output(2), output(1)])),
        ("outputs", complete(vec![Output { size: MAX_FILE_BYTES + 1, ..output(1) }])),
        ("name", complete(vec![Output { name: "../passwd".to_owned(), ..output(1) }])),
        ("key", complete(vec![Output { key: text(1025), ..output(1) }])),
        ("result", Report::Complete { outputs: Vec::new(), result: Some(large) }),
        ("kind", fail("No kind at all", RetryPolicy::default())),
        ("retry", fail("jam", endless)),
    ];
    for (name, report) in reports {
        assert_eq!(field(queue.report(id, held.token, report).await), name);
    }
    let good =
        Checkpoint { name: "page".to_owned(), size: 1, sha256: Sha256::from_bytes([1; 32]), key: text(9) };
    let checkpoints = [
        ("name", Checkpoint { name: "/page".to_owned(), ..good.clone() }),
        ("size", Checkpoint { size: MAX_FILE_BYTES + 1, ..good.clone() }),
        ("key", Checkpoint { key: String::new(), ..good }),
    ];
    for (name, checkpoint) in checkpoints {
        assert_eq!(
            field(queue.run(Command::Checkpoint { job: id, token: held.token, checkpoint }).await),
            name
        );
    }
    let lease = HeldLease { job: id, token: held.token, progress: None, log_tail: None, ahead: None };
    let beat = |leases| Beat { worker: worker.clone(), leases: vec![lease.clone(); leases], condition: None };
    assert_eq!(field(queue.heartbeat(beat(MAX_BEAT + 1)).await), "leases");
    assert_eq!(queue.heartbeat(beat(MAX_BEAT)).await.unwrap().leases.len(), MAX_BEAT);
    queue.report(id, held.token, complete(Vec::new())).await.unwrap();
}

async fn a_claim_asks_for_something_and_for_not_too_much(forge: Forge) {
    let (queue, worker) = (&forge.queue, forge.worker("w").await);
    let claim = async |types: &[JobType], limit| queue.claim(&worker, types, limit, Duration::ZERO).await;
    assert_eq!(field(claim(&[], 1).await), "types");
    assert_eq!(field(claim(&[work()], 0).await), "limit");
    assert_eq!(field(claim(&types(MAX_WORKER_TYPES + 1), 1).await), "types");
    assert_eq!(claim(&types(MAX_WORKER_TYPES), usize::MAX).await.unwrap(), []);
    for _ in 0..=MAX_CLAIM {
        forge.submit().await;
    }
    assert_eq!(claim(&[work()], usize::MAX).await.unwrap().len(), MAX_CLAIM);
}

async fn a_record_has_bounds(forge: Forge) {
    let record = |collection: usize, key: usize, bytes: usize| Command::PutRecord {
        collection: text(collection),
        key: text(key),
        value: Value::Object(object(bytes)),
    };
    for (name, command) in [
        ("collection", record(MAX_KEY_BYTES + 1, 1, 9)),
        ("key", record(1, 1025, 9)),
        ("key", record(1, 0, 9)),
        ("value", record(1, 1, MAX_JSON_BYTES + 1)),
    ] {
        assert_eq!(field(forge.queue.run(command).await), name);
    }
    forge.queue.run(record(MAX_KEY_BYTES, 1024, MAX_JSON_BYTES)).await.unwrap();
    let kept = forge.queue.storage().records(&text(MAX_KEY_BYTES)).await.unwrap();
    assert_eq!(kept, [(text(1024), Value::Object(object(MAX_JSON_BYTES)))]);
}

#[tokio::test]
async fn a_queue_is_not_opened_with_a_setting_that_makes_no_sense() {
    let long = MAX_SPAN + Duration::from_millis(1);
    let policy = RetryPolicy { first: long, longest: long };
    for (name, builder) in [
        ("lease", Queue::builder().lease(Duration::from_millis(999))),
        ("lease", Queue::builder().lease(long)),
        ("heartbeat_every", Queue::builder().heartbeat_every(Duration::ZERO)),
        ("max_attempts", Queue::builder().max_attempts(0)),
        ("max_attempts", Queue::builder().max_attempts(MAX_ATTEMPTS_LIMIT + 1)),
        ("retry", Queue::builder().retry(policy)),
        ("keep_deleted_files_for", Queue::builder().keep_deleted_files_for(Duration::ZERO)),
    ] {
        assert_eq!(field(builder.open_in_memory()), name);
    }
}

#[tokio::test]
async fn files_are_not_kept_in_memory_beside_jobs_that_are_kept_for_good() {
    let forge = Forge::in_sqlite().await;
    let refused = Queue::builder().open_on(forge.queue.storage().clone()).unwrap_err();
    assert!(refused.to_string().contains("ObjectBlobs::local"), "it says what to do: {refused}");
    assert_eq!(field(Queue::builder().open_on(forge.queue.storage().clone())), "blobs");
    let blobs = forge.queue.blobs().clone();
    assert!(Queue::builder().blobs(blobs).open_on(forge.queue.storage().clone()).is_ok());
    let memory = Forge::in_memory().await;
    assert!(Queue::builder().open_on(memory.queue.storage().clone()).is_ok());
}

/// Writes into the file of a queue behind its back.
fn vandalise(forge: &Forge, sql: &str) {
    let file = blobforge_core::rusqlite::Connection::open(forge.path().unwrap()).unwrap();
    assert!(file.execute(sql, []).unwrap() > 0, "{sql}");
}

#[tokio::test]
async fn a_job_that_cannot_be_read_is_an_error_of_who_asks_for_it_and_stops_nobody() {
    let forge = Forge::in_sqlite().await;
    let worker = forge.worker("w").await;
    let (bad, good) = (forge.submit().await, forge.submit().await);
    vandalise(&forge, &format!("UPDATE jobs SET body = '{{\"params\": ' WHERE id = {bad}"));
    for refused in [forge.queue.get(bad).await.map(drop), forge.queue.cancel(bad).await.map(drop)] {
        let refused = refused.unwrap_err();
        assert!(refused.to_string().contains(&format!("job {bad}")), "it says which: {refused}");
    }
    forge.queue.cancel(good).await.unwrap();
    let video = JobType::new("video").unwrap();
    forge.queue.submit(NewJob::new(video.clone()).unwrap()).await.unwrap();
    let taken = forge.queue.claim(&worker, &[video], 1, Duration::ZERO).await.unwrap();
    assert_eq!(taken.len(), 1);
}

#[tokio::test]
async fn work_that_is_known_for_a_job_that_is_gone_is_known_for_the_next_one() {
    let forge = Forge::in_sqlite().await;
    let upload = || {
        let sha256 = Some(Sha256::from_bytes([7; 32]));
        job().source(NewSource::Upload { sha256, size: None })
    };
    forge.queue.submit(upload()).await.unwrap();
    vandalise(&forge, "UPDATE dedup SET job_id = 999");
    let second = forge.queue.submit(upload()).await.unwrap();
    assert!(!second.existing);
    let third = forge.queue.submit(upload()).await.unwrap();
    assert_eq!((third.id, third.existing), (second.id, true));
}
