//! A worker whose disk is full gives its job back, and takes no other before there may be room.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use blobforge_core::{
    Status,
    broker::{Broker, Ending},
};
use blobforge_worker_sdk::client::SubmitFile;

use crate::{Forge, MIB, claim};

/// A worker with 1 MiB of disk, in a mount namespace of its own.
fn worker(forge: &Forge, folder: &Path) -> Child {
    let mount = r#"mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" worker --id small --work-dir "$1""#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]).arg(folder);
    command.arg(env!("CARGO_BIN_EXE_blobforge"));
    command
        .env("BLOBFORGE_SERVER_URL", forge.service.url())
        .env("BLOBFORGE_API_TOKEN", forge.service.admin_token());
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_disk_is_full_gives_the_job_back_for_free_and_claims_no_other() {
    let forge = Forge::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = SubmitFile::new("pdf-text", forge.file("book.pdf", 3 * MIB));
    let id = forge.client().submit_file(file, |_, _| {}).await.unwrap().job_id;
    let mut small = worker(&forge, folder.path());
    let mut log = Vec::new();
    for line in BufReader::new(small.stderr.take().unwrap()).lines() {
        log.push(line.unwrap());
        if log.last().is_some_and(|line| line.contains("Released")) {
            break;
        }
    }
    let log = log.join("\n");
    let said = ["something is wrong with this machine", "No space left on device", "Make room"];
    assert!(said.iter().all(|words| log.contains(words)), "{log}");
    let queue = forge.service.queue();
    let job = queue.job(id).await.unwrap();
    assert_eq!((job.status(), job.life.failures, job.life.epoch.get()), (Status::Pending, 0, 1));
    // It waits, and another worker has the job.
    let client = forge.client();
    let work = claim(&client, "roomy", "pdf-text").await;
    assert_eq!(work.job, id);
    client.finish(&work, Ending::Complete { outputs: Vec::new(), result: None }).await.unwrap();
    small.kill().unwrap();
    small.wait().unwrap();
}
