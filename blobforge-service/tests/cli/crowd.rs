//! Thousands of connections that wait for something to happen.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use reqwest::Method;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::*;

const STREAMS: usize = 5000;
const WAITS: usize = 500;
/// What one connection may cost, in KiB: several times of what it does.
const MOST_KIB_EACH: u64 = 128;
/// Both ends of a connection take a file in their own process.
const FILES: u64 = 8192;

/// Lets this process, and those that it starts, have enough files open.
fn allow_files() {
    let mut limit = getrlimit(Resource::Nofile);
    assert!(limit.maximum.is_none_or(|most| most >= FILES), "this machine allows no {FILES} open files");
    limit.current = limit.current.map(|now| now.max(FILES));
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Sends a request, and reads until this comes.
fn open(forge: &Forge, request: &str, wanted: &str) -> TcpStream {
    let mut stream = TcpStream::connect(forge.url.strip_prefix("http://").unwrap()).unwrap();
    let head = format!(" HTTP/1.1\r\nHost: forge\r\nAuthorization: Bearer {}\r\n", forge.token());
    stream.write_all(request.replacen('\n', &head, 1).as_bytes()).unwrap();
    read_until(&mut stream, wanted);
    stream
}

fn read_until(stream: &mut TcpStream, wanted: &str) {
    let (mut text, mut piece) = (String::new(), [0; 4096]);
    while !text.contains(wanted) {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "no {wanted:?} in {text}");
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
}

impl Forge {
    fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.service.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    async fn measured(&self, name: &str) -> u64 {
        let told = self.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        let value = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {told}")).parse().unwrap()
    }

    /// How many statements are run while nothing happens, from one sign of life on a stream to the next.
    async fn idle_statements(&self) -> u64 {
        let mut stream = open(self, "GET /api/events\n\r\n", "200 OK");
        read_until(&mut stream, "\n:");
        let before = self.measured("blobforge_storage_statements_total").await;
        read_until(&mut stream, "\n:");
        self.measured("blobforge_storage_statements_total").await - before
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "heavy: scripts/test runs it in a tier of its own"]
async fn five_thousand_connections_that_wait_cost_memory_and_nothing_else() {
    allow_files();
    let forge = Forge::serve(&["--max-streams", "0", "--rate-limit", "0"]);
    let register = serde_json::json!({"id": "a", "type": "rare", "protocol": 1, "instance": "one"});
    let registered = forge.request(Method::POST, "/api/workers/register").json(&register).send().await;
    assert!(registered.unwrap().status().is_success());
    let few = forge.idle_statements().await;
    let small = forge.resident_kib();
    let mut streams: Vec<_> = (0..STREAMS).map(|_| open(&forge, "GET /api/events\n\r\n", "200 OK")).collect();
    let claim = r#"{"worker_id":"a","job_type":"rare","wait_seconds":60}"#;
    let claim = format!(
        "POST /api/jobs/claim\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{claim}",
        claim.len()
    );
    let waits: Vec<_> = (0..WAITS).map(|_| open(&forge, &claim, "")).collect();
    // One that was closed before may still be counted: that is noticed with the next sign of life.
    assert!(forge.measured("blobforge_event_streams").await >= STREAMS as u64);
    let many = forge.idle_statements().await;
    let each = forge.resident_kib().saturating_sub(small) / (STREAMS + WAITS) as u64;
    println!(
        "{STREAMS} streams and {WAITS} waiting claims: {each} KiB each; {few} idle statements, then {many}"
    );
    assert!(each <= MOST_KIB_EACH, "{each} KiB for each connection");
    assert!(many <= 2 * few + 100, "{few} statements while idle, and {many} with a crowd");
    for _ in 0..20 {
        let job = serde_json::json!({"type": "work", "source": "none", "dedup": false});
        let reply = forge.request(Method::POST, "/api/jobs").json(&job).send().await.unwrap();
        assert_eq!(reply.status(), 201);
    }
    for stream in &mut streams {
        read_until(stream, "job_created");
    }
    drop(waits);
    forge.stop();
}
