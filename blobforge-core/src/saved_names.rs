//! What files are called where people save them.

use std::collections::HashSet;

/// Names that mean a device on Windows, whatever comes after a dot.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
/// How long one part of a path may be, in bytes: less than any file system takes, with room for a number.
const MAX_PART_BYTES: usize = 200;

/// What files are to be called where they are saved, in the same order: relative paths that stay below their folder and
/// mean different files on every system. Whoever says the names need not be trusted; good ones stay as they are.
///
/// ```
/// use blobforge_core::saved_names;
/// assert_eq!(saved_names(["text.md", "images/p1.png"]), ["text.md", "images/p1.png"]);
/// assert_eq!(saved_names(["../../etc/passwd", "C:\\nul.txt"]), ["etc/passwd", "C_/nul_.txt"]);
/// assert_eq!(saved_names(["A.md", "a.md"]), ["A.md", "a-2.md"], "where both would be one file");
/// ```
pub fn saved_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut taken = HashSet::new();
    names.into_iter().map(|name| untaken(&mut taken, safe(name))).collect()
}

/// A path without anything that climbs, begins at a root or means something else than a file.
fn safe(name: &str) -> String {
    let parts = name.split(['/', '\\']).filter(|part| !matches!(*part, "" | "." | ".."));
    let parts: Vec<String> = parts.map(safe_part).collect();
    if parts.is_empty() { "file".to_owned() } else { parts.join("/") }
}

fn safe_part(part: &str) -> String {
    let is_bad = |c: char| c.is_control() || r#":*?"<>|"#.contains(c) || is_direction(c);
    let mut part: String = part.chars().map(|c| if is_bad(c) { '_' } else { c }).collect();
    while part.len() > MAX_PART_BYTES {
        part.pop();
    }
    if part.ends_with(['.', ' ']) {
        part.pop();
        part.push('_');
    }
    let stem = part.split('.').next().unwrap_or_default();
    let lower = stem.to_ascii_lowercase();
    let numbered = ["com", "lpt"].iter().any(|port| {
        lower.strip_prefix(port).is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
    });
    if numbered || DEVICES.contains(&lower.as_str()) {
        part.insert(stem.len(), '_');
    }
    part
}

/// Marks that have a name read as another one.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The name, with a number where another file has it already, or a folder: many systems take `A` and `a` for the same.
fn untaken(taken: &mut HashSet<String>, name: String) -> String {
    let folders = |name: &str| -> Vec<String> {
        name.match_indices('/').map(|(at, _)| name[..at].to_lowercase() + "/").collect()
    };
    let free = |taken: &HashSet<String>, name: &str| {
        let lower = name.to_lowercase();
        let is_a_folder = taken.contains(&(lower.clone() + "/"));
        let below_a_file = folders(name).iter().any(|folder| taken.contains(folder.trim_end_matches('/')));
        !taken.contains(&lower) && !is_a_folder && !below_a_file
    };
    let mut number = 1_u64;
    let mut candidate = name.clone();
    while !free(taken, &candidate) {
        number += 1;
        candidate = with_number(&name, number);
    }
    taken.insert(candidate.to_lowercase());
    taken.extend(folders(&candidate));
    candidate
}

/// A number in the first part of a path that may be changed: before the extension of the file, and in its topmost folder
/// if that is what another file is called.
fn with_number(name: &str, number: u64) -> String {
    let (folder, file) = match name.rsplit_once('/') {
        Some((folder, file)) => (format!("{folder}-{number}/"), file),
        None => (String::new(), name),
    };
    match file.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("{folder}{stem}-{number}.{extension}"),
        _ => format!("{folder}{file}-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_its_folder() {
        for name in [
            "/etc/passwd",
            "..",
            "../..",
            "a/../../b",
            "..\\..\\b",
            "C:\\b",
            "\\\\host\\share",
            "",
            ".",
            "//",
            "a\0b",
        ] {
            let saved = saved_names([name]).remove(0);
            assert!(crate::file_name(&saved).is_ok(), "{name:?} is saved as {saved:?}");
        }
    }

    #[test]
    fn good_names_stay_as_they_are() {
        let names = ["text.md", "images/p 1.png", ".hidden", "größe.md", "a/b/c/d", "console.md", "com10"];
        assert_eq!(saved_names(names), names);
    }

    #[test]
    fn names_that_mean_something_else_are_changed() {
        assert_eq!(
            saved_names(["NUL", "com1.md", "a. /b.", "x\u{202e}gnp.exe"]),
            ["NUL_", "com1_.md", "a._/b_", "x_gnp.exe"]
        );
    }

    #[test]
    fn different_files_get_different_names() {
        assert_eq!(saved_names(["a", "A", "a"]), ["a", "A-2", "a-3"]);
        assert_eq!(saved_names(["a", "a/b.md"]), ["a", "a-2/b-2.md"], "a file is no folder");
        assert_eq!(saved_names(["a/b.md", "A"]), ["a/b.md", "A-2"], "and a folder no file");
        let long = "x".repeat(300);
        let saved = saved_names([long.as_str(), long.as_str()]);
        assert!(saved[0] != saved[1] && saved.iter().all(|name| name.len() <= 255));
    }
}
