//! How the engine is set up on this machine.

use std::{env, ffi::OsString, path::PathBuf, time::Duration};

use super::{
    options::{Mode, Wish},
    server::Times,
    servers::Needs,
};
use crate::program::{Limits, Program, Recycling};

/// A model of marker: the variable that can name another one, and which it is.
pub(super) type Model = (&'static str, &'static str);

/// Reads pages.
pub(super) const VLM: Model = ("SURYA_MODEL_CHECKPOINT", "datalab-to/surya-ocr-2");
/// Finds the blocks of pages.
pub(super) const LAYOUT_MODEL: Model = ("FAST_LAYOUT_MODEL_CHECKPOINT", "hf://datalab-to/surya_layout2");
/// Tells text from garbage.
pub(super) const OCR_ERROR_MODEL: Model =
    ("OCR_ERROR_MODEL_CHECKPOINT", "s3://ocr_error_detection/2025_02_18");

/// How long a runner may take until it is ready: its libraries are large, and a cold disk is slow.
const READY_WITHIN: Duration = Duration::from_secs(10 * 60);
/// What says from where weights are fetched, and how.
const FOR_WEIGHTS: [&str; 11] = [
    "HF_TOKEN",
    "HF_ENDPOINT",
    "SURYA_GGUF_REPO",
    "SURYA_GGUF_MODEL_FILE",
    "SURYA_GGUF_MMPROJ_FILE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];
/// Where distributions have a font for all of Latin, Greek and Cyrillic.
const FONTS: [&str; 3] = [
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
    "/usr/share/fonts/TTF/DejaVuSans.ttf",
];
/// How many requests the vision model works on at the same time, if nobody says otherwise.
const PARALLEL: u32 = 4;

/// How the engine is set up: see [`MarkerPdf`](super::MarkerPdf) for an example.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How pages are read when a job does not say. By default [`Mode::Balanced`] with a graphics card and [`Mode::Fast`]
    /// without.
    pub mode: Option<Mode>,
    /// Whether the models may use graphics cards; which ones, `CUDA_VISIBLE_DEVICES` says.
    pub use_gpu: bool,
    /// A Python in whose environment marker-pdf is installed already.
    pub python: Option<PathBuf>,
    /// Where everything of the engine is kept: its Python environment, and what is written down of servers that run.
    /// By default `~/.local/share/blobforge`, or as `XDG_DATA_HOME` says.
    pub folder: Option<PathBuf>,
    /// Address of a server that runs the vision model, such as `http://127.0.0.1:8000/v1`; without it `llama-server` is
    /// started when it is needed.
    pub vlm_url: Option<String>,
    /// Address of a layout server; without it one is started when it is needed.
    pub layout_url: Option<String>,
    /// Address of a server that tells text from garbage; without it one is started when it is needed.
    pub ocr_error_url: Option<String>,
    /// How many pages are converted, and kept, at a time.
    pub pages_at_a_time: usize,
    /// How many requests the vision model works on at the same time; 0 for the default, which is 4.
    pub vlm_parallel: u32,
    /// How long a model may take for one answer. It is asked once more before the attempt fails.
    pub answer_within: Duration,
    /// How long a server may take to start.
    pub server_start: Duration,
    /// How long a server that nobody needs is kept.
    pub server_idle: Duration,
    /// What a runner may use.
    pub limits: Limits,
    /// When a runner is replaced by a fresh one.
    pub recycling: Recycling,
    /// How long a runner may take until it is ready.
    pub ready_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let limits = Limits { no_progress: Some(Duration::from_secs(10 * 60)), ..Program::LIMITS };
        Self {
            mode: None,
            use_gpu: false,
            python: None,
            folder: None,
            vlm_url: None,
            layout_url: None,
            ocr_error_url: None,
            pages_at_a_time: 50,
            vlm_parallel: 0,
            answer_within: Duration::from_secs(180),
            server_start: Duration::from_secs(10 * 60),
            server_idle: Duration::from_secs(10 * 60),
            limits,
            recycling: Recycling { jobs: Some(500), memory_bytes: Some(6 << 30) },
            ready_within: READY_WITHIN,
        }
    }
}

impl Settings {
    /// How pages are read when a job does not say.
    pub fn default_mode(&self) -> Mode {
        self.mode.unwrap_or(if self.use_gpu { Mode::Balanced } else { Mode::Fast })
    }

    /// What a job that says nothing of how pages are read needs.
    pub(super) fn needs(&self) -> Needs {
        Needs::of(self.default_mode(), &Wish::default())
    }

    /// What a runner may use. A model that is slow to answer is no runner that stands still.
    pub(super) fn runner_limits(&self) -> Limits {
        let answers = self.answer_within.saturating_mul(3);
        Limits { no_progress: self.limits.no_progress.map(|limit| limit.max(answers)), ..self.limits.clone() }
    }

    pub(super) fn parallel(&self) -> u32 {
        if self.vlm_parallel == 0 { PARALLEL } else { self.vlm_parallel }
    }

    pub(super) fn times(&self) -> Times {
        Times { start: self.server_start, idle: self.server_idle }
    }

    /// Which model, unless the environment names another one.
    pub(super) fn model(&self, (variable, model): Model) -> String {
        env::var(variable).ok().filter(|named| !named.is_empty()).unwrap_or_else(|| model.to_owned())
    }

    /// Where everything of the engine is kept.
    pub(super) fn folder(&self) -> PathBuf {
        if let Some(folder) = &self.folder {
            return folder.clone();
        }
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let data = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
        data.unwrap_or_else(env::temp_dir).join("blobforge")
    }

    /// What workers share that use the same cards.
    pub(super) fn group_folder(&self) -> PathBuf {
        self.folder().join("marker-servers").join(self.group())
    }

    fn group(&self) -> String {
        if !self.use_gpu {
            return "cpu".to_owned();
        }
        let cards = env::var("CUDA_VISIBLE_DEVICES").unwrap_or_else(|_| "all".to_owned());
        let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        format!("gpu-{}", cards.chars().map(plain).collect::<String>())
    }

    /// What every program of the engine finds in its environment: what the usual programs find, and caches that are the
    /// user's, in a home that is not. Marker's own way to share servers is by files in the home, and would find those of
    /// other cards.
    fn variables(&self) -> Vec<(OsString, OsString)> {
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_else(env::temp_dir);
        let cache = env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
        let or = |name: &str, default: PathBuf| (name.into(), env::var_os(name).unwrap_or(default.into()));
        let mut variables = vec![
            ("HOME".into(), self.group_folder().into()),
            or("HF_HOME", cache.join("huggingface")),
            or("MODEL_CACHE_DIR", cache.join("datalab/models")),
            or("FONT_PATH", font().unwrap_or_else(any_file)),
            // Libraries that print progress bars or ask the network for news do neither.
            ("DISABLE_TQDM".into(), "true".into()),
            ("TOKENIZERS_PARALLELISM".into(), "false".into()),
            // Packages of somebody else's would come before those that were checked.
            ("PYTHONPATH".into(), "".into()),
            ("PYTHONHOME".into(), "".into()),
            ("HF_HUB_DISABLE_TELEMETRY".into(), "1".into()),
        ];
        for (variable, model) in [VLM, LAYOUT_MODEL, OCR_ERROR_MODEL] {
            variables.push((variable.into(), self.model((variable, model)).into()));
        }
        variables
    }

    /// What a runner finds. It has no models, never starts a server itself, and sees no card.
    pub(super) fn runner_variables(&self) -> Vec<(OsString, OsString)> {
        let seconds = self.answer_within.as_secs_f64().to_string();
        let text = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let mut variables = self.variables();
        variables.extend([
            text("SURYA_INFERENCE_BACKEND", "vllm"),
            text("SURYA_INFERENCE_AUTOSTART", "false"),
            text("FAST_LAYOUT_SERVER_AUTOSTART", "false"),
            text("OCR_ERROR_SERVER_AUTOSTART", "false"),
            text("DETECTOR_SERVER_AUTOSTART", "false"),
            text("SURYA_INFERENCE_PARALLEL", &self.parallel().to_string()),
            text("SURYA_INFERENCE_TIMEOUT_SECONDS", &seconds),
            text("FAST_LAYOUT_SERVER_TIMEOUT", &seconds),
            text("OCR_ERROR_SERVER_TIMEOUT", &seconds),
            text("TORCH_DEVICE", "cpu"),
            text("CUDA_VISIBLE_DEVICES", ""),
            text("HF_HUB_OFFLINE", "1"),
        ]);
        variables
    }

    /// What a server finds: the cards it may use, and none without leave.
    pub(super) fn server_variables(&self) -> Vec<(OsString, OsString)> {
        let mut variables = crate::program::inherited(&FOR_WEIGHTS.map(str::to_owned));
        variables.extend(self.variables());
        if !self.use_gpu {
            for (name, value) in
                [("CUDA_VISIBLE_DEVICES", ""), ("TORCH_DEVICE", "cpu"), ("FAST_DETECTOR_DEVICE", "cpu")]
            {
                variables.push((name.into(), value.into()));
            }
        }
        variables
    }
}

/// A font for marker.
pub(super) fn font() -> Option<PathBuf> {
    let named = env::var_os("FONT_PATH").map(PathBuf::from);
    let usual = FONTS.into_iter().map(PathBuf::from);
    named.into_iter().chain(usual).find(|font| font.is_file())
}

/// Without a font marker would fetch one. For PDFs it is never opened, so that any file will do.
fn any_file() -> PathBuf {
    env::current_exe().unwrap_or_else(|_| "/bin/sh".into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn value(variables: &[(OsString, OsString)], name: &str) -> Option<String> {
        // The last one counts.
        let found = variables.iter().rev().find(|(known, _)| known == name)?;
        Some(found.1.to_str()?.to_owned())
    }

    #[test]
    fn a_runner_starts_no_server_and_sees_no_card() {
        let settings = Settings { use_gpu: true, vlm_parallel: 7, ..Settings::default() };
        let sees = settings.runner_variables();
        assert_eq!(value(&sees, "CUDA_VISIBLE_DEVICES").as_deref(), Some(""));
        assert_eq!(value(&sees, "SURYA_INFERENCE_PARALLEL").as_deref(), Some("7"));
        assert_eq!(value(&sees, "SURYA_INFERENCE_TIMEOUT_SECONDS").as_deref(), Some("180"));
        for server in ["SURYA_INFERENCE", "FAST_LAYOUT_SERVER", "OCR_ERROR_SERVER"] {
            assert_eq!(value(&sees, &format!("{server}_AUTOSTART")).as_deref(), Some("false"));
        }
    }

    #[test]
    fn a_server_sees_cards_only_with_leave() {
        let without = Settings::default().server_variables();
        assert_eq!(value(&without, "CUDA_VISIBLE_DEVICES").as_deref(), Some(""));
        assert_eq!(value(&without, "FAST_DETECTOR_DEVICE").as_deref(), Some("cpu"));
        let with = Settings { use_gpu: true, ..Settings::default() }.server_variables();
        assert_ne!(value(&with, "CUDA_VISIBLE_DEVICES").as_deref(), Some(""));
        assert_eq!(value(&with, "FAST_DETECTOR_DEVICE"), None);
    }

    #[test]
    fn a_card_makes_the_better_mode_the_default() {
        assert_eq!(Settings::default().default_mode(), Mode::Fast);
        assert_eq!(Settings { use_gpu: true, ..Settings::default() }.default_mode(), Mode::Balanced);
        let said = Settings { use_gpu: true, mode: Some(Mode::NoOcr), ..Settings::default() };
        assert_eq!(said.default_mode(), Mode::NoOcr);
    }
}
