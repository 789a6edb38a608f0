//! How much waits, runs and is done, and how fast.

use std::sync::Arc;

use blobforge_core::{Clock, ManualClock, SystemClock};

use super::*;

#[tokio::test]
async fn stats_say_how_long_the_oldest_waits_and_when_all_is_done_at_this_pace() {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let forge = Forge::with(|config| config.clock = Some(clock.clone())).await;
    let empty = forge.get("/api/stats").await.ok();
    assert_eq!((&empty["oldest_waiting_seconds"], &empty["types"]), (&Value::Null, &json!({})));
    forge.register("a", "work").await;
    for _ in 0..3 {
        forge.submit("work").await;
    }
    clock.advance(Duration::from_secs(30));
    let waiting =
        json!({"oldest_waiting_seconds": 30.0, "completed_per_hour": 0.0, "seconds_to_empty": null});
    assert_eq!(forge.get("/api/stats").await.ok()["types"]["work"], waiting);
    let claim = forge.claim("a", "work").await;
    clock.advance(Duration::from_secs(30));
    let path = format!("/api/jobs/{}/complete", claim["job"]["id"]);
    forge.post(&path, json!({"lease": claim["lease"]})).await.ok();
    // One in the first minute: sixty an hour.
    let stats = forge.get("/api/stats").await.ok();
    let going = json!({"oldest_waiting_seconds": 60.0, "completed_per_hour": 60.0, "seconds_to_empty": null});
    assert_eq!((&stats["types"]["work"], &stats["completed_per_hour"]), (&going, &json!(60.0)));
    // It took half a minute; half of that for the one that runs, and a whole for the one that waits.
    forge.claim("a", "work").await;
    let stats = forge.get("/api/stats").await.ok();
    assert_eq!(stats["types"]["work"]["seconds_to_empty"], 45.0);
}
