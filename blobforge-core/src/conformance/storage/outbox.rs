//! Telling others of ends.

use super::*;
use crate::{
    Ends, Epoch, MAX_LOSSES, MAX_NOTIFY, MAX_SUBSCRIBERS, Message, Recipient, Subscriber, storage::Settled,
};

const HOLD: Duration = Duration::from_secs(30);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn bell(name: &str) -> Subscriber {
    Subscriber { name: name.to_owned(), job_type: None, ends: Ends::ALL }
}

fn to_bell() -> Recipient {
    Recipient::Subscriber("bell".to_owned())
}

fn address(to: &str) -> Recipient {
    Recipient::Address(to.to_owned())
}

fn only(status: Status) -> Ends {
    let is = |other| status == other;
    Ends { completed: is(Status::Completed), failed: is(Status::Failed), cancelled: is(Status::Cancelled) }
}

fn settle(message: &Message, settled: Settled) -> Command {
    Command::SettleMessage { number: message.number, tries: message.tries, settled }
}

impl Bench {
    async fn subscribe(&self, subscriber: Subscriber) {
        assert_eq!(self.run(Command::Subscribe(subscriber)).await, Ok(Done::Ok));
    }

    async fn take(&self) -> Vec<Message> {
        match self.run(Command::TakeMessages { limit: 100, hold: HOLD }).await {
            Ok(Done::Messages(messages)) => messages,
            other => panic!("no answer to a wish for messages: {other:?}"),
        }
    }

    /// Takes out and settles all that is due.
    async fn told(&self) -> Vec<Message> {
        let messages = self.take().await;
        for message in &messages {
            assert_eq!(self.run(settle(message, Settled::Told)).await, Ok(Done::Ok));
        }
        messages
    }

    /// Which jobs came to which ends, as far as that is told now.
    async fn told_ends(&self) -> Vec<(JobId, Status)> {
        self.told().await.into_iter().map(|message| (message.job, message.status)).collect()
    }

    async fn next_message(&self) -> Option<Timestamp> {
        self.storage.next_message().await.unwrap()
    }

    async fn called_off(&self, job: NewJob) -> JobId {
        let id = self.submit(job).await.id;
        self.run(Command::Cancel(id)).await.unwrap();
        id
    }
}

pub async fn every_way_to_end_is_put_into_the_outbox(bench: &Bench) {
    bench.subscribe(bell("bell")).await;
    let (worker, held) = bench.running("a").await;
    let committed = bench.commit(vec![report(&held, complete())]).await;
    assert!(committed.outbox, "whoever tells messages is woken");
    let message = bench.told().await.remove(0);
    assert_eq!((message.to, message.job, message.status), (to_bell(), held.job.id, Status::Completed));
    assert_eq!((message.job_type, message.epoch), (pdf(), Epoch::new(1)));
    assert_eq!((message.ended_at, message.tries), (bench.clock.now(), 1));

    let (_, held) = bench.running("b").await;
    bench.finish(&held, failed(false)).await;
    assert_eq!(bench.told_ends().await, [(held.job.id, Status::Failed)], "a permanent failure");

    let waiting = bench.called_off(new("pdf")).await;
    assert_eq!(bench.told_ends().await, [(waiting, Status::Cancelled)], "a cancel");

    let (_, held) = bench.running("c").await;
    bench.run(Command::Cancel(held.job.id)).await.unwrap();
    assert_eq!(bench.told_ends().await, [], "it runs still");
    bench.silence().await;
    assert_eq!(bench.told_ends().await, [(held.job.id, Status::Cancelled)], "a holder that fell silent");

    let (_, held) = bench.running("d").await;
    bench.run(Command::Cancel(held.job.id)).await.unwrap();
    bench.run(Command::RemoveWorker(WorkerId::new("d").unwrap())).await.unwrap();
    assert_eq!(bench.told_ends().await, [(held.job.id, Status::Cancelled)], "a worker that was removed");

    let upload = NewJob::new("pdf").unwrap().source(crate::NewSource::Upload { sha256: None, size: None });
    let given_up = bench.submit(upload.clone()).await.id;
    bench.advance(Duration::from_secs(25 * 60 * 60));
    bench.maintain().await;
    assert_eq!(bench.told_ends().await, [(given_up, Status::Cancelled)], "an upload that never came");
    let job = bench.submit(upload).await.id;
    bench.run(Command::RejectSource { job, failure: Failure::new("too_large", "it is") }).await.unwrap();
    assert_eq!(bench.told_ends().await, [(job, Status::Failed)], "a source that will never do");

    let buried = bench.pending().await;
    for _ in 0..MAX_LOSSES {
        assert!(bench.try_claim(&worker).await.is_some_and(|claimed| claimed.job.id == buried));
        bench.silence().await;
    }
    assert!(bench.try_claim(&worker).await.is_none());
    assert_eq!(bench.job(buried).await.status(), Status::Failed);
    assert_eq!(bench.told_ends().await, [(buried, Status::Failed)], "the last loss");
}

pub async fn the_same_report_again_is_not_told_again(bench: &Bench) {
    bench.subscribe(bell("bell")).await;
    let (_, held) = bench.running("a").await;
    bench.commit(vec![report(&held, complete()), report(&held, complete())]).await;
    bench.finish(&held, complete()).await;
    assert_eq!(bench.told_ends().await, [(held.job.id, Status::Completed)]);
    bench.finish(&held, complete()).await;
    assert_eq!(bench.told_ends().await, []);
    assert!(bench.run(Command::Cancel(held.job.id)).await.is_err());
    assert_eq!(bench.next_message().await, None);
}

pub async fn a_second_end_is_told_again(bench: &Bench) {
    bench.subscribe(bell("bell")).await;
    let job = bench.called_off(new("pdf")).await;
    let first = bench.told().await.remove(0);
    bench.run(Command::Retry(job)).await.unwrap();
    assert_eq!(bench.told().await, []);
    bench.run(Command::Cancel(job)).await.unwrap();
    let second = bench.told().await.remove(0);
    assert_eq!((second.job, second.status, second.epoch), (job, Status::Cancelled, first.epoch));
    assert!(second.number > first.number, "it is another end");
}

pub async fn what_has_not_ended_is_told_to_nobody(bench: &Bench) {
    bench.subscribe(bell("bell")).await;
    let (worker, held) = bench.running("a").await;
    bench.finish(&held, fail()).await;
    bench.advance(LEASE);
    bench.maintain().await;
    let held = bench.claim(&worker).await;
    bench.finish(&held, Report::Release).await;
    let held = bench.claim(&worker).await;
    bench.finish(&held, Report::Snooze(bench.clock.now() + LEASE)).await;
    assert_eq!((bench.take().await, bench.next_message().await), (Vec::new(), None));
}

pub async fn a_subscriber_hears_of_its_type_and_its_ends_alone(bench: &Bench) {
    let text = Some(JobType::new("text").unwrap());
    bench.subscribe(Subscriber { job_type: text, ..bell("text") }).await;
    bench.subscribe(Subscriber { ends: only(Status::Failed), ..bell("failed") }).await;
    let (_, held) = bench.running("a").await;
    bench.finish(&held, complete()).await;
    assert_eq!(bench.take().await, []);
    let (_, held) = bench.running("b").await;
    bench.finish(&held, failed(false)).await;
    let of_text = bench.called_off(new("text")).await;
    let told = bench.told().await.into_iter().map(|message| (message.to, message.job));
    let expected = [
        (Recipient::Subscriber("failed".to_owned()), held.job.id),
        (Recipient::Subscriber("text".to_owned()), of_text),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    // Another one of its name takes its place.
    bench.subscribe(bell("failed")).await;
    let job = bench.called_off(new("pdf")).await;
    assert_eq!(bench.told_ends().await, [(job, Status::Cancelled)]);
    assert_eq!(bench.storage.subscribers().await.unwrap().len(), 2);
}

pub async fn a_job_names_its_own_recipients(bench: &Bench) {
    let job = new("pdf").notify("ann", Ends::ALL).notify("bob", only(Status::Completed));
    bench.called_off(job).await;
    bench.called_off(new("pdf")).await;
    let told: Vec<_> = bench.told().await.into_iter().map(|message| message.to).collect();
    assert_eq!(told, [address("ann")]);
}

pub async fn a_second_submitters_recipient_is_added(bench: &Bench) {
    let source = crate::NewSource::Upload { sha256: Some(hash(1)), size: None };
    let wanting = |to: &str| new("pdf").source(source.clone()).notify(to, Ends::ALL);
    let job = bench.submit(wanting("ann")).await.id;
    for to in ["bob", "ann", "bob"] {
        assert!(bench.submit(wanting(to)).await.existing);
    }
    for n in 0..MAX_NOTIFY {
        assert!(bench.submit(wanting(&n.to_string())).await.existing);
    }
    assert_eq!(bench.job(job).await.body.notify.len(), MAX_NOTIFY);
    bench.run(Command::Cancel(job)).await.unwrap();
    let told = bench.told().await;
    assert_eq!((&told[0].to, &told[1].to, told.len()), (&address("ann"), &address("bob"), MAX_NOTIFY));
}

pub async fn a_job_that_is_deleted_is_still_told(bench: &Bench) {
    let job = bench.called_off(new("pdf").notify("ann", Ends::ALL)).await;
    bench.delete(job).await;
    assert_eq!(bench.told_ends().await, [(job, Status::Cancelled)]);
}

pub async fn what_was_taken_out_is_held_and_due_again_after_that(bench: &Bench) {
    bench.called_off(new("pdf").notify("ann", Ends::ALL)).await;
    assert_eq!(bench.next_message().await, Some(bench.clock.now()));
    let first = bench.take().await.remove(0);
    assert_eq!((bench.take().await, bench.next_message().await), (vec![], Some(bench.clock.now() + HOLD)));
    bench.advance(HOLD);
    let second = bench.take().await.remove(0);
    assert_eq!((second.number, first.tries, second.tries), (first.number, 1, 2));
    let later = bench.clock.now() + LEASE;
    let committed = bench.commit(vec![settle(&second, Settled::Again(later))]).await;
    assert!(committed.outbox && bench.next_message().await == Some(later));
    bench.advance(LEASE - SECOND);
    assert_eq!(bench.take().await, []);
    bench.advance(SECOND);
    assert_eq!(bench.told().await.remove(0).tries, 3);
    assert_eq!(bench.next_message().await, None);
    // Of what is gone, nothing becomes of it any more.
    assert_eq!(bench.run(settle(&second, Settled::Again(later))).await, Ok(Done::Ok));
    assert_eq!(bench.next_message().await, None);
}

pub async fn who_took_a_message_out_before_cannot_put_it_off(bench: &Bench) {
    bench.called_off(new("pdf").notify("ann", Ends::ALL)).await;
    let first = bench.take().await.remove(0);
    bench.advance(HOLD);
    let second = bench.take().await.remove(0);
    let (held, later) = (bench.clock.now() + HOLD, bench.clock.now() + WEEK);
    for settled in [Settled::Again(later), Settled::NotTried(later)] {
        bench.run(settle(&first, settled)).await.unwrap();
        assert_eq!(bench.next_message().await, Some(held));
    }
    bench.run(settle(&first, Settled::Told)).await.unwrap();
    assert_eq!(bench.next_message().await, None, "what was told cannot be taken back");
    bench.run(settle(&second, Settled::Again(later))).await.unwrap();
    assert_eq!(bench.next_message().await, None);
}

pub async fn a_try_that_was_none_does_not_count(bench: &Bench) {
    bench.called_off(new("pdf").notify("ann", Ends::ALL)).await;
    for _ in 0..3 {
        let message = bench.take().await.remove(0);
        assert_eq!(message.tries, 1);
        bench.run(settle(&message, Settled::NotTried(bench.clock.now()))).await.unwrap();
    }
}

pub async fn a_message_is_told_again_under_its_number(bench: &Bench) {
    bench.subscribe(bell("bell")).await;
    bench.called_off(new("pdf")).await;
    let first = bench.told().await.remove(0);
    bench.advance(WEEK);
    let committed = bench.commit(vec![Command::SendAgain(Box::new(first.clone()))]).await;
    assert!(committed.outbox);
    assert_eq!(bench.take().await, vec![first.clone()], "and its tries begin anew");
    bench.run(Command::SendAgain(Box::new(first.clone()))).await.unwrap();
    assert_eq!(bench.told().await, vec![first.clone()], "at once, though it was taken out");
    bench.run(Command::Unsubscribe("bell".to_owned())).await.unwrap();
    let refused = bench.refused(Command::SendAgain(Box::new(first))).await;
    assert_eq!(refused, Refusal::NoSuchSubscriber);
}

pub async fn what_is_for_nobody_any_more_is_dropped(bench: &Bench) {
    bench.subscribe(bell("bell")).await;
    let job = bench.called_off(new("pdf").notify("ann", Ends::ALL)).await;
    // In one batch, too: whoever is gone hears of nothing more.
    let other = bench.pending().await;
    bench.commit(vec![Command::Unsubscribe("bell".to_owned()), Command::Cancel(other)]).await;
    let told = bench.told().await;
    assert_eq!((told.len(), told[0].job, &told[0].to), (1, job, &address("ann")));
    assert_eq!(bench.next_message().await, None);
    bench.run(Command::Unsubscribe("nobody".to_owned())).await.unwrap();
}

pub async fn numbers_of_messages_are_not_given_again(bench: &Bench) {
    let mut last = 0;
    for _ in 0..3 {
        bench.called_off(new("pdf").notify("ann", Ends::ALL)).await;
        let number = bench.told().await.remove(0).number;
        assert!(number > last, "whoever hears of an end twice tells it by its number");
        last = number;
    }
}

pub async fn a_clock_set_back_does_not_hold_messages_back(bench: &Bench) {
    bench.called_off(new("pdf").notify("ann", Ends::ALL)).await;
    bench.clock.jump_back(WEEK);
    assert_eq!(bench.take().await, []);
    let committed = bench.commit(vec![Command::TimeMoved]).await;
    assert!(committed.outbox);
    assert_eq!(bench.told().await.len(), 1);
    assert!(!bench.commit(vec![Command::TimeMoved]).await.outbox, "there is nothing to look for");
}

pub async fn what_nobody_takes_out_for_a_week_is_dropped(bench: &Bench) {
    for _ in 0..3 {
        bench.called_off(new("pdf").notify("ann", Ends::ALL)).await;
    }
    bench.advance(WEEK - SECOND);
    assert_eq!(bench.maintain().await.messages_dropped, 0);
    bench.advance(SECOND);
    let (asked_at, available_since) = (bench.clock.now(), bench.began);
    let few = Maintain { asked_at, available_since, upload_limit: WEEK, limit: 2 };
    assert_eq!(bench.maintain_with(few).await.messages_dropped, 2);
    assert_eq!(bench.maintain_with(few).await.messages_dropped, 1);
    assert_eq!(bench.next_message().await, None);
}

pub async fn there_are_so_many_subscribers_and_no_more(bench: &Bench) {
    let commands = (0..MAX_SUBSCRIBERS).map(|n| Command::Subscribe(bell(&n.to_string())));
    let committed = bench.commit(commands.collect()).await;
    assert!(committed.outcomes.iter().all(Result::is_ok));
    assert_eq!(bench.refused(Command::Subscribe(bell("more"))).await, Refusal::TooManySubscribers);
    bench.subscribe(Subscriber { ends: only(Status::Failed), ..bell("7") }).await;
    bench.run(Command::Unsubscribe("7".to_owned())).await.unwrap();
    bench.subscribe(bell("more")).await;
    assert_eq!(bench.storage.subscribers().await.unwrap().len(), MAX_SUBSCRIBERS);
}
