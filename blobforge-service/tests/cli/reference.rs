//! What docs/ says of settings, commands and errors is what the code says, and its links lead somewhere. `UPDATE_DOCS=1 cargo
//! test --test cli -- reference` writes the generated parts anew.

use std::{collections::BTreeSet, fmt::Write as _};

use blobforge_service::ServeArgs;
use clap::{Arg, ArgAction, Command as Clap, CommandFactory};

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compares the generated part of a document with what it should be, or writes it.
fn generated(document: &str, part: &str, text: &str) {
    let path = root().join(document);
    let whole = fs::read_to_string(&path).unwrap();
    let (begin, end) = (
        format!("<!-- {part}: begin, written by `UPDATE_DOCS=1 cargo test --test cli -- reference` -->\n\n"),
        format!("\n<!-- {part}: end -->"),
    );
    let (before, rest) =
        whole.split_once(&begin).unwrap_or_else(|| panic!("{document} has no place for {part}"));
    let (there, after) = rest.split_once(&end).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, [before, &begin, text, &end, after].concat()).unwrap();
        return;
    }
    assert_eq!(there, text, "{document} is not what the code says: UPDATE_DOCS=1 writes it anew");
}

/// What is said of an argument, in one line of a table.
fn help(arg: &Arg) -> String {
    let said = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values = arg.get_possible_values();
    let names: Vec<_> = values
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let is_flag =
        matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Count) || names == ["`true`", "`false`"];
    let one_of =
        if is_flag || names.is_empty() { String::new() } else { format!(" One of {}.", names.join(", ")) };
    let end = if said.ends_with('.') || said.is_empty() { "" } else { "." };
    format!("{said}{end}{one_of}").replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn default(arg: &Arg) -> String {
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
    if values.is_empty() || is_flag || values == [""] {
        String::new()
    } else {
        format!("`{}`", values.join(","))
    }
}

fn variable(arg: &Arg) -> Option<String> {
    Some(arg.get_env()?.to_string_lossy().into_owned())
}

fn settings_table(args: &[&Arg]) -> String {
    let mut text = "| variable | flag | default | |\n|---|---|---|---|\n".to_owned();
    for arg in args {
        let (name, flag) = (variable(arg).unwrap(), arg.get_long().unwrap());
        writeln!(text, "| `{name}` | `--{flag}` | {} | {} |", default(arg), help(arg)).unwrap();
    }
    text
}

fn command(name: &str) -> Clap {
    let mut all = blobforge_service::cli::command();
    all.build();
    all.find_subcommand(name).unwrap().clone()
}

#[test]
fn the_configuration_reference_is_what_the_program_takes() {
    let serve = command("serve");
    let of_service: Vec<_> = serve.get_arguments().filter(|arg| arg.get_env().is_some()).collect();
    let (every, of_service): (Vec<_>, Vec<_>) =
        of_service.into_iter().partition(|arg| arg.get_id() == "config");
    assert!(of_service.len() > 30 && every.len() == 1, "{of_service:?}");
    generated("docs/configuration.md", "settings of the service", &settings_table(&of_service));
    let worker = command("worker");
    let of_worker = worker.get_arguments().filter(|arg| arg.get_env().is_some() && arg.get_id() != "config");
    // Where its service is, is told with the other commands.
    let (of_connection, of_worker): (Vec<_>, Vec<_>) =
        of_worker.partition(|arg| arg.get_help_heading() == Some(WHICH_SERVICE) && !arg.is_hide_set());
    let of_worker: Vec<_> = of_worker.into_iter().filter(|arg| !arg.is_hide_set()).collect();
    generated("docs/configuration.md", "settings of a worker", &settings_table(&of_worker));
    let of_all: Vec<_> = every.into_iter().chain(of_connection).collect();
    generated("docs/configuration.md", "settings of every command", &settings_table(&of_all));
}

const WHICH_SERVICE: &str = "Which service";

/// The part of the reference for a command and all below it.
fn chapter(text: &mut String, command: &Clap, name: &str, of_serve: &BTreeSet<String>) {
    writeln!(text, "## {name}\n").unwrap();
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string);
    writeln!(text, "{}\n", about.unwrap_or_default()).unwrap();
    let below: Vec<_> = command.get_subcommands().filter(|one| one.get_name() != "help").collect();
    if below.is_empty() {
        let mut of_usage = command.clone();
        let usage = of_usage.render_usage().to_string().replace("Usage: ", "");
        writeln!(text, "```text\n{}\n```\n", usage.trim()).unwrap();
    }
    let id = |arg: &Arg| arg.get_id().to_string();
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let args: Vec<_> =
        shown.filter(|arg| !["help", "version", "config"].contains(&id(arg).as_str())).collect();
    let has_settings = of_serve.iter().all(|name| command.get_arguments().any(|arg| id(arg) == *name));
    let connects = args.iter().any(|arg| arg.get_help_heading() == Some(WHICH_SERVICE));
    let is_told_elsewhere = |arg: &Arg| {
        (has_settings && of_serve.contains(&id(arg)) && arg.get_env().is_some())
            || arg.get_help_heading() == Some(WHICH_SERVICE)
    };
    let own: Vec<_> = args.into_iter().filter(|arg| !is_told_elsewhere(arg)).collect();
    if !own.is_empty() {
        text.push_str("| | default | |\n|---|---|---|\n");
        for arg in own {
            writeln!(text, "| `{}` | {} | {} |", shape(arg), default(arg), help(arg)).unwrap();
        }
        text.push('\n');
    }
    if has_settings {
        text.push_str("It also takes the [settings of the service](configuration.md#the-service).\n\n");
    }
    if connects {
        text.push_str("It also takes [which service is meant](configuration.md#every-command).\n\n");
    }
    if let Some(more) =
        command.get_after_long_help().or(command.get_after_help()).filter(|_| name != "blobforge")
    {
        writeln!(text, "```text\n{more}\n```\n").unwrap();
    }
    for one in below {
        chapter(text, one, &format!("{name} {}", one.get_name()), of_serve);
    }
}

/// How an argument is written on a command line.
fn shape(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    let value = names.iter().map(|name| format!("<{name}>")).collect::<Vec<_>>().join(" ");
    let takes = arg.get_action().takes_values();
    let Some(long) = arg.get_long() else {
        return if arg.is_required_set() { value } else { format!("[{}]", value.trim_matches(['<', '>'])) };
    };
    let short = arg.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    if takes { format!("{short}--{long} {value}") } else { format!("{short}--{long}") }
}

#[test]
fn the_command_reference_is_what_the_program_takes() {
    let mut all = blobforge_service::cli::command();
    all.build();
    let of_serve = ServeArgs::command().get_arguments().map(|arg| arg.get_id().to_string()).collect();
    let mut text = String::new();
    for one in all.get_subcommands().filter(|one| one.get_name() != "help") {
        chapter(&mut text, one, &format!("blobforge {}", one.get_name()), &of_serve);
    }
    assert!(text.matches("\n## ").count() > 40, "{text}");
    generated("docs/cli.md", "commands", text.trim_end_matches('\n').to_owned().as_str());
}

/// The Rust sources below a folder.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let files = walk(folder).into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    files.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

/// The text that a literal at the beginning has, if one begins there.
fn literal(text: &str) -> Option<&str> {
    let text = text.strip_prefix('"')?;
    let end = text.find('"')?;
    Some(&text[..end])
}

/// The codes that problems of the API have, as the sources write them.
fn codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for (path, text) in sources(&root().join("blobforge-service/src")) {
        let text = text.split("#[cfg(test)]").next().unwrap();
        let is_home = path.ends_with("src/problem.rs");
        let callers: &[&str] = if is_home { &["Problem::", "Self::"] } else { &["Problem::"] };
        for caller in callers {
            for (at, _) in text.match_indices(caller) {
                let call = &text[at + caller.len()..];
                let Some((name, said)) = call.split_once('(') else { continue };
                let said = match name {
                    "bad_request" | "conflict" | "not_found" | "forbidden" => said,
                    // Its first argument is the status.
                    "new" => said.split_once(',').map_or("", |(_, said)| said),
                    _ => continue,
                };
                codes.extend(literal(said.trim_start()).map(str::to_owned));
            }
        }
        if is_home {
            // Where one of several is chosen.
            codes.extend(text.split("=> ").skip(1).filter_map(literal).map(str::to_owned));
        }
    }
    let refusals = fs::read_to_string(root().join("blobforge-core/src/storage/command.rs")).unwrap();
    let (_, kinds) = refusals.split_once("pub fn kind(&self) -> &'static str {").unwrap();
    let (kinds, _) = kinds.split_once("\n    }\n").unwrap();
    codes.extend(kinds.split("=> ").skip(1).filter_map(literal).map(str::to_owned));
    codes
}

#[test]
fn every_error_code_is_explained_and_no_other() {
    let document = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let (_, table) = document.split_once("\n## Error codes of the API\n").unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows: Vec<_> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let told: BTreeSet<String> = rows.iter().map(|code| (*code).to_owned()).collect();
    assert_eq!(rows.len(), told.len(), "each stands there once");
    let real = codes();
    for certain in
        ["lease_lost", "unauthenticated", "disk_full", "url_expired", "worker_id_in_use", "bad_request"]
    {
        assert!(real.contains(certain), "the check no longer sees {certain}: {real:?}");
    }
    let missing: Vec<_> = real.difference(&told).collect();
    let gone: Vec<_> = told.difference(&real).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not explained: {missing:?}; not there any more: {gone:?}"
    );
}

/// What a heading is called in a link to it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().replace('`', "").to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The lines of a document that are no code.
fn prose(text: &str) -> Vec<&str> {
    let mut in_code = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            lines.push(line);
        }
    }
    lines
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut documents: Vec<_> = walk(&root().join("docs"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    documents.extend(
        ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(|name| root().join(name)),
    );
    let (mut seen, mut broken) = (BTreeSet::new(), Vec::new());
    let mut checked = 0;
    for document in &documents {
        let text = fs::read_to_string(document).unwrap();
        for target in prose(&text).join("\n").split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            checked += 1;
            let (file, part) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { document.clone() } else { document.with_file_name(file) };
            let is_there = path.exists()
                && (part.is_empty()
                    || prose(&fs::read_to_string(&path).unwrap())
                        .iter()
                        .any(|line| line.starts_with('#') && anchor(line) == part));
            if !is_there {
                broken.push(format!("{}: {target}", document.display()));
            }
            seen.insert(path.canonicalize().unwrap_or(path));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(checked > 50, "the check does not see the links any more: {checked}");
    let lost: Vec<_> = documents
        .iter()
        .filter(|document| document.starts_with(root().join("docs")) && !document.ends_with("docs/README.md"))
        .filter(|document| !seen.contains(&document.canonicalize().unwrap()))
        .collect();
    assert!(lost.is_empty(), "nothing leads to {lost:?}");
}

/// The blocks of Rust in a document, each with the lines before it.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let mut parts = text.split("\n```rust\n");
    let mut before = parts.next().unwrap();
    let mut found = Vec::new();
    for part in parts {
        let (code, after) = part.split_once("\n```\n").unwrap();
        found.push((before, code));
        before = after;
    }
    found
}

fn without_indents(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_code_of_the_documents_stands_in_the_examples() {
    let mut checked = 0;
    for name in ["docs/embed.md", "docs/workers.md"] {
        let text = fs::read_to_string(root().join(name)).unwrap();
        for (before, code) in blocks(&text) {
            let paragraph = before.trim_end().rsplit("\n\n").next().unwrap();
            let example =
                paragraph.rsplit_once("](../examples/").unwrap_or_else(|| panic!("{name}: {paragraph}")).1;
            let example = example.split(')').next().unwrap();
            let whole = fs::read_to_string(root().join("examples").join(example)).unwrap();
            assert!(
                without_indents(&whole).contains(&without_indents(code)),
                "{name} shows what {example} has not:\n{code}"
            );
            checked += 1;
        }
    }
    assert!(checked >= 6, "the check does not see the code any more: {checked}");
}
