//! A program that tests have in the place of `nvidia-smi`.
#![allow(clippy::unwrap_used)]

use std::{path::Path, process::Command};

/// Puts a program called `nvidia-smi` into a folder.
pub(crate) fn put_smi(folder: &Path, script: &str) {
    // Written by a process of its own: while this one had it open, a child of another test would too, and a program that
    // somebody may write to cannot be run.
    let write = "printf '#!/bin/sh\n%s' \"$2\" > \"$1/draft\" && chmod +x \"$1/draft\" && mv \"$1/draft\" \"$1/nvidia-smi\"";
    let written = Command::new("sh").args(["-c", write, "sh"]).arg(folder).arg(script).status().unwrap();
    assert!(written.success());
}
