use serde_json::Value;

use super::*;
use crate::program;

const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/marker/server/fake_server.py");
/// Far longer than anything takes.
const LONG: Duration = Duration::from_secs(120);

fn source(more: &[&str]) -> Source {
    let args = [FAKE, "{port}", "a-model"].iter().chain(more).map(OsString::from).collect();
    let program = program::find(Path::new("python3")).unwrap();
    Source::Started(Call { program, args, env: Vec::new(), model: "a-model".to_owned() })
}

fn server(folder: &Path, idle: Duration) -> Server {
    Server::new("test", source(&[]), folder, Times { start: LONG, idle })
}

fn place(folder: &Path) -> Workplace {
    let run = folder.join("run-test");
    fs::create_dir_all(&run).unwrap();
    Workplace::around(&run.join("1-1"))
}

/// Which process answers there.
async fn pid(hold: &Hold) -> i64 {
    let models: Value = reqwest::get(format!("{}/models", hold.url)).await.unwrap().json().await.unwrap();
    models["pid"].as_i64().unwrap()
}

fn lives(pid: i64) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

async fn eventually(what: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !what().await {
        assert!(begun.elapsed() < LONG, "it never came to be");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_is_started_when_it_is_needed_and_shared_by_everybody_on_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (server(folder.path(), LONG), server(folder.path(), LONG));
    assert!(one.trouble().await.is_none(), "nothing runs, and nothing has to");
    let place = place(folder.path());
    let (first, second) = tokio::join!(one.hold(&place), other.hold(&place));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(pid(&first).await, pid(&second).await);
    assert!(other.is_down(&second).await.is_none());
    let runs = pid(&first).await;
    one.close().await;
    other.close().await;
    eventually(async || !lives(runs)).await;
}

#[tokio::test]
async fn a_server_that_dies_is_started_again_and_ends_with_its_worker() {
    let folder = tempfile::tempdir().unwrap();
    let (server, place) = (server(folder.path(), LONG), place(folder.path()));
    let held = server.hold(&place).await.unwrap();
    let first = pid(&held).await;
    let process = rustix::process::Pid::from_raw(i32::try_from(first).unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    let second = pid(&server.hold(&place).await.unwrap()).await;
    assert_ne!(first, second);
    assert!(server.is_down(&held).await.unwrap().contains("ended"), "it is another one");
    drop(server);
    eventually(async || !lives(second)).await;
}

#[tokio::test]
async fn who_needs_the_server_of_a_worker_that_went_away_starts_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other, place) =
        (server(folder.path(), LONG), server(folder.path(), LONG), place(folder.path()));
    let first = pid(&one.hold(&place).await.unwrap()).await;
    drop(one);
    let second = pid(&other.hold(&place).await.unwrap()).await;
    assert_ne!(first, second);
    other.close().await;
}

#[tokio::test]
async fn a_server_stops_when_nobody_needs_it_any_more_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (server(folder.path(), Duration::ZERO), server(folder.path(), LONG));
    let place = place(folder.path());
    // Another process of the machine needs it; here it is another value.
    let first = one.hold(&place).await.unwrap();
    let needed = other.hold(&place).await.unwrap();
    let runs = pid(&needed).await;
    drop(first);
    // Often enough for the owner to have looked several times.
    for _ in 0..4 {
        sleep(ASK_EVERY).await;
        assert!(lives(runs));
    }
    drop(needed);
    eventually(async || !lives(runs)).await;
    let again = one.hold(&place).await.unwrap();
    assert_ne!(pid(&again).await, runs);
    one.close().await;
}

#[tokio::test]
async fn why_a_server_does_not_start_is_said_in_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let times = Times { start: LONG, idle: LONG };
    let fails = Server::new("test", source(&["--fails"]), folder.path(), times);
    let why = fails.hold(&place).await.unwrap_err();
    assert!(why.contains("the card is on fire"), "{why}");
    let call = Call { program: "/no/such/server".into(), args: vec![], env: vec![], model: String::new() };
    let absent = Server::new("test", Source::Started(call), folder.path(), times);
    assert!(absent.hold(&place).await.unwrap_err().contains("/no/such/server"));
}

#[tokio::test]
async fn a_stranger_on_the_port_of_a_server_is_not_taken_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let stranger = server(folder.path(), LONG);
    let hold = stranger.hold(&place).await.unwrap();
    let mut call = match source(&[]) {
        Source::Started(call) => call,
        other => panic!("{other:?}"),
    };
    "another-model".clone_into(&mut call.model);
    let times = Times { start: Duration::ZERO, idle: LONG };
    let other = Server::new("test", Source::Started(call), folder.path(), times);
    let why = other.is_down(&hold).await.unwrap();
    assert!(why.contains("a-model") && why.contains("another-model"), "{why}");
    let source = Source::At { url: hold.url.clone(), model: "another-model".to_owned() };
    let pinned = Server::new("test", source, folder.path(), times);
    assert_eq!(pinned.trouble().await, Some(why));
    drop(hold);
    stranger.close().await;
}

#[tokio::test]
async fn somebody_elses_server_is_asked_whether_it_is_well() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let real = server(folder.path(), LONG);
    let hold = real.hold(&place).await.unwrap();
    let times = Times { start: LONG, idle: LONG };
    let source = Source::At { url: hold.url.clone(), model: "a-model".to_owned() };
    let pinned = Server::new("test", source, folder.path(), times);
    assert_eq!(pinned.trouble().await, None);
    assert_eq!(pinned.hold(&place).await.unwrap().url, hold.url);
    drop(hold);
    real.close().await;
    let why = pinned.hold(&place).await.unwrap_err();
    assert!(why.contains("cannot be reached") && why.contains("http://127.0.0.1"), "{why}");
    assert_eq!(pinned.trouble().await, Some(why));
}
