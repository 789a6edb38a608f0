//! The vision model's server, which the worker starts when it is needed, and the engine without any model.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use serde_json::json;

use super::{Bench, engine_folder, paper, processes_with, python, test_file};

/// Before the others: it makes the Python environment, if there is none yet, as it would for a user.
#[test]
#[ignore = "needs marker-pdf: scripts/marker"]
fn a_file_is_converted_without_service_and_models() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
    command.args(["worker", "--engine", "marker", "--once"]);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/samples/letter.pdf"));
    command.args(["--params", r#"{"mode": "no-ocr", "force_layout_block": "Text"}"#, "--out", "out"]);
    command.env("BLOBFORGE_MARKER_DIR", engine_folder()).current_dir(folder.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
    let document = fs::read_to_string(folder.path().join("out/document.md")).unwrap();
    assert!(document.contains("We light the fire at five"), "{document}");
    assert!(python().exists());
}

/// A program called `llama-server` that is the stand-in.
fn llama_server(bench: &Bench) -> String {
    let folder = bench.forge.path("bin");
    fs::create_dir(&folder).unwrap();
    let program = folder.join("llama-server");
    let script =
        format!("#!/bin/sh\nexec '{}' '{}' \"$@\"\n", python().display(), test_file("stand_in.py").display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs marker-pdf: scripts/marker"]
async fn the_vision_model_runs_while_it_is_needed_and_ends_with_its_worker() {
    let bench = Bench::new().await;
    let path = llama_server(&bench);
    let start = |id: &str| {
        bench.worker_with(id, &["--server-idle", "2"], |command| {
            command.env("PATH", &path).env("SURYA_GGUF_LOCAL_MODEL_PATH", "/weights/of-this-test.gguf");
            command.env("SURYA_GGUF_LOCAL_MMPROJ_PATH", "/weights/projector.gguf");
        })
    };
    let mut worker = start("a");
    let servers = || processes_with("of-this-test.gguf");

    let text = bench.submit("text.pdf", &paper::book(2), json!({})).await;
    bench.completed(text).await;
    assert_eq!(servers(), Vec::<i32>::new(), "pages with text need none");

    let scan = bench.submit("scan.pdf", &paper::scan(2), json!({})).await;
    assert!(bench.document(scan).await.contains("of scan "));
    let job = bench.completed(scan).await;
    assert_eq!((&job["attempts"], &job["result"]["model_errors"]), (&json!(1), &json!(0)), "{job:#}");
    bench
        .forge
        .eventually("it stops when nobody needs it", async || servers().is_empty().then_some(()))
        .await;

    bench.models.trick("infer", "hang").await;
    let stuck = bench.submit("stuck.pdf", &paper::scan(3), json!({"force_ocr": true})).await;
    bench.forge.eventually("it runs again", async || (servers().len() == 1).then_some(())).await;
    worker.kill();
    bench.forge.eventually("it ends with its worker", async || servers().is_empty().then_some(())).await;

    bench.models.trick("infer", "ok").await;
    let _next = start("b");
    assert!(bench.document(stuck).await.contains("of scan "));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs marker-pdf: scripts/marker"]
async fn a_worker_that_needs_the_vision_model_and_has_none_does_not_start() {
    let bench = Bench::new().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_blobforge"));
    command.args(["worker", "--engine", "marker", "--mode", "balanced", "--server", &bench.forge.url()]);
    command.env("BLOBFORGE_API_TOKEN", bench.forge.token()).env("BLOBFORGE_MARKER_DIR", engine_folder());
    command.env("LLAMA_CPP_BINARY", "no-such-llama-server");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--vlm-url") && said.contains("no-ocr"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs marker-pdf: scripts/marker"]
async fn a_page_that_needs_a_model_which_is_not_there_holds_up_nobody_else() {
    let bench = Bench::new().await;
    let _worker = bench.worker_with("a", &["--mode", "fast"], |command| {
        command.env("LLAMA_CPP_BINARY", "no-such-llama-server").env_remove("SURYA_INFERENCE_URL");
    });
    let scan = bench.submit("scan.pdf", &paper::scan(1), json!({})).await;
    let balanced = bench.submit("balanced.pdf", &paper::book(1), json!({"mode": "balanced"})).await;
    let text = bench.submit("text.pdf", &paper::book(2), json!({})).await;
    bench.completed(text).await;
    for job in [scan, balanced] {
        let ended = bench.ended(job).await;
        assert_eq!(
            (&ended["status"], &ended["last_error"]["kind"]),
            (&json!("failed"), &json!("model_server"))
        );
        assert!(ended["last_error"]["message"].as_str().unwrap().contains("--vlm-url"), "{ended:#}");
    }
}
