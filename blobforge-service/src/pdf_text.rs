//! The built-in engine for the type `pdf-text`: PDF to Markdown, for PDFs that have a text layer.
//!
//! It has two halves. [`convert`] is the worker's: it starts a child process and watches it. [`child_main`] is the
//! child's: it confines itself, reads the PDF, and writes
//!
//! - `document.md`: headings by size of type, lists, tables, columns in reading order, paragraphs joined;
//! - `images/`: pictures, if there are any;
//! - `metadata.json`: pages, engine and version, seconds, the source's hash, which pages have no text or could not be
//!   read, and the library's warnings.
//!
//! A page without text, or that cannot be read, is named in the document too: nothing is left out in silence.
//!
//! A file that cannot be converted ends with a kind for programs and a sentence for people: `empty_file`, `not_a_pdf`,
//! `damaged`, `encrypted`, `too_many_pages`, `too_large`, `unsupported`, `engine_panic` or `engine_crash`.

mod aligned;
mod blocks;
mod checks;
mod columns;
mod engine;
mod furniture;
mod handler;
mod layout;
mod lines;
mod lists;
mod markdown;
mod page;
mod pictures;
mod refusal;
mod samples;
mod tables;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use blobforge_worker_sdk::child::{self, ChildError, ChildLimits, ChildProgress, ChildSpec};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use handler::PdfText;
pub use refusal::Refusal;
pub use samples::{Expect, SAMPLES, Sample};

/// The hidden subcommand that the program must route to [`child_main`].
pub const CHILD_COMMAND: &str = "pdf-text-child";

/// Whether a failure of this kind lies in the file, and not in the machine or in this program.
pub fn is_bad_file(kind: &str) -> bool {
    const KINDS: [&str; 9] = [
        "empty_file",
        "not_a_pdf",
        "damaged",
        "encrypted",
        "too_many_pages",
        "too_large",
        "unsupported",
        "engine_panic",
        "engine_crash",
    ];
    KINDS.contains(&kind)
}

/// The engine's name in results.
pub const ENGINE: &str = "pdf-text";

/// The engine's version in results; the same version makes the same document of the same file.
pub const ENGINE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Documents with more pages are refused.
const PAGES_MAX: usize = 20_000;

/// The library's parser recurses; a stack this deep outlasts what the checks let through.
const STACK_BYTES: usize = 256 << 20;

/// What a conversion made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Converted {
    /// Pages of the document.
    pub pages: usize,
    /// Files below the output folder, `document.md` first.
    pub files: Vec<String>,
}

/// Converts `source` in a child process that runs `exe`, the program that routes [`CHILD_COMMAND`].
///
/// The files lie below `out_dir` afterwards; after an error, whatever lies there is of no use.
///
/// # Errors
///
/// [`ChildError::Failed`] names what is wrong with the file; the other variants say how the child ended.
pub async fn convert(
    exe: &Path,
    source: &Path,
    source_sha256: Option<&str>,
    out_dir: &Path,
    limits: ChildLimits,
    cancel: CancellationToken,
    on_progress: impl FnMut(ChildProgress) + Send,
) -> Result<Converted, ChildError> {
    let mut spec = ChildSpec::new(exe, out_dir)
        .arg(CHILD_COMMAND)
        .arg(source)
        .arg(out_dir)
        .arg(limits.memory_bytes.to_string())
        .arg(limits.output_bytes.to_string())
        .arg(source_sha256.unwrap_or_default())
        .limits(limits);
    // It needs none; whoever takes it over through a document is to find none, wherever that can be had.
    spec.network = !child::network_can_be_cut();
    let result = child::run(spec, cancel, on_progress).await.map_err(explain)?;
    serde_json::from_value(result)
        .map_err(|error| ChildError::Protocol(format!("its result cannot be understood: {error}")))
}

/// A crash of the parser is the file's doing, and would happen again. Death by SIGKILL is the machine's.
fn explain(error: ChildError) -> ChildError {
    use rustix::process::Signal;
    let of_its_own = [Signal::SEGV, Signal::ABORT, Signal::BUS, Signal::ILL, Signal::FPE, Signal::TRAP];
    match error {
        ChildError::Crashed { signal: Some(signal), .. }
            if of_its_own.iter().any(|own| own.as_raw() == signal) =>
        {
            ChildError::Failed {
                kind: "engine_crash".to_owned(),
                message:
                    "The PDF engine crashed on this file. The file is probably damaged, or made to do harm: \
                          open it in a PDF reader and save it again."
                        .to_owned(),
                retryable: Some(false),
                details: None,
            }
        }
        // There are no smaller steps to take: the next run would need as much.
        needy @ ChildError::MemoryExceeded { .. } => ChildError::Failed {
            kind: "memory_exceeded".to_owned(),
            message: needy.to_string(),
            retryable: Some(false),
            details: None,
        },
        other => other,
    }
}

/// The child: `<source> <output folder> <memory bytes> <output bytes> <source's sha256, or nothing>`.
///
/// Writes JSON lines as [`blobforge_worker_sdk::child`] describes them, and returns failure after an error line.
pub fn child_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = order(args).and_then(|(order, memory, output)| {
        child::confine_self(memory, output).map_err(|error| Refusal::io("Limiting the engine", &error))?;
        let engine = thread::Builder::new().name("pdf-text".into()).stack_size(STACK_BYTES);
        let engine = engine
            .spawn(move || {
                engine::convert(&order, &mut |stage, done, total| {
                    say(&json!({"type": "progress", "stage": stage, "done": done, "total": total}));
                })
            })
            .map_err(|error| Refusal::io("Starting the engine", &error))?;
        engine.join().unwrap_or_else(|_| Err(Refusal::panicked()))
    });
    match outcome {
        Ok(converted) => {
            say(&json!({"type": "result", "result": converted}));
            ExitCode::SUCCESS
        }
        Err(Refusal { kind, message, retryable }) => {
            say(&json!({"type": "error", "kind": kind, "message": message, "retryable": retryable}));
            ExitCode::FAILURE
        }
    }
}

fn order(args: impl IntoIterator<Item = OsString>) -> Result<(engine::Order, u64, u64), Refusal> {
    let args: Vec<OsString> = args.into_iter().collect();
    let number = |arg: &OsString| arg.to_str().and_then(|text| text.parse::<u64>().ok());
    let [source, out_dir, memory, output, sha256] = &args[..] else {
        return Err(usage());
    };
    let (memory, output) = number(memory).zip(number(output)).ok_or_else(usage)?;
    let order = engine::Order {
        source: source.into(),
        out_dir: out_dir.into(),
        source_sha256: sha256.to_str().filter(|text| !text.is_empty()).map(str::to_owned),
        pages_max: PAGES_MAX,
        // The library holds the file twice, and what it makes of it.
        source_bytes_max: memory / 4,
    };
    Ok((order, memory, output))
}

fn usage() -> Refusal {
    Refusal::new(
        "usage",
        "This command is meant for the worker alone: it takes a source, an output folder, two limits and a hash.",
    )
}

/// Nobody reads a line that cannot be written: the supervisor is gone.
fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
