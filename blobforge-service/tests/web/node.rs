//! Scripts that run in Node.js.

use std::{path::PathBuf, process::Command};

fn installed(name: &str) -> PathBuf {
    std::env::var_os(name).expect("scripts/web says where it has put what it installed").into()
}

/// A script of these tests, where it finds what it imports; it is told where the browser is.
pub(crate) fn script(name: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(installed("BLOBFORGE_TEST_WEB").join(name)).env("BROWSER", installed("BLOBFORGE_TEST_BROWSER"));
    node
}

/// Runs a script to its end, and shows what it said where it fails.
pub(crate) fn run(mut script: Command) {
    let ended = script.output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{script:?}\n{said}\n{complained}");
    print!("{said}");
}
