//! What is there of what the engine needs, for people who set it up.

use std::path::PathBuf;

use super::{Environment, MarkerPdf, Settings, options::Mode, servers::llama_server, settings::font};
use crate::{Handler, Workplace};

/// What PyTorch says of the cards that it can use.
const TORCH: &str = "import torch
cuda = torch.version.cuda
if not torch.cuda.is_available():
    raise SystemExit(f'PyTorch {torch.__version__} is built for CUDA {cuda} and can use no card: the driver is missing or too old \
(CUDA 13 wants 580 or newer, CUDA 12 525), or CUDA_VISIBLE_DEVICES hides the card')
cards = [torch.cuda.get_device_properties(at) for at in range(torch.cuda.device_count())]
print(f'CUDA {cuda}: ' + ', '.join(f'{card.name} with {card.total_memory / 2**30:.0f} GiB' for card in cards))";

/// What was found; made by [`Report::of`].
#[derive(Clone, Debug)]
pub struct Report {
    /// What stands against the mode that jobs have which say nothing, if anything does.
    pub servers: Option<String>,
    /// Why there is no vision model, which other modes need.
    pub no_vision: Option<String>,
    /// Whether the weights of the vision model are on this machine.
    pub weights_here: bool,
    /// The font that marker was given, if there is one.
    pub font: Option<PathBuf>,
    /// The cards that PyTorch can use, or why it can use none. Not looked at without leave to use cards.
    pub torch: Result<String, String>,
}

impl Report {
    /// Looks at everything, and starts a runner for a moment. Nothing is downloaded, and no model server is started.
    ///
    /// # Errors
    /// When no runner gets ready: nothing else matters then.
    pub async fn of(settings: &Settings, environment: &Environment) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let handler = MarkerPdf::new(settings.clone(), environment.clone());
        let ready = handler.prepare(&Workplace::around(&folder.path().join("check"))).await;
        let servers = handler.trouble().await;
        handler.close().await;
        ready.map_err(|error| error.to_string())?;
        let torch = if settings.use_gpu { environment.say(TORCH, settings).await } else { Ok(String::new()) };
        let has_vision = settings.vlm_url.is_some() || settings.default_mode() == Mode::Balanced;
        Ok(Self {
            servers,
            no_vision: if has_vision { None } else { llama_server().err() },
            weights_here: environment.vlm_weights_are_here(settings).await?,
            font: font(),
            torch,
        })
    }
}
