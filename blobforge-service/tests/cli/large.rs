//! A file that is larger than any memory, in and out of the real program.

use std::{
    io::{Seek, SeekFrom, Write},
    process::Command,
};

use super::*;

const SIZE: u64 = 5_000_000_000;
const END: &[u8] = b"and this is where it ends";

/// The most memory that a process has had so far, in MB.
fn peak_memory(process: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1000
}

fn curl(forge: &Forge, args: &[&str]) -> Vec<u8> {
    let bearer = format!("Authorization: Bearer {}", forge.token());
    let said =
        Command::new("curl").args(["--silent", "--show-error", "--fail", "-H", &bearer]).args(args).output();
    let said = said.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    said.stdout
}

/// Takes 5 GB of disk for as long as it runs, and about a minute: run by its own tier of scripts/test.
#[test]
#[ignore = "5 GB of disk, and about a minute"]
fn five_gigabytes_go_in_and_out_in_less_than_100_mb_of_memory() {
    let forge = Forge::serve(&[]);
    let path = forge.folder.path().join("scans.pdf");
    let mut file = fs::File::create(&path).unwrap();
    file.seek(SeekFrom::Start(SIZE - END.len() as u64)).unwrap();
    file.write_all(END).unwrap();
    let at_rest = peak_memory(&forge.service);
    let to = format!("{}/api/jobs/upload?type=scans&name=scans.pdf", forge.url);
    let made: serde_json::Value =
        serde_json::from_slice(&curl(&forge, &["-T", path.to_str().unwrap(), &to])).unwrap();
    let job = &made["job_id"];
    let shown = curl(&forge, &[&format!("{}/api/jobs/{job}", forge.url)]);
    let shown: serde_json::Value = serde_json::from_slice(&shown).unwrap();
    assert_eq!((&shown["status"], &shown["source_size"]), (&"pending".into(), &SIZE.into()));
    let url = curl(&forge, &[&format!("{}/api/files/{job}/source/url", forge.url)]);
    let url: serde_json::Value = serde_json::from_slice(&url).unwrap();
    let url = format!("{}{}", forge.url, url["url"].as_str().unwrap());
    let part = forge.folder.path().join("part");
    let range = format!("{}-", SIZE / 2);
    curl(&forge, &["--range", &range, "--output", part.to_str().unwrap(), &url]);
    assert_eq!(fs::metadata(&part).unwrap().len(), SIZE / 2);
    let mut end = vec![0; END.len()];
    let mut part = fs::File::open(&part).unwrap();
    part.seek(SeekFrom::End(-(END.len() as i64))).unwrap();
    std::io::Read::read_exact(&mut part, &mut end).unwrap();
    assert_eq!(end, END);
    let peak = peak_memory(&forge.service);
    println!("{SIZE} bytes in, {} out: {peak} MB of memory at most, {at_rest} MB at rest", SIZE / 2);
    assert!(peak < 100, "{peak} MB");
    forge.stop();
}
