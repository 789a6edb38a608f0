//! Whether nobody answers any more, or only one file has bad luck.

use blobforge_worker_sdk::client::Client;

/// So many failures one after the other are no bad luck.
const IN_A_ROW: u32 = 4;

/// What was seen of an outage.
#[derive(Debug)]
pub(in crate::cli) struct Outage {
    client: Client,
    in_a_row: u32,
}

impl Outage {
    pub(in crate::cli) fn new(client: Client) -> Self {
        Self { client, in_a_row: 0 }
    }

    /// Whether the service is away, after something went wrong that is worth trying again, or did not.
    pub(in crate::cli) async fn is_seen_after(&mut self, went_wrong: bool) -> bool {
        if !went_wrong {
            self.in_a_row = 0;
            return false;
        }
        self.in_a_row += 1;
        self.in_a_row >= IN_A_ROW || self.client.health().await.is_err()
    }
}
