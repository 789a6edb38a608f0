//! What the README shows of embedding is a whole program: it compiles in a crate of its own, and does what it says.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    env, fs,
    path::Path,
    process::{Command, Output},
};

/// The first block of Rust in a section of the README.
fn example(readme: &str, section: &str) -> String {
    let (_, section) = readme.split_once(&format!("\n### {section}\n")).expect("the section is there");
    let section = section.split("\n### ").next().unwrap();
    let (_, code) = section.split_once("\n```rust\n").expect("it has an example");
    code.split_once("\n```\n").expect("which ends").0.to_owned() + "\n"
}

fn cargo(folder: &Path, arguments: &[&str]) -> Output {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let mut command = Command::new(cargo);
    command.args(arguments).arg("--target-dir").arg(target).current_dir(folder);
    // Debug information is of no use here and takes much of the time.
    command.env("CARGO_PROFILE_DEV_DEBUG", "0").output().unwrap()
}

/// The numbered promises of the README: what each of them says.
fn promises(readme: &str) -> Vec<&str> {
    let (_, section) = readme.split_once("\n## What it promises\n").expect("the section is there");
    let section = section.split("\n## ").next().unwrap();
    section.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect()
}

/// Whether a file below a folder is named after a module, or lies in a folder of its name, and has this test.
fn has_test(folder: &Path, module: &str, test: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let is_of_module =
            path.components().any(|part| Path::new(part.as_os_str()).file_stem() == Some(module.as_ref()));
        if path.is_dir() {
            !path.ends_with("target") && has_test(&path, module, test)
        } else {
            is_of_module
                && path.extension().is_some_and(|extension| extension == "rs")
                && fs::read_to_string(&path).unwrap().contains(&format!("async fn {test}("))
        }
    })
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let promises = promises(&readme);
    assert!(promises.len() >= 9, "are they still numbered lines? {promises:?}");
    let crates = ["blobforge-core", "blobforge-worker-sdk", "blobforge-service"];
    for promise in promises {
        let named = promise.strip_suffix('`').and_then(|line| line.rsplit_once('`')).map(|(_, named)| named);
        let (module, test) = named.and_then(|named| named.split_once("::")).expect(promise);
        let exists = crates.iter().any(|name| has_test(&root.join(name), module, test));
        assert!(exists, "no file of a module {module:?} has the test {test:?}: {promise}");
    }
    assert!(!has_test(&root.join(crates[0]), "queue", "this_is_no_test"));
}

#[test]
fn the_embedding_example_is_a_program_that_does_what_it_says() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = core.parent().unwrap();
    // Outside of the workspace, as any crate that embeds the queue.
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!(
        "[package]\nname = \"embeds\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         blobforge-core = {{ path = {core:?} }}\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n"
    );
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("src/main.rs"), example(&readme, "Embed the queue")).unwrap();

    // Whoever built the workspace has all of it; a machine that has not may have to ask the registry.
    let mut built = cargo(folder.path(), &["build", "--quiet", "--offline"]);
    if !built.status.success() {
        built = cargo(folder.path(), &["build", "--quiet"]);
    }
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    assert!(!said.contains("warning"), "a reader who copies it would see: {said}");

    let run = cargo(folder.path(), &["run", "--quiet", "--offline"]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(String::from_utf8_lossy(&run.stdout), "job 1 completed: \"Hello, Margaret.\"\n");
    assert!(folder.path().join("jobs.db").is_file(), "and the jobs are kept where it says");
}
