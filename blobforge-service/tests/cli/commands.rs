//! Every command against a service that is there: what it prints, for people and for programs, and how it ends.

use super::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What a command printed, one JSON value a line.
fn json_lines(said: &Said) -> Vec<Value> {
    assert_eq!(said.code, Some(0), "{said:?}");
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

impl Forge {
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let said = run(&mut self.command(args));
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
        said.out
    }

    #[track_caller]
    fn fails(&self, args: &[&str], code: i32) -> String {
        let said = run(&mut self.command(args));
        assert_eq!(said.code, Some(code), "{args:?}: {said:?}");
        said.err
    }
}

#[test]
fn jobs_are_steered_by_their_number_or_by_how_the_hash_of_their_source_begins() {
    let forge = Forge::serve(&[]);
    let letter = forge.write("letter.pdf", LETTER);
    let said = run(forge.command(&["submit", "--param", "lang=de", "--param", "depth=2"]).arg(&letter));
    assert_eq!(said.code, Some(0), "{said:?}");
    let whole = hash(LETTER);
    let begin = &whole[..12];
    let job: Value = serde_json::from_str(&forge.ok(&["jobs", "get", begin])).unwrap();
    assert_eq!((&job["id"], &job["source_hash"]), (&1.into(), &whole.as_str().into()));
    assert_eq!(job["params"], serde_json::json!({"lang": "de", "depth": 2}));
    assert_eq!(forge.ok(&["jobs", "priority", begin, "critical"]), "job 1 has priority 1\n");
    assert_eq!(forge.ok(&["jobs", "cancel", &whole]), "job 1 is cancelled\n");
    let refused = forge.fails(&["jobs", "cancel", "1"], 1);
    assert!(refused.contains("job 1: ") && refused.contains("cancelled"), "{refused}");
    assert_eq!(forge.ok(&["jobs", "retry", "1"]), "job 1 is pending\n");
    assert_eq!(forge.ok(&["jobs", "history", begin]), "no worker has begun it yet\n");
    assert!(forge.fails(&["jobs", "logs", begin], 1).contains("no log is kept"));
    assert!(forge.ok(&["status", begin]).contains(&whole[..8]));
    assert_eq!(forge.ok(&["status", "--quiet", begin, "1"]), "1\n1\n");
    let unknown = forge.fails(&["status", "abcdef0123", begin], 1);
    assert!(unknown.contains("abcdef0123 is not known"), "{unknown}");
    assert!(forge.fails(&["jobs", "get", "abcdef0123"], 1).contains("no job has a source"));
    assert!(forge.fails(&["jobs", "get", "abc"], 2).contains("8 or more of its first digits"));
    // The same file for another type: then a hash names two jobs.
    run(forge.command(&["submit", "--type", "pdf"]).arg(&letter));
    let several = forge.fails(&["jobs", "get", begin], 1);
    assert!(several.contains("2 (pdf, pending)") && several.contains("1 (pdf-text, pending)"), "{several}");
    assert_eq!(forge.ok(&["jobs", "list", "--quiet", "--source", begin, "--type", "pdf"]), "2\n");
    assert_eq!(forge.ok(&["jobs", "list", "--quiet", "--priority", "1"]), "1\n");
    forge.ok(&["jobs", "cancel", "1", "2"]);
    assert!(forge.fails(&["jobs", "delete", "1"], 1).contains("say --yes"), "nobody can be asked");
    assert_eq!(forge.ok(&["jobs", "delete", "--yes", "1", "2"]), "job 1 is forgotten\njob 2 is forgotten\n");
    assert!(forge.fails(&["jobs", "get", "1"], 1).contains("no job 1"));
    forge.stop();
}

#[test]
fn what_failed_is_run_again_all_at_once_and_counted_before() {
    let forge = Forge::serve(&["--with-worker"]);
    let bad = [forge.write("a.pdf", b"no PDF"), forge.write("b.pdf", b"none either")];
    let said = run(forge.command(&["submit", "--wait"]).args(&bad));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("a.pdf failed: "), "{}", said.err);
    let failed = |args: &[&str]| forge.ok(&[&["jobs", "retry", "--all", "--failed"], args].concat());
    assert_eq!(failed(&["--dry-run"]), "2 of 2 jobs would run again\n");
    assert_eq!(failed(&["--text", "b.pdf", "--type", "pdf-text"]), "1 of 1 jobs run again\n");
    assert!(forge.fails(&["jobs", "retry"], 2).contains("required"));
    assert!(forge.fails(&["jobs", "retry", "--all"], 2).contains("required"), "all of what?");
    assert_eq!(forge.fails(&["jobs", "retry", "99"], 1), "job 99: there is no job 99\n");
    let letter = forge.write("letter.pdf", LETTER);
    let results = forge.folder.path().join("results");
    let said = run(forge.command(&["submit"]).arg("--output").arg(&results).arg(&letter));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(fs::read_to_string(results.join("letter/document.md")).unwrap().contains("# A Letter"));
    let id = forge.ok(&["jobs", "list", "--quiet", "--status", "completed"]);
    assert!(forge.ok(&["preview", id.trim(), "--lines", "3"]).contains("# A Letter"));
    let said =
        run(forge.command(&["download", id.trim()]).arg("--output").arg(forge.folder.path().join("more")));
    assert!(said.out.contains("more/letter/document.md\n"), "{said:?}");
    let history = json_lines(&run(&mut forge.command(&["jobs", "history", "--json", id.trim()])));
    assert_eq!(history[0]["end"], "completed");
    let watched = forge.ok(&["watch", "--until-empty", "--every", "1"]);
    assert!(
        watched.ends_with("0 waiting, 0 running, 1 completed, 2 failed; 1 of 1 workers online\n"),
        "{watched}"
    );
    forge.stop();
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let forge = Forge::serve(&[]);
    let token = forge.ok(&["tokens", "create", "--quiet", "laptop", "--scope", "submit"]);
    let with = |args: &[&str]| run(forge.command(args).env("BLOBFORGE_API_TOKEN", token.trim()));
    assert_eq!(with(&["stats"]).code, Some(0));
    assert_eq!(with(&["users"]).code, Some(1), "it is no admin's");
    let said = run(&mut forge.command(&["tokens", "create", "--description", "Worker token"]));
    assert!(said.out.starts_with("bf_") && said.err.contains("shown this once"), "{said:?}");
    let tokens = json_lines(&run(&mut forge.command(&["tokens", "list", "--json"])));
    let scopes = |name: &str| tokens.iter().find(|token| token["name"] == name).unwrap()["scopes"].clone();
    assert_eq!(scopes("laptop"), serde_json::json!(["submit"]));
    assert_eq!(scopes("Worker token"), serde_json::json!(["submit", "worker"]));
    let id =
        tokens.iter().find(|token| token["name"] == "laptop").unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(forge.ok(&["tokens", "delete", &id]), format!("token {id} opens nothing any more\n"));
    assert_eq!(with(&["stats"]).code, Some(1));
    let refused = forge.fails(&["tokens", "delete", "../users"], 1);
    assert!(refused.contains("this path leaves its folder"), "{refused}");
    assert!(forge.fails(&["tokens", "delete", "7"], 1).contains("no token with this id"));
    assert!(forge.fails(&["tokens", "create"], 2).contains("required"));
    assert!(forge.fails(&["tokens", "create", "x", "--scope", "all"], 2).contains("submit, worker or admin"));
    let admin = forge.ok(&["tokens", "create", "--quiet", "--admin", "second"]);
    assert_eq!(run(forge.command(&["users"]).env("BLOBFORGE_API_TOKEN", admin.trim())).code, Some(0));
    let audit = forge.ok(&["audit"]);
    assert!(audit.contains("token_created") && audit.contains("token_revoked"), "{audit}");
    assert_eq!(json_lines(&run(&mut forge.command(&["audit", "--json", "--limit", "2"]))).len(), 2);
    forge.stop();
}

#[test]
fn workers_and_types_are_held_and_let_go() {
    let forge = Forge::serve(&[]);
    assert!(forge.ok(&["workers", "list"]).contains("blobforge worker"), "what to do is said");
    let mut worker = forge.command(&["worker", "--id", "smith"]);
    worker
        .arg("--work-dir")
        .arg(forge.folder.path().join("worker"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut worker = worker.spawn().unwrap();
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let status = || {
        let begun = Instant::now();
        loop {
            let workers = json_lines(&run(&mut forge.command(&["workers", "list", "--json"])));
            if let Some(worker) = workers.first() {
                return worker["status"].as_str().unwrap().to_owned();
            }
            assert!(begun.elapsed() < PATIENCE, "the worker does not register");
        }
    };
    assert_eq!(status(), "online");
    assert_eq!(forge.ok(&["workers", "drain", "smith"]), "worker smith gets no more work\n");
    assert_eq!(status(), "draining");
    forge.ok(&["workers", "resume", "smith"]);
    assert_eq!(status(), "online");
    assert_eq!(forge.ok(&["workers", "list", "--quiet"]), "smith\n");
    assert!(forge.fails(&["workers", "drain", "nobody", "a b"], 2).contains("a b"));
    assert!(forge.fails(&["workers", "drain", "nobody"], 1).contains("worker nobody: "));
    kill_process(Pid::from_child(&worker), Signal::TERM).unwrap();
    worker.wait().unwrap();
    assert_eq!(forge.ok(&["workers", "remove", "smith"]), "worker smith is forgotten\n");

    forge.ok(&["types", "pause", "pdf"]);
    assert!(forge.ok(&["types", "list"]).contains("paused"));
    forge.ok(&["types", "resume", "pdf"]);
    let set = forge.ok(&["types", "set", "pdf", "limits.running=2", "defaults.max_attempts=5"]);
    let set: Value = serde_json::from_str(&set).unwrap();
    assert_eq!((&set["limits"]["running"], &set["defaults"]["max_attempts"]), (&2.into(), &5.into()));
    assert!(forge.fails(&["types", "set", "pdf", "limits.runing=2"], 1).contains("runing"));
    assert_eq!(forge.ok(&["types", "list", "--quiet"]), "pdf\n");
    forge.stop();
}

#[test]
fn a_profile_says_both_where_the_service_is_and_what_opens_its_door() {
    let forge = Forge::serve(&[]);
    let config = forge.folder.path().join("config");
    fs::create_dir_all(config.join("blobforge")).unwrap();
    let there = |args: &[&str]| {
        let mut command = blobforge();
        command.args(args).env("XDG_CONFIG_HOME", &config).current_dir(&config);
        command
    };
    let file = config.join("blobforge/profiles.toml");
    assert!(
        run(&mut there(&["stats", "--profile", "office"])).err.contains("there is no profile \"office\"")
    );
    fs::write(config.join("blobforge/token"), forge.token()).unwrap();
    let office = format!("[office]\nserver = \"{}\"\ntoken_file = \"token\"\n", forge.url);
    fs::write(&file, &office).unwrap();
    assert_eq!(run(&mut there(&["stats", "--profile", "office"])).code, Some(0));
    assert_eq!(run(there(&["stats"]).env("BLOBFORGE_PROFILE", "office")).code, Some(0));
    assert_eq!(run(&mut there(&["stats"])).code, Some(1), "nothing says where the service is");
    let both =
        run(there(&["stats", "--profile", "office"]).env("BLOBFORGE_SERVER_URL", "http://other.example"));
    assert_eq!(both.code, Some(2), "a token goes to no other service: {both:?}");
    fs::write(&file, office.replace("office", "default")).unwrap();
    assert_eq!(run(&mut there(&["stats"])).code, Some(0));
    let named = run(there(&["stats"]).env("BLOBFORGE_DB_PATH", config.join("other.db")));
    assert!(named.err.contains("admin-token"), "who names a database means its service: {named:?}");
    forge.stop();
}

#[test]
fn whoever_cannot_reach_the_service_learns_it_by_the_exit_code() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", taken.local_addr().unwrap());
    drop(taken);
    let said = run(blobforge().args(["stats", "--server", &url]).env("BLOBFORGE_API_TOKEN", "x"));
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("Is the service running there?"), "{}", said.err);
}

#[test]
fn the_doctor_says_what_is_well_and_what_to_do_about_the_rest() {
    let forge = Forge::serve(&[]);
    let said = run(&mut forge.command(&["doctor"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.contains("its database and its files are well") && said.out.contains(" wrong"),
        "{}",
        said.out
    );
    let letter = forge.write("letter.pdf", LETTER);
    run(forge.command(&["submit"]).arg(&letter));
    let findings = json_lines(&run(&mut forge.command(&["doctor", "--json"])));
    let of = |what: &str| findings.iter().find(|finding| finding["what"] == what).unwrap();
    assert_eq!((&of("workers")["state"], &of("backup")["state"]), (&"warn".into(), &"warn".into()));
    for what in ["database", "files", "marker-pdf"] {
        assert_eq!(of(what)["state"], "ok", "{findings:?}");
    }
    assert!(
        of("database")["found"].as_str().unwrap().contains(" is whole; jobs: 1, schema: "),
        "{findings:?}"
    );
    let gpu = run(forge.command(&["doctor"]).env("BLOBFORGE_USE_GPU", "perhaps"));
    assert!(gpu.code == Some(1) && gpu.out.contains("perhaps"), "{gpu:?}");
    assert!(of("workers")["remedy"].as_str().unwrap().contains("blobforge worker"));
    let said = run(forge.command(&["doctor"]).env("BLOBFORGE_S3_ENDPOINT", "http://127.0.0.1:1"));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("fail"), "{}", said.out);
    let wrong_token = run(forge.command(&["doctor"]).env("BLOBFORGE_API_TOKEN", "x"));
    assert_eq!(wrong_token.code, Some(1), "{wrong_token:?}");
    assert!(wrong_token.out.contains("tokens create"), "{}", wrong_token.out);
    forge.stop();
}

#[test]
fn shells_and_man_know_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let said = run(blobforge().args(["completions", shell]));
        assert!(said.code == Some(0) && said.out.contains("blobforge"), "{shell}: {said:?}");
    }
    let forge = Forge::serve(&[]);
    let letter = forge.write("letter.pdf", LETTER);
    run(forge.command(&["submit"]).arg(&letter));
    let completed = |words: &[&str]| {
        let mut command = blobforge();
        let index = words.len().to_string();
        command
            .args(["--", "blobforge"])
            .args(words)
            .env("COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", index);
        command
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .env("_CLAP_COMPLETE_SPACE", "true")
            .env("_CLAP_IFS", "\n")
            .env("BLOBFORGE_SERVER_URL", &forge.url)
            .env("BLOBFORGE_API_TOKEN", forge.token());
        run(&mut command).out
    };
    assert!(completed(&["jobs", "re"]).contains("retry"));
    assert_eq!(completed(&["jobs", "get", ""]).lines().next(), Some("1"), "the service is asked");
    let whole = hash(LETTER);
    let begin = &whole[..whole.find(|digit: char| digit.is_ascii_alphabetic()).unwrap() + 1];
    assert_eq!(completed(&["jobs", "get", begin]).lines().next(), Some(whole.as_str()));
    let said = run(blobforge().arg("manual").arg(folder.path()));
    assert_eq!(said.code, Some(0), "{said:?}");
    let page = fs::read_to_string(folder.path().join("blobforge-jobs-retry.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("failed"), "{page}");
    forge.stop();
}

/// What the readme of the earlier version says: each line as it stands there, with a folder for `/path/to`.
#[test]
fn the_commands_that_people_know_work_as_written() {
    const KNOWN: &str = "\
./blobforge submit /path/to/document.pdf
./blobforge submit /path/to/urgent.pdf --priority 1
./blobforge ingest /path/to/pdfs/ --type pdf
./blobforge stats
./blobforge jobs list
./blobforge workers list
./blobforge jobs retry 123
./blobforge jobs cancel 456
./blobforge workers drain worker-1
./blobforge workers remove worker-1
./blobforge tokens list
./blobforge tokens create --description \"Worker token\"";
    let forge = Forge::serve(&[]);
    let folder = forge.folder.path().join("documents");
    fs::create_dir_all(folder.join("pdfs/more")).unwrap();
    for (name, text) in
        [("document.pdf", "a"), ("urgent.pdf", "b"), ("pdfs/c.pdf", "c"), ("pdfs/more/d.pdf", "d")]
    {
        fs::write(folder.join(name), text).unwrap();
    }
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_blobforge"), folder.join("blobforge")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let post = async |path: &str, body: Value| {
            let reply = forge.request(reqwest::Method::POST, path).json(&body).send().await.unwrap();
            assert!(reply.status().is_success(), "{path}: {}", reply.text().await.unwrap());
        };
        let job = serde_json::json!({"type": "other", "source": "none", "dedup": false});
        post("/api/jobs/batch", serde_json::json!({"jobs": vec![job; 460]})).await;
        post("/api/jobs/123/cancel", serde_json::json!({})).await;
        let worker =
            serde_json::json!({"id": "worker-1", "type": "pdf", "protocol": 1, "instance": "secret"});
        post("/api/workers/register", worker).await;
    });
    for line in KNOWN.lines() {
        let line = line.replace("/path/to", folder.to_str().unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).current_dir(&folder).env_remove("BLOBFORGE_DB_PATH");
        shell.env("BLOBFORGE_SERVER_URL", &forge.url).env("BLOBFORGE_API_TOKEN", forge.token());
        let said = run(&mut shell);
        assert_eq!(said.code, Some(0), "{line}: {said:?}");
    }
    assert_eq!(forge.ok(&["jobs", "list", "--quiet", "--type", "pdf"]).lines().count(), 2);
    let tagged = forge.ok(&["jobs", "list", "--json", "--tag", "more"]);
    assert!(tagged.contains("d.pdf"), "{tagged}");
    let urgent = forge.ok(&["jobs", "list", "--json", "--priority", "critical"]);
    assert!(urgent.contains("urgent.pdf"), "{urgent}");
    forge.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_another_version_is_told_apart_and_may_work() {
    let forge = Forge::serve(&[]);
    let worker = serde_json::json!({"id": "attic", "type": "pdf", "protocol": 1, "instance": "secret", "metadata": {"sdk": "0.0.1"}});
    let register = forge.request(reqwest::Method::POST, "/api/workers/register").json(&worker);
    assert!(register.send().await.unwrap().status().is_success());
    let told = "0.0.1, older than the service";
    let said = run(&mut forge.command(&["doctor"]));
    assert!(said.out.contains(&format!("attic is {told}")), "{}", said.out);
    let page = forge.request(reqwest::Method::GET, "/workers").send().await.unwrap().text().await.unwrap();
    assert!(page.contains(told), "{page}");
    // One of the same version says nothing.
    let worker = serde_json::json!({"id": "attic", "type": "pdf", "protocol": 1, "instance": "secret", "metadata": {"sdk": env!("CARGO_PKG_VERSION")}});
    let register = forge.request(reqwest::Method::POST, "/api/workers/register").json(&worker);
    assert!(register.send().await.unwrap().status().is_success());
    assert!(!run(&mut forge.command(&["doctor"])).out.contains("than the service"));
    forge.stop();
}
