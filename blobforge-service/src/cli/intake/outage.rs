//! Whether nobody answers any more, or only one request has bad luck.

use blobforge_worker_sdk::client::Client;

/// So many requests that fail one after the other are no bad luck.
const IN_A_ROW: u32 = 4;

/// What was seen of an outage.
#[derive(Debug)]
pub(in crate::cli) struct Outage {
    client: Client,
    last: Option<u64>,
    in_a_row: u32,
}

/// What the service had to do with what became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Answer {
    /// It was not asked.
    NotAsked,
    /// It answered.
    Given,
    /// The request with this number failed in a way that is worth trying again.
    Missing(u64),
}

impl Outage {
    pub(in crate::cli) fn new(client: Client) -> Self {
        Self { client, last: None, in_a_row: 0 }
    }

    /// Whether the service is away. Many files may have asked by one request.
    pub(in crate::cli) async fn is_seen_after(&mut self, answer: Answer) -> bool {
        match answer {
            Answer::NotAsked => return false,
            Answer::Given => self.in_a_row = 0,
            Answer::Missing(request) if self.last == Some(request) => {}
            Answer::Missing(request) => {
                self.last = Some(request);
                self.in_a_row += 1;
                return self.in_a_row >= IN_A_ROW || self.client.health().await.is_err();
            }
        }
        false
    }
}
