//! Ends that are to be told outlive whoever tells them.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{sync::Arc, time::Duration};

use blobforge_core::{
    Ends, ManualClock, Message, NewJob, Queue, Timestamp,
    queue::{Feed, Notice},
    storage::{Command, Done},
};

const HOLD: Duration = Duration::from_secs(60);

async fn take(queue: &Queue) -> Vec<Message> {
    match queue.run(Command::TakeMessages { limit: 10, hold: HOLD }).await.unwrap() {
        Done::Messages(messages) => messages,
        other => panic!("{other:?}"),
    }
}

async fn end_one(queue: &Queue) {
    let id = queue.submit(NewJob::new("pdf").unwrap().notify("ann", Ends::ALL)).await.unwrap().id;
    queue.cancel(id).await.unwrap();
}

/// Waits until there is something to look for in the outbox.
async fn outbox(feed: &mut Feed) {
    while feed.next().await.unwrap() != Notice::Outbox {}
}

#[tokio::test]
async fn listeners_hear_that_there_is_something_in_the_outbox() {
    let queue = Queue::in_memory();
    let mut feed = queue.events();
    end_one(&queue).await;
    outbox(&mut feed).await;
    assert_eq!(take(&queue).await.len(), 1);
}

#[tokio::test]
async fn what_a_program_that_died_had_taken_out_is_told_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_772_366_400_000)));
    let open = || async { Queue::builder().clock(clock.clone()).open(&path).await.unwrap() };
    let queue = open().await;
    end_one(&queue).await;
    let taken = take(&queue).await.remove(0);
    // It dies: nothing is settled, and no time passes.
    queue.close().await;
    drop(queue);
    let queue = open().await;
    let mut feed = queue.events();
    if queue.storage().next_message().await.unwrap().unwrap() > queue.now() {
        outbox(&mut feed).await;
    }
    let again = take(&queue).await.remove(0);
    assert_eq!((again.number, again.tries), (taken.number, 2));
}
