//! Who is killed on the way goes on where it was, in another process.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use blobforge_core::{
    NewJob, NewSource, Status,
    queue::{PartToSend, Sending, SentPart},
    storage::JobFilter,
};
use blobforge_service::{ServeConfig, Service};

use crate::{Forge, MIB, bucket::Bucket, content, fault_proxy::FaultProxy};

fn submit(url: &str, token: &str, path: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
    command.args(["submit", "--type", "pdf", "--server", url]).arg(path);
    command.env("BLOBFORGE_API_TOKEN", token);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn worker(forge: &Forge, state: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
    command.args(["worker", "--work-dir"]).arg(state);
    command.env("BLOBFORGE_SERVER_URL", forge.service.url());
    command.env("BLOBFORGE_API_TOKEN", forge.service.admin_token());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_while_it_sends_its_output_leaves_nothing_half() {
    let bucket = Bucket::start().await;
    let upstream = bucket.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
    let line = FaultProxy::start(upstream, 1, 0).await;
    let forge = Forge::on(bucket, Some(format!("http://{}", line.address))).await;
    let queue = forge.service.queue();
    let letter = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/letter.pdf");
    let id = queue.submit_file(NewJob::new("pdf-text").unwrap(), letter).await.unwrap().id;
    let state = tempfile::tempdir().unwrap();
    let mut first = worker(&forge, state.path());
    line.hold_the_next().await;
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(queue.job(id).await.unwrap().outputs.is_empty(), "nothing of it is seen");

    // The same worker starts again: its old lease is free at once, and the job is done from the start.
    let mut ends = queue.events();
    line.release().await;
    let mut second = worker(&forge, state.path());
    while !queue.job(id).await.unwrap().status().is_final() {
        ends.next().await;
    }
    let job = queue.job(id).await.unwrap();
    let history = queue.history(id).await.unwrap();
    assert_eq!((job.status(), job.life.epoch.get()), (Status::Completed, 2), "{history:?}");
    for output in &job.outputs {
        assert!(output.key.contains("/1-2/"), "of the second attempt: {}", output.key);
        let stored = crate::read(&forge.service, &output.key).await;
        assert_eq!(stored.len() as u64, output.size, "{}", output.name);
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&second), rustix::process::Signal::TERM)
        .unwrap();
    second.wait().unwrap();
    let left: Vec<_> = std::fs::read_dir(state.path().join("work")).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Kills an upload after 60 % of it, and finishes it in another process; how many bytes the other one sent, and how many
/// were missing.
async fn finished_by_another(
    service: &Service,
    url: &str,
    line: &FaultProxy,
    book: &Path,
    part: u64,
) -> (u64, u64) {
    let size = std::fs::metadata(book).unwrap().len();
    let mut first = submit(url, service.admin_token(), book);
    line.hold_after(size * 6 / 10).await;
    first.kill().unwrap();
    first.wait().unwrap();
    line.release().await;

    let queue = service.queue();
    let records = queue.storage().records("uploads").await.unwrap();
    let parts = records[0].1["parts"].as_str().unwrap().to_owned();
    let known = queue.storage().records(&parts).await.unwrap().len() as u64;
    let missing = size - known * part;
    assert!(missing <= size * 4 / 10 + 3 * part, "what arrived is known: {missing} bytes are missing");

    let before = line.forwarded();
    let said = submit(url, service.admin_token(), book).wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    (line.forwarded() - before, missing)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_killed_goes_on_in_another_process_with_what_is_missing() {
    const SIZE: usize = 60 * MIB;
    let bucket = Bucket::start().await;
    let upstream = bucket.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
    let line = FaultProxy::start(upstream, 1, 0).await;
    let forge = Forge::on(bucket, Some(format!("http://{}", line.address))).await;
    let book = forge.file("book.pdf", SIZE);
    let url = forge.service.url();
    let (sent, missing) = finished_by_another(&forge.service, &url, &line, &book, 5 * MIB as u64).await;
    assert_eq!(sent, missing, "only the missing parts travel");
    let job = forge.service.queue().list(&JobFilter::all(10)).await.unwrap().items.remove(0);
    assert_eq!(job.status(), Status::Pending);
    assert!(forge.source(job.id).await == content("book.pdf", SIZE), "it is the same file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_where_files_lie_in_the_data_folder() {
    const SIZE: usize = 120 * MIB + 5;
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(ServeConfig::local(folder.path())).await.unwrap();
    let line = FaultProxy::start(service.address(), 1, 0).await;
    let book = folder.path().join("book.pdf");
    std::fs::write(&book, content("book.pdf", SIZE)).unwrap();
    let url = format!("http://{}", line.address);
    let (sent, missing) = finished_by_another(&service, &url, &line, &book, 16 * MIB as u64).await;
    // What is said about the parts goes the same way.
    assert!(
        (missing..missing + 20_000).contains(&sent),
        "only the missing parts travel: {missing} of {sent}"
    );
    let job = service.queue().list(&JobFilter::all(10)).await.unwrap().items.remove(0);
    let source = job.source.clone().unwrap();
    assert_eq!(job.status(), Status::Pending);
    assert!(crate::read(&service, &source.key).await == content("book.pdf", SIZE), "it is the same file");
    let left = std::fs::read_dir(folder.path().join("files/#parts")).unwrap().count();
    assert_eq!(left, 0, "nothing unfinished is left");
}

#[tokio::test]
async fn a_part_that_comes_late_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(ServeConfig::local(folder.path())).await.unwrap();
    let queue = service.queue();
    let whole = content("late", 17 * MIB);
    let source = NewSource::Upload { sha256: None, size: Some(whole.len() as u64) };
    let id = queue.submit(NewJob::new("pdf").unwrap().source(source)).await.unwrap().id;
    let Some(Sending::Parts(to_send)) = queue.send_source(id, Vec::new()).await.unwrap() else { panic!() };
    let http = reqwest::Client::new();
    let put = async |part: &PartToSend, bytes: Vec<u8>| {
        http.put(format!("{}{}", service.url(), part.url.url)).body(bytes).send().await.unwrap()
    };
    let mut sent = Vec::new();
    for part in &to_send.parts {
        let (from, to) = (part.offset as usize, (part.offset + part.size) as usize);
        let short = put(part, whole[from..to - 1].to_vec()).await;
        assert_eq!(short.status(), 400, "a part that is not whole is none");
        let long = put(part, whole[from..to].iter().chain(b"x").copied().collect()).await;
        assert_eq!(long.status(), 413);
        let reply = put(part, whole[from..to].to_vec()).await;
        let etag = reply.headers()["etag"].to_str().unwrap().to_owned();
        sent.push(SentPart { number: part.number, etag });
    }
    assert_eq!(queue.send_source(id, sent).await.unwrap(), Some(Sending::Done));
    let job = queue.source_uploaded(id).await.unwrap();
    let late = put(&to_send.parts[0], vec![7; to_send.parts[0].size as usize]).await;
    assert_eq!(late.status(), 409);
    assert_eq!(late.json::<serde_json::Value>().await.unwrap()["code"], "upload_over");
    assert!(crate::read(&service, &job.source.unwrap().key).await == whole, "what arrived stays as it is");
    // A URL for one part is for no other.
    let other = to_send.parts[0].url.url.replace("/0/", "/1/");
    let forged = http.put(format!("{}{other}", service.url())).body("x").send().await.unwrap();
    assert_eq!(forged.status(), 403);
}
