//! Who gets which job.

use super::*;
use crate::Timestamp;

const WAIT: Duration = Duration::from_secs(20);

pub async fn who_has_not_registered_gets_nothing(bench: &Bench) {
    let id = bench.submit(new("pdf")).await;
    let stranger = WorkerId::new("stranger").unwrap();
    for wait in [Duration::ZERO, WAIT] {
        let refused = bench.broker.claim(&wish(&stranger, 1, wait)).await;
        assert!(matches!(refused, Err(BrokerError::NotRegistered(_))), "{refused:?}");
    }
    assert_eq!(bench.job(id).await.status(), Status::Pending);
}

pub async fn a_worker_is_told_its_lease_and_how_often_to_beat(bench: &Bench) {
    let welcome = bench.broker.register(&registration("a", "first", None)).await.unwrap();
    assert_eq!(welcome.lease, Duration::from_secs(60));
    assert!(welcome.heartbeat_every * 3 <= welcome.lease, "{welcome:?}");
    assert!(!welcome.heartbeat_every.is_zero());
    assert_eq!(bench.queue.workers().await.unwrap()[0].registration.id.as_str(), "a");
}

pub async fn registering_again_is_fine(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    bench.register("a", "first", None).await.unwrap();
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Held, "and what it holds it keeps");
}

pub async fn a_job_is_claimed_as_it_was_submitted(bench: &Bench) {
    let worker = bench.worker("a").await;
    let mut job = new("pdf").param("pages", 3).tag("rules").max_attempts(7);
    job.body.metadata.insert("shelf".to_owned(), "B".into());
    job.body.source_path = Some("Übung 1.pdf".to_owned());
    let body = job.body.clone();
    let id = bench.submit(job).await;
    let held = bench.claim(&worker).await;
    assert_eq!((held.job, held.job_type.as_str()), (id, "pdf"));
    assert_eq!((&held.body.params, &held.body.tags), (&body.params, &body.tags));
    assert_eq!((&held.body.metadata, &held.body.source_path), (&body.metadata, &body.source_path));
    assert_eq!((held.failures, held.max_attempts, held.source.is_none()), (0, 7, true));
    assert_eq!((held.lease, held.checkpoints.as_slice()), (Duration::from_secs(60), [].as_slice()));
    let job = bench.job(id).await;
    let lease = job.lease().expect("the job runs");
    assert_eq!((&lease.worker, lease.token, lease.expires_at), (&worker, held.token, held.expires_at));
}

pub async fn a_claim_takes_the_types_it_names_up_to_its_limit(bench: &Bench) {
    let worker = bench.worker("a").await;
    let mut ids = Vec::new();
    for job_type in ["pdf", "other", "picture", "pdf"] {
        ids.push(bench.submit(new(job_type)).await);
    }
    let both = Wish { types: vec![job_type("picture"), job_type("pdf")], ..wish(&worker, 2, Duration::ZERO) };
    let claimed = async || {
        let claimed = bench.broker.claim(&both).await.unwrap();
        claimed.into_iter().map(|held| (held.job, held.job_type.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(claimed().await, [(ids[0], "pdf".to_owned()), (ids[2], "picture".to_owned())]);
    assert_eq!(claimed().await, [(ids[3], "pdf".to_owned())]);
    assert_eq!(claimed().await, []);
    assert_eq!(bench.job(ids[1]).await.status(), Status::Pending);
}

pub async fn nothing_to_do_is_an_empty_answer(bench: &Bench) {
    let worker = bench.worker("a").await;
    bench.submit(new("other")).await;
    bench.submit(new("pdf").run_at(Timestamp::from_millis(i64::MAX))).await;
    assert!(bench.try_claim(&worker).await.is_none());
    let several = bench.broker.claim(&wish(&worker, 5, Duration::ZERO)).await.unwrap();
    assert_eq!(several.len(), 0);
}

pub async fn a_waiting_claim_comes_back_empty_when_its_time_is_over(bench: &Bench) {
    let worker = bench.worker("a").await;
    let claimed = bench.broker.claim(&wish(&worker, 1, Duration::from_millis(20))).await.unwrap();
    assert_eq!(claimed.len(), 0);
}

pub async fn a_waiting_claim_gets_what_is_submitted_later(bench: &Bench) {
    let worker = bench.worker("a").await;
    let wish = wish(&worker, 1, WAIT);
    let (claimed, id) = tokio::join!(bench.broker.claim(&wish), bench.submit(new("pdf")));
    assert_eq!(claimed.unwrap().into_iter().map(|held| held.job).collect::<Vec<_>>(), [id]);
}

pub async fn a_job_is_given_to_one_worker_only(bench: &Bench) {
    let (a, b) = (bench.worker("a").await, bench.worker("b").await);
    bench.submit(new("pdf")).await;
    let (first, second) = tokio::join!(bench.try_claim(&a), bench.try_claim(&b));
    assert_eq!([first, second].iter().flatten().count(), 1);
}

pub async fn a_claim_says_how_long_its_type_may_go_without_progress(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    assert_eq!(held.no_progress, None, "for ever, unless its type says otherwise");
    let no_progress = Some(Duration::from_millis(90_500));
    let settings = crate::TypeSettings { no_progress, ..crate::TypeSettings::default() };
    bench.queue.set_type(job_type("pdf"), settings).await.unwrap();
    bench.submit(new("pdf").tag("another").dedup(false)).await;
    assert_eq!(bench.claim(&worker).await.no_progress, no_progress);
}

pub async fn a_repeated_claim_gets_the_same_lease(bench: &Bench) {
    let worker = bench.worker("a").await;
    for _ in 0..2 {
        bench.submit(new("pdf")).await;
    }
    let named = Wish { claim_id: Some("one".to_owned()), ..wish(&worker, 1, Duration::ZERO) };
    let first = bench.broker.claim(&named).await.unwrap();
    let again = bench.broker.claim(&named).await.unwrap();
    assert_eq!((again.len(), again[0].job, again[0].token), (1, first[0].job, first[0].token));
    let more = bench.broker.claim(&wish(&worker, 1, Duration::ZERO)).await.unwrap();
    assert_ne!(more[0].job, first[0].job);
}
