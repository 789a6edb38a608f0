#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use super::*;

const TWO: &str = "\
0, GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77, NVIDIA H100 80GB HBM3, 97, 71234, 81559, 64
1, GPU-c1b9a7c1-94b5-4f6e-8a3e-0b7f0e3b5d11, NVIDIA GeForce GT 710, [N/A], 243, 2048, 41
";

fn cards(text: &str) -> Listing {
    card_lines(text)
}

#[test]
fn cards_tell_what_they_can_and_the_rest_is_left_out() {
    let Listing { cards, complaint } = cards(TWO);
    assert_eq!(complaint, None);
    let busy = &cards[0].gauges;
    assert_eq!((busy.name.as_str(), busy.use_percent), ("NVIDIA H100 80GB HBM3", Some(97.0)));
    let memory = (busy.memory_used_bytes, busy.memory_total_bytes);
    assert_eq!(memory, (Some(71_234 << 20), Some(81_559 << 20)));
    assert_eq!(busy.temperature_celsius, Some(64.0));
    assert_eq!((cards[1].gauges.use_percent, cards[1].gauges.temperature_celsius), (None, Some(41.0)));
    let silent = card_lines(
        "0, GPU-1, A, B and C, [Not Supported], [N/A], [Unknown Error], [Insufficient Permissions]",
    );
    let silent = &silent.cards[0].gauges;
    assert_eq!(*silent, GpuGauges { name: "A, B and C".to_owned(), ..GpuGauges::default() });
}

#[test]
fn lines_that_are_no_card_are_what_it_complains_of() {
    let failed = "Unable to determine the device handle for GPU0000:01:00.0: Unknown Error";
    let listing = cards(&format!("{failed}\n{}", TWO.lines().next().unwrap()));
    assert_eq!((listing.cards.len(), listing.complaint.as_deref()), (1, Some(failed)));
    let lost = "0, GPU-1, NVIDIA H100, [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost]";
    assert_eq!(cards(lost).cards, []);
    assert_eq!(cards("").complaint, None);
    assert_eq!(cards("No devices were found\n").cards, []);
    assert_eq!(cards(&"0, GPU-1, NVIDIA H100, 1, 1, 1, 1\n".repeat(100)).cards.len(), 64);
}

#[test]
fn a_card_that_was_there_at_the_start_is_missed_until_it_is_back() {
    let mut watch = Watch::default();
    assert_eq!(watch.judge(Ok(&cards(TWO))), None);
    let one = cards(TWO.lines().next().unwrap());
    let trouble = watch.judge(Ok(&one)).unwrap();
    assert_eq!(
        trouble,
        "GPU 1 (NVIDIA GeForce GT 710) is gone: nvidia-smi lists 1 of 2 GPUs; nothing is claimed until it is back"
    );
    assert_eq!(watch.judge(Err(&"it hangs".to_owned())), Some(trouble), "that says nothing new");
    // The other one may get its place.
    let other = cards(&TWO.lines().nth(1).unwrap().replacen('1', "0", 1));
    assert!(watch.judge(Ok(&other)).unwrap().starts_with("GPU 0 (NVIDIA H100 80GB HBM3) is gone: "));
    assert_eq!(watch.judge(Ok(&cards(TWO))), None);
    let more = cards(&format!("{TWO}2, GPU-9, NVIDIA H100, 0, 0, 1, 30"));
    assert_eq!(watch.judge(Ok(&more)), None);
}

#[test]
fn three_failures_in_a_row_mean_that_the_cards_are_gone() {
    let mut watch = Watch::default();
    let broken = "NVIDIA-SMI has failed".to_owned();
    for _ in 0..5 {
        assert_eq!(watch.judge(Err(&broken)), None, "there never was one");
    }
    assert_eq!(watch.judge(Ok(&cards(TWO))), None);
    for failures in [2, 2] {
        for _ in 0..failures {
            assert_eq!(watch.judge(Err(&broken)), None);
        }
        assert_eq!(watch.judge(Ok(&cards(TWO))), None);
    }
    let last = [(); 3].map(|()| watch.judge(Err(&broken)));
    let trouble = last[2].as_deref().unwrap();
    assert!(
        last[1].is_none()
            && trouble.ends_with("are gone: NVIDIA-SMI has failed; nothing is claimed until they are back")
    );
    assert!(
        trouble.starts_with("GPU 0 (NVIDIA H100 80GB HBM3), GPU 1 (NVIDIA GeForce GT 710) are"),
        "{trouble}"
    );
    assert_eq!(watch.judge(Ok(&cards(TWO))), None);
}

#[test]
fn the_program_is_looked_for_in_every_folder() {
    let folder = tempfile::tempdir().unwrap();
    let folders = env::join_paths([Path::new("/no/such/folder"), folder.path()]).unwrap();
    assert!(Cards::found_in(Some(&folders)).is_none() && Cards::found_in(None).is_none());
    std::fs::write(folder.path().join("nvidia-smi"), "").unwrap();
    assert!(Cards::found_in(Some(&folders)).is_some());
}
