//! What a process group uses: memory, and room in its folders.

use std::fs;
use std::path::{Path, PathBuf};

/// More files than this count as too much output whatever their size: each costs the disk a block and the reader time.
const FILES_MAX: usize = 100_000;

/// The folders that a child writes to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folders {
    pub(crate) output: PathBuf,
    pub(crate) scratch: Vec<PathBuf>,
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) memory_bytes: u64,
    pub(super) output_bytes: u64,
    pub(super) scratch_bytes: u64,
}

/// Measures now. What cannot be read counts as nothing: processes end and files go while we look.
pub(super) fn sample(group: i32, folders: &Folders) -> Usage {
    Usage {
        memory_bytes: group_memory(group),
        output_bytes: folder_size(&folders.output),
        scratch_bytes: folders.scratch.iter().map(|folder| folder_size(folder)).fold(0, u64::saturating_add),
    }
}

/// How many processes the kernel has killed for lack of memory since it started, where it says so.
pub(super) fn oom_kills() -> Option<u64> {
    let counters = fs::read_to_string("/proc/vmstat").ok()?;
    counters.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Resident memory of all processes of a group. Pages that they share count for each.
fn group_memory(group: i32) -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let page = rustix::param::page_size() as u64;
    processes
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit))
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter_map(|stat| resident_pages(&stat, group))
        .map(|pages| pages.saturating_mul(page))
        .sum()
}

/// The resident pages in a line of /proc/*/stat, if the process is of this group.
fn resident_pages(stat: &str, group: i32) -> Option<u64> {
    // The second field is the program's name in parentheses and may hold anything, so count from its end.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let process_group: i32 = fields.nth(2)?.parse().ok()?;
    if process_group != group {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The size of all files below a folder; links are not followed.
fn folder_size(folder: &Path) -> u64 {
    let mut bytes = 0_u64;
    let mut files = 0;
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            files += 1;
            if files > FILES_MAX {
                return u64::MAX;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => bytes = bytes.saturating_add(metadata.len()),
                Err(_) => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_pages_are_found_behind_any_program_name() {
        let stat = "7 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 99 8192 123 1844 1 1 0";
        assert_eq!(resident_pages(stat, 42), Some(123));
        assert_eq!(resident_pages(stat, 43), None);
        assert_eq!(resident_pages("nonsense", 42), None);
    }

    #[test]
    fn this_process_has_memory() {
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        assert!(group_memory(group) > 100_000);
    }

    #[test]
    fn a_folder_is_measured_with_the_folders_in_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        fs::write(folder.path().join("a"), [0; 10]).unwrap();
        fs::write(folder.path().join("images/b"), [0; 5]).unwrap();
        assert_eq!(folder_size(folder.path()), 15);
        assert_eq!(folder_size(Path::new("/nonexistent")), 0);
    }
}
