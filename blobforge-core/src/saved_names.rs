//! What files are called where people save them.

use std::collections::{HashMap, HashSet};

/// How long one part of a path may be, in bytes: less than any file system takes, with room for a number.
const MAX_PART_BYTES: usize = 200;
/// The longest extension that a part which is too long keeps, in bytes.
const MAX_EXTENSION_BYTES: usize = 16;

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
    counted(names).1
}

/// The names, and how many were tried in all: thousands that are alike must not take as many times thousands.
fn counted<'a>(names: impl IntoIterator<Item = &'a str>) -> (usize, Vec<String>) {
    let safe: Vec<_> = names.into_iter().map(safe).collect();
    // A file can get a number, and folders stay what they are.
    let folders = safe.iter().flat_map(|name| name.match_indices('/').map(|(at, _)| folded(&name[..at])));
    let mut taken: HashSet<String> = folders.collect();
    let mut numbers: HashMap<String, u64> = HashMap::new();
    let mut tried = 0;
    let mut untaken = |name: String| {
        tried += 1;
        let same = folded(&name);
        if taken.insert(same.clone()) {
            return name;
        }
        let number = numbers.entry(same).or_insert(1);
        loop {
            *number += 1;
            tried += 1;
            let candidate = with_number(&name, *number);
            if taken.insert(folded(&candidate)) {
                return candidate;
            }
        }
    };
    let untaken = safe.into_iter().map(&mut untaken).collect();
    (tried, untaken)
}

/// The same for all names that some system takes for one, by way of capitals: some letters have two small forms.
fn folded(name: &str) -> String {
    name.to_uppercase().to_lowercase()
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
    if part.len() > MAX_PART_BYTES {
        part = shortened(&part);
    }
    if part.ends_with(['.', ' ']) {
        part.pop();
        part.push('_');
    }
    let stem = part.split('.').next().unwrap_or_default();
    if is_device(stem.trim_end()) {
        part.insert(stem.len(), '_');
    }
    part
}

fn shortened(part: &str) -> String {
    let (_, extension) = stem_and_extension(part);
    let extension = if extension.len() <= MAX_EXTENSION_BYTES { extension } else { "" };
    let kept = part.floor_char_boundary(MAX_PART_BYTES - extension.len());
    format!("{}{extension}", &part[..kept])
}

/// Whether Windows takes this for a device, whatever comes after a dot.
fn is_device(stem: &str) -> bool {
    let stem = stem.to_lowercase();
    let is_port = |kind: &str| {
        let mut number = stem.strip_prefix(kind).unwrap_or_default().chars();
        matches!((number.next(), number.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    };
    matches!(stem.as_str(), "con" | "prn" | "aux" | "nul" | "conin$" | "conout$")
        || is_port("com")
        || is_port("lpt")
}

/// Marks that have a name read as another one.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A number before the extension of the file.
fn with_number(name: &str, number: u64) -> String {
    let (stem, extension) = stem_and_extension(name);
    format!("{stem}-{number}{extension}")
}

/// What comes before the last dot of a path's last part, and the rest. A name that begins with its only dot has no
/// extension.
fn stem_and_extension(path: &str) -> (&str, &str) {
    let begin = path.rfind('/').map_or(0, |slash| slash + 1);
    match path[begin..].rfind('.').filter(|dot| *dot > 0) {
        Some(dot) => path.split_at(begin + dot),
        None => (path, ""),
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
    fn more_that_windows_keeps_for_devices_is_changed() {
        let names = ["com¹", "nul .b.md", "conout$", "a/Lpt².x", "lpt", "com10", "con$"];
        assert_eq!(
            saved_names(names),
            ["com¹_", "nul _.b.md", "conout$_", "a/Lpt²_.x", "lpt", "com10", "con$"]
        );
    }

    #[test]
    fn what_is_shortened_keeps_its_extension() {
        let saved = saved_names([format!("images/{}.png", "規".repeat(100)).as_str()]).remove(0);
        assert!(saved.len() < 255 && saved.ends_with("規.png"), "{saved}");
    }

    #[test]
    fn thousands_that_are_alike_take_no_time() {
        // Each letter is a bit: as many names as a job may have outputs, all of them one where case means nothing.
        let name =
            |n: usize| -> String { (0..12).map(|bit| if n >> bit & 1 == 0 { 'a' } else { 'A' }).collect() };
        let names: Vec<_> = (0..4096).map(name).collect();
        let (looked, saved) = counted(names.iter().map(String::as_str));
        assert_eq!(saved.iter().map(|name| name.to_lowercase()).collect::<HashSet<_>>().len(), 4096);
        assert!(looked < 2 * 4096, "{looked} names were tried");
    }

    #[test]
    fn different_files_get_different_names() {
        assert_eq!(saved_names(["a", "A", "a"]), ["a", "A-2", "a-3"]);
        assert_eq!(saved_names(["a", "a/b.md"]), ["a-2", "a/b.md"], "a file is no folder");
        assert_eq!(saved_names(["a/b.md", "A"]), ["a/b.md", "A-2"], "and a folder no file");
        assert_eq!(saved_names(["a/b.md", "A/B.md"]), ["a/b.md", "A/B-2.md"]);
        assert_eq!(saved_names(["a.md", "A.md", "a-2.md"]), ["a.md", "A-2.md", "a-2-2.md"]);
        assert_eq!(saved_names(["ſ", "S"]), ["ſ", "S-2"], "one file on macOS");
        let long = "x".repeat(300);
        let saved = saved_names([long.as_str(), long.as_str()]);
        assert!(saved[0] != saved[1] && saved.iter().all(|name| name.len() <= 255));
    }
}
