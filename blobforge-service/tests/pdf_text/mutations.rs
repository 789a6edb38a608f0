//! Samples with bytes flipped, cut and moved. Whatever comes of them, it comes soon, and it is a document or an error
//! that the engine named.

use std::time::Duration;

use blobforge_service::pdf_text::{Expect, SAMPLES};
use blobforge_worker_sdk::child::{ChildError, ChildLimits};

use super::convert_within;

/// `BLOBFORGE_SEED_FROM` begins elsewhere, for campaigns.
const MUTATIONS: u64 = 200;

/// SplitMix64: enough for choosing bytes, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides.max(1) as u64) as usize
    }
}

fn mutate(pdf: &[u8], seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    let mut pdf = pdf.to_vec();
    for _ in 0..=dice.roll(8) {
        let at = dice.roll(pdf.len());
        let length = dice.roll(64).min(pdf.len() - at);
        match dice.roll(6) {
            0 => pdf[at] ^= 1 << dice.roll(8),
            1 => pdf[at] = dice.roll(256) as u8,
            2 => drop(pdf.drain(at..at + length)),
            3 => {
                let piece = pdf[at..at + length].to_vec();
                let to = dice.roll(pdf.len());
                pdf.splice(to..to, piece);
            }
            // A number elsewhere: lengths, offsets and object numbers are what parsers trust.
            4 => {
                if let Some(digit) = pdf[at..].iter().position(u8::is_ascii_digit) {
                    pdf[at + digit] = b'0' + dice.roll(10) as u8;
                }
            }
            _ => pdf.truncate(pdf.len() - dice.roll(pdf.len() / 4)),
        }
    }
    pdf
}

#[tokio::test]
async fn mutated_samples_end_with_a_document_or_a_named_error() {
    let samples: Vec<_> = SAMPLES
        .iter()
        .filter(|sample| sample.expect == Expect::Readable && sample.bytes.len() < 20_000)
        .chain(SAMPLES.iter().filter(|sample| sample.name == "encrypted.pdf"))
        .collect();
    let limits = ChildLimits { no_progress: Some(Duration::from_secs(30)), ..ChildLimits::default() };
    let (mut converted, mut refused) = (0, 0);
    let from = std::env::var("BLOBFORGE_SEED_FROM").map_or(0, |from| from.parse().unwrap());
    for seed in from..from + MUTATIONS {
        let sample = samples[seed as usize % samples.len()];
        let pdf = mutate(sample.bytes, seed);
        match convert_within(&pdf, limits.clone()).await {
            Ok(_) => converted += 1,
            Err(ChildError::Failed { kind, .. }) if kind != "engine_crash" => refused += 1,
            Err(error) => panic!("{} with seed {seed}: {error:?}", sample.name),
        }
    }
    // Mutations that all fail alike, or all do nothing, would test little.
    assert!(converted > 20 && refused > 20, "{converted} converted, {refused} refused");
}
