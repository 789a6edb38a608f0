//! What the engine marker needs, and what of it is there.

use std::path::Path;

use blobforge_worker_sdk::marker::{
    DOWNLOAD_BYTES, Environment, INSTALLED_BYTES, MARKER_VERSION, Report, Settings,
};

use super::Finding;
use crate::cli::{free_bytes, terminal::size};

/// Where the weights come from, and under which terms.
const WEIGHTS: &str = "from Hugging Face (datalab-to/surya-ocr-2-gguf, datalab-to/surya_layout2) and models.datalab.to when \
                       they are first needed; under a modified AI Pubs Open Rail-M licence: free for research, personal use \
                       and companies under 5 million dollars of funding or revenue";

/// Looks at everything; nothing is downloaded.
pub(super) async fn look(settings: &Settings) -> Vec<Finding> {
    let (python, environment) = python(settings).await;
    let mut findings = vec![python];
    let report = match &environment {
        Some(environment) => Some(Report::of(settings, environment).await),
        None => None,
    };
    match report {
        Some(Ok(report)) => findings.extend(of(&report, settings)),
        Some(Err(why)) => findings.push(Finding::missing("marker", why)),
        None => findings.push(Finding::well("weights", format!("not looked for yet; fetched {WEIGHTS}"))),
    }
    findings
}

async fn python(settings: &Settings) -> (Finding, Option<Environment>) {
    match Environment::find(settings).await {
        Ok(Some(found)) => {
            let said = format!("{} with marker-pdf {MARKER_VERSION}", found.python.display());
            (Finding::well("Python", said), Some(found))
        }
        Ok(None) => (to_be_made(&Environment::place(settings)), None),
        Err(error) => (Finding::missing("Python", error.to_string()), None),
    }
}

fn to_be_made(folder: &Path) -> Finding {
    let needed = DOWNLOAD_BYTES + INSTALLED_BYTES;
    let said = format!(
        "the worker makes an environment when it starts: {} to download, {} on disk, in {}",
        size(DOWNLOAD_BYTES),
        size(INSTALLED_BYTES),
        folder.display()
    );
    match free_bytes(folder) {
        Some(free) if free < needed => Finding::missing(
            "Python",
            format!("{said}; {} are free and {} are needed", size(free), size(needed)),
        ),
        _ => Finding::well("Python", said),
    }
}

fn of(report: &Report, settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![Finding::well("marker", "a runner gets ready")];
    findings.push(match &report.servers {
        None => {
            Finding::well("models", format!("everything is there for the mode {}", settings.default_mode()))
        }
        Some(why) => Finding::missing("models", why),
    });
    if let Some(why) = &report.no_vision {
        findings.push(Finding::well("vision", format!("none, and pages without text need it: {why}")));
    }
    findings.push(match report.weights_here {
        true => Finding::well("weights", "those of the vision model are here"),
        false if settings.vlm_url.is_some() => {
            Finding::well("weights", "those of the vision model are its server's matter")
        }
        false => Finding::well("weights", format!("fetched {WEIGHTS}")),
    });
    findings.push(match &report.font {
        Some(font) => Finding::well("font", font.display().to_string()),
        None => Finding::well("font", "none found, which PDFs do not need; FONT_PATH can name one"),
    });
    if settings.use_gpu {
        findings.push(match &report.torch {
            Ok(cards) => Finding::well("PyTorch", cards),
            Err(why) => Finding::missing("PyTorch", why),
        });
    }
    findings
}
