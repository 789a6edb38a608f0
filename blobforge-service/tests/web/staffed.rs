//! Workers, tokens, webhooks and settings for a service that somebody has used for a day.

use blobforge_core::{
    Condition, Gauges, GpuGauges, JobType, Registration, WorkerId,
    storage::{Beat, Command, RecordChange},
};
use blobforge_service::Service;
use reqwest::{Client, Method};
use serde_json::{Value, json};

const GB: u64 = 1_000_000_000;

struct Staff<'a> {
    service: &'a Service,
    http: Client,
}

/// Adds them; the id of a webhook with deliveries.
pub(crate) async fn staff(service: &Service) -> String {
    let staff = Staff { service, http: Client::new() };
    staff.workers().await;
    for (name, scopes, more) in [
        ("scan station", vec!["submit"], json!({})),
        ("nightly import", vec!["submit"], json!({"expires_in": 90})),
        ("any worker at home", vec!["worker"], json!({"expires_in": 365})),
        ("Ann", vec!["admin"], json!({})),
    ] {
        let mut body = json!({"name": name, "scopes": scopes});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        staff.ask(Method::POST, "/api/admin/tokens", body).await;
    }
    for id in ["smithy", "attic", "nas"] {
        staff.ask(Method::POST, "/api/admin/workers", json!({"id": id})).await;
    }
    let limits = json!({"limits": {"running": 4}, "defaults": {"max_attempts": 5}, "retention": {"failed_seconds": 7_776_000}});
    staff.ask(Method::PATCH, "/api/types/pdf", limits).await;
    staff.ask(Method::PATCH, "/api/types/pdf-text", json!({"paused": true})).await;
    staff.webhooks().await
}

impl Staff<'_> {
    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.service.url());
        let request = self.http.request(method, url).bearer_auth(self.service.admin_token()).json(&body);
        let reply = request.send().await.unwrap().error_for_status().unwrap();
        reply.json().await.unwrap()
    }

    async fn workers(&self) {
        let (pdf, text) = (JobType::new("pdf").unwrap(), JobType::new("pdf-text").unwrap());
        let gpu = |name: &str, gb: u64, used: u64, busy: f32| GpuGauges {
            name: name.to_owned(),
            use_percent: Some(busy),
            memory_used_bytes: Some(used * GB),
            memory_total_bytes: Some(gb * GB),
            temperature_celsius: Some(71.0),
        };
        self.worker(
            "smithy",
            "Smithy",
            &[&pdf, &text],
            24,
            condition(vec![gpu("NVIDIA GeForce RTX 4090", 24, 18, 87.0)], 34.0),
        )
        .await;
        self.worker(
            "attic",
            "Attic",
            &[&pdf],
            12,
            condition(vec![gpu("NVIDIA GeForce RTX 3060", 12, 11, 96.0)], 61.0),
        )
        .await;
        self.worker("nas", "NAS", &[&text], 0, condition(Vec::new(), 12.0)).await;
        let trouble =
            Some("nvidia-smi failed three times: the card that was there at the start is gone".to_owned());
        self.worker("cellar", "Cellar", &[&pdf], 12, Condition { trouble, ..condition(Vec::new(), 3.0) })
            .await;
        let until = Some(self.service.queue().now() + std::time::Duration::from_secs(5 * 3600));
        self.worker(
            "laptop",
            "Ann's laptop",
            &[&text],
            0,
            Condition { suspended_until: until, ..condition(Vec::new(), 8.0) },
        )
        .await;
        self.worker("old-box", "Old box", &[&pdf], 0, condition(Vec::new(), 0.0)).await;
        self.ask(Method::POST, "/api/workers/attic/drain", json!(null)).await;
        self.service.queue().unregister(WorkerId::new("old-box").unwrap(), None).await.unwrap();
    }

    async fn worker(&self, id: &str, name: &str, types: &[&JobType], vram: u64, condition: Condition) {
        let queue = self.service.queue();
        let worker = WorkerId::new(id).unwrap();
        let types = types.iter().map(|name| (*name).clone());
        let mut registration = Registration::new(worker.clone(), types, format!("the instance of {id}"));
        registration.name = Some(name.to_owned());
        registration.host = Some(format!("{id}.home"));
        registration.metadata.insert("sdk".to_owned(), "0.1.0".into());
        if vram > 0 {
            registration.labels.insert("gpu".to_owned(), true.into());
            registration.labels.insert("vram_gb".to_owned(), vram.into());
        }
        queue.register(registration).await.unwrap();
        let beat = Beat { worker, leases: Vec::new(), condition: Some(condition) };
        queue.run(Command::Heartbeat(beat)).await.unwrap();
    }

    async fn webhooks(&self) -> String {
        let url = "https://chat.example.org/hooks/blobforge";
        let body = json!({"url": url, "type": "pdf", "events": ["job_failed"]});
        self.ask(Method::POST, "/api/webhooks", body).await;
        let hook = self
            .ask(
                Method::POST,
                "/api/webhooks",
                json!({"url": "https://shelf.example.org/finished?from=forge"}),
            )
            .await;
        let id = hook["id"].as_str().unwrap().to_owned();
        let now = self.service.queue().now();
        for (number, outcome, status, error) in [
            (1, "given_up", Value::Null, json!("the address shelf.example.org was not found")),
            (2, "delivered", json!(204), Value::Null),
            (3, "delivered", json!(200), Value::Null),
            (4, "retrying", json!(503), Value::Null),
        ] {
            let at = now - std::time::Duration::from_secs(600 * (5 - number));
            let message = json!({"number": number, "generation": 1, "to": {"subscriber": id}, "job": number, "job_type": "pdf", "status": "completed", "epoch": 1, "ended_at": at, "tries": if outcome == "given_up" { 12 } else { 1 }});
            let mut entry = json!({"at": at, "message": message, "url": hook["url"], "outcome": outcome, "status": status, "error": error, "took_ms": 41 + number * 7});
            entry["next_at"] = if outcome == "retrying" {
                json!(now + std::time::Duration::from_secs(120))
            } else {
                Value::Null
            };
            let log = format!("webhook-deliveries/{id}");
            let records = vec![RecordChange::Append { log, entry, keep: 100 }];
            self.service.queue().run(Command::Recorded { command: None, records }).await.unwrap();
        }
        id
    }
}

fn condition(gpus: Vec<GpuGauges>, cpu_percent: f32) -> Condition {
    let gauges = Gauges {
        cpu_percent,
        memory_used_bytes: 11 * GB,
        memory_total_bytes: 32 * GB,
        disk_free_bytes: 212 * GB,
        disk_total_bytes: 1000 * GB,
        gpus,
    };
    Condition { gauges: Some(gauges), ..Condition::default() }
}
