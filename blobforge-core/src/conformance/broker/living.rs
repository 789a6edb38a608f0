//! Heartbeats, and how workers come and go.

use super::*;
use crate::{Condition, Gauges, GpuGauges, MAX_GPUS, MAX_TROUBLE_BYTES, Progress, Timestamp};

pub async fn a_heartbeat_renews_what_it_names(bench: &Bench) {
    let (worker, named) = bench.running("a").await;
    bench.submit(new("pdf")).await;
    let unnamed = bench.claim(&worker).await;
    let expiry = async |held: &Assignment| bench.job(held.job).await.lease().unwrap().expires_at;
    // The clock may stand still between two calls, but never for ever.
    while expiry(&named).await == named.expires_at {
        assert_eq!(bench.beat_state(&worker, &named).await, LeaseState::Held);
    }
    assert!(expiry(&named).await > named.expires_at);
    assert_eq!(expiry(&unnamed).await, unnamed.expires_at);
    assert_eq!(bench.beat(&worker, &[]).await.unwrap(), BeatReply { leases: vec![], draining: false });
}

pub async fn a_heartbeat_carries_progress(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    let progress = Progress {
        done: 3,
        total: Some(10),
        stage: Some("reading".to_owned()),
        message: Some("page 3 of 10".to_owned()),
    };
    let lease = HeldLease {
        job: held.job,
        token: held.token,
        progress: Some(progress.clone()),
        log_tail: None,
        ahead: None,
    };
    bench
        .broker
        .heartbeat(Beat { worker: worker.clone(), leases: vec![lease], condition: None })
        .await
        .unwrap();
    assert_eq!(bench.job(held.job).await.progress, Some(progress.clone()));
    bench.beat(&worker, &[&held]).await.unwrap();
    assert_eq!(bench.job(held.job).await.progress, Some(progress), "no news is no news");
}

pub async fn a_heartbeat_carries_the_end_of_the_log(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    let say = async |log: String| {
        let lease =
            HeldLease { job: held.job, token: held.token, progress: None, log_tail: Some(log), ahead: None };
        bench
            .broker
            .heartbeat(Beat { worker: worker.clone(), leases: vec![lease], condition: None })
            .await
            .unwrap();
    };
    let said = async || bench.queue.history(held.job).await.unwrap().remove(0).log_tail;
    assert_eq!(said().await, None);
    say("page 1\npage 2".to_owned()).await;
    assert_eq!(said().await.as_deref(), Some("page 1\npage 2"));
    bench.beat(&worker, &[&held]).await.unwrap();
    assert_eq!(said().await.as_deref(), Some("page 1\npage 2"), "no news is no news");
    say("x".repeat(2 * crate::MAX_LOG_TAIL_BYTES) + "the end").await;
    let kept = said().await.unwrap();
    assert!(kept.ends_with("xthe end") && kept.len() <= crate::MAX_LOG_TAIL_BYTES, "{}", kept.len());
}

pub async fn a_heartbeat_carries_how_the_worker_is(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    let say = async |condition| {
        let beat = Beat { worker: worker.clone(), leases: vec![], condition: Some(condition) };
        bench.broker.heartbeat(beat).await
    };
    let said = async || bench.queue.workers().await.unwrap().remove(0).condition;
    let card = GpuGauges {
        name: "NVIDIA H100".to_owned(),
        use_percent: Some(12.5),
        memory_used_bytes: Some(1 << 30),
        memory_total_bytes: Some(80 << 30),
        temperature_celsius: None,
    };
    let gauges = Gauges {
        cpu_percent: 33.3,
        memory_used_bytes: 1,
        memory_total_bytes: 2,
        disk_free_bytes: 3,
        disk_total_bytes: 4,
        gpus: vec![card.clone(), GpuGauges::default()],
    };
    let whole = Condition {
        suspended_until: Some(Timestamp::from_millis(1_700_000_000_000)),
        trouble: Some("the other GPU is gone".to_owned()),
        gauges: Some(gauges.clone()),
    };
    say(whole.clone()).await.unwrap();
    assert_eq!(said().await, whole);
    bench.beat(&worker, &[&held]).await.unwrap();
    assert_eq!(said().await, whole, "no news is no news");
    let many = Gauges { gpus: vec![card; MAX_GPUS + 1], ..gauges };
    assert!(is_refused(&say(Condition { gauges: Some(many), ..Condition::default() }).await));
    assert_eq!(said().await, whole, "and nothing of it is kept");
    let long = Some("x".repeat(2 * MAX_TROUBLE_BYTES));
    say(Condition { trouble: long, ..Condition::default() }).await.unwrap();
    assert_eq!(said().await.trouble.unwrap().len(), MAX_TROUBLE_BYTES);
    bench.register("a", "first", None).await.unwrap();
    assert_eq!(said().await, Condition::default(), "it has still to say how it is now");
}

pub async fn a_heartbeat_hears_of_a_cancel(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    bench.queue.cancel(held.job).await.unwrap();
    for _ in 0..2 {
        assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Cancel);
    }
    assert_eq!(bench.job(held.job).await.status(), Status::Running, "until its holder lets go");
}

pub async fn a_heartbeat_hears_of_lost_leases(bench: &Bench) {
    let (worker, ended) = bench.running("a").await;
    bench.finish(&ended, complete()).await;
    bench.submit(new("pdf")).await;
    let held = bench.claim(&worker).await;
    let nowhere = Assignment { job: JobId::new(999_999), ..held.clone() };
    let reply = bench.beat(&worker, &[&ended, &held, &forged(&held), &nowhere]).await.unwrap();
    let expected = [
        (ended.job, LeaseState::Lost),
        (held.job, LeaseState::Held),
        (held.job, LeaseState::Lost),
        (nowhere.job, LeaseState::Lost),
    ];
    assert_eq!(reply.leases, expected);
}

pub async fn a_heartbeat_hears_of_draining(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    bench.submit(new("pdf")).await;
    bench.queue.set_draining(worker.clone(), true).await.unwrap();
    let reply = bench.beat(&worker, &[&held]).await.unwrap();
    assert_eq!(reply, BeatReply { leases: vec![(held.job, LeaseState::Held)], draining: true });
    assert!(bench.try_claim(&worker).await.is_none(), "it gets nothing new");
    bench.finish(&held, complete()).await;
    bench.queue.set_draining(worker.clone(), false).await.unwrap();
    assert!(!bench.beat(&worker, &[]).await.unwrap().draining);
    assert!(bench.try_claim(&worker).await.is_some());
}

pub async fn a_job_held_ahead_of_time_is_asked_back_while_another_worker_waits(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    let other = bench.worker("b").await;
    let beat = async |ahead: Option<JobType>| {
        let lease = HeldLease { job: held.job, token: held.token, progress: None, log_tail: None, ahead };
        let beat = Beat { worker: worker.clone(), condition: None, leases: vec![lease] };
        bench.broker.heartbeat(beat).await.unwrap().leases[0].1
    };
    let ahead = || Some(job_type("pdf"));
    assert_eq!(beat(ahead()).await, LeaseState::Held, "nobody waits");
    let wish = wish(&other, 1, Duration::from_secs(30));
    let asked = async {
        while beat(ahead()).await != LeaseState::Awaited {}
        assert_eq!(beat(None).await, LeaseState::Held, "what has begun is not asked back");
        assert_eq!(beat(Some(job_type("audio"))).await, LeaseState::Held, "nobody waits for such a job");
        bench.finish(&held, Ending::Release).await;
    };
    let (claimed, ()) = tokio::join!(bench.broker.claim(&wish), asked);
    assert_eq!(claimed.unwrap()[0].job, held.job);
}

pub async fn a_heartbeat_of_an_unknown_worker_is_refused(bench: &Bench) {
    let stranger = WorkerId::new("stranger").unwrap();
    let refused = bench.beat(&stranger, &[]).await;
    assert!(matches!(refused, Err(BrokerError::NotRegistered(_))), "{refused:?}");
}

pub async fn unregistering_gives_back_what_is_held(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    bench.broker.unregister(&worker, "first").await.unwrap();
    let job = bench.job(held.job).await;
    assert_eq!((job.status(), job.life.failures, job.life.losses), (Status::Pending, 0, 0));
    assert_eq!(bench.ends(held.job).await, [Some(End::Released)]);
    let refused = bench.broker.claim(&wish(&worker, 1, Duration::ZERO)).await;
    assert!(matches!(refused, Err(BrokerError::NotRegistered(_))), "{refused:?}");
    let other = bench.worker("b").await;
    assert_eq!(bench.claim(&other).await.job, held.job);
}

pub async fn another_instance_cannot_unregister(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    let refused = bench.broker.unregister(&worker, "second").await;
    assert!(matches!(refused, Err(BrokerError::WorkerInUse(_))), "{refused:?}");
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Held);
}

pub async fn an_id_in_use_is_refused(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    for previous in [None, Some("a wrong guess")] {
        let refused = bench.register("a", "second", previous).await;
        assert!(matches!(refused, Err(BrokerError::WorkerInUse(_))), "{refused:?}");
    }
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Held);
    bench.broker.unregister(&worker, "first").await.unwrap();
    bench.register("a", "second", None).await.expect("the id is free");
}

pub async fn an_heir_takes_over(bench: &Bench) {
    let (worker, held) = bench.running("a").await;
    bench.register("a", "second", Some("first")).await.unwrap();
    let job = bench.job(held.job).await;
    assert_eq!((job.status(), job.life.failures, job.life.losses), (Status::Pending, 0, 1));
    assert_eq!(bench.ends(held.job).await, [Some(End::Lost)]);
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Lost);
    assert_eq!(bench.claim(&worker).await.job, held.job, "at once");
}
