//! What goes wrong: the store, the clock, the process, and the way back to the caller.

use std::time::Duration;

use blobforge_core::{storage::Command, testing::Fault};
use rand::{RngExt, seq::IndexedRandom};

use crate::{checks::Stopping, world::World};

const DAY: Duration = Duration::from_secs(24 * 3600);

impl World {
    pub(crate) async fn trouble(&mut self) {
        match self.rng.random_range(0..100) {
            0..20 => {
                let fault = *[Fault::Busy, Fault::Full].choose(&mut self.rng).unwrap();
                self.next_write(fault);
            }
            20..36 => self.next_write(Fault::Unknown),
            36..44 => {
                let span = Duration::from_secs(self.rng.random_range(1..90));
                self.next_write(Fault::Slow(span));
            }
            44..50 => self.next_write(Fault::Held),
            50..56 => self.faults.release(),
            56..60 => {
                // The store is away for a while.
                self.trace("every write fails".to_owned());
                self.faults.every_write(Fault::Busy);
                let span = Duration::from_secs(self.rng.random_range(1..120));
                self.pass(span).await;
                self.faults.clear();
            }
            60..66 => {
                let read = self.rng.random_bool(0.5);
                self.trace(format!("a {} fails", if read { "read" } else { "file" }));
                if read { self.reads.next_read(Fault::Busy) } else { self.file_fails() }
            }
            66..80 => self.lose_a_reply(),
            80..87 => self.jump().await,
            87..94 => self.restart().await,
            _ => self.crash_the_queue().await,
        }
    }

    fn next_write(&mut self, fault: Fault) {
        self.trace(format!("the next write is {fault:?}"));
        self.watch.unknown |= fault == Fault::Unknown;
        self.faults.next_write(fault);
    }

    fn file_fails(&mut self) {
        use blobforge_core::blob::BlobStore;
        let _: &dyn BlobStore = &*self.blobs;
        let fault = *[Fault::Busy, Fault::Unknown].choose(&mut self.rng).unwrap();
        self.blobs.faults().next_write(fault);
    }

    /// Somebody hangs up: the request may be on its way, and nobody hears the reply.
    fn lose_a_reply(&mut self) {
        if !self.calls.is_empty() {
            let lost = self.rng.random_range(0..self.calls.len());
            let call = self.calls.remove(lost);
            self.trace(format!("{:?} hangs up on {:?}", call.by, call.asked));
        }
    }

    /// Somebody sets the clock of the machine.
    async fn jump(&mut self) {
        self.settle().await;
        let span =
            *[DAY, DAY, Duration::from_secs(600), Duration::from_secs(8)].choose(&mut self.rng).unwrap();
        if self.rng.random_bool(0.5) {
            // Never as far as it may have jumped back just before: that would be no jump to who did not look between.
            let span = span + Duration::from_secs(20);
            self.trace(format!("the time of day jumps forward by {span:?}"));
            self.clock.jump_forward(span);
        } else {
            self.trace(format!("the time of day jumps back by {span:?}"));
            self.clock.jump_back(span);
            self.jumps_back += 1;
        }
        if self.faults.waiting() > 0 {
            // What is under way was asked for before.
            (self.watch.trouble_at, self.watch.away_at) = (self.uptime(), self.uptime());
        } else {
            self.watch.trouble(self.clock.as_ref(), &mut self.record);
        }
        self.record.types.time_moved(self.uptime());
    }

    /// The queue is closed as it should be, and opened again.
    async fn restart(&mut self) {
        self.faults.clear();
        if self.rng.random_bool(0.5) {
            self.settle().await;
        }
        self.watch.stopping = Some(Stopping::Closes);
        self.trace("the queue is closed and opened again".to_owned());
        let queue = self.queue.clone();
        let closed = tokio::spawn(async move { queue.close().await });
        self.settle().await;
        assert!(closed.is_finished(), "the queue does not close");
        if self.rng.random_bool(0.2) {
            self.restore().await;
        }
        self.after_restart();
    }

    /// The store is restored from a backup: whoever held a lease holds none any more.
    async fn restore(&mut self) {
        self.trace("the store is restored".to_owned());
        let before = self.ledger.now();
        let after = self.ledger.restore().await;
        self.record.restored(&before, &after, self.now());
    }

    /// The process dies, perhaps with a commit in the air.
    async fn crash_the_queue(&mut self) {
        self.trace("the process dies".to_owned());
        if self.rng.random_bool(0.5) {
            self.settle().await;
        }
        self.watch.stopping = Some(Stopping::Dies);
        self.faults.break_for_good();
        // A queue that has nothing to write would not notice.
        let queue = self.queue.clone();
        let last = Command::DeleteRecord { collection: "notes".to_owned(), key: "last".to_owned() };
        tokio::spawn(async move { queue.run(last).await.map(drop) });
        self.settle().await;
        self.after_restart();
    }

    fn after_restart(&mut self) {
        assert!(self.calls.is_empty(), "a queue that has stopped still has callers: {}", self.calls.len());
        self.reopen();
        self.watch.restarted();
        self.watch.trouble(self.clock.as_ref(), &mut self.record);
    }
}
