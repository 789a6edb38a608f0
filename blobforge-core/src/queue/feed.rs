//! What happens, as it happens.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{JobId, storage::Event};

/// Something heard from a queue.
///
/// As in [`Feed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This happened.
    Event(Event),
    /// Messages were put into the outbox, or are due at another time.
    Outbox,
    /// So many events were missed: look again at whatever matters.
    Missed(u64),
    /// Another process has changed the store, and told nobody what: look again at whatever matters.
    ChangedElsewhere,
}

/// A subscription to what happens in a queue. It ends when the queue does.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{NewJob, queue::Notice, storage::Event};
/// let mut feed = queue.events();
/// let id = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
/// match feed.next().await {
///     Some(Notice::Event(Event::Job { id: of, was, .. })) => assert_eq!((of, was), (id, None)),
///     other => unreachable!("nothing but the submission has happened: {other:?}"),
/// }
/// queue.close().await;
/// assert_eq!(feed.next().await, None);
/// # });
/// ```
#[derive(Debug)]
pub struct Feed {
    notices: Receiver<Notice>,
}

impl Feed {
    pub(super) fn new(notices: Receiver<Notice>) -> Self {
        Self { notices }
    }

    /// The next notice; `None` when the queue has stopped.
    ///
    /// As in [`Feed`].
    pub async fn next(&mut self) -> Option<Notice> {
        match self.notices.recv().await {
            Ok(notice) => Some(notice),
            Err(RecvError::Lagged(missed)) => Some(Notice::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// Waits for the next notice that may concern a job; `false` when the queue has stopped.
    pub(super) async fn concerns(&mut self, job: JobId) -> bool {
        loop {
            match self.next().await {
                Some(Notice::Event(Event::Job { id, .. } | Event::JobDeleted { id, .. })) if id != job => {}
                Some(Notice::Outbox | Notice::Event(Event::WorkerOnline(_) | Event::WorkerOffline(_))) => {}
                heard => return heard.is_some(),
            }
        }
    }

    /// The notices as a stream.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::NewJob;
    /// use futures_util::StreamExt;
    /// let feed = queue.events();
    /// queue.submit_many(vec![NewJob::new("pdf").unwrap(); 2]).await.unwrap();
    /// queue.close().await;
    /// assert_eq!(feed.into_stream().count().await, 2);
    /// # });
    /// ```
    pub fn into_stream(self) -> Pin<Box<dyn Stream<Item = Notice> + Send>> {
        futures_util::stream::unfold(self, |mut feed| async move { Some((feed.next().await?, feed)) }).boxed()
    }
}
