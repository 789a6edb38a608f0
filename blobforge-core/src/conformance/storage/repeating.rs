//! Claims that are repeated under a name, by workers whose reply was lost.

use super::*;

async fn claim_named(bench: &Bench, worker: &WorkerId, claim_id: &str, wanted: usize) -> Vec<Claimed> {
    let Command::Claim(claim) = bench.claim_command(worker, &["pdf"], wanted) else { unreachable!() };
    match bench.run(Command::Claim(Claim { claim_id: Some(claim_id.to_owned()), ..claim })).await {
        Ok(Done::Claimed(claimed)) => claimed,
        other => panic!("no answer to a claim: {other:?}"),
    }
}

fn tokens(claimed: &[Claimed]) -> Vec<(JobId, crate::LeaseToken)> {
    claimed.iter().map(|claimed| (claimed.job.id, claimed.token)).collect()
}

pub async fn a_repeated_claim_gets_the_same_leases_renewed(bench: &Bench) {
    let worker = bench.worker("w1").await;
    for _ in 0..5 {
        bench.pending().await;
    }
    let first = claim_named(bench, &worker, "a", 2).await;
    bench.advance(LEASE / 2);
    let again = claim_named(bench, &worker, "a", 2).await;
    assert_eq!((first.len(), tokens(&again)), (2, tokens(&first)));
    for held in &again {
        assert_eq!(held.expires_at, bench.clock.now() + LEASE, "whoever asks again counts from then");
        assert_eq!(bench.finish(held, complete()).await.status, Status::Completed);
    }
    assert_eq!(bench.storage.counts().await.unwrap().of_status(Status::Pending), 3);
}

pub async fn another_name_or_worker_takes_more(bench: &Bench) {
    let (w1, w2) = (bench.worker("w1").await, bench.worker("w2").await);
    for _ in 0..4 {
        bench.pending().await;
    }
    let mut taken = claim_named(bench, &w1, "a", 1).await;
    taken.extend(claim_named(bench, &w1, "b", 1).await);
    taken.extend(claim_named(bench, &w2, "a", 1).await);
    taken.extend(bench.try_claim(&w1).await);
    let ids: Vec<_> = taken.iter().map(|claimed| claimed.job.id.get()).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
}

pub async fn a_repeated_claim_gets_what_is_left_of_it(bench: &Bench) {
    let worker = bench.worker("w1").await;
    for _ in 0..3 {
        bench.pending().await;
    }
    let first = claim_named(bench, &worker, "a", 2).await;
    bench.finish(&first[0], complete()).await;
    assert_eq!(tokens(&claim_named(bench, &worker, "a", 2).await), tokens(&first[1..]));
    bench.finish(&first[1], complete()).await;
    let next = claim_named(bench, &worker, "a", 2).await;
    assert_eq!(next[0].job.id, JobId::new(3), "what has ended is over, and the name is free again");
}

pub async fn a_claim_that_got_nothing_takes_what_came_since(bench: &Bench) {
    let worker = bench.worker("w1").await;
    assert!(claim_named(bench, &worker, "a", 1).await.is_empty());
    let id = bench.pending().await;
    assert_eq!(claim_named(bench, &worker, "a", 1).await[0].job.id, id);
}

pub async fn a_repeated_claim_revives_what_nobody_took_and_leaves_what_somebody_did(bench: &Bench) {
    let (worker, other) = (bench.worker("w1").await, bench.worker("w2").await);
    for _ in 0..2 {
        bench.pending().await;
    }
    let first = claim_named(bench, &worker, "a", 2).await;
    bench.silence().await;
    let taken = bench.claim(&other).await;
    let again = claim_named(bench, &worker, "a", 2).await;
    assert_eq!((again.len(), again[0].token), (1, first[1].token));
    assert!(again[0].job.lease().is_some_and(|lease| !lease.lapsed));
    assert_eq!(taken.job.id, first[0].job.id);
    assert_eq!(bench.finish(&taken, complete()).await.status, Status::Completed);
}

pub async fn a_draining_worker_can_repeat_a_claim(bench: &Bench) {
    let worker = bench.worker("w1").await;
    for _ in 0..2 {
        bench.pending().await;
    }
    let first = claim_named(bench, &worker, "a", 1).await;
    bench.run(Command::SetDraining(worker.clone(), true)).await.unwrap();
    assert_eq!(tokens(&claim_named(bench, &worker, "a", 1).await), tokens(&first));
    assert!(claim_named(bench, &worker, "b", 1).await.is_empty());
}
