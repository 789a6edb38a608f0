//! The processes that claim.

use super::*;
use crate::{Condition, End, Gauges, GpuGauges, WorkerRecord};

async fn worker(bench: &Bench, id: &WorkerId) -> WorkerRecord {
    bench.storage.worker(id).await.unwrap().expect("the worker is there")
}

pub async fn a_worker_registers_and_is_read_back_without_its_secret(bench: &Bench) {
    let mut registration = registration("w1", "a secret", None);
    registration.name = Some("the tower in the hall".to_owned());
    registration.labels.insert("gpu".to_owned(), serde_json::json!({"memory": 16}));
    let command = Command::Register { registration: Box::new(registration.clone()), alive_for: LEASE };
    let committed = bench.commit(vec![command]).await;
    assert_eq!(committed.events, [crate::storage::Event::WorkerOnline(registration.id.clone())]);
    let record = worker(bench, &registration.id).await;
    assert_ne!(record.registration.instance, "a secret");
    registration.instance.clone_from(&record.registration.instance);
    let now = bench.clock.now();
    let expected = WorkerRecord {
        registration,
        registered_at: now,
        last_seen_at: now,
        draining: false,
        unregistered: false,
        condition: Condition::default(),
    };
    assert_eq!(record, expected);
}

pub async fn an_id_in_use_is_refused_until_its_holder_is_silent(bench: &Bench) {
    let id = bench.worker("w1").await;
    let before = worker(bench, &id).await;
    assert_eq!(bench.refused(register("w1", "second", None)).await, Refusal::WorkerInUse(id.clone()));
    assert_eq!(worker(bench, &id).await, before);
    bench.run(register("w1", "first", None)).await.expect("the same process may say it again");
    bench.advance(LEASE);
    bench.run(register("w1", "second", None)).await.expect("the first one is gone");
    assert_eq!(bench.refused(register("w1", "first", None)).await, Refusal::WorkerInUse(id));
}

pub async fn an_heir_takes_over_and_frees_the_old_leases(bench: &Bench) {
    let (id, held) = bench.running("w1").await;
    let wrong = bench.refused(register("w1", "second", Some("not the first"))).await;
    assert_eq!(wrong, Refusal::WorkerInUse(id.clone()));
    bench.run(register("w1", "second", Some("first"))).await.unwrap();
    assert_eq!(worker(bench, &id).await.registration.previous_instance, None, "it is kept no longer");
    let job = bench.job(held.job.id).await;
    assert_eq!((job.status(), job.life.losses), (Status::Pending, 1));
    assert!(is_lost(&bench.report(&held, complete()).await));
    let again = bench.claim(&id).await;
    assert_eq!(again.job.id, held.job.id);
    assert_eq!(bench.storage.attempts(held.job.id).await.unwrap()[0].end, Some(End::Lost));
}

pub async fn registering_again_keeps_what_was_set(bench: &Bench) {
    let id = bench.worker("w1").await;
    let registered_at = bench.clock.now();
    bench.run(Command::SetDraining(id.clone(), true)).await.unwrap();
    bench.advance(SECOND);
    bench.run(register("w1", "first", None)).await.unwrap();
    let record = worker(bench, &id).await;
    assert!(record.draining);
    assert_eq!((record.registered_at, record.last_seen_at), (registered_at, bench.clock.now()));
}

pub async fn unregistering_gives_back_what_is_held(bench: &Bench) {
    let (id, held) = bench.running("w1").await;
    let unregister = Command::Unregister { worker: id.clone(), instance: Some("first".to_owned()) };
    bench.run(unregister).await.unwrap();
    let job = bench.job(held.job.id).await;
    assert_eq!((job.status(), job.life.losses, job.life.failures), (Status::Pending, 0, 0));
    assert_eq!(bench.storage.attempts(held.job.id).await.unwrap()[0].end, Some(End::Released));
    assert!(worker(bench, &id).await.unregistered);
    let refused = bench.refused(bench.claim_command(&id, &["pdf"], 1)).await;
    assert_eq!(refused, Refusal::WorkerNotRegistered(id.clone()));
    bench.run(register("w1", "second", None)).await.expect("its id is free");
    assert_eq!(bench.claim(&id).await.job.id, held.job.id);
}

pub async fn another_process_cannot_unregister(bench: &Bench) {
    let (id, held) = bench.running("w1").await;
    let stranger = Command::Unregister { worker: id.clone(), instance: Some("second".to_owned()) };
    assert_eq!(bench.refused(stranger).await, Refusal::WorkerInUse(id.clone()));
    assert_eq!(bench.beat_state(&id, &held).await, LeaseState::Held);
}

pub async fn a_removed_worker_loses_what_it_holds(bench: &Bench) {
    let (id, held) = bench.running("w1").await;
    let other = bench.worker("w2").await;
    bench.pending().await;
    let kept = bench.claim(&other).await;
    bench.run(Command::RemoveWorker(id.clone())).await.unwrap();
    assert_eq!(bench.storage.worker(&id).await.unwrap(), None);
    let job = bench.job(held.job.id).await;
    assert_eq!((job.status(), job.life.losses), (Status::Pending, 1));
    assert!(is_lost(&bench.report(&held, complete()).await));
    assert_eq!(bench.beat_state(&other, &kept).await, LeaseState::Held, "others keep theirs");
}

pub async fn an_unknown_worker_cannot_be_drained_or_removed(bench: &Bench) {
    let nobody = WorkerId::new("nobody").unwrap();
    for command in [
        Command::SetDraining(nobody.clone(), true),
        Command::RemoveWorker(nobody.clone()),
        Command::Unregister { worker: nobody.clone(), instance: None },
    ] {
        assert_eq!(bench.refused(command).await, Refusal::NoSuchWorker(nobody.clone()));
    }
    assert_eq!(bench.storage.workers().await.unwrap(), []);
}

pub async fn a_heartbeat_of_an_unknown_worker_is_refused(bench: &Bench) {
    let (_, held) = bench.running("w1").await;
    let before = bench.job(held.job.id).await;
    let nobody = WorkerId::new("nobody").unwrap();
    bench.advance(SECOND);
    let refused = bench.refused(beat(&nobody, &[&held])).await;
    assert_eq!(refused, Refusal::WorkerNotRegistered(nobody));
    assert_eq!(bench.job(held.job.id).await, before);
}

pub async fn a_heartbeat_is_a_sign_of_life_and_hears_of_draining(bench: &Bench) {
    let id = bench.worker("w1").await;
    bench.advance(SECOND);
    assert!(!bench.beat(&id, &[]).await.draining);
    assert_eq!(worker(bench, &id).await.last_seen_at, bench.clock.now());
    bench.run(Command::SetDraining(id.clone(), true)).await.unwrap();
    assert!(bench.beat(&id, &[]).await.draining);
}

pub async fn how_a_worker_said_it_is_stays_until_it_says_otherwise_or_registers_anew(bench: &Bench) {
    let id = bench.worker("w1").await;
    let other = bench.worker("w2").await;
    let say = async |condition: Option<Condition>| {
        let beat = Beat { worker: id.clone(), leases: vec![], condition };
        bench.run(Command::Heartbeat(beat)).await.unwrap();
        worker(bench, &id).await.condition
    };
    assert_eq!(say(None).await, Condition::default(), "it has said nothing yet");
    let card = GpuGauges {
        name: "NVIDIA H100".to_owned(),
        use_percent: Some(12.1),
        memory_used_bytes: Some(u64::MAX),
        memory_total_bytes: Some(u64::MAX),
        temperature_celsius: None,
    };
    let gauges = Gauges {
        cpu_percent: 33.3,
        memory_used_bytes: 1,
        memory_total_bytes: u64::MAX,
        disk_free_bytes: 2,
        disk_total_bytes: 3,
        gpus: vec![card.clone(), GpuGauges::default()],
    };
    let whole = Condition {
        suspended_until: Some(bench.clock.now() + LEASE),
        trouble: Some("the GPU is gone".to_owned()),
        gauges: Some(gauges),
    };
    assert_eq!(say(Some(whole.clone())).await, whole);
    assert_eq!(say(None).await, whole, "no news is no news");
    bench.run(Command::SetDraining(id.clone(), true)).await.unwrap();
    assert_eq!(worker(bench, &id).await.condition, whole, "nothing else changes it");
    assert_eq!(bench.storage.workers().await.unwrap()[0].condition, whole);
    let fine = Condition { trouble: None, ..whole.clone() };
    assert_eq!(say(Some(fine.clone())).await, fine, "what it says replaces all that it said");
    bench.run(register("w1", "first", None)).await.unwrap();
    assert_eq!(worker(bench, &id).await.condition, Condition::default());
    assert_eq!(worker(bench, &other).await.condition, Condition::default(), "it speaks for itself alone");
}

pub async fn a_worker_that_nobody_hears_of_for_a_month_is_forgotten(bench: &Bench) {
    let day = SECOND * (24 * 60 * 60);
    let (silent, heard) = (bench.worker("silent").await, bench.worker("heard").await);
    bench.advance(day * 29);
    bench.beat(&heard, &[]).await;
    assert_eq!(bench.maintain().await.workers_forgotten, 0);
    bench.advance(day);
    assert_eq!(bench.maintain().await.workers_forgotten, 1);
    assert_eq!(bench.storage.worker(&silent).await.unwrap(), None);
    assert!(bench.storage.worker(&heard).await.unwrap().is_some());
}

pub async fn workers_are_listed_by_id(bench: &Bench) {
    for id in ["w2", "W1", "w10", "a"] {
        bench.worker(id).await;
    }
    let workers = bench.storage.workers().await.unwrap();
    let ids: Vec<_> = workers.iter().map(|record| record.registration.id.as_str()).collect();
    assert_eq!(ids, ["W1", "a", "w10", "w2"]);
}
