//! What is read, what is told, and what a batch is.

use super::*;
use crate::{
    End, NewSource, Priority, Progress, Sha256,
    storage::{AttemptChange, Event, HOURS_KEPT, Hour, LeftBytes, Ready, RecordChange, Wake, Workload},
};
use serde_json::json;

pub async fn pages_lead_through_all_jobs_newest_first(bench: &Bench) {
    for _ in 0..7 {
        bench.pending().await;
    }
    let mut filter = JobFilter::all(3);
    let mut pages = Vec::new();
    loop {
        let page = bench.storage.jobs(&filter).await.unwrap();
        pages.push(page.items.iter().map(|job| job.id.get()).collect::<Vec<_>>());
        filter.below = page.next;
        if page.next.is_none() {
            break;
        }
        // What comes in meanwhile moves no page.
        bench.pending().await;
    }
    assert_eq!(pages, [vec![7, 6, 5], vec![4, 3, 2], vec![1]]);
}

pub async fn a_filter_with_nothing_in_it_restricts_nothing(bench: &Bench) {
    bench.commit((0..MAX_PAGE + 1).map(|_| submit(new("pdf"))).collect()).await;
    for (text, limit) in [(None, 0), (Some(String::new()), 0), (None, usize::MAX)] {
        let filter = JobFilter { text, ..JobFilter::all(limit) };
        let page = bench.storage.jobs(&filter).await.unwrap();
        assert_eq!(page.items.len(), MAX_PAGE, "without a limit a page is as long as may be");
        assert_eq!(page.next, Some(JobId::new(2)));
    }
}

pub async fn each_filter_restricts(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let mut labelled = new("pdf").tag("rules");
    labelled.body.source_path = Some("/books/Ärger.pdf".to_owned());
    bench.submit(labelled).await;
    bench.submit(new("pdf").priority(Priority::High)).await;
    bench.advance(SECOND);
    let middle = bench.clock.now();
    bench.submit(new("video").tag("rulesets")).await;
    bench.submit(new("pdf").source(NewSource::Upload { sha256: None, size: None })).await;
    let held = bench.claims(&worker, &["pdf"], 2).await;
    bench.finish(&held[1], failed(false)).await;

    let all = JobFilter::all(10);
    let filters = [
        (JobFilter { status: Some(Status::Uploading), ..all.clone() }, vec![4]),
        (JobFilter { status: Some(Status::Pending), ..all.clone() }, vec![3]),
        (JobFilter { status: Some(Status::Running), ..all.clone() }, vec![2]),
        (JobFilter { status: Some(Status::Failed), ..all.clone() }, vec![1]),
        (JobFilter { status: Some(Status::Completed), ..all.clone() }, vec![]),
        (JobFilter { job_type: Some(JobType::new("pdf").unwrap()), ..all.clone() }, vec![4, 2, 1]),
        (JobFilter { priority: Some(Priority::High), ..all.clone() }, vec![2]),
        (JobFilter { worker: Some(worker.clone()), ..all.clone() }, vec![2]),
        (JobFilter { worker: Some(worker), status: Some(Status::Failed), ..all.clone() }, vec![]),
        (JobFilter { tag: Some("rules".to_owned()), ..all.clone() }, vec![1]),
        (JobFilter { text: Some("ärger".to_owned()), ..all.clone() }, vec![1]),
        (JobFilter { text: Some("PASSWORD".to_owned()), ..all.clone() }, vec![1]),
        (JobFilter { created_from: Some(middle), ..all.clone() }, vec![4, 3]),
        (JobFilter { created_before: Some(middle), ..all.clone() }, vec![2, 1]),
        (JobFilter { below: Some(JobId::new(3)), ..all.clone() }, vec![2, 1]),
        (JobFilter { above: Some(JobId::new(2)), ..all.clone() }, vec![4, 3]),
        (JobFilter { oldest_first: true, ..all.clone() }, vec![1, 2, 3, 4]),
        (JobFilter { oldest_first: true, above: Some(JobId::new(2)), ..all }, vec![3, 4]),
    ];
    for (filter, expected) in filters {
        let found: Vec<_> = bench.list(filter.clone()).await.iter().map(|job| job.id.get()).collect();
        assert_eq!(found, expected, "{filter:?}");
        let one = JobFilter { limit: 1, ..filter };
        let found: Vec<_> = bench.list(one.clone()).await.iter().map(|job| job.id.get()).collect();
        assert_eq!(found, expected, "{one:?}");
    }
}

/// Every text of two to five letters that these have, in letters of either case, and some that nobody has.
fn pieces(texts: &[&str]) -> BTreeSet<String> {
    let mut pieces: BTreeSet<String> = ["nowhere", "\" OR \"", "pdf*", "zz"].map(str::to_owned).into();
    for text in texts {
        let letters: Vec<char> = text.chars().collect();
        for piece in (2..=5).flat_map(|length| letters.windows(length)) {
            let piece: String = piece.iter().collect();
            pieces.extend([piece.to_lowercase(), piece.to_uppercase(), piece]);
        }
    }
    pieces
}

pub async fn a_text_is_found_whether_or_not_the_store_was_kept_up(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let labels = [
        "Ärger mit \"Zitaten\".pdf",
        "ΣΊΣΥΦΟΣ.pdf",
        "İstanbul.pdf",
        "nul\0l.pdf",
        "ab",
        "two\nlines",
        "日本語の本",
    ];
    let other_label = "Zweitname.pdf";
    let searched = pieces(&labels).into_iter().chain(pieces(&[other_label, "PassWord"])).collect::<Vec<_>>();
    let check = async |when: &str| {
        let everything = bench.list(JobFilter::all(0)).await;
        let among = [None, Some(Status::Failed), Some(Status::Pending)];
        for (text, status) in searched.iter().flat_map(|text| among.map(|status| (text, status))) {
            let filter = JobFilter { text: Some(text.clone()), status, ..JobFilter::all(2) };
            let mut expected: Vec<_> = everything.iter().filter(|job| filter.matches(job)).collect();
            assert!(
                bench.list(filter.clone()).await.iter().eq(expected.iter().copied()),
                "{when}: {text:?}, {status:?}"
            );
            expected.reverse();
            let upwards = JobFilter { oldest_first: true, ..filter };
            assert!(bench.list(upwards).await.iter().eq(expected), "{when}, upwards: {text:?}, {status:?}");
        }
    };
    let sha256 = "ab".repeat(32).parse::<Sha256>().unwrap();
    let named = |label: &str| {
        let mut job = new("pdf");
        job.body.source_path = Some(label.to_owned());
        job
    };
    for label in labels {
        bench.submit(named(label)).await;
    }
    let sent = |label| named(label).source(NewSource::Upload { sha256: Some(sha256), size: Some(1) });
    let known = bench.submit(sent("first name of it.pdf")).await.id;
    check("as it came").await;
    bench.keep_up().await;
    check("kept up").await;

    assert_eq!(bench.submit(sent(other_label)).await.id, known, "it has two names now");
    let held = bench.claims(&worker, &["pdf"], 3).await;
    bench.finish(&held[0], failed(false)).await;
    bench.finish(&held[1], failed(true)).await;
    bench.finish(&held[2], complete()).await;
    bench.run(Command::Retry(held[0].job.id)).await.unwrap();
    bench.delete(held[2].job.id).await;
    bench.submit(named("Ärger, später.pdf")).await;
    check("changed since").await;
    bench.keep_up().await;
    check("kept up again").await;
}

pub async fn jobs_are_found_by_how_the_hash_of_their_source_begins(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let hash = |digits: &str| digits.repeat(64 / digits.len()).parse::<Sha256>().unwrap();
    let (one, other) = (hash("0123456789abcdef"), hash("0123456789abcdee"));
    for (job_type, sha256) in [("pdf", Some(one)), ("pdf", Some(other)), ("pdf", None), ("video", Some(one))]
    {
        bench.submit(new(job_type).source(NewSource::Upload { sha256, size: None })).await;
    }
    // One that runs is found as well.
    let key = bench.storage.job(JobId::new(1)).await.unwrap().unwrap().source.unwrap().key;
    bench.run(Command::SourceReady { job: JobId::new(1), key, size: 1, sha256: None }).await.unwrap();
    assert_eq!(bench.claims(&worker, &["pdf"], 1).await.len(), 1);
    let by =
        |beginning: &str| JobFilter { source_hash: Some(beginning.parse().unwrap()), ..JobFilter::all(10) };
    let running = JobFilter { status: Some(Status::Running), ..by("01234567") };
    let uploading = JobFilter { status: Some(Status::Uploading), ..by("01234567") };
    let video = JobFilter { job_type: Some(JobType::new("video").unwrap()), ..by("01234567") };
    let (on_it, on_nobody) = (Some(worker), Some(WorkerId::new("nobody").unwrap()));
    let cases = [
        (by("01234567"), vec![4, 2, 1]),
        (by("0123456789ABCDEF"), vec![4, 1]),
        (by(&one.to_string()), vec![4, 1]),
        (by(&other.to_string()), vec![2]),
        (by("01234568"), vec![]),
        (running, vec![1]),
        (uploading, vec![4, 2]),
        (video, vec![4]),
        (JobFilter { worker: on_it, ..by("01234567") }, vec![1]),
        (JobFilter { worker: on_nobody, ..by("01234567") }, vec![]),
    ];
    for (filter, expected) in cases {
        for limit in [10, 1] {
            let filter = JobFilter { limit, ..filter.clone() };
            let found: Vec<_> = bench.list(filter.clone()).await.iter().map(|job| job.id.get()).collect();
            assert_eq!(found, expected, "{filter:?}");
        }
    }
}

pub async fn what_is_not_there_is_nothing(bench: &Bench) {
    let (id, worker) = (JobId::new(7), WorkerId::new("nobody").unwrap());
    assert_eq!(bench.storage.job(id).await.unwrap(), None);
    assert_eq!(bench.storage.attempts(id).await.unwrap(), []);
    assert_eq!(bench.storage.checkpoints(id).await.unwrap(), []);
    assert_eq!(bench.storage.worker(&worker).await.unwrap(), None);
    assert_eq!(bench.storage.workers().await.unwrap(), []);
    assert_eq!(bench.storage.record("notes", "a").await.unwrap(), None);
    assert_eq!(bench.storage.records("notes").await.unwrap(), []);
    assert!(!bench.storage.has_file("sources/1").await.unwrap());
    assert_eq!(bench.storage.jobs(&JobFilter::all(5)).await.unwrap(), Default::default());
    assert_eq!(bench.storage.counts().await.unwrap().total(), 0);
}

pub async fn counts_follow_every_change(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let of = async |status| bench.storage.counts().await.unwrap().of_status(status);
    for _ in 0..3 {
        bench.pending().await;
    }
    bench.submit(new("video")).await;
    assert_eq!((of(Status::Pending).await, of(Status::Running).await), (4, 0));
    let held = bench.claims(&worker, &["pdf"], 2).await;
    assert_eq!((of(Status::Pending).await, of(Status::Running).await), (2, 2));
    bench.finish(&held[0], complete()).await;
    bench.finish(&held[1], failed(false)).await;
    let counts = bench.storage.counts().await.unwrap();
    let (pdf, video) = (JobType::new("pdf").unwrap(), JobType::new("video").unwrap());
    let expected = [
        ((pdf.clone(), Status::Pending), 1),
        ((pdf.clone(), Status::Completed), 1),
        ((pdf, Status::Failed), 1),
        ((video, Status::Pending), 1),
    ];
    assert_eq!(counts.0, BTreeMap::from(expected), "and nothing stands at zero");
}

pub async fn what_ended_in_each_hour_is_known_for_two_days(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let hour = 3600 * SECOND;
    let finish = async |report| {
        bench.pending().await;
        let held = bench.claims(&worker, &["pdf"], 1).await.remove(0);
        bench.finish(&held, report).await;
    };
    let hours = async || {
        let hours = bench.storage.hours().await.unwrap();
        assert!(hours.iter().all(|(of, _)| of.as_str() == "pdf"), "{hours:?}");
        hours.into_iter().map(|(_, hour)| (hour.start, hour.completed, hour.failed)).collect::<Vec<_>>()
    };
    assert_eq!(hours().await, []);
    let first = Hour::beginning(bench.clock.now());
    finish(complete()).await;
    finish(complete()).await;
    finish(failed(true)).await;
    assert_eq!(hours().await, [(first, 2, 0)], "what is tried again has not ended");
    let called_off = bench.pending().await;
    bench.run(Command::Cancel(called_off)).await.unwrap();
    bench.submit(new("video")).await;
    bench.advance(hour);
    finish(failed(false)).await;
    assert_eq!(hours().await, [(first, 2, 0), (first + hour, 0, 1)], "a cancelled job is in neither");
    // Two days later the first hour makes room.
    bench.advance(hour * (HOURS_KEPT - 1));
    finish(complete()).await;
    assert_eq!(hours().await, [(first + hour, 0, 1), (first + hour * HOURS_KEPT, 1, 0)]);
}

pub async fn what_is_left_and_what_was_done_is_known_by_its_bytes(bench: &Bench) {
    let worker = bench.worker("w1").await;
    for size in [1_000, 2_000, 4_000] {
        let source = NewSource::Upload { sha256: None, size: Some(size) };
        let id = bench.submit(new("pdf").source(source)).await.id;
        bench.run(bench.source_ready(id, size, None).await).await.unwrap();
    }
    let left = async || bench.storage.workload().await.unwrap().left.remove(&pdf()).unwrap_or_default();
    assert_eq!(left().await, LeftBytes { pending: 7_000, running: 0 });
    let held = bench.claims(&worker, &["pdf"], 2).await;
    assert_eq!(left().await, LeftBytes { pending: 4_000, running: 3_000 });
    bench.advance(SECOND * 40);
    bench.finish(&held[0], complete()).await;
    bench.advance(SECOND * 20);
    bench.finish(&held[1], complete()).await;
    assert_eq!(left().await, LeftBytes { pending: 4_000, running: 0 });
    let hours = bench.storage.hours().await.unwrap();
    let done = hours.iter().fold(Hour::default(), |sum, (_, hour)| sum.and(hour));
    assert_eq!((done.completed, done.bytes, done.worked), (2, 3_000, SECOND * 100));
}

pub async fn a_job_in_line_knows_how_many_stand_before_it(bench: &Bench) {
    let ahead = async |id| bench.storage.ahead(id).await.unwrap();
    let mut ids = Vec::new();
    // More than stand in the front of a lane.
    for _ in 0..40 {
        ids.push(bench.pending().await);
        bench.advance(SECOND);
    }
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(ahead(*id).await, Some(at as u64));
    }
    let urgent = bench.submit(new("pdf").priority(Priority::Critical)).await.id;
    assert_eq!(
        (ahead(urgent).await, ahead(ids[0]).await, ahead(ids[39]).await),
        (Some(0), Some(1), Some(40))
    );
    let other = bench.submit(new("video")).await.id;
    assert_eq!(ahead(other).await, Some(0), "each type has its own line");
    let mut later = new("pdf");
    later.run_at = Some(bench.clock.now() + 60 * SECOND);
    let later = bench.submit(later).await.id;
    assert_eq!(ahead(later).await, None, "it stands in no line before its time");
    let worker = bench.worker("w1").await;
    let held = bench.claims(&worker, &["pdf"], 2).await;
    assert_eq!((held[0].job.id, ahead(urgent).await), (urgent, None), "it runs");
    assert_eq!((ahead(ids[1]).await, ahead(ids[39]).await), (Some(0), Some(38)));
    assert_eq!(ahead(JobId::new(9999)).await, None);
}

pub async fn records_are_kept_by_collection_and_key(bench: &Bench) {
    let put = |collection: &str, key: &str, value| {
        let (collection, key) = (collection.to_owned(), key.to_owned());
        Command::PutRecord { collection, key, value }
    };
    bench.run(put("tokens", "b", json!({"scopes": ["admin"]}))).await.unwrap();
    bench.run(put("tokens", "a", json!(1))).await.unwrap();
    bench.run(put("tokens", "a", json!(null))).await.unwrap();
    bench.run(put("notes", "a", json!("other"))).await.unwrap();
    let tokens = bench.storage.records("tokens").await.unwrap();
    assert_eq!(tokens, [("a".to_owned(), json!(null)), ("b".to_owned(), json!({"scopes": ["admin"]}))]);
    for _ in 0..2 {
        let delete = Command::DeleteRecord { collection: "tokens".to_owned(), key: "b".to_owned() };
        bench.run(delete).await.unwrap();
    }
    assert_eq!(bench.storage.record("tokens", "b").await.unwrap(), None);
    assert_eq!(bench.storage.record("notes", "a").await.unwrap(), Some(json!("other")));
}

pub async fn records_are_written_with_a_command_or_not_at_all(bench: &Bench) {
    let note = |key: &str| RecordChange::Put {
        collection: "notes".to_owned(),
        key: key.to_owned(),
        value: json!("kept"),
    };
    let append =
        |log: &str, entry: i64| RecordChange::Append { log: log.to_owned(), entry: json!(entry), keep: 3 };
    let id = bench.pending().await;
    let cancel = |records| Command::Recorded { command: Some(Box::new(Command::Cancel(id))), records };
    bench.run(cancel(vec![note("a"), append("book", 1), note("b")])).await.unwrap();
    assert_eq!(bench.job(id).await.status(), Status::Cancelled);
    assert!(bench.run(cancel(vec![note("c"), append("book", 2)])).await.is_err(), "it is cancelled already");
    let delete = RecordChange::Delete { collection: "notes".to_owned(), key: "b".to_owned() };
    let put = |key: &str| Command::PutRecord {
        collection: "notes".to_owned(),
        key: key.to_owned(),
        value: json!("kept"),
    };
    let command =
        Command::Recorded { command: Some(Box::new(put("d"))), records: vec![delete, append("other", 7)] };
    bench.run(command).await.unwrap();
    let keys: Vec<_> =
        bench.storage.records("notes").await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a", "d"]);
    assert_eq!(bench.storage.log("book", None, 10).await.unwrap(), [(1, json!(1))]);
}

pub async fn a_log_keeps_its_last_entries_and_is_read_from_its_end(bench: &Bench) {
    let append = |entry: i64, keep| {
        let records = vec![RecordChange::Append { log: "book".to_owned(), entry: json!(entry), keep }];
        Command::Recorded { command: None, records }
    };
    for entry in 1..=15 {
        bench.run(append(entry, 12)).await.unwrap();
    }
    let log = async |before, limit| {
        let entries = bench.storage.log("book", before, limit).await.unwrap();
        entries.into_iter().map(|(number, entry)| (number, entry.as_i64().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(log(None, 2).await, [(15, 15), (14, 14)]);
    assert_eq!(log(Some(6), 100).await, [(5, 5), (4, 4)], "the first three are forgotten");
    assert_eq!(log(Some(4), 100).await, []);
    bench.run(append(16, 1)).await.unwrap();
    assert_eq!(log(None, 100).await, [(16, 16)], "fewer can be kept from now on");
    assert_eq!(bench.storage.log("nothing", None, 10).await.unwrap(), []);
}

pub async fn a_refused_command_changes_nothing_and_its_neighbours_commit(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let before = bench.job(held.job.id).await;
    let committed = bench
        .commit(vec![
            submit(new("pdf")),
            Command::Cancel(JobId::new(99)),
            report(&held, completed_with(vec![output("text.md", "outputs/unknown")])),
            report(
                &Claimed { token: crate::LeaseToken { secret: bench.secret(), ..held.token }, ..held },
                fail(),
            ),
            Command::Retry(before.id),
            submit(new("pdf")),
        ])
        .await;
    let accepted: Vec<_> = committed.outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(accepted, [true, false, false, false, false, true]);
    assert_eq!(committed.events.len(), 2, "nothing is told of what did not happen");
    assert_eq!(bench.job(before.id).await, before);
    assert_eq!(bench.claims(&worker, &["pdf"], 5).await.len(), 2);
}

pub async fn commands_see_what_earlier_ones_of_their_batch_did(bench: &Bench) {
    let worker = WorkerId::new("w1").unwrap();
    let committed = bench
        .commit(vec![
            bench.claim_command(&worker, &["pdf"], 1),
            register("w1", "first", None),
            bench.claim_command(&worker, &["pdf"], 1),
            submit(new("pdf")),
            submit(new("pdf").priority(Priority::High)),
            bench.claim_command(&worker, &["pdf"], 1),
            Command::Cancel(JobId::new(1)),
            bench.claim_command(&worker, &["pdf"], 1),
        ])
        .await;
    let claimed = |index: usize| match &committed.outcomes[index] {
        Ok(Done::Claimed(claimed)) => Some(claimed.iter().map(|c| c.job.id.get()).collect::<Vec<_>>()),
        _ => None,
    };
    assert_eq!(
        [claimed(0), claimed(2), claimed(5), claimed(7)],
        [None, Some(vec![]), Some(vec![2]), Some(vec![])]
    );
}

pub async fn an_empty_batch_is_nothing(bench: &Bench) {
    let committed = Committed { flush: None, ..bench.commit(Vec::new()).await };
    assert_eq!(committed, Committed::default());
}

pub async fn events_tell_what_happened(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let job_type = JobType::new("pdf").unwrap();
    let event = |status, was| Event::Job { id: JobId::new(1), job_type: job_type.clone(), status, was };
    let taken_in = bench.commit(vec![submit(new("pdf"))]).await;
    assert_eq!(taken_in.events, [event(Status::Pending, None)]);
    let claimed = bench.commit(vec![bench.claim_command(&worker, &["pdf"], 1)]).await;
    assert_eq!(claimed.events, [event(Status::Running, Some(Status::Pending))]);
    let Ok(Done::Claimed(held)) = &claimed.outcomes[0] else { panic!("{claimed:?}") };
    let done = bench.commit(vec![report(&held[0], complete())]).await;
    assert_eq!(done.events, [event(Status::Completed, Some(Status::Running))]);
    let repeated = bench.commit(vec![report(&held[0], complete())]).await;
    assert_eq!(repeated.events, []);
    let left = bench.commit(vec![Command::RemoveWorker(worker.clone())]).await;
    assert_eq!(left.events, [Event::WorkerOffline(worker)]);
}

pub async fn hints_tell_what_became_ready_and_when_something_falls_due(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let now = bench.clock.now();
    let pdf = Ready { job_type: JobType::new("pdf").unwrap(), wake: Wake::One };
    let ready = bench.commit(vec![submit(new("pdf")), submit(new("pdf"))]).await;
    assert_eq!((ready.ready, ready.next_due), (vec![pdf.clone(); 2], None));
    let later = bench
        .commit(vec![
            submit(new("pdf").run_at(now + SECOND * 9)),
            submit(new("pdf").run_at(now + SECOND * 5)),
        ])
        .await;
    assert_eq!((later.ready, later.next_due), (vec![], Some(now + SECOND * 5)));
    let claimed = bench.commit(vec![bench.claim_command(&worker, &["pdf"], 1)]).await;
    assert_eq!((&claimed.ready, claimed.next_due), (&vec![], Some(now + LEASE)));
    let Ok(Done::Claimed(held)) = &claimed.outcomes[0] else { panic!("{claimed:?}") };
    let failed = bench.commit(vec![report(&held[0], fail())]).await;
    assert_eq!((failed.ready, failed.next_due), (vec![], Some(now + SECOND)));
    bench.advance(SECOND);
    let maintain = Maintain { asked_at: now + SECOND, available_since: now, upload_limit: LEASE, limit: 9 };
    let promoted = bench.commit(vec![Command::Maintain(maintain)]).await;
    assert_eq!(promoted.ready, [pdf]);
    let taken = bench.commit(vec![submit(new("pdf")), bench.claim_command(&worker, &["pdf"], 9)]).await;
    assert_eq!(taken.ready, [], "what the batch itself took is nothing for those who wait");
}

pub async fn what_was_submitted_is_read_back_whole(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let mut job = new("pdf").priority(Priority::Low).max_attempts(7).tag("a \"quoted\" täg").tag("b");
    job.body.params =
        json!({"lang": "de", "scale": 1.5, "deep": {"list": [1, null, "x"]}}).as_object().cloned().unwrap();
    job.body.metadata = json!({"order": u64::MAX, "negative": i64::MIN}).as_object().cloned().unwrap();
    job.body.source_path = Some("/bücher/\u{1F4D6} one.pdf".to_owned());
    job.body.submitter = Some("ann".to_owned());
    let body = job.body.clone();
    let run_at = bench.clock.now() - SECOND;
    let source = NewSource::Upload { sha256: Some(hash(255)), size: Some(u64::MAX) };
    let id = bench.submit(job.run_at(run_at).source(source)).await.id;
    let job = bench.job(id).await;
    assert_eq!(job.body, body);
    assert_eq!((job.priority, job.life.max_attempts, job.life.run_at), (Priority::Low, 7, Some(run_at)));
    let source = job.source.unwrap();
    assert_eq!((source.sha256, source.size), (Some(hash(255)), Some(u64::MAX)));
    assert!(!source.arrived && !source.verified);

    bench.run(bench.source_ready(id, u64::MAX, None).await).await.unwrap();
    let held = bench.claim(&worker).await;
    assert_eq!(held.job.body, body, "a worker is told all of it");
    let progress =
        Progress { done: u64::MAX, total: Some(0), stage: None, message: Some("läuft".to_owned()) };
    let lease = HeldLease {
        job: id,
        token: held.token,
        progress: Some(progress.clone()),
        log_tail: None,
        ahead: None,
    };
    bench.run(Command::Heartbeat(Beat { worker, leases: vec![lease], condition: None })).await.unwrap();
    bench.reserve("outputs/1", None).await.unwrap();
    let outputs = vec![Output { sha256: Some(hash(3)), ..output("images/p1.png", "outputs/1") }];
    let result = Some(json!([{"pages": 300, "rate": 0.25}]));
    bench.finish(&held, Report::Complete { outputs: outputs.clone(), result: result.clone() }).await;
    let job = bench.job(id).await;
    assert_eq!((job.body, job.progress, job.result, job.outputs), (body, Some(progress), result, outputs));
}

pub async fn what_waits_for_longest_and_who_runs_how_much_is_told(bench: &Bench) {
    assert_eq!(bench.storage.workload().await.unwrap(), Workload::default());
    let (a, b) = (bench.worker("a").await, bench.worker("b").await);
    let first = bench.clock.now();
    for _ in 0..2 {
        bench.pending().await;
    }
    bench.advance(SECOND);
    let later = bench.clock.now();
    // Of two classes, and one that has to wait for its time.
    bench.submit(new("pdf").requires("gpu".parse().unwrap())).await;
    bench.submit(new("video")).await;
    bench.submit(new("late").run_at(later + LEASE)).await;
    let oldest = async || bench.storage.workload().await.unwrap().oldest.into_iter().collect::<Vec<_>>();
    let video = JobType::new("video").unwrap();
    assert_eq!(oldest().await, [(pdf(), first), (video.clone(), later)]);
    for worker in [&a, &a, &b] {
        bench.claims(worker, &["pdf", "video"], 1).await;
    }
    let workload = bench.storage.workload().await.unwrap();
    assert_eq!(workload.running, [(a, 2), (b, 1)].into());
    assert_eq!(oldest().await, [(pdf(), later)], "what runs does not wait");
    bench.run(Command::SetPaused(pdf(), true)).await.unwrap();
    assert_eq!(oldest().await, [(pdf(), later)], "what is paused does");
}

pub async fn a_batch_tells_which_attempts_it_began_and_ended(bench: &Bench) {
    let worker = bench.worker("a").await;
    bench.pending().await;
    bench.advance(SECOND);
    let claimed = bench.commit(vec![bench.claim_command(&worker, &["pdf"], 1)]).await;
    assert_eq!(claimed.attempts, [AttemptChange::Begun { job_type: pdf(), waited: SECOND }]);
    let Ok(Done::Claimed(held)) = &claimed.outcomes[0] else { panic!("{claimed:?}") };
    bench.advance(SECOND * 2);
    let report = Command::Report { job: held[0].job.id, token: held[0].token, report: Box::new(complete()) };
    let ended = AttemptChange::Ended { job_type: pdf(), end: End::Completed, ran: SECOND * 2, worker };
    assert_eq!(bench.commit(vec![report.clone()]).await.attempts, [ended]);
    assert_eq!(bench.commit(vec![report]).await.attempts, [], "a report that is repeated ends nothing");
}
