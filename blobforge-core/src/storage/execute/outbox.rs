//! Who is told of the ends of jobs, and what is still to be told.
//!
//! A message is written in the commit in which its job ends, whatever ends it, and stays until somebody says that it was
//! told. Whoever tells it takes it out for a while: if nothing is heard of that, it is due again.

use std::time::Duration;

use super::Batch;
use crate::{
    Job, MAX_SUBSCRIBERS, Message, Recipient, Subscriber, Timestamp,
    storage::{
        command::{Done, Outcome, Refusal, Settled},
        rows::Rows,
    },
};

/// For how long a message that is due waits for somebody to take it out: in a program where nobody does, messages must
/// not pile up.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl<R: Rows> Batch<'_, R> {
    pub(super) fn subscribe(&mut self, subscriber: Subscriber) -> Result<Outcome, R::Error> {
        let known = self.subscribers()?;
        if known.len() >= MAX_SUBSCRIBERS && known.iter().all(|other| other.name != subscriber.name) {
            return Ok(Err(Refusal::TooManySubscribers));
        }
        self.subscribers = None;
        self.rows.put_subscriber(&subscriber)?;
        Ok(Ok(Done::Ok))
    }

    pub(super) fn unsubscribe(&mut self, name: &str) -> Result<Outcome, R::Error> {
        self.subscribers = None;
        self.rows.delete_subscriber(name)?;
        Ok(Ok(Done::Ok))
    }

    /// Read once for the whole batch.
    fn subscribers(&mut self) -> Result<&[Subscriber], R::Error> {
        let known = match self.subscribers.take() {
            Some(known) => known,
            None => self.rows.subscribers()?,
        };
        Ok(self.subscribers.insert(known))
    }

    /// Writes down of whom a job that has just ended is to be told.
    pub(super) fn note_end(&mut self, job: &Job) -> Result<(), R::Error> {
        let status = job.status();
        let wants = |other: &&Subscriber| {
            other.ends.has(status) && other.job_type.as_ref().is_none_or(|of| *of == job.job_type)
        };
        let subscribed = self.subscribers()?.iter().filter(wants);
        let mut recipients: Vec<_> =
            subscribed.map(|subscriber| Recipient::Subscriber(subscriber.name.clone())).collect();
        let own = job.body.notify.iter().filter(|notify| notify.ends.has(status));
        recipients.extend(own.map(|notify| Recipient::Address(notify.to.clone())));
        for to in recipients {
            let message = Message {
                number: 0,
                generation: self.rows.generation(),
                to,
                job: job.id,
                job_type: job.job_type.clone(),
                status,
                epoch: job.life.epoch,
                ended_at: self.now,
                tries: 0,
            };
            self.rows.insert_message(&message, self.now)?;
            self.committed.outbox = true;
        }
        Ok(())
    }

    pub(super) fn take_messages(&mut self, limit: usize, hold: Duration) -> Result<Outcome, R::Error> {
        let mut taken = Vec::new();
        for message in self.rows.due_messages(self.now, limit)? {
            if self.is_for_nobody(&message)? {
                self.rows.delete_message(message.number)?;
                continue;
            }
            let message = Message { tries: message.tries.saturating_add(1), ..message };
            self.rows.put_message(&message, self.now + hold)?;
            taken.push(message);
        }
        Ok(Ok(Done::Messages(taken)))
    }

    /// Whether its subscriber has gone since.
    fn is_for_nobody(&mut self, message: &Message) -> Result<bool, R::Error> {
        let Recipient::Subscriber(name) = &message.to else { return Ok(false) };
        Ok(self.subscribers()?.iter().all(|subscriber| subscriber.name != *name))
    }

    pub(super) fn settle_message(
        &mut self,
        number: u64,
        tries: u32,
        settled: Settled,
    ) -> Result<Outcome, R::Error> {
        let Some(message) = self.rows.message(number)? else { return Ok(Ok(Done::Ok)) };
        // Whoever took it out since then knows better, unless it was told: that cannot be taken back.
        let is_current = message.tries == tries;
        match settled {
            Settled::Told => self.rows.delete_message(number)?,
            Settled::Again(at) if is_current => self.wait_until(&message, at)?,
            Settled::NotTried(at) if is_current => {
                let tries = message.tries.saturating_sub(1);
                self.wait_until(&Message { tries, ..message }, at)?;
            }
            Settled::Again(_) | Settled::NotTried(_) => {}
        }
        Ok(Ok(Done::Ok))
    }

    fn wait_until(&mut self, message: &Message, at: Timestamp) -> Result<(), R::Error> {
        self.committed.outbox = true;
        self.rows.put_message(message, at)
    }

    pub(super) fn send_again(&mut self, message: Message) -> Result<Outcome, R::Error> {
        if self.is_for_nobody(&message)? {
            return Ok(Err(Refusal::NoSuchSubscriber));
        }
        self.wait_until(&Message { tries: 0, ..message }, self.now)?;
        Ok(Ok(Done::Ok))
    }

    /// By a clock that was set back, what is due may be years away: better told too early than never.
    pub(super) fn hasten_messages(&mut self) -> Result<(), R::Error> {
        self.committed.outbox |= self.rows.hasten_messages(self.now)? > 0;
        Ok(())
    }

    /// Drops messages that nobody ever took out; says how many.
    pub(super) fn drop_messages(&mut self, limit: usize) -> Result<usize, R::Error> {
        // One that cannot be read must not hold up the rest of maintenance.
        let stale = self.rows.due_numbers(self.now - KEPT, limit)?;
        for number in &stale {
            self.rows.delete_message(*number)?;
        }
        Ok(stale.len())
    }
}
