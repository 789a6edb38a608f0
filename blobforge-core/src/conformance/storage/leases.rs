//! The right to run a job, and how it is lost.

use super::*;
use crate::{End, Epoch, Generation, LeaseToken, MAX_LOSSES, Progress};

pub async fn a_heartbeat_renews_only_the_leases_it_names(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let (first, second) = (bench.pending().await, bench.pending().await);
    let held = bench.claims(&worker, &["pdf"], 2).await;
    bench.advance(SECOND * 40);
    let reply = bench.beat(&worker, &[&held[1]]).await;
    assert_eq!(reply.leases, [(second, LeaseState::Held)]);
    let expiry = async |id| bench.job(id).await.lease().unwrap().expires_at;
    assert_eq!(expiry(first).await, held[0].expires_at);
    assert_eq!(expiry(second).await, bench.clock.now() + LEASE);
    bench.advance(SECOND * 30);
    assert_eq!(bench.maintain().await.lapsed, 1);
    assert!(bench.job(first).await.lease().unwrap().lapsed);
    assert!(!bench.job(second).await.lease().unwrap().lapsed);
}

pub async fn a_heartbeat_tells_held_from_lost_from_called_off(bench: &Bench) {
    let worker = bench.worker("w1").await;
    for _ in 0..3 {
        bench.pending().await;
    }
    let held = bench.claims(&worker, &["pdf"], 3).await;
    bench.finish(&held[1], Report::Release).await;
    bench.run(Command::Cancel(held[2].job.id)).await.unwrap();
    let never = Claimed { job: Job { id: JobId::new(99), ..held[0].job.clone() }, ..held[0].clone() };
    let reply = bench.beat(&worker, &[&held[2], &held[0], &held[1], &never]).await;
    let states: Vec<_> = reply.leases.iter().map(|(id, state)| (id.get(), *state)).collect();
    let expected =
        [(3, LeaseState::Cancel), (1, LeaseState::Held), (2, LeaseState::Lost), (99, LeaseState::Lost)];
    assert_eq!(states, expected);
}

pub async fn progress_is_kept_with_the_attempt_and_begins_anew_with_the_next(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let id = held.job.id;
    let progress = Progress { done: 3, total: Some(9), stage: Some("reading".to_owned()), message: None };
    let lease = HeldLease {
        job: id,
        token: held.token,
        progress: Some(progress.clone()),
        log_tail: None,
        ahead: None,
    };
    bench
        .run(Command::Heartbeat(Beat { worker: worker.clone(), leases: vec![lease], condition: None }))
        .await
        .unwrap();
    assert_eq!(bench.job(id).await.progress.as_ref(), Some(&progress));
    bench.beat(&worker, &[&held]).await;
    assert_eq!(bench.job(id).await.progress.as_ref(), Some(&progress), "no news changes nothing");
    bench.finish(&held, Report::Release).await;
    assert_eq!(bench.job(id).await.progress.as_ref(), Some(&progress), "it is still the last thing said");
    assert_eq!(bench.claim(&worker).await.job.progress, None);
    let attempts = bench.storage.attempts(id).await.unwrap();
    assert_eq!((attempts[0].progress.as_ref(), attempts[1].progress.as_ref()), (Some(&progress), None));
}

pub async fn what_a_handler_said_is_read_while_it_runs_and_kept_if_it_is_lost(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let id = held.job.id;
    let say = async |worker: &WorkerId, held: &Claimed, log: &str| {
        let log_tail = Some(log.to_owned());
        let lease = HeldLease { job: id, token: held.token, progress: None, log_tail, ahead: None };
        bench
            .run(Command::Heartbeat(Beat { worker: worker.clone(), leases: vec![lease], condition: None }))
            .await
            .unwrap();
    };
    let logs = async || {
        let attempts = bench.storage.attempts(id).await.unwrap();
        attempts.into_iter().map(|attempt| attempt.log_tail).collect::<Vec<_>>()
    };
    say(&worker, &held, "page 1").await;
    say(&worker, &held, "page 1\npage 2").await;
    bench.beat(&worker, &[&held]).await;
    let said = Some("page 1\npage 2".to_owned());
    assert_eq!(logs().await, std::slice::from_ref(&said), "no news changes nothing");
    bench.silence().await;
    let other = bench.worker("w2").await;
    let next = bench.claim(&other).await;
    assert_eq!(logs().await, [said.clone(), None], "the next one has said nothing yet");
    say(&worker, &held, "I am not dead").await;
    assert_eq!(logs().await, [said.clone(), None], "whose lease is lost is not heard");
    say(&other, &next, "page 3").await;
    bench.finish(&next, Report::Release).await;
    assert_eq!(logs().await, [said.clone(), None], "nothing went wrong");
    let last = bench.claim(&worker).await;
    say(&worker, &last, "no ink").await;
    bench.finish(&last, fail()).await;
    assert_eq!(logs().await, [said, None, Some("no ink".to_owned())], "it reported no other log");
}

pub async fn an_expired_lease_is_good_until_somebody_looks(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    bench.advance(LEASE * 3);
    let other = bench.worker("w2").await;
    assert_eq!(bench.try_claim(&other).await, None, "nobody has looked");
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Held);
    bench.finish(&held, complete()).await;
}

pub async fn a_lapsed_lease_is_revived_by_its_holder(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    bench.silence().await;
    assert!(bench.job(held.job.id).await.lease().unwrap().lapsed);
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Held);
    let lease = bench.job(held.job.id).await.lease().unwrap().clone();
    assert_eq!((lease.lapsed, lease.expires_at), (false, bench.clock.now() + LEASE));
    let other = bench.worker("w2").await;
    assert_eq!(bench.try_claim(&other).await, None, "it left the line again");
    assert_eq!(bench.finish(&held, complete()).await.status, Status::Completed);
}

pub async fn a_lapsed_job_goes_to_the_next_claimer(bench: &Bench) {
    let (first, held) = bench.running("w1").await;
    let second = bench.worker("w2").await;
    bench.silence().await;
    let taken = bench.claim(&second).await;
    assert_eq!((taken.job.id, taken.token.epoch), (held.job.id, Epoch::new(2)));
    assert_eq!((taken.job.life.losses, taken.job.life.failures), (1, 0));
    assert_eq!(taken.job.last_error.as_ref().map(|error| error.kind.as_str()), Some("worker_lost"));
    assert_eq!(bench.job(held.job.id).await, taken.job);
    assert_eq!(bench.beat_state(&first, &held).await, LeaseState::Lost);
    let ends: Vec<_> =
        bench.storage.attempts(held.job.id).await.unwrap().iter().map(|attempt| attempt.end).collect();
    assert_eq!(ends, [Some(crate::End::Lost), None]);
    assert_eq!(bench.finish(&taken, complete()).await.status, Status::Completed);
}

pub async fn every_late_report_is_refused_and_changes_nothing(bench: &Bench) {
    let (_, late) = bench.running("w1").await;
    let id = late.job.id;
    bench.reserve("outputs/late", None).await.unwrap();
    bench.silence().await;
    let second = bench.worker("w2").await;
    let current = bench.claim(&second).await;
    let before = bench.job(id).await;
    let attempts = bench.storage.attempts(id).await.unwrap();
    let late_reports = [
        report(&late, complete()),
        report(&late, completed_with(vec![output("text.md", "outputs/late")])),
        report(&late, fail()),
        report(&late, failed(false)),
        report(&late, Report::Release),
        report(&late, Report::Snooze(bench.clock.now())),
        checkpoint(&late, "state", 1, "outputs/late"),
        Command::SourceVerified { job: id, token: late.token, size: None, sha256: hash(1) },
        Command::ReserveFile { key: "outputs/later".to_owned(), owner: Some((id, late.token)) },
    ];
    for command in late_reports {
        let refused = bench.refused(command.clone()).await;
        let holder = Some((second.clone(), current.job.started_at.unwrap()));
        let expected = Refused::LeaseLost { status: Status::Running, holder };
        assert_eq!(refused, expected.into(), "{command:?}");
    }
    assert_eq!(bench.job(id).await, before);
    assert_eq!(bench.storage.attempts(id).await.unwrap(), attempts);
    assert_eq!(bench.storage.checkpoints(id).await.unwrap(), []);
    assert!(!bench.storage.has_file("outputs/later").await.unwrap());
    assert_eq!(bench.finish(&current, complete()).await.status, Status::Completed);
    assert!(is_lost(&bench.report(&late, complete()).await), "also when the job has ended");
}

pub async fn a_forged_lease_is_refused(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let before = bench.job(held.job.id).await;
    let token = held.token;
    let forged = [
        LeaseToken { secret: bench.secret(), ..token },
        LeaseToken { epoch: Epoch::new(2), ..token },
        LeaseToken { epoch: Epoch::NONE, ..token },
        LeaseToken { generation: Generation::new(token.generation.get() + 1), ..token },
    ];
    for token in forged {
        let forged = Claimed { token, ..held.clone() };
        assert!(is_lost(&bench.report(&forged, complete()).await), "{token:?}");
        assert_eq!(bench.beat_state(&worker, &forged).await, LeaseState::Lost, "{token:?}");
    }
    assert_eq!(bench.job(held.job.id).await, before);
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Held);
}

pub async fn the_last_allowed_loss_buries_the_job(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.pending().await;
    for loss in 1..=MAX_LOSSES {
        assert_eq!(bench.claim(&worker).await.token.epoch, Epoch::new(loss));
        bench.silence().await;
    }
    let healthy = bench.pending().await;
    // Whoever claims meets the bad job first, and gets the one behind it.
    assert_eq!(bench.claim(&worker).await.job.id, healthy);
    let job = bench.job(id).await;
    assert_eq!((job.status(), job.life.losses), (Status::Failed, MAX_LOSSES));
    assert_eq!(job.last_error.unwrap().kind, "worker_lost");
    assert_eq!(job.ended_at, Some(bench.clock.now()));
    assert_eq!(bench.storage.attempts(id).await.unwrap().len(), MAX_LOSSES as usize);
}

pub async fn a_checkpoint_sets_the_losses_back(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.pending().await;
    for number in 0..MAX_LOSSES as u8 + 2 {
        let held = bench.claim(&worker).await;
        bench.save(&held, "state", number).await.unwrap();
        assert_eq!(bench.job(id).await.life.losses, 0);
        bench.silence().await;
    }
    let job = bench.job(id).await;
    assert_eq!(
        (job.status(), job.life.losses),
        (Status::Running, 0),
        "a machine that restarts is not its fault"
    );
}

pub async fn a_crash_is_a_loss_with_its_evidence(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.pending().await;
    for loss in 1..=MAX_LOSSES {
        let held = bench.claim(&worker).await;
        assert_eq!(held.job.life.losses, loss - 1, "whoever takes it knows what happened before");
        let finished = bench.finish(&held, crash(&format!("killed at {loss} GB"))).await;
        let job = bench.job(id).await;
        assert_eq!((job.life.losses, job.life.failures), (loss, 0));
        assert_eq!(finished.status, job.status());
        if loss < MAX_LOSSES {
            assert_eq!(job.status(), Status::Pending);
            assert!(job.life.ready_at > bench.clock.now(), "it waits before it is tried again");
            bench.advance(job.life.ready_at.since(bench.clock.now()));
            bench.maintain().await;
        }
    }
    let job = bench.job(id).await;
    assert_eq!(job.status(), Status::Failed, "whatever runs it is killed");
    let evidence = job.last_error.unwrap();
    assert_eq!(
        (evidence.kind.as_str(), evidence.message),
        ("host_oom", format!("killed at {MAX_LOSSES} GB"))
    );
    let attempts = bench.storage.attempts(id).await.unwrap();
    assert!(attempts.iter().all(|attempt| attempt.end == Some(End::Lost)), "{attempts:?}");
}

pub async fn the_same_checkpoint_again_advances_nothing(bench: &Bench) {
    let worker = bench.worker("w1").await;
    let id = bench.pending().await;
    let held = bench.claim(&worker).await;
    bench.save(&held, "state", 1).await.unwrap();
    bench.silence().await;
    let held = bench.claim(&worker).await;
    bench.save(&held, "state", 1).await.unwrap();
    assert_eq!(bench.job(id).await.life.losses, 1);
    bench.save(&held, "state", 2).await.unwrap();
    assert_eq!(bench.job(id).await.life.losses, 0);
}

pub async fn no_lease_lapses_within_its_time_of_the_store_being_away(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    bench.advance(LEASE * 2);
    let back = bench.clock.now();
    bench.advance(SECOND);
    let done = bench.maintain_since(back).await;
    assert_eq!((done.lapsed, done.next_due), (0, Some(back + LEASE)));
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Held);
    bench.advance(LEASE);
    assert_eq!(bench.maintain_since(back).await.lapsed, 1, "the grace ends");
}

pub async fn what_expires_while_the_store_is_slow_does_not_lapse(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let (asked_at, available_since) = (bench.clock.now(), bench.began - LEASE * 1000);
    bench.advance(LEASE * 2);
    let late = Maintain { asked_at, available_since, upload_limit: LEASE * 1000, limit: 100 };
    let done = bench.maintain_with(late).await;
    assert_eq!(done.lapsed, 0);
    assert!(done.next_due.is_some_and(|due| due <= bench.clock.now()), "it is looked at again at once");
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Held);
}

pub async fn a_job_whose_holder_is_silent_is_free_wherever_the_clock_was_set(bench: &Bench) {
    let (worker, held) = bench.running("w1").await;
    let other = bench.worker("w2").await;
    bench.clock.set(bench.began - LEASE * 100);
    assert_eq!(bench.beat_state(&worker, &held).await, LeaseState::Held);
    bench.silence().await;
    assert_eq!(bench.claim(&other).await.job.id, held.job.id);
}

pub async fn maintenance_does_no_more_than_its_limit(bench: &Bench) {
    let worker = bench.worker("w1").await;
    for _ in 0..3 {
        bench.pending().await;
    }
    bench.claims(&worker, &["pdf"], 3).await;
    bench.advance(LEASE * 2);
    let (asked_at, available_since) = (bench.clock.now(), bench.began);
    let some = Maintain { asked_at, available_since, upload_limit: LEASE * 1000, limit: 2 };
    let done = bench.maintain_with(some).await;
    assert_eq!((done.lapsed, done.next_due), (2, Some(bench.clock.now())), "there is more to do now");
    let done = bench.maintain_with(some).await;
    assert_eq!((done.lapsed, done.next_due), (1, None));
}
