//! `blobforge backup`, and what a service that is to be copied refuses, as far as that takes no Litestream.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::{Forge, Said, blobforge, run};

/// The settings of a bucket that nobody is asked for.
const BUCKET: [(&str, &str); 3] = [
    ("BLOBFORGE_S3_ENDPOINT", "http://127.0.0.1:1"),
    ("BLOBFORGE_S3_ACCESS_KEY", "an id"),
    ("BLOBFORGE_S3_SECRET_KEY", "canary"),
];

fn backup(folder: &Path, arguments: &[&str]) -> Said {
    let database = folder.join("blobforge.db");
    run(blobforge().arg("backup").args(arguments).arg("--db-path").arg(database))
}

fn serve_replicated(folder: &Path, environment: &[(&str, &str)]) -> Said {
    let mut command = blobforge();
    command.args(["serve", "--replicate", "--port", "0", "--db-path"]).arg(folder.join("blobforge.db"));
    run(command.envs(environment.iter().copied()))
}

#[test]
fn the_configuration_of_litestream_is_printed_without_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = blobforge();
    command.args(["backup", "config", "--s3-prefix", "forge", "--litestream-sync", "30", "--db-path"]);
    let said = run(command.arg(folder.path().join("blobforge.db")).envs(BUCKET));
    assert_eq!(said.code, Some(0), "{said:?}");
    for line in ["path: \"forge/litestream/blobforge\"", "sync-interval: 30s", "retention: 604800s"] {
        assert!(said.out.contains(line), "{line} is not in\n{}", said.out);
    }
    assert!(!said.out.contains("canary") && !said.out.contains("an id"), "{}", said.out);
    let without = backup(folder.path(), &["config"]);
    assert_eq!(without.code, Some(1));
    assert!(without.err.contains("BLOBFORGE_S3_ENDPOINT"), "{}", without.err);
}

#[test]
fn a_service_that_cannot_be_copied_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let missing = [&BUCKET[..], &[("LITESTREAM_BIN", "/nowhere/litestream")]].concat();
    let encrypted = [&BUCKET[..], &[("LITESTREAM_AGE_RECIPIENT", "age1")]].concat();
    let cases: [(&[(&str, &str)], &str); 3] = [
        (&[], "takes a bucket"),
        (&encrypted, "LITESTREAM_AGE_RECIPIENT asks for copies that are encrypted with age"),
        // Asked before the bucket is: it is nearer.
        (&missing, "litestream is not there (LITESTREAM_BIN is /nowhere/litestream)"),
    ];
    for (environment, why) in cases {
        let said = serve_replicated(folder.path(), environment);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(why), "{why} is not in\n{}", said.err);
    }
    assert!(!folder.path().join("blobforge.db").exists(), "no database was begun");
}

#[test]
fn litestream_can_be_switched_off() {
    let environment = [("BLOBFORGE_REPLICATE", "true"), ("BLOBFORGE_LITESTREAM_DISABLED", "true")];
    let forge = Forge::serve_with(&[], &environment);
    assert!(forge.folder.path().join("blobforge.db").is_file());
}

#[test]
fn a_snapshot_is_taken_beside_a_service_and_comes_back_whole_or_not_at_all() {
    let forge = Forge::serve(&[]);
    let folder = forge.folder.path();
    let taken = backup(folder, &["snapshot", "--json"]);
    assert_eq!(taken.code, Some(0), "{taken:?}");
    let told: serde_json::Value = serde_json::from_str(&taken.out).unwrap();
    let at = Path::new(told["at"].as_str().unwrap()).to_owned();
    assert!(at.starts_with(folder.join("snapshots")), "{at:?}");
    let sum = fs::read_to_string(format!("{}.sha256", at.display())).unwrap();
    let name = at.file_name().unwrap().to_str().unwrap();
    assert_eq!(sum, format!("{}  {name}\n", told["sha256"].as_str().unwrap()));

    let there = backup(folder, &["restore", "--from", at.to_str().unwrap()]);
    assert_eq!(there.code, Some(1));
    assert!(there.err.contains("there is a database at"), "{}", there.err);

    let other = tempfile::tempdir().unwrap();
    let back = backup(other.path(), &["restore", "--from", at.to_str().unwrap()]);
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(back.out.contains("jobs came back from"), "{}", back.out);
    assert!(other.path().join("blobforge.db").is_file());

    // Cut off, it is not what was made.
    let whole = fs::read(&at).unwrap();
    fs::write(&at, &whole[..whole.len() / 2]).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let refused = backup(empty.path(), &["restore", "--from", at.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("its SHA-256 is"), "{}", refused.err);
    // Without its hash, SQLite says so.
    fs::remove_file(format!("{}.sha256", at.display())).unwrap();
    let refused = backup(empty.path(), &["restore", "--from", at.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("cannot be used"), "{}", refused.err);
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "nothing is left of it");
}

#[test]
fn what_came_back_without_its_admin_token_has_another_one_and_is_for_its_owner_alone() {
    let forge = Forge::serve(&[]);
    let (old, other) = (forge.token(), tempfile::tempdir().unwrap());
    let copy = other.path().join("copy.db");
    let copied = backup(forge.folder.path(), &["snapshot", "--to", copy.to_str().unwrap()]);
    assert_eq!(copied.code, Some(0), "{copied:?}");
    let back = backup(other.path(), &["restore", "--from", copy.to_str().unwrap()]);
    assert_eq!(back.code, Some(0), "{back:?}");
    let database = other.path().join("blobforge.db");
    for file in [&copy, &database, &forge.folder.path().join("blobforge.db")] {
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }

    let restored = Forge::serve_in(other, &[], &[]);
    assert_ne!(restored.token(), old, "the one that was lost with the disk");
    assert_eq!(run(&mut restored.command(&["stats"])).code, Some(0));
    // Who has put the file away had a reason.
    let kept = restored.folder.path().join("admin-token");
    let token = restored.token();
    fs::remove_file(&kept).unwrap();
    let lost = run(&mut restored.command(&["stats"]));
    assert!(lost.code == Some(1) && lost.err.contains("`blobforge tokens reset-admin`"), "{lost:?}");
    let file = restored.write("token", token.as_bytes());
    assert_eq!(run(restored.command(&["stats"]).env("BLOBFORGE_ADMIN_TOKEN", &token)).code, Some(0));
    assert_eq!(run(restored.command(&["stats"]).env("BLOBFORGE_ADMIN_TOKEN_FILE", &file)).code, Some(0));
}

#[test]
fn the_doctor_reads_through_the_database() {
    let forge = Forge::serve(&[]);
    let database = forge.folder.path().join("blobforge.db");
    let copy = forge.folder.path().join("copy.db");
    assert_eq!(backup(forge.folder.path(), &["snapshot", "--to", copy.to_str().unwrap()]).code, Some(0));
    let doctor = |path: &Path| {
        let said = run(forge.command(&["doctor", "--json", "--db-path"]).arg(path));
        let line =
            said.out.lines().find(|line| line.contains("\"database\"")).unwrap_or_else(|| panic!("{said:?}"));
        serde_json::from_str::<serde_json::Value>(line).unwrap()
    };
    assert_eq!(doctor(&database)["state"], "ok");
    // An index that nobody looks at to count the jobs.
    let look = rusqlite::Connection::open(&copy).unwrap();
    let number = |sql: &str| look.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap() as usize;
    let page = number("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs_hash'");
    let size = number("SELECT page_size FROM pragma_page_size");
    drop(look);
    let mut bytes = fs::read(&copy).unwrap();
    bytes[(page - 1) * size..page * size].fill(7);
    fs::write(&copy, &bytes).unwrap();
    let found = doctor(&copy);
    assert_eq!(found["state"], "fail", "{found}");
    assert!(found["found"].as_str().unwrap().contains("copy.db is damaged"), "{found}");
    assert!(found["remedy"].as_str().unwrap().starts_with("Stop the service"), "{found}");
}

#[test]
fn snapshots_have_names_of_their_own_and_older_ones_go() {
    let forge = Forge::serve(&[]);
    let folder = forge.folder.path();
    for _ in 0..3 {
        let taken = backup(folder, &["snapshot", "--keep", "2"]);
        assert_eq!(taken.code, Some(0), "{taken:?}");
    }
    assert_eq!(fs::read_dir(folder.join("snapshots")).unwrap().count(), 4, "two of them, each with its hash");
    let own = folder.join("mine.db");
    let to = ["snapshot", "--to", own.to_str().unwrap()];
    assert_eq!(backup(folder, &to).code, Some(0));
    let again = backup(folder, &to);
    assert!(again.code == Some(1) && again.err.contains("is there already"), "{again:?}");
    let nothing = tempfile::tempdir().unwrap();
    let refused = backup(nothing.path(), &["snapshot"]);
    assert!(refused.code == Some(1) && refused.err.contains("there is no database"), "{refused:?}");
}

#[test]
fn a_damaged_database_does_not_start_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("blobforge.db"), vec![7; 8192]).unwrap();
    let mut command = blobforge();
    command.args(["serve", "--port", "0", "--db-path"]).arg(folder.path().join("blobforge.db"));
    let said = run(&mut command);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("is not an SQLite database: move it away"), "{}", said.err);
}
