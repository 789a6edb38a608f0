//! What is measured, as Prometheus reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use blobforge_core::{ManualClock, Timestamp};

use super::*;

/// The text format 0.0.4, read strictly: what Prometheus would refuse or take for something else fails the test.
#[derive(Debug, Default)]
struct Exposed {
    kinds: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Exposed {
    fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let (mut all, mut current, mut helped) = (Self::default(), String::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(is_name(name) && help.len() > 10, "{line}");
                assert!(helped.insert(name.to_owned()), "{name} comes once");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(helped.contains(name) && ["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                assert!(all.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} comes once");
                current = name.to_owned();
            } else {
                let (name, labels, value) = sample(line);
                let family = match all.kinds[&current].as_str() {
                    "histogram" => {
                        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end))
                    }
                    _ => Some(name),
                };
                assert_eq!(family, Some(current.as_str()), "{line}");
                let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let series = format!("{name}{{{}}}", labels.join(","));
                assert!(all.samples.insert(series, value).is_none(), "twice: {line}");
            }
        }
        all.check_histograms(text);
        all
    }

    /// Buckets grow, the last is of everything, and there are a sum and a count.
    fn check_histograms(&self, text: &str) {
        for (name, _) in self.kinds.iter().filter(|(_, kind)| *kind == "histogram") {
            let mut last: BTreeMap<String, (f64, f64)> = BTreeMap::new();
            for line in text.lines().filter(|line| line.starts_with(&format!("{name}_bucket"))) {
                let (_, mut labels, value) = sample(line);
                let (bound, series) = (labels.remove("le").unwrap(), format!("{labels:?}"));
                let bound: f64 = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
                if let Some((before, smaller)) = last.insert(series, (bound, value)) {
                    assert!(before < bound && smaller <= value, "{line}");
                }
            }
            assert!(last.values().all(|(bound, _)| bound.is_infinite()), "{name}");
            let count: f64 = self.sum(&format!("{name}_count"));
            assert_eq!(last.values().map(|(_, all)| all).sum::<f64>(), count, "{name}");
            assert!(
                self.samples.keys().filter(|series| series.starts_with(&format!("{name}_sum{{"))).count()
                    == last.len()
            );
        }
    }

    /// All series of a name together.
    fn sum(&self, name: &str) -> f64 {
        let of_it = self.samples.iter().filter(|(series, _)| series.starts_with(&format!("{name}{{")));
        of_it.map(|(_, value)| value).sum()
    }

    #[track_caller]
    fn is(&self, series: &str, value: f64) {
        assert_eq!(self.samples.get(series), Some(&value), "{series} in {:#?}", self.samples);
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with("blobforge_")
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn sample(line: &str) -> (&str, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').map_or((series, ""), |(name, labels)| {
        (name, labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}")))
    });
    assert!(is_name(name), "{line}");
    let mut all = BTreeMap::new();
    for label in labels.split_terminator("\",") {
        let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        let value = value.strip_suffix('"').unwrap_or(value);
        assert!(!value.contains(['"', '\\', '\n']), "{line}");
        assert!(all.insert(name.to_owned(), value.to_owned()).is_none(), "{line}");
    }
    (name, all, value.parse().unwrap_or_else(|_| panic!("{line}")))
}

impl Forge {
    async fn metrics(&self) -> Exposed {
        let reply = self.request(Method::GET, "/metrics").send().await.unwrap();
        assert_eq!(reply.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        Exposed::read(&reply.text().await.unwrap())
    }
}

#[tokio::test]
async fn what_happened_is_measured_and_told_as_prometheus_reads_it() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_800_000_000_000)));
    let forge = Forge::with(|config| {
        config.clock = Some(clock.clone());
        config.rate_limit = 12;
    });
    let forge = forge.await;
    forge.register("a", "work").await;
    for _ in 0..4 {
        forge.submit("work").await;
    }
    clock.advance(Duration::from_secs(20));
    let claims =
        [forge.claim("a", "work").await, forge.claim("a", "work").await, forge.claim("a", "work").await];
    clock.advance(Duration::from_secs(30));
    let [done, failed, _] =
        claims.each_ref().map(|claim| (format!("/api/jobs/{}", claim["job"]["id"]), claim["lease"].clone()));
    forge.post(&format!("{}/complete", done.0), json!({"lease": done.1})).await.ok();
    let failure = json!({"lease": failed.1, "error": "torn", "kind": "torn", "retryable": false});
    forge.post(&format!("{}/fail", failed.0), failure).await.ok();
    let stream = forge.request(Method::GET, "/api/events").send().await.unwrap();
    for path in ["/api/nothing/1", "/api/nothing/2"] {
        forge.get(path).await.refused(404, "no_such_route");
    }
    let job = json!({"type": "work", "source": "none", "dedup": false});
    while forge.post("/api/jobs", job.clone()).await.status != 429 {}

    let told = forge.metrics().await;
    for (status, jobs) in [("pending", 13.0), ("running", 1.0), ("completed", 1.0), ("failed", 1.0)] {
        told.is(&format!("blobforge_jobs{{status={status},type=work}}"), jobs);
    }
    told.is("blobforge_oldest_waiting_job_age_seconds{type=work}", 50.0);
    told.is("blobforge_worker_running_jobs{worker=a}", 1.0);
    told.is("blobforge_workers{state=online}", 1.0);
    told.is("blobforge_workers{state=offline}", 0.0);
    told.is("blobforge_job_wait_seconds_sum{type=work}", 60.0);
    told.is("blobforge_job_wait_seconds_count{type=work}", 3.0);
    told.is("blobforge_job_wait_seconds_bucket{le=15,type=work}", 0.0);
    told.is("blobforge_job_wait_seconds_bucket{le=60,type=work}", 3.0);
    told.is("blobforge_attempt_run_seconds_sum{type=work}", 60.0);
    told.is("blobforge_attempts_ended_total{end=completed,type=work}", 1.0);
    told.is("blobforge_attempts_ended_total{end=failed,type=work}", 1.0);
    told.is("blobforge_event_streams{}", 1.0);
    told.is("blobforge_rate_limited_requests_total{budget=account}", 1.0);
    told.is("blobforge_http_requests_total{method=POST,route=/api/jobs,status=201}", 16.0);
    told.is("blobforge_http_requests_total{method=POST,route=/api/jobs,status=429}", 1.0);
    told.is("blobforge_http_requests_total{method=POST,route=/api/jobs/{id}/complete,status=200}", 1.0);
    told.is("blobforge_http_requests_total{method=GET,route=none,status=404}", 2.0);
    told.is("blobforge_http_request_seconds_count{method=POST,route=/api/jobs/claim}", 3.0);
    assert!(told.sum("blobforge_commit_commands_sum") >= 20.0, "{told:#?}");
    assert_eq!(told.sum("blobforge_commit_seconds_count"), told.sum("blobforge_commit_flush_seconds_count"));
    assert!(told.sum("blobforge_storage_statements_total") > 100.0);
    assert!(told.samples.keys().all(|series| !series.contains("nothing")), "no path is told");

    // A worker that falls silent loses its lease to whoever asks next.
    drop(stream);
    clock.advance(Duration::from_secs(100));
    forge.register("b", "work").await;
    forge.claim("b", "work").await;
    let lost = async || forge.metrics().await.sum("blobforge_leases_lost_total") == 1.0;
    while !lost().await {
        forge.claim("b", "work").await;
    }
    let told = forge.metrics().await;
    told.is("blobforge_attempts_ended_total{end=lost,type=work}", 1.0);
    told.is("blobforge_event_streams{}", 0.0);
}

#[tokio::test]
async fn looking_at_what_is_measured_costs_a_few_statements_however_much_there_is() {
    let forge = Forge::start().await;
    let cost = async || {
        let statements = async || forge.metrics().await.sum("blobforge_storage_statements_total");
        // What goes on besides costs something now and then: the cheapest of some is what it costs itself.
        let mut least = f64::INFINITY;
        let mut before = statements().await;
        for _ in 0..20 {
            let after = statements().await;
            least = least.min(after - before);
            before = after;
        }
        least
    };
    let empty = cost().await;
    for number in 0..5 {
        let job = json!({"type": format!("work{number}"), "source": "none", "dedup": false});
        let jobs = vec![job; 200];
        forge.post("/api/jobs/batch", json!({"jobs": jobs})).await.ok();
        forge.register(&format!("w{number}"), &format!("work{number}")).await;
        forge.claim(&format!("w{number}"), &format!("work{number}")).await;
    }
    assert_eq!(cost().await, empty);
    assert!(empty <= 8.0, "{empty} statements");
}

#[tokio::test]
async fn a_listener_of_its_own_tells_what_is_measured_without_a_token_and_nothing_else() {
    let forge = Forge::start().await;
    let reply = Reply::of(forge.bare(Method::GET, "/metrics").send().await.unwrap()).await;
    reply.refused(401, "unauthenticated");
    assert_eq!(forge.service.metrics_address(), None, "off unless asked for");
    let forge = Forge::with(|config| config.metrics_addr = Some("127.0.0.1:0".parse().unwrap())).await;
    let address = forge.service.metrics_address().unwrap();
    let get = async |path: &str| forge.http.get(format!("http://{address}{path}")).send().await.unwrap();
    let reply = get("/metrics").await;
    assert_eq!(reply.status(), 200);
    Exposed::read(&reply.text().await.unwrap()).is("blobforge_event_streams{}", 0.0);
    assert_eq!(get("/api/jobs").await.status(), 404);
    let reply = forge.http.get(format!("http://{address}/metrics")).header("x-request-id", "from-a-proxy");
    assert_eq!(reply.send().await.unwrap().headers()["x-request-id"], "from-a-proxy");
}
