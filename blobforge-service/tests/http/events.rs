//! What happens, as listeners hear it.

use futures_util::StreamExt;

use super::*;

/// An event as it comes over the wire.
#[derive(Debug, Default)]
struct Heard {
    id: String,
    name: String,
    data: Value,
}

/// Reads events until one of this name comes; all that came.
async fn until(response: Response, name: &str) -> Vec<Heard> {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut stream, mut text, mut heard) = (response.bytes_stream(), String::new(), Vec::new());
    loop {
        text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let mut one = Heard::default();
            for line in event.lines() {
                match line.split_once(": ").or_else(|| line.split_once(':')) {
                    Some(("id", id)) => one.id = id.to_owned(),
                    Some(("event", name)) => one.name = name.to_owned(),
                    Some(("data", data)) => one.data = serde_json::from_str(data).unwrap(),
                    _ => {}
                }
            }
            text = rest.to_owned();
            if !one.name.is_empty() {
                heard.push(one);
            }
            if heard.last().is_some_and(|one| one.name == name) {
                return heard;
            }
        }
    }
}

#[tokio::test]
async fn listeners_hear_what_happens_and_can_go_on_where_they_were() {
    let forge = Forge::start().await;
    let stream = forge.request(Method::GET, "/api/events").send().await.unwrap();
    let job = forge.submit("work").await;
    let heard = until(stream, "job_created").await;
    let created = heard.last().unwrap();
    assert_eq!((&created.data["id"], &created.data["status"]), (&json!(job), &json!("pending")));
    // Away for a while.
    forge.register("a", "work").await;
    forge.post(&format!("/api/jobs/{job}/cancel"), Value::Null).await.ok();
    let later =
        forge.request(Method::GET, "/events").header("last-event-id", &created.id).send().await.unwrap();
    let heard = until(later, "job_updated").await;
    let names: Vec<_> =
        heard.iter().map(|one| one.name.as_str()).filter(|name| *name != "stats_updated").collect();
    assert_eq!(names, ["worker_online", "job_updated"]);
    let unknown = forge
        .request(Method::GET, "/events")
        .header("last-event-id", "of another process")
        .send()
        .await
        .unwrap();
    assert_eq!(until(unknown, "resync").await.len(), 1);
}

#[tokio::test]
async fn streams_and_waits_end_when_the_service_stops() {
    let forge = Forge::start().await;
    let job = forge.submit("work").await;
    let stream = forge.request(Method::GET, "/api/events").send().await.unwrap();
    let waiting = forge.request(Method::GET, &format!("/api/jobs/{job}?wait_seconds=60")).send();
    let (waited, ()) = tokio::join!(waiting, async {
        let mut seen = stream.bytes_stream();
        forge.service.stopping().cancel();
        while let Some(Ok(_)) = seen.next().await {}
    });
    // An answer or a connection that closes, but no minute of waiting.
    if let Ok(reply) = waited {
        assert!(reply.status().is_success());
    }
    forge.service.stop().await.unwrap();
}

#[tokio::test]
async fn an_account_has_so_many_streams_and_others_have_their_own() {
    let forge = Forge::with(|config| config.max_streams = 2).await;
    let other = forge.token(json!({"name": "other", "scopes": ["submit"]})).await;
    let open = async || forge.request(Method::GET, "/api/events").send().await.unwrap();
    let (first, _second) = (open().await, open().await);
    let refused = open().await;
    assert_eq!(refused.headers()["retry-after"], "5");
    let refused = Reply::of(refused).await;
    let detail = refused.refused(429, "too_many_streams");
    assert!(detail.contains("has 2 event streams"), "{detail}");
    assert!(refused.body["hint"].as_str().unwrap().contains("BLOBFORGE_MAX_STREAMS"));
    let others = forge.bare(Method::GET, "/events").bearer_auth(other).send().await.unwrap();
    assert_eq!(others.status(), 200);
    // A stream that is closed makes room, once the service has noticed.
    drop(first);
    while open().await.status() != 200 {
        forge.submit("work").await;
    }
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_dropped() {
    let forge = Forge::with(|config| {
        config.read_timeout = Duration::from_secs(1);
        config.rate_limit = 0;
    });
    let forge = forge.await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stuck = socket.connect(forge.service.address()).await.unwrap();
    let head = format!(
        "GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        forge.service.admin_token()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stuck, head.as_bytes()).await.unwrap();
    let open = async || {
        let told = forge.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        let line = told.lines().find(|line| line.starts_with("blobforge_event_streams ")).unwrap().to_owned();
        line.rsplit_once(' ').unwrap().1.to_owned()
    };
    while open().await == "0" {}
    let patient = forge.request(Method::GET, "/api/events").send().await.unwrap();
    let mut patient = patient.bytes_stream();
    let reading = tokio::spawn(async move { while let Some(Ok(_)) = patient.next().await {} });
    let job = json!({"type": "w".repeat(60), "source": "none", "dedup": false});
    let begun = std::time::Instant::now();
    while open().await != "1" {
        assert!(begun.elapsed() < PATIENCE, "it hangs on");
        forge.post("/api/jobs/batch", json!({"jobs": vec![job.clone(); 500]})).await.ok();
    }
    assert!(!reading.is_finished(), "who reads goes on");
}

#[tokio::test]
async fn what_another_process_does_to_the_same_database_is_heard() {
    let here = Forge::start().await;
    let folder = here.folder.path().to_owned();
    let there = Service::start(ServeConfig::local(&folder)).await.unwrap();
    let stream = here.request(Method::GET, "/api/events").send().await.unwrap();
    let submit = here.http.post(format!("{}/api/jobs", there.url())).bearer_auth(here.service.admin_token());
    submit.json(&json!({"type": "work", "source": "none"})).send().await.unwrap();
    // What exactly it was, only that process knows; what matters now is told at once.
    let heard = until(stream, "stats_updated").await;
    assert!(heard.iter().any(|one| one.name == "resync"), "{heard:?}");
    assert_eq!(heard.last().unwrap().data["total_jobs"], 1);
    there.stop().await.unwrap();
}
