//! What every command says of itself and of what it does not understand, letter by letter: `TRYCMD=overwrite cargo test
//! --test cli -- help` writes it down anew.

use std::{collections::BTreeSet, path::Path};

/// The commands below one, each with its whole name.
fn below(command: &clap::Command, name: &str) -> Vec<String> {
    let mut all = vec![name.to_owned()];
    for one in command.get_subcommands() {
        all.extend(below(one, &format!("{name} {}", one.get_name())));
    }
    all
}

#[test]
fn every_command_says_what_it_is_for() {
    let folder = Path::new("tests/cli/help");
    let commands = below(&blobforge_service::cli::command(), "blobforge");
    assert!(commands.len() > 40, "{commands:?}");
    let wanted: BTreeSet<_> = commands.iter().map(|command| format!("$ {command} --help")).collect();
    if std::env::var_os("TRYCMD").is_some() {
        let sections: Vec<_> = wanted.iter().map(|line| format!("```console\n{line}\n\n```\n")).collect();
        std::fs::write(folder.join("commands.trycmd"), sections.join("\n")).unwrap();
    }
    let text = std::fs::read_to_string(folder.join("commands.trycmd")).unwrap();
    let told = text.lines().filter(|line| line.starts_with("$ ")).map(str::to_owned).collect();
    assert_eq!(wanted, told, "each command is shown once, and no other");
    let cases = trycmd::TestCases::new();
    let mut set = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    // An empty variable is none, but is shown.
    assert_eq!(set.find(|name| is_setting(name)), None, "unset it for this test");
    cases.env("XDG_CONFIG_HOME", "/nonexistent").env("HOME", "/nonexistent").env("NO_COLOR", "1");
    cases.case("tests/cli/help/*.trycmd");
}

fn is_setting(name: &str) -> bool {
    name.starts_with("BLOBFORGE_") || name.starts_with("S3_")
}
