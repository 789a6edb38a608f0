//! `blobforge worker --engine marker`: how the engine for PDFs is set up.

use std::{path::PathBuf, time::Duration};

use blobforge_worker_sdk::{
    WorkerBuilder,
    marker::{Environment, MarkerPdf, Mode, Settings},
};

use super::{CliError, seconds};
use crate::cli::terminal::complain;

/// What does the work, if it is no program of the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Engine {
    /// The text of PDFs, for jobs of the type pdf-text; reads no scans.
    Text,
    /// marker-pdf, for jobs of the type pdf.
    Marker,
}

/// The flags that say that.
pub(super) const FLAGS: [&str; 10] = [
    "mode",
    "marker_python",
    "marker_dir",
    "vlm_url",
    "layout_url",
    "ocr_error_url",
    "vlm_parallel",
    "answer_within",
    "pages_at_a_time",
    "server_idle",
];

/// How the engine is set up.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "The engine marker")]
pub(super) struct MarkerArgs {
    /// How pages are read when a job does not say: fast, balanced or no-ocr [default: balanced with --use-gpu, else fast].
    #[arg(long, env = "BLOBFORGE_MARKER_MODE")]
    mode: Option<Mode>,
    /// A Python that has marker-pdf already [default: one is found or made].
    #[arg(long, env = "BLOBFORGE_MARKER_PYTHON", value_name = "FILE")]
    marker_python: Option<PathBuf>,
    /// Folder of its Python environment [default: ~/.local/share/blobforge].
    #[arg(long, env = "BLOBFORGE_MARKER_DIR", value_name = "FOLDER")]
    marker_dir: Option<PathBuf>,
    /// Address of a server that runs the vision model, such as http://127.0.0.1:8000/v1 of vLLM [default: llama-server is
    /// started when it is needed].
    #[arg(long, env = "SURYA_INFERENCE_URL", value_name = "URL", value_parser = url)]
    vlm_url: Option<String>,
    /// Address of a layout server [default: one is started when it is needed].
    #[arg(long, env = "FAST_LAYOUT_SERVER_URL", value_name = "URL", value_parser = url)]
    layout_url: Option<String>,
    /// Address of a server that tells text from garbage [default: one is started when it is needed].
    #[arg(long, env = "OCR_ERROR_SERVER_URL", value_name = "URL", value_parser = url)]
    ocr_error_url: Option<String>,
    /// How many requests the vision model works on at once.
    #[arg(long, env = "SURYA_INFERENCE_PARALLEL", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    vlm_parallel: u32,
    /// Seconds that a model may take for one answer.
    #[arg(long, env = "SURYA_INFERENCE_TIMEOUT_SECONDS", value_name = "SECONDS", default_value = "180", value_parser = seconds)]
    answer_within: Duration,
    /// How many pages are converted, and kept, at a time.
    #[arg(long, env = "BLOBFORGE_MARKER_PAGES", value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pages_at_a_time: u16,
    /// Seconds after which a model server that nobody needs is stopped.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    server_idle: Duration,
}

fn url(text: &str) -> Result<String, String> {
    match reqwest::Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("an address is shown to people: put the key of the vision model into VLLM_API_KEY".to_owned())
        }
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(at_version(text)),
        _ => Err("say an address such as http://127.0.0.1:8000/v1".to_owned()),
    }
}

/// Everything is below `/v1`, which people leave out.
fn at_version(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with("/v1") { url.to_owned() } else { format!("{url}/v1") }
}

impl MarkerArgs {
    /// The settings, as far as these flags say them, and the usual ones otherwise.
    pub(super) fn settings(&self, use_gpu: bool, usual: Settings) -> Settings {
        Settings {
            mode: self.mode,
            use_gpu,
            python: self.marker_python.clone(),
            folder: self.marker_dir.clone(),
            vlm_url: self.vlm_url.clone(),
            layout_url: self.layout_url.clone(),
            ocr_error_url: self.ocr_error_url.clone(),
            pages_at_a_time: self.pages_at_a_time.into(),
            vlm_parallel: self.vlm_parallel,
            answer_within: self.answer_within,
            server_idle: self.server_idle,
            ..usual
        }
    }
}

/// A worker with the engine, for which a Python environment may have to be made first.
pub(super) async fn added_to(builder: WorkerBuilder, settings: Settings) -> Result<WorkerBuilder, CliError> {
    let environment = Environment::find_or_make(&settings, &|news| complain(news)).await;
    let environment = environment.map_err(|error| CliError::new(error.to_string()))?;
    complain("starting marker-pdf, which takes a while");
    Ok(builder.handler(MarkerPdf::new(settings, environment)))
}
