//! What is written for containers, as far as it can be run without an engine for them: the same files, environment and command
//! lines. `scripts/deploy` has tools read what only tools understand.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One stage of deploy/Containerfile: its instructions, each with its arguments, and lines that go on put together.
struct Stage(Vec<(String, String)>);

impl Stage {
    fn named(name: &str) -> Self {
        let text = read("deploy/Containerfile");
        let lines = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        let lines = lines.replace("\\\n", " ");
        let begin = lines
            .lines()
            .position(|line| line.starts_with("FROM ") && line.ends_with(&format!(" AS {name}")));
        let rest = lines.lines().skip(begin.unwrap_or_else(|| panic!("no stage {name}")) + 1);
        let its = rest.take_while(|line| !line.starts_with("FROM ")).filter_map(|line| line.split_once(' '));
        Self(its.map(|(what, with)| (what.to_owned(), with.trim().to_owned())).collect())
    }

    fn all(&self, what: &str) -> Vec<&str> {
        self.0.iter().filter(|(name, _)| name == what).map(|(_, with)| with.as_str()).collect()
    }

    /// The command line that a container runs, unless it is given another one.
    fn command(&self) -> Vec<String> {
        let words = |what| match self.all(what)[..] {
            [with] => serde_json::from_str::<Vec<String>>(with).unwrap(),
            ref other => panic!("{what}: {other:?}"),
        };
        [words("ENTRYPOINT"), words("CMD")].concat()
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let all = self.all("ENV").join(" ");
        all.split_whitespace()
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

/// The settings of all commands, by their names in the environment.
fn known() -> BTreeSet<String> {
    fn of(command: &clap::Command) -> Vec<String> {
        let own =
            command.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_string_lossy().into_owned()));
        own.chain(command.get_subcommands().flat_map(of)).collect()
    }
    of(&blobforge_service::cli::command()).into_iter().collect()
}

/// Fails if the program would not understand these words; the first of them is its name.
fn understood(words: &[String]) {
    let read = blobforge_service::cli::command().try_get_matches_from(words);
    assert!(read.is_ok(), "{words:?}: {}", read.err().unwrap());
}

#[test]
fn the_images_are_built_from_all_that_the_program_is_made_of() {
    let build = Stage::named("build");
    let mut copied = BTreeSet::new();
    for with in build.all("COPY") {
        let words: Vec<_> = with.split(' ').collect();
        let (to, from) = words.split_last().unwrap();
        for file in from {
            assert!(root().join(file).exists(), "COPY {with}: there is no {file}");
            assert!(*to == "./" || to == file, "COPY {with} moves {file}");
            copied.insert((*file).to_owned());
        }
    }
    // What the engine is sent is what is copied.
    let sent = read(".dockerignore");
    let sent: BTreeSet<_> =
        sent.lines().filter_map(|line| line.strip_prefix('!')).map(str::to_owned).collect();
    assert_eq!(sent, copied);
    // Cargo finds every member of the workspace there, and each of them its sources.
    let there = tempfile::tempdir().unwrap();
    for name in &copied {
        std::os::unix::fs::symlink(root().canonicalize().unwrap().join(name), there.path().join(name))
            .unwrap();
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]);
    let said = run(metadata.current_dir(there.path()));
    assert_eq!(said.code, Some(0), "{said:?}");
    // What is compiled in lies within its own crate, but for what only tests read.
    for (path, text) in sources(&root().join("blobforge-service/src"))
        .into_iter()
        .chain(sources(&root().join("blobforge-worker-sdk/src")))
        .chain(sources(&root().join("blobforge-core/src")))
    {
        let code = text.split("#[cfg(test)]").next().unwrap();
        let far = code.match_indices("include_").filter(|(at, _)| {
            let path_in_it = code[*at..].split('"').nth(1).unwrap_or_default();
            let up = path_in_it.matches("../").count();
            let depth = path.strip_prefix(root()).unwrap().components().count() - 2;
            up > depth
        });
        assert_eq!(far.count(), 0, "{} takes in what no image has", path.display());
    }
}

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

#[test]
fn what_containers_are_told_is_understood() {
    let known = known();
    let is_known = |name: &str| !name.starts_with("BLOBFORGE_") || known.contains(name);
    for name in ["service", "worker", "worker-cuda"] {
        let stage = Stage::named(name);
        let command = stage.command();
        let at = command.iter().position(|word| word == "blobforge").unwrap();
        understood(&command[at..]);
        for variable in stage.environment().keys() {
            assert!(is_known(variable), "{name}: {variable} is no setting");
        }
        // Nobody in a container is root, and what has to stay lies in volumes.
        assert_eq!(stage.all("USER"), ["10001:10001"], "{name}");
        assert_eq!(stage.all("VOLUME").len(), 1, "{name}");
    }
    let health: Vec<_> =
        Stage::named("service").all("HEALTHCHECK").join(" ").split("CMD ").map(str::to_owned).collect();
    understood(&serde_json::from_str::<Vec<String>>(&health[1]).unwrap());

    let compose = read("deploy/compose.yaml");
    let mut of_ours = 0;
    for line in compose.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("command: [") {
            let words: Vec<String> = serde_json::from_str(&format!("[{words}")).unwrap();
            if words[0] == "/garage" {
                continue;
            }
            of_ours += 1;
            understood(&[vec!["blobforge".to_owned()], words].concat());
        }
        if let Some(name) = line.split(':').next().filter(|name| name.starts_with("BLOBFORGE_")) {
            assert!(known.contains(name), "{name} is no setting");
        }
    }
    assert_eq!(of_ours, 4, "every container of ours says what it runs");
}

/// A container of the service without an engine: the command line and the environment of its image, but for where its volume
/// and its port are.
struct Container {
    data: tempfile::TempDir,
    more: Vec<(String, String)>,
}

impl Container {
    fn new(more: &[(&str, &str)]) -> Self {
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { data: tempfile::tempdir().unwrap(), more }
    }

    fn command(&self) -> Command {
        let stage = Stage::named("service");
        let words = stage.command();
        assert_eq!(words[0], "blobforge", "the service is the first process of its container");
        let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
        command.args(&words[1..]).env_clear().stdin(Stdio::null());
        for (name, value) in stage.environment() {
            command.env(name, value.replacen("/data", self.data.path().to_str().unwrap(), 1));
        }
        // Loopback: what listens for everybody is not for a test. Any port, since 8080 may be somebody's.
        command.env("BLOBFORGE_HOST", "127.0.0.1").env("BLOBFORGE_PORT", "0");
        command.envs(self.more.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it, and gives what it said and where it is.
    fn start(&self) -> (Child, String) {
        let mut child = self.command().stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let url = first.trim().split_once("serves ").unwrap_or_else(|| panic!("{first:?}")).1.to_owned();
        (child, url)
    }

    /// What the health check of the image says of it.
    fn health(&self, url: &str) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
        let port = url.rsplit_once(':').unwrap().1;
        command.arg("health").env_clear().env("BLOBFORGE_HOST", "0.0.0.0").env("BLOBFORGE_PORT", port);
        run(&mut command)
    }
}

#[test]
fn the_image_of_the_service_starts_starts_again_and_ends_as_an_engine_expects() {
    let container = Container::new(&[]);
    let (mut first, url) = container.start();
    let healthy = container.health(&url);
    assert_eq!((healthy.code, healthy.out.contains("is well")), (Some(0), true), "{healthy:?}");
    let token = fs::read_to_string(container.data.path().join("admin-token")).unwrap();
    kill_process(Pid::from_child(&first), Signal::TERM).unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(0), "TERM ends it in good order");
    let away = container.health(&url);
    assert_eq!(away.code, Some(3), "{away:?}");
    assert!(away.err.contains("does not answer"), "{}", away.err);

    let (mut second, url) = container.start();
    assert_eq!(container.health(&url).code, Some(0));
    let again = fs::read_to_string(container.data.path().join("admin-token")).unwrap();
    assert_eq!(again, token, "the second start finds what the first one left");
    // A second one in its place fails, says so by its status, and does no harm to the first.
    let port = url.rsplit_once(':').unwrap().1;
    let said = run(container.command().env("BLOBFORGE_PORT", port));
    assert_eq!(said.code, Some(1), "{said:?}");
    let said = run(container.command().env("BLOBFORGE_PORT", "http"));
    assert_eq!(said.code, Some(2), "{said:?}");
    assert_eq!(container.health(&url).code, Some(0));
    kill_process(Pid::from_child(&second), Signal::TERM).unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(0));

    fs::write(container.data.path().join("blobforge.db"), "no database").unwrap();
    let said = run(&mut container.command());
    assert_eq!(said.code, Some(1), "what cannot be opened is a failure: {said:?}");
    assert!(said.err.contains("is not an SQLite database"), "{}", said.err);
    // And a server that is none is no healthy service.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let answers = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        let (mut asked, mut piece) = (Vec::new(), [0; 1024]);
        while !asked.ends_with(b"\r\n\r\n") {
            let read = std::io::Read::read(&mut stream, &mut piece).unwrap();
            asked.extend_from_slice(&piece[..read]);
        }
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
    });
    let said = container.health(&format!("http://{address}"));
    answers.join().unwrap();
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("is no BlobForge service"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_prepared_for_containers_lets_the_worker_in_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["prepare", "compose.yaml"] {
        fs::copy(root().join("deploy").join(name), folder.path().join(name)).unwrap();
    }
    let prepare = |address: &str| run(Command::new(folder.path().join("prepare")).arg(address));
    for wrong in ["", "localhost", "127.0.0.1", "a b", "--help"] {
        assert_eq!(prepare(wrong).code, Some(1), "{wrong}");
    }
    assert!(!folder.path().join("secrets").exists(), "nothing was made");
    let said = prepare("192.168.1.10");
    assert_eq!(said.code, Some(0), "{said:?}");
    let secrets = folder.path().join("secrets");
    let secret = |name: &str| secrets.join(name).to_str().unwrap().to_owned();
    let token = |name: &str| fs::read_to_string(secrets.join(name)).unwrap().trim().to_owned();
    let before = [token("admin-token"), token("worker-token"), token("garage.env")];
    assert!(before[0] != before[1] && before[2].contains(&token("s3-secret-key")), "{before:?}");
    assert!(prepare("192.168.1.10").out.contains("kept"), "what is there is kept");
    assert_eq!(before, [token("admin-token"), token("worker-token"), token("garage.env")]);
    // Everything that the containers are to have is there.
    let compose = read("deploy/compose.yaml");
    for file in compose.lines().map(str::trim).filter_map(|line| line.strip_prefix("file: ")) {
        assert!(folder.path().join(file).is_file(), "{file}");
    }

    let (admin, worker) = (secret("admin-token"), secret("worker-token"));
    let provided = [("BLOBFORGE_ADMIN_TOKEN_FILE", admin.as_str()), ("BLOBFORGE_WORKER_TOKEN_FILE", &worker)];
    let container = Container::new(&provided);
    let (mut service, url) = container.start();
    let mut runs = blobforge();
    runs.args(["worker", "--id", "text", "--work-dir"]).arg(folder.path().join("work"));
    runs.env("BLOBFORGE_SERVER_URL", &url).env("BLOBFORGE_API_TOKEN_FILE", &worker);
    let mut runs = runs.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let letter = folder.path().join("letter.pdf");
    fs::write(&letter, LETTER).unwrap();
    let as_whom = |file: &str, args: &[&str]| {
        let mut command = blobforge();
        run(command.args(args).env("BLOBFORGE_SERVER_URL", &url).env("BLOBFORGE_API_TOKEN_FILE", file))
    };
    let submit = ["submit", "--wait", letter.to_str().unwrap()];
    let said = as_whom(&admin, &submit);
    assert_eq!(said.code, Some(0), "the worker does it: {said:?}");
    let said = as_whom(&worker, &submit);
    assert_eq!(said.code, Some(1), "a worker hands nothing in: {said:?}");
    assert_eq!(as_whom(&worker, &["tokens", "list"]).code, Some(1), "nor does it let others in");
    let listed = as_whom(&admin, &["tokens", "list", "--json"]);
    assert!(listed.out.contains("workers of this installation"), "{listed:?}");
    let refused = as_whom(&admin, &["tokens", "delete", "workers"]);
    assert!(refused.code == Some(1) && refused.err.contains("BLOBFORGE_WORKER_TOKEN_FILE"), "{refused:?}");
    for child in [&mut runs, &mut service] {
        kill_process(Pid::from_child(child), Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success());
    }

    // One that is provided no more opens nothing any more; the admin's token is none for workers.
    let without = Container { data: container.data, more: vec![] };
    let mut command = without.command();
    let child = command.env(provided[0].0, provided[0].1).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = child.spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let url = first.trim().split_once("serves ").unwrap().1;
    let status = |file: &str| {
        let request = reqwest::Client::new().get(format!("{url}/api/workers")).bearer_auth(token(file));
        async { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!((status("worker-token").await, status("admin-token").await), (401, 200));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    let mut both = without.command();
    let said = run(both.env(provided[0].0, &admin).env(provided[1].0, &admin));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("BLOBFORGE_WORKER_TOKEN_FILE is another account's"), "{}", said.err);
}

#[test]
#[ignore = "the init of its image, tini, is in front: scripts/deploy"]
fn the_image_of_a_worker_hands_term_on_and_ends_with_the_status_of_its_worker() {
    let forge = Forge::serve(&[]);
    let work = tempfile::tempdir().unwrap();
    let stage = Stage::named("worker");
    let words = stage.command();
    let container = |more: &[&str]| {
        assert_eq!(words[..3], ["tini", "--", "blobforge"]);
        let mut command = Command::new("tini");
        command.arg("--").arg(env!("CARGO_BIN_EXE_blobforge")).args(&words[3..]).args(more);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        for (name, value) in stage.environment() {
            command.env(name, value.replacen("/worker", work.path().to_str().unwrap(), 1));
        }
        command.env("BLOBFORGE_SERVER_URL", &forge.url).env("BLOBFORGE_API_TOKEN", forge.token());
        command
    };
    let mut worker = container(&["--id", "contained"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(worker.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("worker contained serves pdf-text"), "{first}");
    let said = run(forge.command(&["submit", "--wait"]).arg(forge.write("letter.pdf", LETTER)));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(work.path().join("state").is_dir(), "what it works on lies in its volume");
    kill_process(Pid::from_child(&worker), Signal::TERM).unwrap();
    assert_eq!(worker.wait().unwrap().code(), Some(0));
    let listed = run(&mut forge.command(&["workers", "list", "--json"]));
    assert!(listed.out.contains("\"offline\""), "it said good-bye: {}", listed.out);
    assert_eq!(run(&mut container(&["--no-such-flag"])).code, Some(2));
    let mut refused = container(&[]);
    assert_eq!(run(refused.env("BLOBFORGE_API_TOKEN", "bf_of-nobody")).code, Some(1));
    forge.stop();
}
