//! Whoever wants to know that a job has ended is told, and nobody else is called.

use std::{os::unix::fs::PermissionsExt, process::Stdio, sync::Arc};

use blobforge_core::{ManualClock, Timestamp, queue::Notice};
use tokio::io::AsyncWriteExt;

use super::{
    receiver::{Answer, Heard, Receiver},
    *,
};

/// A service that may call receivers at exactly this address of the machine.
async fn forge() -> Forge {
    forge_with(|_| {}).await
}

async fn forge_with(set: impl FnOnce(&mut ServeConfig)) -> Forge {
    Forge::with(|config| {
        config.webhook_allow_private = vec!["127.0.0.1/32".parse().unwrap()];
        set(config);
    })
    .await
}

impl Forge {
    async fn hook(&self, body: Value) -> (String, String) {
        let made = self.post("/api/webhooks", body).await.ok();
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    }

    async fn end_one(&self, job_type: &str) -> i64 {
        let job = self.submit(job_type).await;
        self.post(&format!("/api/jobs/{job}/cancel"), Value::Null).await.ok();
        job
    }

    /// The deliveries of a webhook, once there are so many, the last one first.
    async fn deliveries(&self, id: &str, wanted: usize) -> Vec<Value> {
        let look = async {
            loop {
                let page = self.get(&format!("/api/webhooks/{id}/deliveries")).await.ok();
                let items = page["items"].as_array().unwrap().clone();
                if items.len() >= wanted {
                    return items;
                }
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("it is written down")
    }

    /// The program that stands in docs/api.md, told what came: whether it takes it for the service's.
    async fn document_believes(&self, heard: &Heard, secret: &str, now: i64) -> bool {
        let document =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md")).unwrap();
        let program = document.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
        let call = "import sys\nprint(is_from_blobforge(sys.argv[1], sys.argv[2], sys.stdin.buffer.read(), int(sys.argv[3])))";
        let mut python = tokio::process::Command::new("python3")
            .args(["-c", &format!("{program}\n{call}"), secret, &heard.headers["blobforge-signature"]])
            .arg(now.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is needed to run the example of the document");
        python.stdin.take().unwrap().write_all(heard.text.as_bytes()).await.unwrap();
        let output = python.wait_with_output().await.unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim() == "True"
    }
}

fn second_of(heard: &Heard) -> i64 {
    let signature = &heard.headers["blobforge-signature"];
    signature.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_end_of_a_job_is_told_by_a_signed_request() {
    let forge = forge().await;
    let mut receiver = Receiver::start([]).await;
    let (id, secret) = forge.hook(json!({"url": receiver.url(), "type": "work"})).await;
    forge.end_one("other").await;
    forge.register("a", "work").await;
    let job = forge.submit("work").await;
    let claim = forge.claim("a", "work").await;
    let body = json!({"lease": claim["lease"], "result": {"pages": 12}});
    let path = format!("/api/jobs/{job}/complete");
    forge.post(&path, body.clone()).await.ok();
    forge.post(&path, body).await.ok();

    let heard = receiver.heard().await;
    assert_eq!(heard.path, "/hook?key=secret-of-the-path");
    assert_eq!(heard.headers["blobforge-event"], "job_completed");
    assert_eq!(heard.headers["content-type"], "application/json");
    let told = heard.body();
    assert_eq!((&told["id"], &told["event"]), (&json!(heard.id()), &json!("job_completed")));
    assert_eq!((&told["job_id"], &told["type"], &told["attempt"]), (&json!(job), &json!("work"), &json!(1)));
    assert_eq!(told["job"]["result"], json!({"pages": 12}));
    assert_eq!(told["at"], told["job"]["completed_at"]);

    let second = second_of(&heard);
    assert!(forge.document_believes(&heard, &secret, second + 10).await);
    assert!(!forge.document_believes(&heard, "another secret", second).await);
    assert!(!forge.document_believes(&heard, &secret, second + 3600).await, "it is an old one, sent again");
    let forged = Heard { text: heard.text.replace("12", "13"), ..heard };
    assert!(!forge.document_believes(&forged, &secret, second).await);

    let delivery = forge.deliveries(&id, 1).await.remove(0);
    assert_eq!((&delivery["outcome"], &delivery["status"]), (&json!("delivered"), &json!(200)));
    assert_eq!((&delivery["job_id"], &delivery["tries"]), (&json!(job), &json!(1)));
    assert!(receiver.heard_by_now().is_none(), "the same report again is no second end");
}

#[tokio::test]
async fn a_job_names_who_is_told_of_it() {
    let forge = forge().await;
    let mut receiver = Receiver::start([]).await;
    let wanting = |webhook: Value| json!({"type": "work", "source": "none", "webhook": webhook});
    let url = receiver.url();
    let mut ended = Vec::new();
    let webhooks = [
        json!(url),
        json!({"url": url, "events": ["job_cancelled"]}),
        json!({"url": url, "events": ["job_failed"]}),
    ];
    for webhook in webhooks {
        let job = forge.post("/api/jobs", wanting(webhook)).await.ok()["job_id"].clone();
        forge.post(&format!("/api/jobs/{job}/cancel"), Value::Null).await.ok();
        ended.push(job);
    }
    let batch = json!({"jobs": [wanting(json!(url))]});
    let job = forge.post("/api/jobs/batch", batch).await.ok()["jobs"][0]["job_id"].clone();
    forge.post(&format!("/api/jobs/{job}/cancel"), Value::Null).await.ok();
    let mut told = Vec::new();
    for _ in 0..3 {
        let heard = receiver.heard().await;
        assert_eq!(heard.headers["blobforge-event"], "job_cancelled");
        // The operator finds the secret beside the database.
        let file = forge.folder.path().join("webhook-secret");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let secret = std::fs::read_to_string(file).unwrap();
        assert!(forge.document_believes(&heard, secret.trim(), second_of(&heard)).await);
        told.push(heard.body()["job_id"].as_i64().unwrap());
    }
    told.sort_unstable();
    assert_eq!(json!(told), json!([ended[0], ended[1], job]));
    assert_eq!(forge.deliveries("jobs", 3).await.len(), 3);
    assert_eq!(forge.get("/api/webhooks").await.ok(), json!([]));

    let bad = [json!(7), json!("here"), json!({"url": url, "event": []}), json!({"url": url, "events": []})];
    for webhook in bad {
        let reply = forge.post("/api/jobs", wanting(webhook.clone())).await;
        reply.refused(400, "invalid");
        assert_eq!(reply.body["field"], "webhook", "{webhook}");
    }
    forge.post("/api/jobs", wanting(Value::Null)).await.ok();
}

#[tokio::test]
async fn what_was_not_taken_is_sent_again_later_under_the_same_id() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_772_366_400_000)));
    let forge = forge_with(|config| config.clock = Some(clock.clone())).await;
    let mut receiver = Receiver::start([Answer::Status(500), Answer::Status(302)]).await;
    let (id, _) = forge.hook(json!({"url": receiver.url()})).await;
    forge.end_one("work").await;
    let first = receiver.heard().await;
    let mut logged = forge.deliveries(&id, 1).await;
    for wanted in 2..=3 {
        assert_eq!(logged[0]["outcome"], "retrying");
        let next_at: Timestamp = logged[0]["next_at"].as_str().unwrap().parse().unwrap();
        assert!(next_at > forge.service.queue().now());
        assert!(receiver.heard_by_now().is_none());
        clock.advance(next_at.since(forge.service.queue().now()));
        assert_eq!(receiver.heard().await.id(), first.id());
        logged = forge.deliveries(&id, wanted).await;
    }
    let outcomes: Vec<_> = logged.iter().map(|one| (one["status"].clone(), one["tries"].clone())).collect();
    assert_eq!(json!(outcomes), json!([[200, 3], [302, 2], [500, 1]]));
    assert_eq!(forge.service.queue().storage().next_message().await.unwrap(), None);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_not_tried_again() {
    let forge = forge().await;
    let mut receiver = Receiver::start([Answer::Status(410)]).await;
    let (id, _) = forge.hook(json!({"url": receiver.url()})).await;
    forge.end_one("work").await;
    receiver.heard().await;
    let delivery = forge.deliveries(&id, 1).await.remove(0);
    assert_eq!((&delivery["outcome"], &delivery["next_at"]), (&json!("given_up"), &Value::Null));
    assert_eq!(forge.service.queue().storage().next_message().await.unwrap(), None);
}

#[tokio::test]
async fn a_stop_ends_deliveries_at_once_and_the_next_start_goes_on_with_them() {
    let forge = forge().await;
    let mut receiver = Receiver::start([Answer::Silence]).await;
    let (id, _) = forge.hook(json!({"url": receiver.url()})).await;
    let job = forge.end_one("work").await;
    let first = receiver.heard().await;
    let Forge { service, folder, http } = forge;
    // It does not wait for the answer that never comes.
    service.stop().await.unwrap();
    let config = ServeConfig {
        webhook_allow_private: vec!["127.0.0.1/32".parse().unwrap()],
        ..ServeConfig::local(folder.path())
    };
    let forge = Forge { service: Service::start(config).await.unwrap(), folder, http };
    let again = receiver.heard().await;
    assert_eq!((again.id(), &again.body()["job_id"]), (first.id(), &json!(job)));
    assert_eq!(forge.deliveries(&id, 1).await[0]["outcome"], "delivered");
}

#[tokio::test]
async fn one_receiver_that_never_answers_does_not_hold_up_the_others() {
    let forge = forge().await;
    let mut silent = Receiver::start(vec![Answer::Silence; 8]).await;
    forge.hook(json!({"url": silent.url(), "type": "slow"})).await;
    for _ in 0..8 {
        forge.end_one("slow").await;
        silent.heard().await;
    }
    let mut receiver = Receiver::start([]).await;
    forge.hook(json!({"url": receiver.url(), "type": "work"})).await;
    let job = forge.end_one("work").await;
    assert_eq!(receiver.heard().await.body()["job_id"], job);
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_left_alone_for_a_while() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_772_366_400_000)));
    let forge = forge_with(|config| config.clock = Some(clock.clone())).await;
    let gone = Receiver::start([]).await.address;
    let (id, _) = forge.hook(json!({"url": format!("http://{gone}/")})).await;
    for sent in 1..=5 {
        forge.end_one("work").await;
        assert_eq!(forge.deliveries(&id, sent).await[0]["status"], Value::Null);
    }
    let mut feed = forge.service.queue().events();
    forge.end_one("work").await;
    // One more in the outbox, which is put off.
    for _ in 0..2 {
        while feed.next().await.unwrap() != Notice::Outbox {}
    }
    assert_eq!(forge.deliveries(&id, 5).await.len(), 5, "it was not asked");
    let storage = forge.service.queue().storage().clone();
    assert!(storage.next_message().await.unwrap().unwrap() > forge.service.queue().now());
    // Once it answers again, all of it is told.
    let mut receiver = Receiver::at(&gone.to_string(), []).await;
    clock.advance(Duration::from_secs(15));
    for _ in 0..6 {
        receiver.heard().await;
    }
}

#[tokio::test]
async fn what_is_private_to_the_machine_or_its_network_is_not_called() {
    let forge = Forge::start().await;
    let mut receiver = Receiver::start([]).await;
    let bad = [
        receiver.url(),
        "http://[::1]:1/".to_owned(),
        "http://[::ffff:10.0.0.1]/".to_owned(),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://2130706433/".to_owned(),
        "https://ann:secret@example.org/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "nothing".to_owned(),
    ];
    for url in bad {
        let reply = forge.post("/api/webhooks", json!({"url": url})).await;
        reply.refused(400, "invalid");
        assert_eq!(reply.body["field"], "url", "{url}");
        let job = json!({"type": "work", "source": "none", "webhook": url});
        forge.post("/api/jobs", job).await.refused(400, "invalid");
    }
    // A name says nothing of itself: where it leads is judged when it is called.
    let url = format!("http://localhost:{}/", receiver.address.port());
    let (id, _) = forge.hook(json!({"url": url})).await;
    forge.end_one("work").await;
    let delivery = forge.deliveries(&id, 1).await.remove(0);
    assert_eq!((&delivery["outcome"], &delivery["status"]), (&json!("retrying"), &Value::Null));
    assert_eq!(delivery["error"], "the name leads to no address that may be called");
    assert!(receiver.heard_by_now().is_none());
}

#[tokio::test]
async fn redirects_are_followed_only_where_they_may_lead() {
    let forge = forge().await;
    let mut receiver = Receiver::start([]).await;
    // Another address of the same machine, which is not among those that may be called.
    let mut private = Receiver::at("127.0.0.2:0", []).await;
    let to_private = [
        format!("http://{}/", private.address),
        format!("http://localtest@{}/", receiver.address),
        "http://10.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "http://169.254.169.254/".to_owned(),
        "http://127.0.0.1:1/".to_owned(),
    ];
    let (id, _) = forge.hook(json!({"url": receiver.url()})).await;
    for (number, to) in to_private.into_iter().enumerate() {
        receiver.answer_next(Answer::Redirect(307, to.clone()));
        forge.end_one("work").await;
        receiver.heard().await;
        let delivery = forge.deliveries(&id, number + 1).await.remove(0);
        assert_eq!((&delivery["outcome"], &delivery["status"]), (&json!("retrying"), &Value::Null), "{to}");
        assert!(delivery["error"].is_string());
    }
    assert!(private.heard_by_now().is_none());
    // What it led to is not its fault: whoever else is told there is told at once.
    assert_eq!(forge.delete(&format!("/api/webhooks/{id}")).await.status, 200);

    let mut other = Receiver::start([]).await;
    receiver.answer_next(Answer::Redirect(308, other.url()));
    forge.hook(json!({"url": receiver.url()})).await;
    forge.end_one("work").await;
    let (first, second) = (receiver.heard().await, other.heard().await);
    assert_eq!(first.text, second.text);
    assert_eq!(first.headers["blobforge-signature"], second.headers["blobforge-signature"]);
}

#[tokio::test]
async fn a_circle_of_redirects_has_an_end() {
    let forge = forge().await;
    let mut receiver = Receiver::start([]).await;
    for _ in 0..10 {
        receiver.answer_next(Answer::Redirect(307, "/again".to_owned()));
    }
    let (id, _) = forge.hook(json!({"url": receiver.url()})).await;
    forge.end_one("work").await;
    let delivery = forge.deliveries(&id, 1).await.remove(0);
    assert_eq!(delivery["error"], "there were more than 3 redirects");
    let asked = std::iter::from_fn(|| receiver.heard_by_now()).count();
    assert_eq!(asked, 4, "the first one and three more");
    receiver.answer_always();
    let again = json!({"delivery_id": delivery["id"]});
    forge.post(&format!("/api/webhooks/{id}/redeliver"), again).await.ok();
    assert_eq!(forge.deliveries(&id, 2).await[0]["outcome"], "delivered", "at once, for whoever repaired it");
}

#[tokio::test]
async fn a_delivery_is_sent_again_on_request_and_that_is_recorded() {
    let forge = forge().await;
    let mut receiver = Receiver::start([]).await;
    let (id, _) = forge.hook(json!({"url": receiver.url()})).await;
    forge.end_one("work").await;
    let first = receiver.heard().await;
    let delivery = forge.deliveries(&id, 1).await.remove(0)["id"].clone();
    let path = format!("/api/webhooks/{id}/redeliver");
    forge.post(&path, json!({"delivery_id": delivery})).await.ok();
    assert_eq!(receiver.heard().await.id(), first.id());
    assert_eq!(forge.deliveries(&id, 2).await.len(), 2);
    forge.post(&path, json!({"delivery_id": 99})).await.refused(404, "delivery_not_found");
    forge.post(&path, json!({"delivery_id": u64::MAX})).await.refused(404, "delivery_not_found");
    forge
        .post("/api/webhooks/x/redeliver", json!({"delivery_id": 1}))
        .await
        .refused(404, "webhook_not_found");

    assert_eq!(forge.delete(&format!("/api/webhooks/{id}")).await.status, 200);
    let gone = forge.delete(&format!("/api/webhooks/{id}")).await;
    gone.refused(404, "webhook_not_found");
    forge.get(&format!("/api/webhooks/{id}/deliveries")).await.refused(404, "webhook_not_found");
    forge.post(&path, json!({"delivery_id": delivery})).await.refused(404, "webhook_not_found");
    forge.end_one("work").await;
    let audit = forge.get("/api/admin/audit").await.ok();
    let recorded = audit["items"].as_array().unwrap().iter().map(|item| [&item["action"], &item["target"]]);
    let redelivered = format!("{id} {delivery}");
    let expected =
        [["webhook_deleted", &id], ["webhook_redelivered", &redelivered], ["webhook_created", &id]];
    assert_eq!(json!(recorded.collect::<Vec<_>>()), json!(expected));
    assert!(receiver.heard_by_now().is_none());
}

#[tokio::test]
async fn a_secret_is_shown_once_and_urls_to_administrators_alone() {
    let forge = forge().await;
    let mut receiver = Receiver::start([]).await;
    let body = json!({"url": receiver.url(), "events": ["job_cancelled"], "secret": "x".repeat(24)});
    let make = || forge.request(Method::POST, "/api/webhooks").header("idempotency-key", "once").json(&body);
    let made = Reply::of(make().send().await.unwrap()).await;
    assert_eq!(made.status, 201);
    let made = made.ok();
    assert_eq!((&made["secret"], &made["events"]), (&json!("x".repeat(24)), &json!(["job_cancelled"])));
    Reply::of(make().send().await.unwrap()).await.refused(409, "secret_shown_once");
    forge.end_one("work").await;
    receiver.heard().await;
    let id = made["id"].as_str().unwrap();
    forge.deliveries(id, 1).await;

    let token = forge.token(json!({"name": "reader", "scopes": ["submit"]})).await;
    for path in ["/api/webhooks".to_owned(), format!("/api/webhooks/{id}/deliveries")] {
        let read = forge.bare(Method::GET, &path).bearer_auth(&token);
        let text = Reply::of(read.send().await.unwrap()).await.ok().to_string();
        assert!(text.contains(&format!("\"http://{}\"", receiver.address)), "{text}");
        assert!(!text.contains("secret"), "{text}");
        let text = forge.get(&path).await.ok().to_string();
        assert!(text.contains(&receiver.url()) && !text.contains(&"x".repeat(24)), "{text}");
    }
    for bad in [json!({"events": []}), json!({"secret": "short"}), json!({"type": ""}), json!({"event": 1})] {
        let mut body = json!({"url": receiver.url()});
        body.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        forge.post("/api/webhooks", body).await.refused(400, "invalid");
    }
}

#[tokio::test]
async fn a_hundred_webhooks_are_made_and_no_more() {
    let forge = forge().await;
    for _ in 0..100 {
        forge.hook(json!({"url": "https://example.org/"})).await;
    }
    forge
        .post("/api/webhooks", json!({"url": "https://example.org/"}))
        .await
        .refused(409, "too_many_subscribers");
    assert_eq!(forge.get("/api/webhooks").await.ok().as_array().unwrap().len(), 100);
    let page = forge.get("/api/webhooks?cursor=&limit=60").await.ok();
    let next = format!("/api/webhooks?limit=60&cursor={}", page["next_cursor"].as_str().unwrap());
    let rest = forge.get(&next).await.ok();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (40, &Value::Null));
}
