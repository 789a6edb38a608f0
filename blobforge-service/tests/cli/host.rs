//! The service and a worker under systemd, and a worker on a machine without Rust.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
};

use sha2::{Digest, Sha256};

use super::*;

/// `blobforge service` with a folder in place of `/`.
fn service(root: &Path, args: &[&str]) -> Said {
    let (what, rest) = args.split_first().unwrap();
    // Before all others, among which may be a worker's own.
    run(blobforge().args(["service", what, "--root"]).arg(root).args(rest))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_unit_is_written_kept_once_it_was_changed_and_removed_again() {
    let root = tempfile::tempdir().unwrap();
    let unit = root.path().join("etc/systemd/system/blobforge.service");
    let settings = root.path().join("etc/blobforge/blobforge.env");
    let tried = service(root.path(), &["install", "--dry-run"]);
    assert_eq!(tried.code, Some(0), "{tried:?}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "it was only said what would be done");
    let said = service(root.path(), &["install", "--set", "BLOBFORGE_PUBLIC_URL=https://forge.example.org"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!said.out.contains("systemctl"), "it is not systemd of this machine that runs it: {}", said.out);
    let text = fs::read_to_string(&unit).unwrap();
    assert!(tried.out.contains(&text), "and that is what is done");
    let command = format!("ExecStart={} serve\n", env!("CARGO_BIN_EXE_blobforge"));
    assert!(text.contains(&command) && !text.contains("@OWN@"), "{text}");
    assert!(
        text.contains("\nEnvironmentFile=/etc/blobforge/blobforge.env\n"),
        "where it lies once it runs: {text}"
    );
    assert_eq!((mode(&unit), mode(&settings)), (0o644, 0o600));
    let kept = fs::read_to_string(&settings).unwrap();
    assert!(kept.ends_with("BLOBFORGE_PUBLIC_URL=\"https://forge.example.org\"\n"), "{kept}");

    let again = service(root.path(), &["install"]);
    assert!(again.out.starts_with("there") && again.out.contains("kept"), "{again:?}");
    let more = service(root.path(), &["install", "--set", "BLOBFORGE_PORT=1"]);
    assert_eq!(more.code, Some(1), "settings are not written over: {more:?}");
    // Another version writes another unit.
    let other = service(root.path(), &["install", "--program", "/usr/bin/blobforge"]);
    assert!(other.out.starts_with("wrote"), "{other:?}");
    let written = fs::read_to_string(&unit).unwrap();
    assert!(written.contains("ExecStart=/usr/bin/blobforge serve\n"), "{written}");

    fs::write(&unit, format!("{written}# mine\n")).unwrap();
    for args in [&["install"][..], &["install", "--dry-run"], &["uninstall"]] {
        let refused = service(root.path(), args);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.err.contains("was changed"), "{}", refused.err);
    }
    assert!(fs::read_to_string(&unit).unwrap().ends_with("# mine\n"));
    // A unit that was emptied, or masked, is somebody's wish.
    fs::write(&unit, "").unwrap();
    assert_eq!(service(root.path(), &["uninstall"]).code, Some(1));
    fs::remove_file(&unit).unwrap();
    std::os::unix::fs::symlink("/dev/null", &unit).unwrap();
    for args in ["install", "uninstall"] {
        assert_eq!(service(root.path(), &[args]).code, Some(1), "{args}");
    }
    assert!(unit.is_symlink());
    fs::remove_file(&unit).unwrap();
    fs::write(&unit, &written).unwrap();

    let link = root.path().join("etc/systemd/system/multi-user.target.wants/blobforge.service");
    fs::create_dir(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/etc/systemd/system/blobforge.service", &link).unwrap();
    let said = service(root.path(), &["uninstall", "--dry-run"]);
    assert!(said.out.starts_with("would remove") && unit.exists(), "{said:?}");
    let said = service(root.path(), &["uninstall"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!unit.exists() && !link.is_symlink() && settings.exists(), "settings stay: {said:?}");
    assert!(service(root.path(), &["uninstall"]).out.contains("nothing is to be removed"));
}

#[test]
fn what_would_stop_the_start_is_refused_before_anything_is_written() {
    let root = tempfile::tempdir().unwrap();
    let token = root.path().join("token");
    fs::write(&token, "canary-canary-canary-canary-canary\n").unwrap();
    let wrong = [
        (&["--set", "BLOBFORGE_PORT=http"][..], "65535"),
        (&["--set", "BLOBFORGE_PROT=1"], "BLOBFORGE_PROT is no setting"),
        (&["--set", "BLOBFORGE_SERVER_URL=http://a"], "is no setting of it: blobforge serve --help"),
        (&["--set", "=1"], "NAME=VALUE"),
        (&["--set", "BLOBFORGE_S3_PREFIX=a\nBLOBFORGE_PORT=1"], "a character that no line can have"),
        (&["--set", "BLOBFORGE_ADMIN_TOKEN=canary"], "32 or more"),
        (&["--token-file", "token"], "--worker"),
        (&["--", "--prot", "1"], "--prot"),
        (&["--worker", "--", "--type", "a"], "required arguments were not provided: <PROGRAM>"),
        (
            &["--worker", "--", "--type", "a", "--", "b\nExecStartPre=/bin/false"],
            "a character that no unit can have",
        ),
    ];
    for (args, named) in wrong {
        let said = service(&root.path().join("root"), &[&["install"], args].concat());
        assert_eq!(said.code, Some(2), "{args:?}: {said:?}");
        assert!(said.err.contains(named) && !said.err.contains("canary"), "{args:?}: {}", said.err);
    }
    let said = service(&root.path().join("root"), &["install", "--program", "/home/ann/blobforge"]);
    assert!(said.code == Some(1) && said.err.contains("/usr/local/bin/blobforge"), "{said:?}");
    assert!(!root.path().join("root").exists(), "nothing was begun");
    let named = ["install", "--worker", "--dry-run", "--token-file", token.to_str().unwrap()];
    let said = service(&root.path().join("root"), &named);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("BLOBFORGE_API_TOKEN") && !said.out.contains("canary"), "{}", said.out);
}

#[test]
fn who_is_not_root_has_it_for_themselves() {
    let home = tempfile::tempdir().unwrap();
    let there = |args: &[&str]| {
        let mut command = blobforge();
        run(command.args(args).env_remove("XDG_CONFIG_HOME").env("HOME", home.path()))
    };
    let said = there(&["service", "install", "--user", "--worker", "--", "--run-window", "22:00-06:00"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("systemctl --user enable --now blobforge-worker"), "{}", said.out);
    let unit = home.path().join(".config/systemd/user/blobforge-worker.service");
    let text = fs::read_to_string(&unit).unwrap();
    assert!(text.contains(" worker --run-window 22:00-06:00\n") && text.contains("default.target"), "{text}");
    // Another program does the same, until something else is wanted of it.
    let install = ["service", "install", "--user", "--worker", "--program", "/opt/of ann's/blobforge"];
    let command = || {
        let text = fs::read_to_string(&unit).unwrap();
        text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap().to_owned()
    };
    let said = there(&install);
    assert!(
        said.code == Some(0) && said.out.contains("systemctl --user restart blobforge-worker\n"),
        "{said:?}"
    );
    assert_eq!(command(), "\"/opt/of ann's/blobforge\" worker --run-window 22:00-06:00");
    assert_eq!(
        there(&[&install[..], &["--", "--type", "ocr", "--", "ocr", "{source}"]].concat()).code,
        Some(0)
    );
    assert_eq!(there(&install[..4]).code, Some(0));
    let kept = command();
    assert!(kept.ends_with(" worker --type ocr -- ocr \"{source}\"") && !kept.contains("ann"), "{kept}");
    assert!(there(&["service", "uninstall", "--user", "--worker"]).code == Some(0) && !unit.exists());
}

/// Fails if systemd has anything to say of a unit.
fn verify(unit: &Path, for_user: bool) {
    let mut command = Command::new("systemd-analyze");
    command.arg("verify").args(for_user.then_some("--user")).arg("--man=no").arg(unit);
    let said: Said = command.env("XDG_RUNTIME_DIR", unit.parent().unwrap()).output().unwrap().into();
    assert_eq!((said.code, said.err.as_str(), said.out.as_str()), (Some(0), "", ""), "{}", unit.display());
}

/// How much of the system a unit lays open, from 0 to 100, as systemd reckons.
fn exposure(unit: &Path) -> u32 {
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--no-pager", "--offline=true", "--threshold=100"]).arg(unit);
    let said = run(&mut command);
    let level = said.out.rsplit_once("Overall exposure level for ").unwrap_or_else(|| panic!("{said:?}")).1;
    let number = level.split_once(": ").unwrap().1.split(' ').next().unwrap();
    (number.parse::<f64>().unwrap() * 10.0).round() as u32
}

#[test]
#[ignore = "systemd-analyze of Debian's systemd reads the units: scripts/deploy"]
fn systemd_understands_the_units_and_finds_them_closed() {
    let root = tempfile::tempdir().unwrap();
    let words =
        ["--", "--type", "book", "--", "pandoc", "{source}", "-o", "{outdir}/50 % of $HOME \"x\".html"];
    let system = |args: &[&str]| {
        let said = service(root.path(), &[&["install"], args].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
    };
    system(&[]);
    system(&[&["--worker"], &words[..]].concat());
    let user = |args: &[&str]| {
        let mut command = blobforge();
        let said = run(command
            .args(["service", "install", "--user"])
            .args(args)
            .env("XDG_CONFIG_HOME", root.path()));
        assert_eq!(said.code, Some(0), "{said:?}");
    };
    user(&[]);
    user(&[&["--worker"], &words[..]].concat());
    let of_system = |name: &str| root.path().join("etc/systemd/system").join(name);
    let names = ["blobforge.service", "blobforge-worker.service"];
    for name in names {
        verify(&of_system(name), false);
        verify(&root.path().join("systemd/user").join(name), true);
    }
    let found = names.map(|name| exposure(&of_system(name)));
    println!("exposure, of 100: service {}, worker {}", found[0], found[1]);
    assert!(found[0] <= 20 && found[1] <= 30, "{found:?}");
}

/// Answers every request with these bytes.
fn offer(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut asked, mut piece) = (Vec::new(), [0; 1024]);
            while !asked.ends_with(b"\r\n\r\n") {
                let read = stream.read(&mut piece).unwrap();
                asked.extend_from_slice(&piece[..read]);
            }
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
            // Who asked may have left.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&bytes));
        }
    });
    format!("http://{address}/blobforge")
}

/// What a file of settings sets.
fn settings_in(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_once('=').unwrap());
    lines.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

#[test]
fn a_worker_is_installed_from_an_address_after_its_program_was_checked() {
    let forge = Forge::serve(&[]);
    let home = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/install-worker");
    let install = |script: &Path, args: &[&str]| {
        let mut command = Command::new("sh");
        command.arg(script).args(args).env("HOME", home.path()).env_remove("XDG_CONFIG_HOME");
        run(&mut command)
    };
    let program = fs::read(env!("CARGO_BIN_EXE_blobforge")).unwrap();
    let hash = hex::encode(Sha256::digest(&program));
    let url = offer(program.clone());
    let token = forge.write("token", forge.token().as_bytes());
    let named = ["--server", &forge.url, "--token-file", token.to_str().unwrap(), "--user"];
    let with = |more: &[&str]| install(script.as_ref(), &[more, &named].concat());
    let is_untouched = || fs::read_dir(home.path()).unwrap().count() == 0;

    let said = with(&["--from", &url]);
    assert!(said.code == Some(2) && said.err.contains("--sha256"), "{said:?}");
    let said = with(&["--from", &url, "--sha256", &"0".repeat(64)]);
    assert!(said.code == Some(1) && said.err.contains(&hash) && is_untouched(), "{said:?}");
    // What has the right hash and is for another machine.
    let text = forge.write("program", b"no program");
    let of_text = hex::encode(Sha256::digest(b"no program"));
    let said = with(&["--from", text.to_str().unwrap(), "--sha256", &of_text]);
    assert!(said.code == Some(1) && said.err.contains("does not run on this machine"), "{said:?}");
    assert!(is_untouched(), "{said:?}");
    // Half of the script, as a transfer that broke off leaves it, does nothing.
    let whole = fs::read(script).unwrap();
    let half = forge.write("half", &whole[..whole.len() - "main \"$@\"\n".len()]);
    let said = install(&half, &[&["--from", &url, "--sha256", &hash], &named[..]].concat());
    assert!(said.out.is_empty() && is_untouched(), "{said:?}");
    let said = with(&["--from", &url, "--sha256", &hash, "--dry-run"]);
    assert!(said.code == Some(0) && said.out.contains("would put") && is_untouched(), "{said:?}");

    let said = with(&["--from", &url, "--sha256", &hash]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let unit = fs::read_to_string(home.path().join(".config/systemd/user/blobforge-worker.service")).unwrap();
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    assert_eq!(command, format!("{}/.local/bin/blobforge worker", home.path().display()));
    // What systemd would run works.
    let settings = home.path().join(".config/blobforge/blobforge-worker.env");
    assert_eq!(mode(&settings), 0o600);
    let mut words = command.split(' ');
    let mut worker = Command::new(words.next().unwrap());
    worker.args(words).env("HOME", home.path()).envs(settings_in(&settings)).stdout(Stdio::null());
    let mut worker = worker.stderr(Stdio::null()).spawn().unwrap();
    let said = run(forge.command(&["submit", "--wait"]).arg(forge.write("letter.pdf", LETTER)));
    assert_eq!(said.code, Some(0), "{said:?}");
    kill_process(Pid::from_child(&worker), Signal::TERM).unwrap();
    assert!(worker.wait().unwrap().success());

    // Once more, with another program and nothing else, updates it and keeps the settings.
    let before = fs::read(&settings).unwrap();
    let newer = forge.write("newer", &[&program[..], b"newer"].concat());
    let of_newer = hex::encode(Sha256::digest(fs::read(&newer).unwrap()));
    let said =
        install(script.as_ref(), &["--user", "--from", newer.to_str().unwrap(), "--sha256", &of_newer]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(fs::read(&settings).unwrap(), before);
    let installed = fs::read(home.path().join(".local/bin/blobforge")).unwrap();
    assert_eq!(hex::encode(Sha256::digest(installed)), of_newer);
    forge.stop();
}
