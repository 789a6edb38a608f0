//! Every example does what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use blobforge_core::Status;
use blobforge_service::{ServeConfig, Service};
use blobforge_worker_sdk::client::{Client, ClientConfig, SubmitFile};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

const LINES_AN_EXAMPLE_MAY_HAVE: usize = 80;

#[test]
fn each_example_is_short_enough_to_be_read() {
    let files = fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "rs" || e == "py")).collect();
    assert_eq!(examples.len(), 16);
    for example in examples {
        let lines = fs::read_to_string(&example).unwrap().lines().count();
        assert!(lines < LINES_AN_EXAMPLE_MAY_HAVE, "{} has {lines} lines", example.display());
    }
}

/// What an example prints, that needs nothing and ends by itself.
fn said(example: &str) -> String {
    let output = Command::new(example).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn hello_embedded_greets() {
    assert_eq!(
        said(env!("CARGO_BIN_EXE_hello_embedded")),
        "job 1 completed: \"Hello, Margaret.\"\n1 completed\n"
    );
}

#[test]
fn typed_tasks_come_back_as_types_and_wrong_ones_fail_once() {
    let said = said(env!("CARGO_BIN_EXE_typed_tasks"));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[2]), (3, "Resized { pixels: 307200 }", "1 completed, 1 failed"));
    assert!(lines[1].starts_with("1, invalid_params: params: width: invalid type: string"), "{}", lines[1]);
}

#[test]
fn retries_and_permanent_errors_tells_them_apart() {
    let expected = "\
jams: completed after 2 failures
  Some(Failed) paper_jam
  Some(Failed) paper_jam
  Some(Completed) 
torn: failed after 1 failures
  Some(Failed) torn_paper
cold: completed after 0 failures
  Some(Snoozed) 
  Some(Completed) 
";
    assert_eq!(said(env!("CARGO_BIN_EXE_retries_and_permanent_errors")), expected);
}

#[test]
fn enqueue_in_your_transaction_keeps_both_or_neither() {
    assert_eq!(said(env!("CARGO_BIN_EXE_enqueue_in_your_transaction")), "1 order, 1 job\n");
}

#[test]
fn limits_and_labels_say_who_gets_what() {
    let expected = "\
the small card got files of ann, bob, ann
job 7 waits: no live worker of type pdf offers what this job requires (vram_gb >= 24): start one that does
the big card got job 7
";
    assert_eq!(said(env!("CARGO_BIN_EXE_limits_and_labels")), expected);
}

#[test]
fn testing_a_handler_passes() {
    let said = said(env!("CARGO_BIN_EXE_testing_a_handler"));
    assert_eq!(said, "the handler does what it should\n");
}

#[test]
fn custom_storage_counts_fewer_commits_than_jobs() {
    let said = said(env!("CARGO_BIN_EXE_custom_storage"));
    let commits = said.trim_end().strip_prefix("500 jobs in ").unwrap().strip_suffix(" commits").unwrap();
    assert!((1..250).contains(&commits.parse::<u32>().unwrap()), "{said}");
}

#[test]
fn command_worker_calls_programs_and_says_what_went_wrong() {
    let expected = "\
DEAR SMITH
handler_error: the command ended with exit status: 4: it is torn at page 3
";
    assert_eq!(said(env!("CARGO_BIN_EXE_command_worker")), expected);
}

#[test]
fn python_worker_does_three_jobs_in_one_process() {
    let said = said(env!("CARGO_BIN_EXE_python_worker"));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..3], ["2 completed, 1 failed", "job 1: {\"words\":2}", "job 2: {\"words\":4}"]);
    assert!(lines[3].starts_with("job 3: bad_input: This file is not text: "), "{}", lines[3]);
}

#[test]
fn remote_worker_goes_the_whole_way_over_http() {
    assert_eq!(said(env!("CARGO_BIN_EXE_remote_worker")), "{\"bytes\":10}: htims raed\n1 completed\n");
}

#[test]
fn progress_and_cancellation_shows_both() {
    let said = said(env!("CARGO_BIN_EXE_progress_and_cancellation"));
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].ends_with(" of 1000000 pages"), "{said}");
    assert!(lines[1..3].iter().any(|line| line.starts_with("left after page ")), "{said}");
    assert!(said.contains("job 1 is cancelled\n") && said.ends_with("0 completed, 1 cancelled\n"), "{said}");
}

#[test]
fn checkpoints_go_on_where_the_last_attempt_was_lost() {
    let expected = "\
attempt 1 begins with \"\", after 0 losses in a row
attempt 2 begins with \"ab\", after 1 losses in a row
attempt 3 begins with \"abcd\", after 1 losses in a row
\"abcde\", 0 failures, 3 attempts
";
    assert_eq!(said(env!("CARGO_BIN_EXE_checkpoints")), expected);
}

#[test]
fn share_one_file_loses_nothing_when_one_of_its_processes_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let start = |words: &[&str]| {
        let mut example = Command::new(env!("CARGO_BIN_EXE_share_one_file"));
        example.arg(folder.path()).args(words).stdout(Stdio::piped()).spawn().unwrap()
    };
    let (mut doomed, mut other) = (start(&["work"]), start(&["work"]));
    let submitters = [start(&["submit", "20"]), start(&["submit", "20"])];
    // It dies with a job in its hands: nothing else tells the others of it.
    let line = BufReader::new(doomed.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(line.starts_with("forging job "), "{line}");
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    for submitter in submitters {
        let output = submitter.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "20 completed\n");
    }
    kill_process(Pid::from_child(&other), Signal::TERM).unwrap();
    let lines = BufReader::new(other.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.last().unwrap().ends_with(" completed"));
    assert!(other.wait().unwrap().success());
}

#[test]
fn graceful_shutdown_goes_on_where_it_was_stopped() {
    let folder = tempfile::tempdir().unwrap();
    // The pages of a run that is stopped after its first one.
    let run = || {
        let mut worker = Command::new(env!("CARGO_BIN_EXE_graceful_shutdown"))
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.next().unwrap();
        kill_process(Pid::from_child(&worker), Signal::TERM).unwrap();
        let mut said: Vec<String> = [first].into_iter().chain(lines).collect();
        assert!(worker.wait().unwrap().success());
        assert_eq!(said.pop().unwrap(), "0 completed, 1 released");
        said.iter().map(|line| line.strip_prefix("page ").unwrap().parse().unwrap()).collect::<Vec<u64>>()
    };
    let (first, second) = (run(), run());
    assert_eq!(first[0], 1);
    assert_eq!(second[0], first.last().unwrap() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_worker_counts_words_for_a_service_until_it_is_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(ServeConfig::local(folder.path())).await.unwrap();
    let worker = Command::new(env!("CARGO_BIN_EXE_custom_worker"))
        .env("BLOBFORGE_SERVER_URL", service.url())
        .env("BLOBFORGE_API_TOKEN", service.admin_token())
        .env("XDG_STATE_HOME", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let client = Client::new(ClientConfig::new(service.url(), service.admin_token())).unwrap();
    let ended = async |name: &str, content: &[u8]| {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        let submitted = client.submit_file(SubmitFile::new("word-count", &file), |_, _| {}).await.unwrap();
        service.queue().wait(submitted.job_id, Duration::from_secs(120)).await.unwrap()
    };
    let letter = ended("letter.txt", b"Dear Margaret,\nthe mill sent paper.\n").await;
    assert_eq!((letter.status(), &letter.result), (Status::Completed, &Some(json!({"words": 6}))));
    let table = folder.path().join("words.tsv");
    client.download_output(letter.id, "words.tsv", &table).await.unwrap();
    assert_eq!(fs::read_to_string(table).unwrap(), "line\twords\n1\t2\n2\t4\n");
    let picture = ended("picture.png", &[0x89, b'P', 0xff]).await;
    let error = picture.last_error.unwrap();
    assert_eq!((error.kind.as_str(), picture.life.failures), ("not_text", 1));
    kill_process(Pid::from_child(&worker), Signal::TERM).unwrap();
    let output = worker.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1 completed, 1 failed\n");
    service.stop().await.unwrap();
}
