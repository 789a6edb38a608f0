//! Types of work, and what holds for each.

use super::*;

#[tokio::test]
async fn a_type_is_paused_and_resumed_under_either_of_its_names() {
    let forge = Forge::start().await;
    forge.register("a", "pdf").await;
    let job = forge.submit("pdf").await;
    let paused = forge.patch("/api/types/pdf-convert", json!({"paused": true})).await.ok();
    assert_eq!((&paused["type"], &paused["paused"]), (&json!("pdf"), &json!(true)));
    assert_eq!(forge.claim("a", "pdf").await, json!({"job": null}));
    assert_eq!(forge.get("/api/types/pdf-convert").await.ok(), paused);
    let resumed = forge.patch("/api/types/pdf", json!({"paused": false})).await.ok();
    assert_eq!((&resumed["paused"], &resumed["jobs"]), (&json!(false), &json!({"pending": 1})));
    assert_eq!(forge.claim("a", "pdf").await["job"]["id"], job);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_null_takes_it_back() {
    let forge = Forge::start().await;
    let all = json!({
        "limits": {"running": 2, "starts": {"count": 6, "per_seconds": 60, "burst": 2}},
        "per_key": {"by": "param", "name": "book", "running": 1},
        "defaults": {
            "max_attempts": 5, "retry": {"first_seconds": 1.5, "longest_seconds": 600},
            "lease_seconds": 30, "no_progress_seconds": 3600
        },
        "retention": {"completed_seconds": 604_800, "failed_seconds": 86_400},
        "oldest_share": 0
    });
    let set = forge.patch("/api/types/work", all).await.ok();
    assert_eq!(forge.get("/api/types").await.ok(), json!([set]));
    assert_eq!(set["per_key"], json!({"by": "param", "name": "book", "running": 1, "starts": null}), "{set}");
    let patch = json!({
        "limits": {"starts": null}, "defaults": {"lease_seconds": null, "max_attempts": 4},
        "retention": {"failed_seconds": null, "cancelled_seconds": 90_000}
    });
    let changed = forge.patch("/api/types/work", patch).await.ok();
    let defaults = json!({
        "max_attempts": 4, "retry": {"first_seconds": 1.5, "longest_seconds": 600.0},
        "lease_seconds": null, "no_progress_seconds": 3600.0
    });
    assert_eq!(changed["limits"], json!({"running": 2, "starts": null}));
    assert_eq!(changed["defaults"], defaults);
    let retention =
        json!({"completed_seconds": 604_800.0, "failed_seconds": null, "cancelled_seconds": 90_000.0});
    assert_eq!((&changed["retention"], &changed["oldest_share"]), (&retention, &json!(0)));
    assert_eq!(changed["per_key"], set["per_key"]);
    let back =
        json!({"limits": null, "per_key": null, "defaults": null, "retention": null, "oldest_share": null});
    let back = forge.patch("/api/types/work", back).await.ok();
    let fresh = forge.patch("/api/types/fresh", json!({"paused": null})).await.ok();
    for group in ["limits", "per_key", "defaults", "retention", "oldest_share", "paused"] {
        assert_eq!(back[group], fresh[group], "{group}");
    }
}

#[tokio::test]
async fn operators_who_change_different_settings_at_once_both_get_what_they_want() {
    let forge = Forge::start().await;
    let patches = (1..=8).map(|n| {
        let patch = match n {
            1 => json!({"paused": true}),
            2 => json!({"limits": {"running": 7}}),
            3 => json!({"limits": {"starts": {"count": 1, "per_seconds": 9}}}),
            4 => json!({"defaults": {"max_attempts": 7}}),
            5 => json!({"defaults": {"lease_seconds": 77}}),
            6 => json!({"retention": {"failed_seconds": 77_777}}),
            7 => json!({"per_key": {"by": "submitter"}}),
            _ => json!({"oldest_share": 7}),
        };
        forge.patch("/api/types/work", patch)
    });
    for reply in futures_util::future::join_all(patches).await {
        reply.ok();
    }
    let all = forge.get("/api/types/work").await.ok();
    assert_eq!((&all["paused"], &all["oldest_share"]), (&json!(true), &json!(7)));
    let starts = json!({"count": 1, "per_seconds": 9.0, "burst": 1});
    assert_eq!(all["limits"], json!({"running": 7, "starts": starts}));
    assert_eq!(
        (&all["defaults"]["max_attempts"], &all["defaults"]["lease_seconds"]),
        (&json!(7), &json!(77.0))
    );
    assert_eq!(all["retention"]["failed_seconds"], 77_777.0);
    assert_eq!(all["per_key"]["by"], "submitter");
}

#[tokio::test]
async fn limits_and_defaults_hold_from_the_next_claim_on() {
    let forge = Forge::start().await;
    forge.register("a", "work").await;
    let patch = json!({"limits": {"running": 1}, "defaults": {"max_attempts": 9, "lease_seconds": 7}});
    forge.patch("/api/types/work", patch).await.ok();
    let first = forge.submit("work").await;
    forge.submit("work").await;
    let claim = forge.claim("a", "work").await;
    assert_eq!((&claim["job"]["id"], &claim["job"]["max_attempts"]), (&json!(first), &json!(9)));
    assert_eq!(claim["lease_seconds"], 7.0);
    assert_eq!(forge.claim("a", "work").await, json!({"job": null}), "one may run");
}

#[tokio::test]
async fn a_setting_that_makes_no_sense_is_refused_by_name_and_nothing_is_changed() {
    let forge = Forge::start().await;
    let before = forge.patch("/api/types/work", json!({"limits": {"running": 3}})).await.ok();
    for (patch, named) in [
        (json!({}), "at least one setting"),
        (Value::Null, "expected"),
        (json!([]), "at least one setting"),
        (json!({"pause": true}), "pause"),
        (json!({"paused": "yes"}), "paused"),
        (json!({"limits": {"running": 0}}), "limits.running"),
        (json!({"limits": {"running": -1}}), "limits.running"),
        (json!({"limits": {"run": 1}}), "limits.run"),
        (json!({"limits": {"starts": {"count": 1}}}), "limits.starts"),
        (json!({"limits": {"starts": {"count": 0, "per_seconds": 60}}}), "limits.starts"),
        (json!({"limits": {"starts": {"count": 1, "per_seconds": 60, "burst": 0}}}), "limits.starts"),
        (json!({"limits": {"starts": {"count": 1, "per_seconds": -1}}}), "limits.starts"),
        (json!({"limits": {"starts": {"count": 1, "per_seconds": 9e9}}}), "limits.starts"),
        (json!({"per_key": {"by": "moon"}}), "per_key.by"),
        (json!({"per_key": {"by": "param"}}), "per_key.name"),
        (json!({"per_key": {"by": "tag", "name": ""}}), "per_key.name"),
        (json!({"per_key": {"by": "submitter", "name": "ann"}}), "per_key.name"),
        (
            json!({"per_key": {"by": "submitter", "starts": {"count": 1, "per_seconds": 1e12}}}),
            "per_key.starts",
        ),
        (json!({"defaults": {"max_attempts": 0}}), "defaults.max_attempts"),
        (json!({"defaults": {"max_attempts": 1_000_000}}), "defaults.max_attempts"),
        (json!({"defaults": {"lease_seconds": 0.5}}), "defaults.lease_seconds"),
        (json!({"defaults": {"lease_seconds": 1e300}}), "defaults.lease_seconds"),
        (json!({"defaults": {"no_progress_seconds": -5}}), "defaults.no_progress_seconds"),
        (json!({"defaults": {"retry": {"first_seconds": 1}}}), "defaults.retry"),
        (json!({"defaults": {"retry": {"first_seconds": -1, "longest_seconds": 1}}}), "defaults.retry"),
        (json!({"retention": {"failed_seconds": "a day"}}), "retention.failed_seconds"),
        (json!({"retention": {"failed_seconds": 1e12}}), "retention.failed_seconds"),
        (json!({"oldest_share": 1.5}), "oldest_share"),
        (json!({"paused": true, "limits": {"running": 0}}), "limits.running"),
    ] {
        let reply = forge.patch("/api/types/work", patch.clone()).await;
        let detail = reply.refused(400, "invalid");
        assert!(detail.contains(named), "{patch}: {detail}");
        assert!(reply.body["hint"].is_string(), "{patch}: {reply:?}");
    }
    assert_eq!(forge.get("/api/types/work").await.ok(), before);
    forge.get("/api/types/nothing").await.refused(404, "type_not_found");
    forge.get("/api/types/no%20spaces").await.refused(400, "invalid");
    assert_eq!(forge.get("/api/types").await.ok(), json!([before]), "to look at a type does not make it");
}
