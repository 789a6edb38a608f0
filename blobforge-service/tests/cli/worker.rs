//! `blobforge worker`: programs of the user's, tried, checked, and run for a service.

use std::{collections::BTreeSet, thread::sleep};

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::*;

/// A runner in Python, beside the helper that the program itself prints.
const CONVERT: &str = r#"
import os, subprocess, time
from blobforge_runner import handler

@handler
def convert(job):
    does = job.params.get("does", "count")
    place = job.params.get("place")
    if does == "wait":
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        with open(place + ".tmp", "w") as file:
            file.write(f"{os.getpid()} {child.pid}\n")
        os.rename(place + ".tmp", place)
        while job.losses == 0:
            time.sleep(0.01)
            if job.params.get("heeds"):
                job.check()
    words = job.source.read_text().split()
    job.progress(1, 1, "count")
    job.log(f"counted {len(words)}")
    job.output("words.txt").write_text("\n".join(words))
    return {"words": len(words), "losses": job.losses, "pid": os.getpid()}
"#;

/// A folder with the runner and its helper.
fn workshop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let helper = run(blobforge().args(["worker", "--print-python-helper"]));
    assert_eq!(helper.code, Some(0), "{helper:?}");
    fs::write(folder.path().join("blobforge_runner.py"), helper.out).unwrap();
    fs::write(folder.path().join("convert.py"), CONVERT).unwrap();
    fs::write(folder.path().join("letter.txt"), "dear smith of the forge").unwrap();
    folder
}

fn in_workshop(workshop: &Path, args: &[&str]) -> Said {
    run(blobforge().current_dir(workshop).args(args))
}

const RUNNER: &[&str] = &["--type", "word-count", "--runner", "--", "python3", "convert.py"];

#[test]
fn a_handler_is_tried_on_one_file_without_a_service() {
    let workshop = workshop();
    let tried = in_workshop(workshop.path(), &[&["worker", "--once", "letter.txt"], RUNNER].concat());
    assert_eq!(tried.code, Some(0), "{tried:?}");
    assert!(tried.out.contains("letter.txt.out/words.txt"), "{}", tried.out);
    assert!(tried.out.contains(r#"result: {"losses":0,"#), "{}", tried.out);
    assert!(tried.out.trim_end().ends_with(", 1 output"), "{}", tried.out);
    assert!(tried.err.contains("counted 5"), "the handler's own log: {}", tried.err);
    assert!(!tried.err.contains("registered"), "and not that of the worker around it: {}", tried.err);
    let words = fs::read_to_string(workshop.path().join("letter.txt.out/words.txt")).unwrap();
    assert_eq!(words.lines().count(), 5);
}

#[test]
fn a_command_is_tried_with_parameters_and_another_folder() {
    let workshop = workshop();
    let call =
        ["worker", "--once", "letter.txt", "--params", r#"{"tone": "loud"}"#, "--out", "here", "--type", "x"];
    let copy = ["--", "sh", "-c", "cp {job} {outdir}/job.json; tr a-z A-Z < {source} > {outdir}/loud.txt"];
    let tried = in_workshop(workshop.path(), &[&call[..], &copy].concat());
    assert_eq!(tried.code, Some(0), "{tried:?}");
    let here = workshop.path().join("here");
    assert_eq!(fs::read_to_string(here.join("loud.txt")).unwrap(), "DEAR SMITH OF THE FORGE");
    let job: Value = serde_json::from_slice(&fs::read(here.join("job.json")).unwrap()).unwrap();
    assert_eq!(job["params"]["tone"], "loud");
}

#[test]
fn a_handler_that_fails_on_the_file_says_why_and_ends_with_another_status() {
    let workshop = workshop();
    let fails =
        ["worker", "--once", "letter.txt", "--type", "x", "--", "sh", "-c", "echo 'out of coal' >&2; exit 4"];
    let tried = in_workshop(workshop.path(), &fails);
    assert_eq!(tried.code, Some(1), "{tried:?}");
    assert_eq!(tried.out, "failed as handler_error: the command ended with exit status: 4: out of coal\n");
    let nowhere = in_workshop(workshop.path(), &["worker", "--once", "nothing.txt"]);
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
    assert!(nowhere.err.contains("nothing.txt"), "{}", nowhere.err);
    let wrong = in_workshop(workshop.path(), &["worker", "--once", "letter.txt", "--params", "[1]"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}

#[test]
fn the_built_in_engine_is_tried_in_the_same_way() {
    let workshop = workshop();
    fs::write(workshop.path().join("letter.pdf"), LETTER).unwrap();
    let tried = in_workshop(workshop.path(), &["worker", "--once", "letter.pdf"]);
    assert_eq!(tried.code, Some(0), "{tried:?}");
    assert!(workshop.path().join("letter.pdf.out/document.md").exists());
}

#[test]
fn a_check_says_what_is_there_and_what_is_missing() {
    let forge = Forge::serve(&[]);
    let workshop = workshop();
    let check = |handler: &[&str]| {
        let (url, database) = (forge.url.clone(), forge.folder.path().join("blobforge.db"));
        let mut command = blobforge();
        command
            .current_dir(workshop.path())
            .env("BLOBFORGE_SERVER_URL", url)
            .env("BLOBFORGE_DB_PATH", database);
        let state = workshop.path().join("state");
        run(command.args(["worker", "--check", "--work-dir"]).arg(state).args(handler))
    };
    let well = check(RUNNER);
    assert_eq!(well.code, Some(0), "{well:?}");
    assert!(well.out.trim_end().ends_with("everything is there to serve word-count"), "{}", well.out);
    for (handler, said) in [
        (
            &["--type", "x", "--", "no-such-forge"][..],
            "no-such-forge cannot be called: it is nowhere on PATH",
        ),
        (&["--type", "x", "--runner", "--", "python3", "gone.py"][..], "can't open file"),
        (&["--token", "bf_nobody"][..], "service"),
    ] {
        let missing = check(handler);
        assert_eq!(missing.code, Some(1), "{missing:?}");
        assert!(missing.out.contains(said), "{}", missing.out);
        assert!(missing.out.trim_end().ends_with("1 thing is missing"), "{}", missing.out);
    }
}

#[test]
fn a_program_needs_a_type_and_a_type_a_program() {
    for args in [&["worker", "--type", "x"][..], &["worker", "--runner"], &["worker", "--", "ls"]] {
        let wrong = run(blobforge().args(args));
        assert_eq!(wrong.code, Some(2), "{wrong:?}");
    }
}

#[test]
fn what_would_be_ignored_is_refused() {
    let ignored = [
        (&["--engine", "text", "--memory-mib", "100"][..], "--memory-mib would say nothing here"),
        (&["--timeout", "5"], "--timeout would say nothing here"),
        (&["--mode", "fast"], "--mode would say nothing here: it is for --engine marker"),
        (&["--type", "x", "--recycle-jobs", "5", "--", "true"], "--recycle-jobs would say nothing here"),
        (&["--type", "x", "--mode", "fast", "--", "true"], "--mode would say nothing here"),
        (&["--type", "x", "--engine", "marker", "--", "true"], "--engine would say nothing here"),
    ];
    for (args, what) in ignored {
        let said = run(blobforge().arg("worker").args(args).env("BLOBFORGE_API_TOKEN", "x"));
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert!(said.err.contains(what), "{args:?}: {}", said.err);
    }
    // What the environment says may be meant for another worker.
    let mut check = blobforge();
    check.args(["worker", "--check", "--type", "x", "--", "true"]).env("BLOBFORGE_ENGINE", "marker");
    let said = run(check.env("SURYA_INFERENCE_URL", "http://127.0.0.1:1"));
    assert!(said.out.contains("true") && !said.err.contains("would say nothing"), "{said:?}");
}

/// Each flag of the engine has a name that clap knows: a wrong one would check nothing.
#[test]
fn every_flag_that_the_help_has_for_marker_is_refused_elsewhere() {
    let help = run(blobforge().args(["worker", "--help"])).out;
    let section = help.split("The engine marker:").nth(1).unwrap();
    let section = section.split("A program of yours, and its limits:").next().unwrap();
    let options = section.lines().map(str::trim).filter(|line| line.starts_with("--"));
    let flags: Vec<_> = options.map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(flags.len(), 10, "{flags:?}");
    for flag in flags {
        let value = match flag {
            "--mode" => "fast",
            url if url.ends_with("url") => "http://a.example",
            _ => "7",
        };
        let said = run(blobforge().args(["worker", flag, value]).env("BLOBFORGE_API_TOKEN", "x"));
        assert!(said.err.contains(&format!("{flag} would say nothing here")), "{flag}: {said:?}");
    }
}

/// A worker of a forge, with its own state folder; killed when it is dropped.
struct Smith {
    process: Child,
    log: PathBuf,
}

impl Smith {
    fn start(forge: &Forge, workshop: &Path, name: &str, more: &[&str], handler: &[&str]) -> Self {
        let log = workshop.join(format!("{name}.log"));
        let (out, err) =
            (fs::File::create(&log).unwrap(), fs::File::options().append(true).open(&log).unwrap());
        let mut command = worker(forge, workshop, name, more, handler);
        let process = command.stdout(out).stderr(err).spawn().unwrap();
        Self { process, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn ends(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("the worker ends", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Smith {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A worker that keeps its name and its work in a folder of the workshop.
fn worker(forge: &Forge, workshop: &Path, folder: &str, more: &[&str], handler: &[&str]) -> Command {
    let mut command = blobforge();
    command.args(["worker", "--server", &forge.url, "--work-dir"]).arg(workshop.join(folder));
    command.env("BLOBFORGE_DB_PATH", forge.folder.path().join("blobforge.db"));
    command.args(more).args(handler).current_dir(workshop);
    command
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        sleep(Duration::from_millis(5));
    }
}

fn is_gone(process: u64) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat"))
        .map(|stat| stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
        .unwrap_or(true)
}

impl Forge {
    async fn api(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let reply = self.request(method, path).json(&body).send().await.unwrap();
        let status = reply.status();
        let text = reply.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    async fn hand_in(&self, text: &str, params: Value) -> u64 {
        let job = json!({"type": "word-count", "params": params, "dedup": false});
        let reply = self.api(reqwest::Method::POST, "/api/jobs", job).await;
        let upload = &reply["upload"];
        let url = format!("{}{}", self.url, upload["url"].as_str().unwrap());
        let sent = self.http.put(url).body(text.to_owned()).send().await.unwrap();
        assert!(sent.status().is_success(), "{sent:?}");
        let id = reply["job_id"].as_u64().unwrap();
        self.api(reqwest::Method::POST, &format!("/api/jobs/{id}/uploaded"), json!({})).await;
        id
    }

    async fn ended(&self, id: u64) -> Value {
        let path = format!("/api/jobs/{id}?wait_seconds=60");
        let job: Value =
            self.request(reqwest::Method::GET, &path).send().await.unwrap().json().await.unwrap();
        assert!(job["completed_at"].is_string(), "job {id} does not end: {job}");
        job
    }
}

/// The processes that a job of this place wrote down.
fn processes(place: &Path) -> Vec<u64> {
    let mut written = String::new();
    eventually("the job runs", || {
        written = fs::read_to_string(place).unwrap_or_default();
        written.ends_with('\n')
    });
    written.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_leaves_nothing_after_the_next_start_and_its_job_goes_on_elsewhere() {
    let forge = Forge::serve_with(&[], &[("BLOBFORGE_WORKER_TIMEOUT", "3")]);
    let workshop = workshop();
    let place = workshop.path().join("place");
    let id = forge.hand_in("dear smith", json!({"does": "wait", "place": place})).await;
    let mut first = Smith::start(&forge, workshop.path(), "first", &[], RUNNER);
    let [runner, grandchild] = processes(&place)[..] else { panic!("two processes") };
    assert!(!is_gone(runner) && !is_gone(grandchild));
    first.kill();
    eventually("the runner dies with its worker", || is_gone(runner));
    assert!(!is_gone(grandchild), "it left the group, so only the next start finds it");
    let leftovers = workshop.path().join("first/work");
    assert!(fs::read_dir(&leftovers).unwrap().count() > 0, "its files lie there");

    let elsewhere = Smith::start(&forge, workshop.path(), "elsewhere", &[], RUNNER);
    let job = forge.ended(id).await;
    assert_eq!(
        (&job["status"], &job["result"]["losses"]),
        (&json!("completed"), &json!(1)),
        "{}",
        elsewhere.log()
    );

    let before: BTreeSet<_> = names(&leftovers);
    let again = Smith::start(&forge, workshop.path(), "first", &[], RUNNER);
    eventually("what was left running is killed", || is_gone(grandchild));
    eventually("and its files are removed", || names(&leftovers).is_disjoint(&before));
    eventually("it says so", || again.log().contains("killed what a worker that died had left running"));
}

fn names(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// How often a job is called off; the issue of time is in the report.
const CANCELS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_is_gone_with_everything_it_started_and_the_next_one_is_claimed() {
    let forge = Forge::serve(&[]);
    let workshop = workshop();
    let (heartbeat, grace) = (0.3, 0.2);
    let more = ["--heartbeat-interval", "0.3", "--grace", "0.2"];
    let smith = Smith::start(&forge, workshop.path(), "smith", &more, RUNNER);
    let mut took = Vec::new();
    for number in 0..CANCELS {
        let place = workshop.path().join(format!("place-{number}"));
        // Every other one heeds it, so that its runner stays; the others are killed with theirs.
        let heeds = number % 2 == 0;
        let id = forge.hand_in("dear smith", json!({"does": "wait", "place": place, "heeds": heeds})).await;
        let next = forge.hand_in("dear smith", json!({})).await;
        let [runner, grandchild] = processes(&place)[..] else { panic!("two processes") };
        let begun = Instant::now();
        forge.api(reqwest::Method::POST, &format!("/api/jobs/{id}/cancel"), json!({})).await;
        let next = forge.ended(next).await;
        took.push(begun.elapsed());
        assert_eq!(next["status"], "completed", "{}", smith.log());
        assert_eq!(forge.ended(id).await["status"], "cancelled");
        assert_eq!(is_gone(runner), !heeds, "a runner that heeds it stays warm");
        assert_eq!(is_gone(grandchild), !heeds, "what a killed one started is gone with it");
        assert_eq!(next["result"]["pid"] == json!(runner), heeds);
    }
    took.sort();
    let at = |part: usize| took[(CANCELS - 1) * part / 100].as_secs_f64();
    eprintln!(
        "from the cancel to the end of the next job, {CANCELS} times, heartbeats every {heartbeat} s and {grace} s of \
         grace: least {:.2} s, median {:.2} s, 90 % {:.2} s, most {:.2} s",
        at(0),
        at(50),
        at(90),
        at(100)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_jobs_through_one_runner_leave_no_memory_descriptor_or_file_behind() {
    let forge = Forge::serve(&[]);
    let workshop = workshop();
    let smith = Smith::start(&forge, workshop.path(), "smith", &[], RUNNER);
    let worker = u64::from(smith.process.id());
    let mut measured = Vec::new();
    for _round in 0..10 {
        let jobs = (0..100).map(async |_| forge.ended(forge.hand_in("dear smith", json!({})).await).await);
        let mut runners = BTreeSet::new();
        for job in join_all(jobs).await {
            assert_eq!(job["status"], "completed", "{job}");
            runners.insert(job["result"]["pid"].as_u64().unwrap());
        }
        assert_eq!(runners.len(), 1, "one runner does all of them");
        let runner = runners.pop_first().unwrap();
        let idle = || files_below(&workshop.path().join("smith/work"));
        eventually("the files of the last job are removed", || idle() <= 1);
        measured.push([resident_kib(worker), resident_kib(runner), descriptors(worker), descriptors(runner)]);
    }
    eprintln!("[worker KiB, runner KiB, worker fds, runner fds] after each 100 jobs: {measured:?}");
    let (early, late) = (measured[2], measured[9]);
    // Of what 700 jobs have, one that kept so much as 2 KiB of each would show.
    assert!(late[0] < early[0] + 1400 && late[1] < early[1] + 1400, "{measured:?}");
    assert!(late[2] <= early[2] + 4 && late[3] <= early[3], "{measured:?}");
}

fn resident_kib(process: u64) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn descriptors(process: u64) -> u64 {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count() as u64
}

/// Files and folders below the folders of running workers: the runner's own one, and those of jobs.
fn files_below(work: &Path) -> usize {
    let runs = fs::read_dir(work).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    runs.map(|run| fs::read_dir(run).map_or(0, Iterator::count)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_token_is_revoked_ends_and_says_so() {
    let forge = Forge::serve(&[]);
    let workshop = workshop();
    let made = forge
        .api(reqwest::Method::POST, "/api/admin/tokens", json!({"name": "smith", "scopes": ["worker"]}))
        .await;
    let token = made["token"].as_str().unwrap();
    let mut smith = Smith::start(&forge, workshop.path(), "smith", &["--token", token], RUNNER);
    eventually("it is registered", || smith.log().contains("registered"));
    let id = made["id"].as_i64().map_or_else(|| made["id"].as_str().unwrap().to_owned(), |id| id.to_string());
    forge.api(reqwest::Method::DELETE, &format!("/api/admin/tokens/{id}"), json!(null)).await;
    forge.hand_in("dear smith", json!({})).await;
    assert_eq!(smith.ends(), Some(1), "{}", smith.log());
    assert!(
        smith.log().lines().last().unwrap().contains("the queue does not take this worker"),
        "{}",
        smith.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_with_one_id_are_not_both_taken() {
    let forge = Forge::serve(&[]);
    let workshop = workshop();
    let named = ["--id", "smith"];
    let first = Smith::start(&forge, workshop.path(), "here", &named, RUNNER);
    eventually("the first is registered", || first.log().contains("registered"));
    for (folder, why) in
        [("here", "another process on this machine"), ("elsewhere", "in use by a process that is alive")]
    {
        let second = run(&mut worker(&forge, workshop.path(), folder, &named, RUNNER));
        assert_eq!(second.code, Some(1), "{second:?}");
        assert!(second.err.contains(why), "{}", second.err);
    }
}
