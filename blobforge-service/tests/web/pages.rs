//! The pages, as people see them.

use std::path::Path;

use blobforge_core::storage::Report;
use blobforge_core::{
    Failure, JobType, NewJob, Output, Registration, WorkerId, blob::read_bytes, queue::UPLOAD_LIMIT,
};
use blobforge_service::{ServeConfig, Service};

use crate::{
    bucket::Bucket,
    forge::Forge,
    lived_in::LivedIn,
    node::{run, script},
};

/// Runs a script against a service.
pub(crate) async fn browse(name: &str, url: &str, token: &str, more: &[(&str, String)]) {
    let mut browser = script(name);
    browser.env("SERVICE", url).env("TOKEN", token).envs(more.iter().map(|(name, value)| (name, value)));
    tokio::task::spawn_blocking(move || run(browser)).await.unwrap();
}

/// Some jobs of a service, one of each kind that its pages show differently.
async fn of_each_kind(service: &Service) -> String {
    let queue = service.queue();
    let mut ids = Vec::new();
    for status in ["completed", "failed", "running", "pending"] {
        let filter = blobforge_core::storage::JobFilter {
            status: Some(status.parse().unwrap()),
            ..blobforge_core::storage::JobFilter::all(1)
        };
        ids.push(queue.list(&filter).await.unwrap().items[0].id.to_string());
    }
    ids.join(",")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn who_has_a_token_logs_in() {
    let forge = Forge::start(30).await;
    browse("login.mjs", &forge.url(), &forge.token(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn every_page_fits_and_is_there_for_everybody_in_both_themes() {
    let lived = LivedIn::start().await;
    let service = &lived.service;
    let mut more = vec![("JOBS", of_each_kind(service).await)];
    if let Some(folder) = std::env::var_os("BLOBFORGE_TEST_PICTURES") {
        std::fs::create_dir_all(&folder).unwrap();
        more.push(("PICTURES", folder.into_string().unwrap()));
    }
    browse("every_page.mjs", &service.url(), service.admin_token(), &more).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn a_page_follows_what_happens_and_moves_nothing_under_the_pointer() {
    let forge = Forge::start(30).await;
    browse("live.mjs", &forge.url(), &forge.token(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn what_comes_too_late_or_is_no_page_changes_nothing() {
    let forge = Forge::start(30).await;
    browse("stale.mjs", &forge.url(), &forge.token(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn one_job_several_and_all_that_match_are_steered_from_pages() {
    let forge = Forge::start(300).await;
    browse("acting.mjs", &forge.url(), &forge.token(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn three_files_are_dropped_and_become_markdown() {
    let forge = Forge::start(30).await;
    let _worker = forge.worker("smith");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let files =
        ["letter.pdf", "columns.pdf", "tables.pdf"].map(|name| samples.join(name).display().to_string());
    browse("dropping.mjs", &forge.url(), &forge.token(), &[("FILES", files.join(","))]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn a_large_file_that_broke_off_goes_on_where_it_was() {
    let forge = Forge::start(30).await;
    browse("resuming.mjs", &forge.url(), &forge.token(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn files_go_from_the_page_to_the_bucket_without_passing_the_service() {
    let (bucket, folder) = (Bucket::open_to_pages().await, tempfile::tempdir().unwrap());
    let mut config = ServeConfig::local(folder.path());
    config.s3 = Some(bucket.options());
    let service = Service::start(config).await.unwrap();
    let more = [("BUCKET", bucket.endpoint.clone())];
    browse("direct.mjs", &service.url(), service.admin_token(), &more).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn a_transfer_is_stopped_and_goes_on_and_a_changed_file_is_not_taken() {
    let forge = Forge::start(30).await;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display().to_string();
    browse("stopping.mjs", &forge.url(), &forge.token(), &[("FOLDER", at)]).await;
}

const EVIL: &str = r#"# <img src=x onerror="top.pwned = 1"> Evil <script>top.pwned = 1</script>

<script>parent.pwned = 1; alert(1)</script> [press](javascript:alert(1)) ![p](evil.svg) ![q](https://evil.example/q.png)

<svg onload="top.pwned = 1"><script>top.pwned = 1</script></svg> <iframe src="https://evil.example"></iframe>
<form action="https://evil.example"><button>go</button></form> <a href="javascript:alert(1)">b</a>
<meta http-equiv="refresh" content="0;url=https://evil.example"> <base href="https://evil.example">

The end of it
"#;

const EVIL_SVG: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40" onload="top.pwned = 1"><script>top.pwned = 1; alert(1)</script><image href="https://evil.example/p.png"/><rect width="40" height="40"/></svg>"#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn what_strangers_made_runs_nowhere_and_breaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(ServeConfig::local(folder.path())).await.unwrap();
    let queue = service.queue();
    let hostile = "\"><script>top.pwned=1;alert(1)<\u{2f}script><img src=x onerror=alert(1)>";
    let (worker, kind) = (WorkerId::new("w").unwrap(), [JobType::new("work").unwrap()]);
    let mut registration = Registration::new(worker.clone(), kind.clone(), "of w");
    registration.name = Some(hostile.to_owned());
    registration.host = Some(hostile.to_owned());
    queue.register(registration).await.unwrap();
    let claim = async || {
        let mut job = NewJob::new("work").unwrap().tag(hostile).tag("a&b=c#d?e/f");
        job.body.source_path = Some(format!("/x/{}", hostile.replace('/', "")));
        queue.submit(job).await.unwrap();
        queue.claim(&worker, &kind, 1, std::time::Duration::ZERO).await.unwrap().remove(0)
    };
    let held = claim().await;
    let mut outputs = Vec::new();
    for (name, content) in [("evil.md", EVIL), ("evil.svg", EVIL_SVG), ("a&b's #1.txt", "text")] {
        let key = queue.reserve_output(held.job.id, held.token, name).await.unwrap();
        let stored = queue.blobs().put(&key, read_bytes(content), UPLOAD_LIMIT).await.unwrap();
        outputs.push(Output { name: name.to_owned(), size: stored.size, sha256: Some(stored.sha256), key });
    }
    let done = Report::Complete { outputs, result: Some(hostile.into()) };
    queue.report(held.job.id, held.token, done).await.unwrap();
    let failed = claim().await;
    let failure =
        Failure { log_tail: Some(hostile.repeat(1000)), ..Failure::new("evil", hostile.repeat(80_000)) };
    queue.fail(failed.job.id, failed.token, failure, false).await.unwrap();
    let running = claim().await;
    let jobs = [held.job.id, failed.job.id, running.job.id].map(|id| id.to_string()).join(",");
    browse("hostile.mjs", &service.url(), service.admin_token(), &[("JOBS", jobs)]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "scripts/web installs what it needs"]
async fn people_log_in_and_out_over_plain_http_as_well() {
    let forge = Forge::start(30).await;
    let mut login = script("lan.mjs");
    login.env("SERVICE", forge.url().replace("127.0.0.1", "forge.lan")).env("TOKEN", forge.token());
    tokio::task::spawn_blocking(move || run(login)).await.unwrap();
}
