//! Who is killed on the way goes on where it was, in another process.

use std::process::{Child, Command, Stdio};

use crate::{Forge, MIB, bucket::Bucket, content, fault_proxy::FaultProxy};

fn submit(forge: &Forge, path: &std::path::Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
    command.args(["submit", "--type", "pdf", "--server", &forge.service.url()]).arg(path);
    command.env("BLOBFORGE_API_TOKEN", forge.service.admin_token());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn worker(forge: &Forge, state: &std::path::Path) -> Child {
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
    let id = queue.submit_file(blobforge_core::NewJob::new("pdf-text").unwrap(), letter).await.unwrap().id;
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
    assert_eq!((job.status(), job.life.epoch.get()), (blobforge_core::Status::Completed, 2));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_killed_goes_on_in_another_process_with_what_is_missing() {
    const SIZE: usize = 60 * MIB;
    let bucket = Bucket::start().await;
    let upstream = bucket.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
    let line = FaultProxy::start(upstream, 1, 0).await;
    let forge = Forge::on(bucket, Some(format!("http://{}", line.address))).await;
    let before = line.forwarded();
    let book = forge.file("book.pdf", SIZE);
    let mut first = submit(&forge, &book);
    line.hold_after(SIZE as u64 * 6 / 10).await;
    first.kill().unwrap();
    first.wait().unwrap();
    line.release().await;

    let queue = forge.service.queue();
    let records = queue.storage().records("uploads").await.unwrap();
    let parts = records[0].1["parts"].as_str().unwrap().to_owned();
    let known = queue.storage().records(&parts).await.unwrap().len();
    let missing = SIZE - known * 5 * MIB;
    println!("killed after {} bytes, of which {known} parts were told of", line.forwarded() - before);
    assert!(missing <= SIZE * 4 / 10 + 3 * 5 * MIB, "what arrived is known: {missing} bytes are missing");

    let before = line.forwarded();
    let said = submit(&forge, &book).wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(line.forwarded() - before, missing as u64, "only the missing parts travel");
    let job = queue.list(&blobforge_core::storage::JobFilter::all(10)).await.unwrap().items.remove(0);
    assert_eq!(job.status(), blobforge_core::Status::Pending);
    assert!(forge.source(job.id).await == content("book.pdf", SIZE), "it is the same file");
}
