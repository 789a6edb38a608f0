//! Has the store do what nobody waits for.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{Halted, Shared};
use crate::Clock;

/// How often the store is asked whether there is anything to do.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// For how long the others have the store to themselves before it goes on: most of the time.
const GO_ON_AFTER: Duration = Duration::from_millis(20);

/// Goes on until the queue ends.
pub(super) async fn run(queue: Weak<Shared>, clock: Arc<dyn Clock>, halted: Halted) {
    let mut pause = LOOK_EVERY;
    loop {
        tokio::select! {
            biased;
            () = halted.wait() => return,
            () = clock.sleep(pause) => {}
        }
        let Some(storage) = queue.upgrade().map(|shared| shared.storage.clone()) else { return };
        pause = match storage.upkeep().await {
            Ok(true) => GO_ON_AFTER,
            Ok(false) => LOOK_EVERY,
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "the store could not be kept up");
                LOOK_EVERY
            }
            // Whoever commits next learns of it too, and says so.
            Err(_) => return,
        };
    }
}
