//! The picture of the lifecycle, drawn from the arrows that the exploration met.

use std::{collections::BTreeMap, env, fmt::Write, fs};

use blobforge_core::Status;

use crate::space::Arrow;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md");
const BEGIN: &str =
    "<!-- lifecycle: begin, written by `UPDATE_DIAGRAMS=1 cargo test --test lifecycle_model` -->\n";
const END: &str = "<!-- lifecycle: end -->\n";

/// Compares the picture in ARCHITECTURE.md with the arrows, or draws it anew with `UPDATE_DIAGRAMS=1`.
pub(crate) fn check<'a>(arrows: impl IntoIterator<Item = &'a Arrow>) {
    let arrows: Vec<Arrow> = arrows.into_iter().copied().collect();
    let drawn = format!("\n{}\n{}\n", picture(&arrows), table(&arrows));
    let text = fs::read_to_string(FILE).expect("ARCHITECTURE.md lies beside the workspace's Cargo.toml");
    let (before, rest) = text.split_once(BEGIN).expect("ARCHITECTURE.md has the begin marker");
    let (there, after) = rest.split_once(END).expect("ARCHITECTURE.md has the end marker");
    if env::var_os("UPDATE_DIAGRAMS").is_some() {
        fs::write(FILE, format!("{before}{BEGIN}{drawn}{END}{after}"))
            .expect("ARCHITECTURE.md can be written");
        return;
    }
    assert_eq!(
        there, drawn,
        "the lifecycle has changed: draw it anew with UPDATE_DIAGRAMS=1 and look whether that is what you want"
    );
}

fn picture(arrows: &[Arrow]) -> String {
    let mut steps: BTreeMap<(Status, Status), Vec<&str>> = BTreeMap::new();
    for (from, step, to) in arrows {
        steps.entry((*from, *to)).or_default().push(step);
    }
    let mut text = String::from("```mermaid\nstateDiagram-v2\n");
    text += "    [*] --> uploading: submit, file to come\n    [*] --> pending: submit\n";
    for ((from, to), steps) in steps {
        writeln!(text, "    {from} --> {to}: {}", steps.join(", ")).unwrap();
    }
    text + "    completed --> [*]\n```\n"
}

fn table(arrows: &[Arrow]) -> String {
    let mut ends: BTreeMap<(Status, &str), Vec<&str>> = BTreeMap::new();
    for (from, step, to) in arrows {
        ends.entry((*from, step)).or_default().push(to.as_str());
    }
    let mut text = String::from("| from | step | to |\n| --- | --- | --- |\n");
    for ((from, step), to) in ends {
        writeln!(text, "| {from} | {step} | {} |", to.join(" or ")).unwrap();
    }
    text
}
