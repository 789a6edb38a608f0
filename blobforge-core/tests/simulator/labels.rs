//! What workers offer, and what jobs ask for.

use blobforge_core::Requirement;
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Map, Value, json};

/// What there is to ask for, all of which the first worker has.
const ASKED_FOR: [&str; 5] = ["gpu", "vram_gb >= 8", "vram_gb >= 24", "engine = marker", "zone != eu"];

/// The labels of a worker that can do everything.
pub(crate) fn all() -> Map<String, Value> {
    map(json!({"gpu": true, "vram_gb": 48, "engine": ["marker", "docling"], "zone": "us"}))
}

/// The labels of some worker.
pub(crate) fn some(rng: &mut StdRng) -> Map<String, Value> {
    let mut labels = Map::new();
    if rng.random_bool(0.6) {
        labels.insert("gpu".to_owned(), json!(rng.random_bool(0.9)));
        labels.insert("vram_gb".to_owned(), json!([4, 8, 24].choose(rng).unwrap()));
    }
    if rng.random_bool(0.5) {
        labels.insert("engine".to_owned(), json!(["marker", "docling"].choose(rng).unwrap()));
    }
    if rng.random_bool(0.5) {
        labels.insert("zone".to_owned(), json!(["eu", "us"].choose(rng).unwrap()));
    }
    labels
}

/// What some job asks for.
pub(crate) fn asked_for(rng: &mut StdRng) -> Requirement {
    ASKED_FOR.choose(rng).unwrap().parse().unwrap()
}

fn map(labels: Value) -> Map<String, Value> {
    labels.as_object().cloned().unwrap()
}
