//! A folder that is handed in by processes that are killed: the last one finishes, and nothing is sent twice.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use blobforge_core::{Status, queue::Sending, storage::JobFilter};
use blobforge_service::{ServeConfig, Service};
use blobforge_worker_sdk::client::{Client, ClientConfig, SubmitFile, content_of};

use crate::{MIB, content, fault_proxy::FaultProxy};

/// How much is said about a file and its parts, at most, in bytes: requests go the same way as files.
const SAID_OF_A_FILE: u64 = 2_000;
const PART: u64 = 16 * MIB as u64;

fn ingest(url: &str, token: &str, folder: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
    command.args(["ingest", "--type", "pdf", "--server", url]).arg(folder);
    command.env("BLOBFORGE_API_TOKEN", token).env("XDG_CONFIG_HOME", "/nonexistent");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Hands in so many small files of about so many bytes and a large one, killed after a third of the bytes and again after
/// another third.
async fn killed_twice(small_files: usize, small_bytes: usize, large_bytes: usize) {
    let folder = tempfile::tempdir().unwrap();
    let books = folder.path().join("books");
    std::fs::create_dir_all(books.join("small")).unwrap();
    let mut all = 0;
    for number in 0..small_files {
        let bytes = content(&format!("small {number}"), small_bytes + number % 500);
        all += bytes.len() as u64;
        std::fs::write(books.join(format!("small/{number:04}.pdf")), bytes).unwrap();
    }
    // In between, so that small files go before and after it.
    large_file(&books.join("small/0100 large.pdf"), large_bytes);
    all += large_bytes as u64;
    let service = Service::start(ServeConfig::local(folder.path().join("data"))).await.unwrap();
    let line = FaultProxy::start(service.address(), 1, 0).await;
    let url = format!("http://{}", line.address);

    for _ in 0..2 {
        let mut child = ingest(&url, service.admin_token(), &books);
        line.hold_after(all / 3).await;
        child.kill().unwrap();
        child.wait().unwrap();
        line.release().await;
    }
    let said = ingest(&url, service.admin_token(), &books).wait_with_output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success(), "{text} {}", String::from_utf8_lossy(&said.stderr));
    assert!(text.ends_with(" 0 failed\n"), "{text}");

    let files = small_files as u64 + 1;
    let counts = service.queue().counts().await.unwrap();
    assert_eq!((counts.of_status(Status::Pending), counts.total()), (files, files), "all are there, once");
    // What was on its way as a process died goes again: two parts, or four small files, and nothing else.
    let on_its_way = PART.min(large_bytes as u64) * 2 + 4 * (small_bytes as u64 + 500);
    let lost = 2 * on_its_way;
    let most = all + files * SAID_OF_A_FILE + lost;
    let sent = line.forwarded();
    assert!((all..most).contains(&sent), "{sent} bytes went for {all}; at most {most}");

    let large = JobFilter { text: Some("large".to_owned()), ..JobFilter::all(10) };
    let job = service.queue().list(&large).await.unwrap().items.remove(0);
    assert_eq!(job.source.unwrap().size, Some(large_bytes as u64));
    // Once more, and nothing but questions goes.
    let before = line.forwarded();
    let said = ingest(&url, service.admin_token(), &books).wait_with_output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.ends_with(&format!("0 submitted, {files} existing, 0 failed\n")), "{text}");
    let asked = line.forwarded() - before;
    assert!(asked < files * 1_000, "{asked} bytes for {files} questions");
    service.stop().await.unwrap();
}

/// A file that repeats nowhere within a mebibyte, and is made fast.
fn large_file(path: &Path, bytes: usize) {
    use std::io::Write as _;
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
    let mut block = content("large", MIB);
    for number in 0..bytes.div_ceil(MIB) {
        block[..8].copy_from_slice(&(number as u64).to_le_bytes());
        file.write_all(&block[..MIB.min(bytes - number * MIB)]).unwrap();
    }
    file.flush().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_finished_by_the_third_process_and_nothing_is_sent_twice() {
    killed_twice(150, 2000, 200 * MIB + 7).await;
}

/// Beside a large file, nobody would see some small ones go twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_small_file_is_sent_twice_but_those_that_were_on_their_way() {
    killed_twice(100, 100_000, 7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrived_from_a_process_that_could_not_say_so_is_not_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let books = folder.path().join("books");
    std::fs::create_dir(&books).unwrap();
    let bytes = content("book", MIB);
    std::fs::write(books.join("book.pdf"), &bytes).unwrap();
    let service = Service::start(ServeConfig::local(folder.path().join("data"))).await.unwrap();
    let client = Client::new(ClientConfig::new(service.url(), service.admin_token())).unwrap();
    let file = SubmitFile::new("pdf", books.join("book.pdf"));
    let announced = client.announce(&file, content_of(&file.path).await.unwrap()).await.unwrap();
    assert!(announced.is_to_be_sent());
    let Some(Sending::Whole(to)) =
        service.queue().send_source(announced.reply.job_id, Vec::new()).await.unwrap()
    else {
        panic!("it is small")
    };
    let sent = reqwest::Client::new().put(format!("{}{}", service.url(), to.url)).body(bytes).send().await;
    assert!(sent.unwrap().status().is_success());
    // Here the process dies.
    let line = FaultProxy::start(service.address(), 1, 0).await;
    let url = format!("http://{}", line.address);
    let said = ingest(&url, service.admin_token(), &books).wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).ends_with("0 submitted, 1 existing, 0 failed\n"));
    assert_eq!(service.queue().counts().await.unwrap().of_status(Status::Pending), 1);
    assert!(line.forwarded() < SAID_OF_A_FILE, "{} bytes went", line.forwarded());
}

/// The same at its full size: by `scripts/test`, among what takes long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "2 GB and a minute"]
async fn three_thousand_files_and_two_gigabytes_are_finished_by_the_third_process() {
    killed_twice(3000, 2000, 2000 * MIB).await;
}
