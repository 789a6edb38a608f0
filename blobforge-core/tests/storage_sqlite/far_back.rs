//! A few jobs behind many that came later, or before them, are found without looking at all of those.

use std::path::Path;

use blobforge_core::{
    JobId, NewJob, Status,
    rusqlite::Connection,
    storage::{JobFilter, MAX_EXAMINED, Storage, sqlite::SqliteStorage},
};

use super::{claimed, complete, open, register, run, submit};

/// More jobs than a page looks at, all done, between the first two and the last two. The first and the last wait.
async fn buried(path: &Path) -> SqliteStorage {
    let store = open(path).await;
    let named = |name: &str| {
        let mut job = NewJob::new("pdf").unwrap();
        job.body.source_path = Some(name.to_owned());
        submit(job)
    };
    store.commit(vec![register(), named("Codex of Ash.pdf"), named("one of many.pdf")]).await.unwrap();
    let (first, second) = (claimed(&store).await, claimed(&store).await);
    run(&store, complete(&second)).await.unwrap();
    let many = MAX_EXAMINED * 2;
    let columns = "type, priority, status, epoch, failures, losses, max_attempts, run_at, ready_at, created_at, \
                   started_at, ended_at, updated_at, last_error, dedup, body";
    Connection::open(path)
        .unwrap()
        .execute_batch(&format!(
            "WITH RECURSIVE n (id) AS (SELECT 3 UNION ALL SELECT id + 1 FROM n WHERE id < {many})
             INSERT INTO jobs (id, {columns}) SELECT n.id, {columns} FROM jobs, n WHERE jobs.id = 2;"
        ))
        .unwrap();
    run(&store, super::report(&first, blobforge_core::storage::Report::Release)).await.unwrap();
    store.commit(vec![named("Codex of Iron.pdf"), named("one of many.pdf")]).await.unwrap();
    store
}

async fn first_page(store: &SqliteStorage, filter: JobFilter) -> (Vec<i64>, Option<JobId>) {
    let page = store.jobs(&filter).await.unwrap();
    (page.items.iter().map(|job| job.id.get()).collect(), page.next)
}

#[tokio::test]
async fn a_name_is_found_on_the_first_page() {
    let folder = tempfile::tempdir().unwrap();
    let store = buried(&folder.path().join("queue.db")).await;
    let last = MAX_EXAMINED as i64 * 2 + 2;
    let by_name = JobFilter { text: Some("CODEX OF".to_owned()), ..JobFilter::all(10) };
    let (found, next) = first_page(&store, by_name.clone()).await;
    assert_eq!(found, [last - 1]);
    assert!(next.is_some(), "nobody looked further yet: the index is not made");

    let mut steps = 0;
    while store.upkeep().await.unwrap() {
        steps += 1;
    }
    assert!(steps > 50, "each takes a little: {steps}");
    assert_eq!(first_page(&store, by_name.clone()).await, (vec![last - 1, 1], None));
    let upwards = JobFilter { oldest_first: true, limit: 1, ..by_name.clone() };
    assert_eq!(first_page(&store, upwards).await, (vec![1], Some(JobId::new(last - 2))));
    let done = JobFilter { status: Some(Status::Completed), ..by_name };
    assert_eq!(first_page(&store, done).await, (vec![], None));
}

#[tokio::test]
async fn a_name_that_many_have_is_found_where_few_of_them_wait_or_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let store = buried(&path).await;
    let many = MAX_EXAMINED as i64 * 2;
    Connection::open(&path)
        .unwrap()
        .execute("UPDATE jobs SET status = 4 WHERE id BETWEEN 3 AND ?1", [many])
        .unwrap();
    while store.upkeep().await.unwrap() {}
    let named = JobFilter { text: Some("one of many".to_owned()), ..JobFilter::all(10) };
    for oldest_first in [false, true] {
        let by_status = |status| JobFilter { status: Some(status), oldest_first, ..named.clone() };
        assert_eq!(first_page(&store, by_status(Status::Pending)).await, (vec![many + 2], None));
        assert_eq!(first_page(&store, by_status(Status::Completed)).await, (vec![2], None));
    }
}

#[tokio::test]
async fn what_waits_is_found_on_the_first_page() {
    let folder = tempfile::tempdir().unwrap();
    let store = buried(&folder.path().join("queue.db")).await;
    let last = MAX_EXAMINED as i64 * 2 + 2;
    let waiting = JobFilter { status: Some(Status::Pending), ..JobFilter::all(2) };
    assert_eq!(first_page(&store, waiting.clone()).await, (vec![last, last - 1], Some(JobId::new(2))));
    let rest = waiting.clone().from_place(Some(JobId::new(2)));
    assert_eq!(first_page(&store, rest).await, (vec![1], None));
    let upwards = JobFilter { oldest_first: true, ..waiting };
    assert_eq!(first_page(&store, upwards).await, (vec![1, last - 1], Some(JobId::new(last - 1))));
}
