//! Where settings come from, and what is said of them.

use super::*;

/// A command that finds nothing but the environment and the files that the test gives it.
fn there(folder: &Path, args: &[&str]) -> Command {
    let mut command = blobforge();
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BLOBFORGE_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(args);
    command
}

/// What `blobforge config show --json` says of a setting: its value, and where it comes from.
fn shown(command: &mut Command, name: &str) -> (serde_json::Value, String) {
    let said = run(command);
    assert_eq!(said.code, Some(0), "{said:?}");
    let settings: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
    let setting = settings.into_iter().find(|setting| setting["name"] == name).unwrap();
    (setting["value"].clone(), setting["from"].as_str().unwrap().to_owned())
}

#[test]
fn flags_go_over_the_environment_over_a_file_over_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let show = || there(folder.path(), &["config", "show", "--json"]);
    let port = |command: &mut Command| shown(command, "BLOBFORGE_PORT");
    let from = |value: &str, from: &str| (value.into(), from.to_owned());
    assert_eq!(port(&mut show()), from("8080", "default"));
    fs::write(folder.path().join("blobforge.toml"), "port = 1001\nworker_timeout = 60\n").unwrap();
    assert_eq!(port(&mut show()), from("1001", "file ./blobforge.toml"));
    assert_eq!(shown(&mut show(), "BLOBFORGE_WORKER_TIMEOUT"), from("60", "file ./blobforge.toml"));
    assert_eq!(port(show().env("BLOBFORGE_PORT", "1002")), from("1002", "environment"));
    assert_eq!(
        port(show().env("BLOBFORGE_PORT", "")),
        from("1001", "file ./blobforge.toml"),
        "empty is unset"
    );
    assert_eq!(
        port(show().env("BLOBFORGE_PORT", "1002").args(["--port", "1003"])),
        from("1003", "command line")
    );
    // A file that is named goes instead of the one in this folder.
    fs::write(folder.path().join("other.toml"), "host = \"0.0.0.0\"\n").unwrap();
    let named = || [show(), show()];
    let [mut by_flag, mut by_environment] = named();
    by_flag.args(["--config", "other.toml"]);
    by_environment.env("BLOBFORGE_CONFIG", "other.toml");
    for command in [&mut by_flag, &mut by_environment] {
        assert_eq!(port(command), from("8080", "default"));
        assert_eq!(shown(command, "BLOBFORGE_HOST"), from("0.0.0.0", "file other.toml"));
    }
    let said = run(&mut there(folder.path(), &["config", "show"]));
    let row = said.out.lines().find(|line| line.contains("BLOBFORGE_PORT")).unwrap().to_owned();
    assert!(row.contains("1001") && row.contains("file ./blobforge.toml"), "{row}");
}

#[test]
fn a_file_is_followed_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let file = "server_url = \"ftp://forge.example\"\napi_token = \"x\"\n";
    fs::write(folder.path().join("blobforge.toml"), file).unwrap();
    let said = run(&mut there(folder.path(), &["stats"]));
    assert!(said.err.contains("ftp://forge.example"), "{said:?}");
}

#[test]
fn a_wrong_value_names_itself_its_origin_and_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blobforge.toml");
    let wrong = [
        ("PORT", "99999", "0 to 65535"),
        ("PORT", "http", "0 to 65535"),
        ("HOST", "localhost", "an IP address"),
        ("WORKER_TIMEOUT", "0", "1 to 86400"),
        ("HEARTBEAT_INTERVAL", "-5", "1 to 86400"),
        ("MAX_ATTEMPTS", "3.5", "1 to 1000"),
        ("TRUSTED_PROXIES", "10.0.0.1,proxy", "10.0.0.0/8"),
        ("WEBHOOK_ALLOW_PRIVATE", "yes", "10.0.0.0/8"),
        ("RATE_LIMIT", "-1", "0 to 100000000"),
        ("PUBLIC_URL", "forge.example", "https://forge.example.org"),
    ];
    for (name, value, allowed) in wrong {
        let variable = format!("BLOBFORGE_{name}");
        let key = name.to_lowercase();
        let flag = format!("--{}", key.replace('_', "-"));
        let by_environment = run(there(folder.path(), &["serve"]).env(&variable, value));
        let by_flag = run(&mut there(folder.path(), &["serve", &format!("{flag}={value}")]));
        fs::write(&file, format!("{key} = \"{value}\"\n")).unwrap();
        let by_file = run(&mut there(folder.path(), &["serve"]));
        fs::remove_file(&file).unwrap();
        for (said, called, origin) in [
            (by_environment, &variable, "environment"),
            (by_flag, &flag, "command line"),
            (by_file, &key, "file ./blobforge.toml"),
        ] {
            assert_eq!(said.code, Some(2), "{said:?}");
            let named =
                said.err.contains(called.as_str()) && said.err.contains(value.rsplit(',').next().unwrap());
            assert!(named && said.err.contains(origin) && said.err.contains(allowed), "{}", said.err);
            assert_eq!(said.err.lines().count(), 1, "one line: {}", said.err);
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was begun");
}

#[test]
fn a_run_window_that_is_none_is_refused_before_the_worker_starts() {
    let folder = tempfile::tempdir().unwrap();
    let by_flag = run(&mut there(folder.path(), &["worker", "--run-window", "22:00-22:00"]));
    let by_environment =
        run(there(folder.path(), &["worker"]).env("BLOBFORGE_RUN_WINDOW", "12:00-13:00,22:00-22:00"));
    for (said, called) in [(by_flag, "--run-window"), (by_environment, "BLOBFORGE_RUN_WINDOW")] {
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains(called) && said.err.contains("opens when it closes"), "{}", said.err);
    }
}

#[test]
fn a_file_with_a_mistake_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("blobforge.toml");
    for (text, named) in [
        ("prot = 8080\n", "prot"),
        ("[server]\nport = 8080\n", "server"),
        ("port = \n", "line 1"),
        ("admin_token = \"a secret that is not closed\n", "line 1"),
        ("host = [1, {}]\n", "host"),
    ] {
        fs::write(&file, text).unwrap();
        let said = run(&mut there(folder.path(), &["serve"]));
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains("blobforge.toml") && said.err.contains(named), "{}", said.err);
        assert!(!said.err.contains("secret that"), "secrets stay secret: {}", said.err);
    }
    fs::remove_file(&file).unwrap();
    let said = run(&mut there(folder.path(), &["serve", "--config", "missing.toml"]));
    assert!(said.err.contains("missing.toml"), "{}", said.err);
}

#[test]
fn secrets_are_masked_and_can_lie_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let canary = "canary-canary-canary-canary-canary";
    let show = || there(folder.path(), &["config", "show"]);
    for more in [&[][..], &["--json"]] {
        let said = run(show().args(more).env("BLOBFORGE_ADMIN_TOKEN", canary));
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out.contains("BLOBFORGE_ADMIN_TOKEN") && !said.out.contains("canary"), "{}", said.out);
    }
    // Too short to be one, and still nobody's business.
    let said = run(there(folder.path(), &["serve"]).env("BLOBFORGE_ADMIN_TOKEN", "short canary"));
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("BLOBFORGE_ADMIN_TOKEN") && said.err.contains("32"), "{}", said.err);
    assert!(!said.err.contains("canary"), "{}", said.err);
    fs::write(folder.path().join("token"), canary).unwrap();
    let both = [("BLOBFORGE_ADMIN_TOKEN", canary), ("BLOBFORGE_ADMIN_TOKEN_FILE", "token")];
    let said = run(there(folder.path(), &["serve", "--port", "0"]).envs(both));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("BLOBFORGE_ADMIN_TOKEN_FILE") && said.err.contains("either"), "{}", said.err);
    let forge = Forge::serve(&["--admin-token", canary]);
    fs::write(forge.folder.path().join("token"), format!("{canary}\n")).unwrap();
    let mut stats = there(forge.folder.path(), &["stats", "--server", &forge.url]);
    let said = run(stats.env("BLOBFORGE_API_TOKEN_FILE", "token"));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!forge.folder.path().join("admin-token").exists(), "none has to be made");
    forge.stop();
}

#[test]
fn a_provider_that_would_let_everybody_in_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = there(folder.path(), &["serve"]);
    serve
        .env("BLOBFORGE_OIDC_ISSUER", "https://accounts.google.com")
        .env("BLOBFORGE_OIDC_CLIENT_ID", "forge");
    serve.env("BLOBFORGE_OIDC_CLIENT_SECRET", "canary");
    let said = run(serve.env("BLOBFORGE_OIDC_REDIRECT_URL", "http://localhost:8080/auth/callback"));
    assert_eq!(said.code, Some(1), "{said:?}");
    let first = said.err.lines().next().unwrap();
    assert!(first.contains("BLOBFORGE_OIDC_ALLOWED_USERS"), "{}", said.err);
    assert!(!said.err.contains("canary"), "{}", said.err);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was begun");
    // Half a setting is no setting.
    let said = run(there(folder.path(), &["serve"]).env("BLOBFORGE_OIDC_CLIENT_ID", "forge"));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("BLOBFORGE_OIDC_ISSUER"), "{}", said.err);
    fs::write(folder.path().join("blobforge.toml"), "oidc_client_secret = \"canary\"\n").unwrap();
    let shown = run(&mut there(folder.path(), &["config", "show"]));
    assert!(shown.out.contains("BLOBFORGE_OIDC_CLIENT_SECRET"), "{}", shown.out);
    assert!(!shown.out.contains("canary"), "{}", shown.out);
}
