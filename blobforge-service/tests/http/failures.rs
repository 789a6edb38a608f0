//! What goes wrong, told once.

use super::*;

impl Forge {
    /// Has a job of a type fail for good with this message.
    async fn failed(&self, job_type: &str, kind: &str, message: &str) -> i64 {
        let job = self.submit(job_type).await;
        let claim = self.claim("a", job_type).await;
        assert_eq!(claim["job"]["id"], job);
        let fail = json!({"lease": claim["lease"], "error": message, "kind": kind, "retryable": false});
        self.post(&format!("/api/jobs/{job}/fail"), fail).await.ok();
        job
    }
}

#[tokio::test]
async fn failures_are_grouped_listed_and_retried_by_group() {
    let forge = Forge::start().await;
    assert_eq!(forge.get("/api/failures").await.ok(), json!([]));
    forge.register("a", "work").await;
    let one = forge.failed("work", "no_text", "page 17 of \"Rules.pdf\" has no text").await;
    let two = forge.failed("work", "no_text", "page 4 of \"Lore.pdf\" has no text").await;
    let other = forge.failed("work", "broken", "it is broken").await;
    forge.register("a", "play").await;
    forge.failed("play", "broken", "it is broken").await;
    let groups = forge.get("/api/failures?type=work").await.ok();
    let told: Vec<_> = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|group| (group["kind"].as_str().unwrap(), group["message"].as_str().unwrap(), &group["jobs"]))
        .collect();
    let (twice, once) = (json!(2), json!(1));
    let expected = [("no_text", "page <n> of <text> has no text", &twice), ("broken", "it is broken", &once)];
    assert_eq!(told, expected);
    assert_eq!(forge.get("/api/failures").await.ok().as_array().unwrap().len(), 3);
    assert_eq!(forge.get("/api/failures?limit=1").await.ok(), json!([groups[0]]));
    let group = groups[0]["id"].as_i64().unwrap();
    let listed = forge.get(&format!("/api/jobs?failure_group={group}")).await.ok();
    assert_eq!((&listed["jobs"][0]["id"], &listed["jobs"][1]["id"]), (&json!(two), &json!(one)));
    let retry = json!({"action": "retry", "filter": {"failure_group": group}});
    assert_eq!(forge.post("/api/jobs/bulk", retry).await.ok()["done"], 2);
    for (job, status) in [(one, "pending"), (two, "pending"), (other, "failed")] {
        assert_eq!(forge.get(&format!("/api/jobs/{job}")).await.ok()["status"], status);
    }
    let group = forge.get("/api/failures?type=work").await.ok()[1].clone();
    assert_eq!(
        (&group["kind"], &group["jobs"], &group["failures"]),
        (&json!("no_text"), &json!(0), &json!(2))
    );
    for path in ["limit=0", "limit=1001", "limit=all"] {
        forge.get(&format!("/api/failures?{path}")).await.refused(400, "invalid_parameter");
    }
    forge.get("/api/failures?type=no%20spaces").await.refused(400, "invalid");
    forge.get("/api/jobs?failure_group=some").await.refused(400, "invalid_parameter");
}
