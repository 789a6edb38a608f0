//! What people send, and what comes out.

use std::process::Command;

use serde_json::json;

use super::{Bench, memory_kib, paper, python, test_file};

const LETTER: &[u8] = include_bytes!("../../samples/letter.pdf");
const TABLES: &[u8] = include_bytes!("../../samples/tables.pdf");
const ENCRYPTED: &[u8] = include_bytes!("../../samples/encrypted.pdf");
const DAMAGED: &[u8] = include_bytes!("../../samples/damaged.pdf");

/// How much memory a runner may have had at any time, in KiB. With its libraries alone it has a third of that.
const RUNNER_CEILING_KIB: u64 = 3 << 20;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs marker-pdf: scripts/marker"]
async fn what_people_send_comes_out_as_documents_and_the_rest_is_refused_by_name() {
    let bench = Bench::new().await;
    let _worker = bench.worker("a", &[]);

    let tables = bench.submit("tables.pdf", TABLES, json!({})).await;
    let book = bench.submit("book.pdf", &paper::book(3), json!({})).await;
    let scan = bench.submit("scan.pdf", &paper::scan(2), json!({})).await;
    let some = bench
        .submit("some.pdf", &paper::book(5), json!({"page_range": "1,3-4", "paginate_output": true}))
        .await;
    let html =
        bench.submit("html.pdf", &paper::book(2), json!({"output_format": "html", "mode": "balanced"})).await;
    let chunks = bench.submit("chunks.pdf", &paper::book(1), json!({"output_format": "chunks"})).await;
    let refused = [
        (bench.submit("locked.pdf", ENCRYPTED, json!({})).await, "encrypted", "password"),
        (bench.submit("damaged.pdf", DAMAGED, json!({})).await, "bad_input", "no PDF"),
        (bench.submit("hello.pdf", b"hello", json!({})).await, "bad_input", "no PDF"),
        (bench.submit("l1.pdf", LETTER, json!({"llm_service": "x"})).await, "invalid_params", "llm_service"),
        (bench.submit("l2.pdf", LETTER, json!({"page_range": "7"})).await, "invalid_params", "page 7"),
    ];

    let document = bench.document(tables).await;
    assert!(document.contains("| January  | 412   |"), "the table is one: {document}");

    let document = bench.document(book).await;
    for wanted in
        ["Chapter 3: what was forged", "| Grade | Pieces | Spoiled |", "In week 2 the forge made 14 hinges"]
    {
        assert!(document.contains(wanted), "{wanted}: {document}");
    }
    let result = bench.completed(book).await;
    assert_eq!(
        (&result["result"]["pages"], &result["result"]["images"]),
        (&json!(3), &json!(3)),
        "{result:#}"
    );
    let names: Vec<_> =
        result["outputs"].as_array().unwrap().iter().map(|o| o["name"].as_str().unwrap()).collect();
    let pictures: Vec<_> = names.iter().filter(|name| name.starts_with("images/")).collect();
    assert!(
        pictures.len() == 3 && pictures.iter().all(|name| document.contains(&format!("]({name})"))),
        "{names:?}"
    );
    let metadata: serde_json::Value =
        serde_json::from_str(&bench.output(book, "metadata.json").await).unwrap();
    assert_eq!(metadata["page_stats"][2]["text_extraction_method"], "pdftext");
    assert_eq!(metadata["model_calls"]["layout"], json!({"calls": 3, "errors": 0, "cut_off": 0}));
    assert_eq!(metadata["source"]["sha256"], result["source_hash"]);
    let headings = metadata["table_of_contents"].as_array().unwrap();
    assert!(
        headings.len() >= 3 && headings.iter().all(|heading| heading["heading_level"].is_u64()),
        "{headings:?}"
    );

    let document = bench.document(scan).await;
    assert!(document.contains("of scan "), "the vision model has read it: {document}");
    let result = bench.completed(scan).await;
    assert_eq!(result["result"]["pages_by_method"], json!({"surya": 2}));

    let document = bench.document(some).await;
    let pages: Vec<_> = (0..5).filter(|page| document.contains(&format!("{{{page}}}----"))).collect();
    assert_eq!(pages, [1, 3, 4], "{document}");
    assert!(document.contains("In week 2 ") && !document.contains("In week 1 "));

    bench.completed(html).await;
    let document = bench.output(html, "document.html").await;
    assert!(document.contains("<table") && document.contains("src=\"images/"), "{document}");
    bench.completed(chunks).await;
    let document: serde_json::Value =
        serde_json::from_str(&bench.output(chunks, "document.json").await).unwrap();
    assert!(document["blocks"].as_array().unwrap().iter().any(|block| block["block_type"] == "Table"));

    for (job, kind, named) in refused {
        let ended = bench.ended(job).await;
        assert_eq!(
            (&ended["status"], &ended["last_error"]["kind"]),
            (&json!("failed"), &json!(kind)),
            "{ended:#}"
        );
        assert!(ended["last_error"]["message"].as_str().unwrap().contains(named), "{ended:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs marker-pdf: scripts/marker"]
async fn thirty_documents_through_one_runner_stay_under_its_ceiling() {
    let bench = Bench::new().await;
    let mut worker = bench.worker("thirty", &[]);
    let mut jobs = Vec::new();
    for number in 0..30 {
        // Of different lengths, lest they be taken for one.
        let pdf = [paper::book(2 + number % 3), format!("\n% copy {number}").into_bytes()].concat();
        jobs.push(bench.submit(&format!("{number}.pdf"), &pdf, json!({})).await);
    }
    bench.completed(jobs[0]).await;
    let runners = bench.runners("thirty");
    for job in jobs {
        bench.completed(job).await;
    }
    let [runner] = bench.runners("thirty")[..] else { panic!("{:?}", bench.runners("thirty")) };
    assert_eq!(runners, [runner], "it is the same all along");
    let peak = memory_kib(runner, "VmHWM");
    println!("30 documents: the runner had at most {} MiB", peak >> 10);
    assert!(peak < RUNNER_CEILING_KIB, "{peak} KiB");
    worker.kill();
    let gone = async || bench.runners("thirty").is_empty().then_some(());
    bench.forge.eventually("the runner is gone", gone).await;
}

/// In Python, where marker alone can be asked for the same.
#[test]
#[ignore = "needs marker-pdf: scripts/marker"]
fn ranges_make_no_difference_to_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let book = folder.path().join("book.pdf");
    std::fs::write(&book, paper::book(7)).unwrap();
    let scan = folder.path().join("scan.pdf");
    std::fs::write(&scan, paper::scan(3)).unwrap();
    let linked = folder.path().join("linked.pdf");
    std::fs::write(&linked, paper::linked(6)).unwrap();
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");
    let runner = concat!(env!("CARGO_MANIFEST_DIR"), "/../blobforge-worker-sdk/python");
    let mut command = Command::new(python());
    command.arg(test_file("same_text.py")).arg(runner).args([&book, &scan, &linked]);
    for sample in ["letter.pdf", "tables.pdf", "columns.pdf"] {
        command.arg(format!("{samples}/{sample}"));
    }
    let output = command.env("HOME", folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches(" same").count(), 6 * 3, "each file in each mode");
}
