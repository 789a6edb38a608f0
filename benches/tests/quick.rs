//! Too little is measured here to judge by, but both sides of each comparison must come to the same state.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Command;

#[test]
fn both_sides_of_the_benchmark_come_to_the_same_state() {
    let run = Command::new(env!("CARGO_BIN_EXE_blobforge-benches")).arg("--quick").output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("the queue reaches"), "it says what came of it: {said}");
}
