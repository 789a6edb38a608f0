//! For how long ended jobs are kept.

use super::*;
use crate::Retention;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn cancelled_for(kept: Option<Duration>) -> Command {
    retention(Retention { cancelled: kept, ..Retention::default() })
}

fn retention(retention: Retention) -> Command {
    let settings = Box::new(TypeSettings { retention, ..TypeSettings::default() });
    Command::SetType { job_type: JobType::new("pdf").unwrap(), settings }
}

impl Bench {
    /// Maintains, a little at a time, until nothing is due within the next two seconds; says how many jobs expired.
    async fn settle(&self) -> usize {
        let mut expired = 0;
        for _ in 0..100 {
            let done = self.maintain_with(few()).await;
            expired += done.expired;
            match done.next_due {
                Some(at) if at <= self.clock.now() + SECOND * 2 => self.clock.set(at.max(self.clock.now())),
                _ => return expired,
            }
        }
        panic!("there is always something due");
    }

    async fn cancelled(&self) -> JobId {
        let id = self.pending().await;
        self.run(Command::Cancel(id)).await.unwrap();
        id
    }

    async fn exists(&self, id: JobId) -> bool {
        self.storage.job(id).await.unwrap().is_some()
    }
}

/// Few at a time, so that more than one round is needed.
fn few() -> Maintain {
    let upload_limit = DAY * 365;
    let asked_at = Timestamp::from_millis(i64::MAX);
    Maintain { asked_at, available_since: Timestamp::ZERO, upload_limit, limit: 2 }
}

pub async fn a_clock_set_back_keeps_jobs_for_longer_and_not_for_ever(bench: &Bench) {
    bench.run(cancelled_for(Some(DAY))).await.unwrap();
    let early = bench.cancelled().await;
    bench.clock.jump_back(DAY * 3);
    let late = bench.cancelled().await;
    bench.advance(DAY);
    assert_eq!(bench.settle().await, 1);
    assert!(
        bench.exists(early).await && !bench.exists(late).await,
        "each by the time that was when it ended"
    );
    bench.advance(DAY * 3);
    assert_eq!(bench.settle().await, 1);
    assert!(!bench.exists(early).await);
}

pub async fn ended_jobs_are_kept_for_ever_unless_said_otherwise(bench: &Bench) {
    let id = bench.cancelled().await;
    bench.advance(DAY * 10_000);
    assert_eq!(bench.settle().await, 0);
    assert!(bench.exists(id).await);
}

pub async fn a_job_is_deleted_when_its_time_is_over_and_no_earlier(bench: &Bench) {
    bench.run(cancelled_for(Some(DAY))).await.unwrap();
    bench.settle().await;
    let ids = [bench.cancelled().await, bench.cancelled().await, bench.cancelled().await];
    let due = bench.clock.now() + DAY;
    let maintained = bench.maintain_with(few()).await;
    assert_eq!((maintained.expired, maintained.next_due), (0, Some(due)), "maintenance knows when");
    bench.clock.set(due - Duration::from_millis(1));
    assert_eq!(bench.maintain_with(few()).await.expired, 0);
    bench.clock.set(due);
    let maintained = bench.maintain_with(few()).await;
    assert_eq!((maintained.expired, maintained.next_due), (2, Some(due)), "no more than its limit");
    assert_eq!(bench.maintain_with(few()).await.expired, 1);
    for id in ids {
        assert!(!bench.exists(id).await);
    }
}

pub async fn each_way_to_end_has_its_own_time(bench: &Bench) {
    let days = |days| Some(DAY * days);
    let kept = Retention { completed: days(1), failed: days(2), cancelled: days(3) };
    bench.run(retention(kept)).await.unwrap();
    bench.settle().await;
    let (worker, done) = bench.running("w1").await;
    bench.finish(&done, complete()).await;
    bench.pending().await;
    let bad = bench.claim(&worker).await;
    bench.finish(&bad, failed(false)).await;
    let called_off = bench.cancelled().await;
    let other = bench.submit(new("other")).await.id;
    bench.run(Command::Cancel(other)).await.unwrap();
    for gone in [done.job.id, bad.job.id, called_off] {
        bench.advance(DAY - SECOND * 10);
        assert_eq!(bench.settle().await, 0);
        assert!(bench.exists(gone).await);
        bench.advance(SECOND * 10);
        assert_eq!(bench.settle().await, 1);
        assert!(!bench.exists(gone).await);
    }
    assert!(bench.exists(other).await, "another type is another matter");
}

pub async fn a_retry_starts_the_time_anew(bench: &Bench) {
    bench.run(cancelled_for(Some(DAY))).await.unwrap();
    bench.settle().await;
    let id = bench.cancelled().await;
    bench.advance(DAY - SECOND * 10);
    bench.run(Command::Retry(id)).await.unwrap();
    assert_eq!(bench.maintain_with(few()).await.next_due, None);
    bench.advance(DAY);
    assert_eq!(bench.settle().await, 0, "it waits for a worker");
    bench.run(Command::Cancel(id)).await.unwrap();
    bench.advance(DAY - SECOND * 10);
    assert_eq!(bench.settle().await, 0);
    bench.advance(SECOND * 10);
    assert_eq!(bench.settle().await, 1);
}

pub async fn a_new_retention_applies_to_jobs_that_ended_before(bench: &Bench) {
    let old = [bench.cancelled().await, bench.cancelled().await, bench.cancelled().await];
    bench.advance(DAY / 2);
    let young = bench.cancelled().await;
    let waiting = bench.pending().await;
    bench.advance(DAY / 2);
    bench.run(cancelled_for(Some(DAY))).await.unwrap();
    assert_eq!(bench.settle().await, 3);
    assert!(!bench.exists(old[0]).await && bench.exists(young).await && bench.exists(waiting).await);
    bench.run(cancelled_for(Some(DAY / 4))).await.unwrap();
    assert_eq!(bench.settle().await, 1, "a shorter one as well");
    assert!(bench.exists(waiting).await);
}

pub async fn a_longer_retention_or_none_spares_jobs_that_ended_before(bench: &Bench) {
    bench.run(cancelled_for(Some(DAY))).await.unwrap();
    bench.settle().await;
    let id = bench.cancelled().await;
    bench.advance(DAY * 2);
    for kept in [Some(DAY * 3), None] {
        // In one batch, so that nothing was applied to older jobs yet when this one is looked at.
        let outcomes = bench.commit(vec![cancelled_for(kept), Command::Maintain(few())]).await.outcomes;
        assert!(matches!(&outcomes[1], Ok(Done::Maintained(done)) if done.expired == 0), "{outcomes:?}");
        bench.advance(DAY);
    }
    bench.advance(DAY * 1000);
    assert_eq!(bench.settle().await, 0);
    assert!(bench.exists(id).await);
}

pub async fn a_deleted_jobs_time_is_forgotten(bench: &Bench) {
    bench.run(cancelled_for(Some(DAY))).await.unwrap();
    bench.settle().await;
    let id = bench.cancelled().await;
    bench.delete(id).await;
    assert_eq!(bench.maintain_with(few()).await.next_due, None);
}
