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
