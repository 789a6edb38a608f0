//! Who is killed on the way goes on where it was, in another process.

use std::process::{Child, Command, Stdio};

use crate::{Forge, MIB, bucket::Bucket, content, fault_proxy::FaultProxy};

fn submit(forge: &Forge, path: &std::path::Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
    command.args(["submit", "--type", "pdf", "--server", &forge.service.url()]).arg(path);
    command.env("BLOBFORGE_API_TOKEN", forge.service.admin_token());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
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
