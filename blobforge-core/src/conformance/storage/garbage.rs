//! Which files are garbage, and when.

use super::*;
use crate::NewSource;

/// For how long files are kept here when they are dead.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Longer than a source may be on its way.
const TWO_DAYS: Duration = Duration::from_secs(2 * 24 * 60 * 60);

impl Bench {
    async fn mark(&self, wish: MarkGarbage) -> MarkedGarbage {
        match self.run(Command::MarkGarbage(wish)).await {
            Ok(Done::Garbage(marked)) => marked,
            other => panic!("no answer about garbage: {other:?}"),
        }
    }

    async fn marked(&self) -> Vec<String> {
        self.mark(wish()).await.keys
    }

    /// What is garbage once everything that is dead now has been so for long enough.
    async fn garbage_later(&self) -> Vec<String> {
        self.advance(KEPT + TWO_DAYS);
        let mut keys = self.mark(MarkGarbage { dry_run: true, ..wish() }).await.keys;
        keys.sort();
        keys
    }
}

fn wish() -> MarkGarbage {
    MarkGarbage { dead_for: KEPT, dry_run: false, after: None, limit: 100 }
}

fn stored(key: &str) -> NewSource {
    NewSource::Stored { key: key.to_owned(), sha256: hash(1), size: 7 }
}

/// A cancelled job whose only file is `sources/1`, deleted a moment ago.
async fn a_dead_file(bench: &Bench) {
    bench.reserve("sources/1", None).await.unwrap();
    let id = bench.submit(new("pdf").source(stored("sources/1"))).await.id;
    bench.run(Command::Cancel(id)).await.unwrap();
    bench.delete(id).await;
}

pub async fn a_dead_file_is_kept_for_its_time_and_no_longer(bench: &Bench) {
    a_dead_file(bench).await;
    bench.advance(KEPT - SECOND);
    assert_eq!(bench.marked().await, Vec::<String>::new());
    assert!(bench.storage.has_file("sources/1").await.unwrap());
    bench.advance(SECOND);
    assert_eq!(bench.marked().await, ["sources/1"]);
    assert!(!bench.storage.has_file("sources/1").await.unwrap(), "nobody may use it any more");
}

pub async fn the_files_of_a_job_are_kept_with_it(bench: &Bench) {
    let worker = bench.worker("w1").await;
    bench.reserve("sources/1", None).await.unwrap();
    bench.submit(new("pdf").source(stored("sources/1"))).await;
    let held = bench.claim(&worker).await;
    bench.reserve("outputs/a", Some(&held)).await.unwrap();
    bench.save(&held, "state", 1).await.unwrap();
    assert_eq!(bench.garbage_later().await, Vec::<String>::new(), "while it runs");
    bench.finish(&held, completed_with(vec![output("a", "outputs/a")])).await;
    assert_eq!(bench.garbage_later().await, ["checkpoints/1/state-1"], "when it is done");
    bench.delete(held.job.id).await;
    let all = ["checkpoints/1/state-1", "outputs/a", "sources/1"];
    assert_eq!(bench.garbage_later().await, all, "when it is deleted");
}

pub async fn what_an_attempt_left_without_being_accepted_dies(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.pending().await;
    for end in [fail(), Report::Release, Report::Snooze(bench.clock.now())] {
        let held = bench.claim(&worker).await;
        bench.reserve(&format!("outputs/{}/a", held.token.epoch.get()), Some(&held)).await.unwrap();
        bench.finish(&held, end).await;
        bench.advance(LEASE);
        bench.maintain().await;
    }
    let held = bench.claim(&worker).await;
    bench.reserve("outputs/4/a", Some(&held)).await.unwrap();
    bench.silence().await;
    let heir = bench.worker("w2").await;
    let held = bench.claim(&heir).await;
    for name in ["named", "not-named"] {
        bench.reserve(&format!("outputs/5/{name}"), Some(&held)).await.unwrap();
    }
    bench.finish(&held, completed_with(vec![output("a", "outputs/5/named")])).await;
    assert_eq!(bench.job(id).await.status(), Status::Completed);
    let garbage = bench.garbage_later().await;
    assert_eq!(garbage, ["outputs/1/a", "outputs/2/a", "outputs/3/a", "outputs/4/a", "outputs/5/not-named"]);
}

pub async fn what_a_silent_worker_wrote_is_kept_while_it_may_come_back(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    bench.reserve("outputs/a", Some(&held)).await.unwrap();
    bench.silence().await;
    assert_eq!(bench.garbage_later().await, Vec::<String>::new());
    bench.beat(&worker, &[&held]).await;
    bench.finish(&held, completed_with(vec![output("a", "outputs/a")])).await;
    assert_eq!(bench.garbage_later().await, Vec::<String>::new());
}

pub async fn a_replaced_checkpoint_dies_and_the_new_one_does_not(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    bench.save(&held, "state", 1).await.unwrap();
    bench.save(&held, "state", 2).await.unwrap();
    assert_eq!(bench.garbage_later().await, ["checkpoints/1/state-1"]);
}

pub async fn a_failed_job_keeps_its_files_until_it_is_deleted(bench: &Bench) {
    let worker = bench.worker("w1").await;
    bench.reserve("sources/1", None).await.unwrap();
    let id = bench.submit(new("pdf").source(stored("sources/1"))).await.id;
    let held = bench.claim(&worker).await;
    bench.save(&held, "state", 1).await.unwrap();
    bench.finish(&held, failed(false)).await;
    assert_eq!(bench.garbage_later().await, Vec::<String>::new(), "a retry may need them");
    bench.run(Command::Retry(id)).await.unwrap();
    assert_eq!(bench.claim(&worker).await.checkpoints.len(), 1);
}

pub async fn a_cancelled_job_keeps_its_source_and_not_its_checkpoints(bench: &Bench) {
    let worker = bench.worker("w1").await;
    bench.reserve("sources/1", None).await.unwrap();
    let id = bench.submit(new("pdf").source(stored("sources/1"))).await.id;
    let held = bench.claim(&worker).await;
    bench.save(&held, "state", 1).await.unwrap();
    bench.finish(&held, Report::Release).await;
    bench.run(Command::Cancel(id)).await.unwrap();
    assert_eq!(bench.garbage_later().await, ["checkpoints/1/state-1"]);
}

pub async fn a_shared_source_dies_with_the_last_job_that_has_it(bench: &Bench) {
    bench.reserve("sources/1", None).await.unwrap();
    let mut ids = Vec::new();
    for job_type in ["pdf", "b", "c"] {
        ids.push(bench.submit(new(job_type).source(stored("sources/1"))).await.id);
    }
    for id in ids {
        assert_eq!(bench.garbage_later().await, Vec::<String>::new());
        bench.run(Command::Cancel(id)).await.unwrap();
        bench.delete(id).await;
    }
    assert_eq!(bench.garbage_later().await, ["sources/1"]);
}

pub async fn an_output_that_is_another_jobs_source_outlives_its_job(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    bench.reserve("outputs/a", Some(&held)).await.unwrap();
    bench.finish(&held, completed_with(vec![output("a", "outputs/a")])).await;
    let next = bench.submit(new("next").source(stored("outputs/a"))).await.id;
    bench.delete(held.job.id).await;
    assert_eq!(bench.garbage_later().await, Vec::<String>::new());
    bench.run(Command::Cancel(next)).await.unwrap();
    bench.delete(next).await;
    assert_eq!(bench.garbage_later().await, ["outputs/a"]);
}

pub async fn a_source_that_no_job_took_dies_after_a_day(bench: &Bench) {
    bench.reserve("sources/1", None).await.unwrap();
    bench.advance(KEPT + TWO_DAYS / 2 - SECOND);
    assert_eq!(bench.marked().await, Vec::<String>::new());
    bench.advance(SECOND);
    assert_eq!(bench.marked().await, ["sources/1"]);
    let refused = bench.refused(submit(new("pdf").source(stored("sources/1")))).await;
    assert_eq!(refused, Refusal::UnknownFile("sources/1".to_owned()), "it comes too late");
}

pub async fn a_source_that_a_job_took_in_time_lives(bench: &Bench) {
    bench.reserve("sources/1", None).await.unwrap();
    bench.advance(KEPT + TWO_DAYS);
    bench.submit(new("pdf").source(stored("sources/1"))).await;
    assert_eq!(bench.marked().await, Vec::<String>::new());
}

/// A job whose upload was called off.
async fn an_upload_given_up(bench: &Bench) -> JobId {
    let upload = new("pdf").source(NewSource::Upload { sha256: None, size: None });
    let id = bench.submit(upload).await.id;
    bench.run(Command::Cancel(id)).await.unwrap();
    id
}

pub async fn an_upload_that_was_given_up_dies_and_a_retry_revives_it(bench: &Bench) {
    let id = an_upload_given_up(bench).await;
    assert_eq!(bench.garbage_later().await, ["sources/upload"]);
    bench.run(Command::Retry(id)).await.unwrap();
    assert_eq!(bench.marked().await, Vec::<String>::new());
    assert_eq!(bench.job(id).await.source.unwrap().key, "sources/upload");
    bench.run(bench.source_ready(id, 7, Some(hash(1))).await).await.unwrap();
    assert_eq!(bench.garbage_later().await, Vec::<String>::new());
}

pub async fn what_was_sent_in_vain_dies_and_what_was_taken_stays(bench: &Bench) {
    let upload = new("pdf").source(NewSource::Upload { sha256: None, size: None });
    let id = bench.submit(upload).await.id;
    let at = |key: &str, number| {
        let (key, sha256) = (key.to_owned(), Some(hash(number)));
        Command::SourceReady { job: id, key, size: 7, sha256 }
    };
    for key in ["sources/first", "sources/second"] {
        bench.reserve(key, None).await.unwrap();
    }
    bench.run(at("sources/first", 1)).await.unwrap();
    assert!(is_wrong_state(&bench.run(at("sources/second", 2)).await));
    assert_eq!(bench.garbage_later().await, ["sources/second", "sources/upload"]);
}

pub async fn a_source_that_is_being_deleted_is_sent_again_under_another_key(bench: &Bench) {
    for forgotten in [false, true] {
        let id = an_upload_given_up(bench).await;
        let old = bench.job(id).await.source.unwrap().key;
        bench.advance(KEPT + TWO_DAYS);
        assert_eq!(bench.marked().await, std::slice::from_ref(&old));
        if forgotten {
            bench.run(Command::ForgetFiles(vec![old.clone()])).await.unwrap();
        }
        bench.run(Command::Retry(id)).await.unwrap();
        let new = bench.job(id).await.source.unwrap().key;
        assert_ne!(new, old, "forgotten: {forgotten}");
        assert!(bench.storage.has_file(&new).await.unwrap());
        bench.run(bench.source_ready(id, 7, None).await).await.unwrap();
        bench.advance(KEPT);
        let due = bench.mark(wish()).await.keys;
        assert!(!due.contains(&new), "{due:?}");
        bench.run(Command::ForgetFiles(due)).await.unwrap();
    }
}

pub async fn a_deletion_that_broke_off_is_named_again(bench: &Bench) {
    a_dead_file(bench).await;
    bench.advance(KEPT);
    assert_eq!(bench.marked().await, ["sources/1"]);
    assert_eq!(bench.marked().await, Vec::<String>::new(), "it is under way");
    bench.advance(Duration::from_secs(600));
    assert_eq!(bench.marked().await, ["sources/1"]);
    bench.run(Command::ForgetFiles(vec!["sources/1".to_owned()])).await.unwrap();
    assert_eq!(bench.garbage_later().await, Vec::<String>::new());
}

pub async fn only_what_was_marked_is_forgotten(bench: &Bench) {
    a_dead_file(bench).await;
    bench.run(Command::ForgetFiles(vec!["sources/1".to_owned(), "never-heard-of".to_owned()])).await.unwrap();
    assert!(bench.storage.has_file("sources/1").await.unwrap());
}

pub async fn a_key_that_is_being_deleted_is_given_to_nobody(bench: &Bench) {
    a_dead_file(bench).await;
    bench.advance(KEPT);
    bench.marked().await;
    let taken = Refusal::FileTaken("sources/1".to_owned());
    assert_eq!(bench.reserve("sources/1", None).await, Err(taken.clone()));
    let upload = new("pdf").source(NewSource::Upload { sha256: None, size: None });
    assert_eq!(bench.refused(submit_to(upload, "sources/1")).await, taken);
    let (_, held) = bench.running("w1").await;
    let refused = bench.refused(report(&held, completed_with(vec![output("a", "sources/1")]))).await;
    assert_eq!(refused, Refusal::UnknownFile("a".to_owned()));
}

pub async fn another_jobs_file_is_nobodys_output(bench: &Bench) {
    let (worker, first) = bench.running("w1").await;
    bench.reserve("outputs/a", Some(&first)).await.unwrap();
    bench.pending().await;
    let second = bench.claim(&worker).await;
    let taken = bench.reserve("outputs/a", Some(&second)).await;
    assert_eq!(taken, Err(Refusal::FileTaken("outputs/a".to_owned())));
    let refused = bench.refused(report(&second, completed_with(vec![output("a", "outputs/a")]))).await;
    assert_eq!(refused, Refusal::UnknownFile("a".to_owned()));
}

pub async fn a_dry_run_names_the_same_and_changes_nothing(bench: &Bench) {
    for number in 1..=5 {
        bench.reserve(&format!("sources/{number}"), None).await.unwrap();
    }
    bench.advance(KEPT + TWO_DAYS);
    let mut named = Vec::new();
    let mut page = MarkGarbage { dry_run: true, limit: 2, ..wish() };
    loop {
        let marked = bench.mark(page.clone()).await;
        assert!(marked.keys.len() <= 2);
        named.extend(marked.keys);
        page.after = marked.next;
        if page.after.is_none() {
            break;
        }
    }
    assert_eq!(bench.marked().await, named);
    assert_eq!(named.len(), 5);
}

pub async fn no_more_is_marked_than_was_asked_for(bench: &Bench) {
    for number in 1..=5 {
        bench.reserve(&format!("sources/{number}"), None).await.unwrap();
    }
    bench.advance(KEPT + TWO_DAYS);
    let few = MarkGarbage { limit: 2, ..wish() };
    let mut sizes = Vec::new();
    for _ in 0..4 {
        let marked = bench.mark(few.clone()).await;
        sizes.push((marked.keys.len(), marked.next.is_some()));
    }
    assert_eq!(sizes, [(2, true), (2, true), (1, false), (0, false)]);
}
