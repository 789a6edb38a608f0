//! The three model servers of marker, and who needs which.

use std::{env, ffi::OsString, path::PathBuf, time::Duration};

use tokio::sync::OnceCell;

use super::{
    environment::Environment,
    options::{Mode, Wish},
    server::{Call, Hold, Server, Source},
    settings::{LAYOUT_MODEL, OCR_ERROR_MODEL, Settings, VLM},
};
use crate::{JobError, Workplace, program};

/// Which of them something needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) layout: bool,
    pub(super) ocr_error: bool,
    pub(super) vlm: bool,
}

impl Needs {
    /// What a job of this mode asks for certain. In the mode `fast` it may turn out to need the vision model as well.
    pub(super) fn of(mode: Mode, wish: &Wish) -> Self {
        let text_is_enough = mode == Mode::NoOcr;
        Self {
            layout: mode != Mode::Balanced && !wish.has_forced_layout(),
            ocr_error: !text_is_enough,
            vlm: mode == Mode::Balanced || wish.forces_ocr(),
        }
    }
}

/// Where they answer, while they are held.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) layout: Option<Hold>,
    pub(super) ocr_error: Option<Hold>,
    pub(super) vlm: Option<Hold>,
}

/// See [the module](self).
#[derive(Debug)]
pub(super) struct Servers {
    layout: Server,
    ocr_error: Server,
    vlm: OnceCell<Server>,
    settings: Settings,
    environment: Environment,
}

impl Servers {
    pub(super) fn new(settings: &Settings, environment: &Environment) -> Self {
        let python = |module: &str, model: &str| Call {
            program: environment.python.clone(),
            args: ["-m", module, "--host", "127.0.0.1", "--port", "{port}", "--checkpoint", model]
                .map(OsString::from)
                .into(),
            env: settings.server_variables(),
            model: model.to_owned(),
        };
        let (folder, times) = (settings.group_folder(), settings.times());
        let server = |name, url: &Option<String>, module, model: &str| {
            let source = match url {
                Some(url) => Source::At { url: url.clone(), model: model.to_owned() },
                None => Source::Started(python(module, model)),
            };
            Server::new(name, source, &folder, times)
        };
        let layout_model = settings.model(LAYOUT_MODEL);
        let ocr_error_model = settings.model(OCR_ERROR_MODEL);
        Self {
            layout: server("layout", &settings.layout_url, "surya.fast_layout.server", &layout_model),
            ocr_error: server(
                "ocr-error",
                &settings.ocr_error_url,
                "surya.ocr_error.server",
                &ocr_error_model,
            ),
            vlm: OnceCell::new(),
            settings: settings.clone(),
            environment: environment.clone(),
        }
    }

    /// The vision model's, for which weights may have to be fetched first.
    async fn vlm(&self) -> Result<&Server, String> {
        self.vlm
            .get_or_try_init(async || {
                let source = self.vlm_source().await?;
                Ok(Server::new("vision", source, &self.settings.group_folder(), self.settings.times()))
            })
            .await
    }

    async fn vlm_source(&self) -> Result<Source, String> {
        if let Some(url) = &self.settings.vlm_url {
            let model = self.settings.model(VLM);
            return Ok(Source::At { url: url.clone(), model });
        }
        let program = match llama_server() {
            Ok(program) => program,
            Err(why) => return Ok(Source::Missing(why)),
        };
        let [weights, projector] = self.environment.vlm_weights(&self.settings).await?;
        let model = self.settings.model(VLM);
        let parallel = self.settings.parallel();
        let context = parallel.saturating_mul(CONTEXT_A_REQUEST).max(CONTEXT_AT_LEAST).to_string();
        let layers = if self.settings.use_gpu { "99" } else { "0" };
        let parallel = parallel.to_string();
        let mut args: Vec<OsString> = vec!["-m".into(), weights.into(), "--mmproj".into(), projector.into()];
        let rest = ["-ngl", layers, "--host", "127.0.0.1", "--port", "{port}", "--parallel", &parallel];
        args.extend(rest.map(OsString::from));
        args.extend(["--ctx-size", &context, "--alias", &model, "--jinja"].map(OsString::from));
        let env = self.settings.server_variables();
        Ok(Source::Started(Call { program, args, env, model }))
    }

    /// Has those that are needed answer.
    ///
    /// # Errors
    /// One of them cannot be used now: nothing that the job is to blame for.
    pub(super) async fn hold(&self, needs: Needs, place: &Workplace) -> Result<Held, JobError> {
        let usual = self.settings.needs();
        let mut held = Held::default();
        if needs.layout {
            held.layout = Some(hold(&self.layout, usual.layout, place).await?);
        }
        if needs.ocr_error {
            held.ocr_error = Some(hold(&self.ocr_error, usual.ocr_error, place).await?);
        }
        if needs.vlm {
            let server = self.vlm().await.map_err(|why| unusable(why, usual.vlm, false))?;
            held.vlm = Some(hold(server, usual.vlm, place).await?);
        }
        Ok(held)
    }

    /// What stands against beginning a job that needs these.
    pub(super) async fn trouble(&self, needs: Needs) -> Option<String> {
        let mut found = None;
        if needs.layout {
            found = found.or(self.layout.trouble().await);
        }
        if needs.ocr_error {
            found = found.or(self.ocr_error.trouble().await);
        }
        if needs.vlm {
            found = found.or(self.vlm_trouble().await);
        }
        found
    }

    /// Said without fetching weights.
    async fn vlm_trouble(&self) -> Option<String> {
        match self.vlm.get() {
            Some(server) => server.trouble().await,
            None if self.settings.vlm_url.is_none() => llama_server().err(),
            None => self.vlm().await.err().or(self.vlm.get()?.trouble().await),
        }
    }

    /// Which of those that were held is down now, if one is.
    pub(super) async fn down(&self, held: &Held) -> Option<String> {
        let mut found = None;
        if let Some(hold) = &held.layout {
            found = found.or(self.layout.is_down(hold).await);
        }
        if let Some(hold) = &held.ocr_error {
            found = found.or(self.ocr_error.is_down(hold).await);
        }
        if let (Some(hold), Some(server)) = (&held.vlm, self.vlm.get()) {
            found = found.or(server.is_down(hold).await);
        }
        found
    }

    /// Ends those that this process started.
    pub(super) async fn close(&self) {
        self.layout.close().await;
        self.ocr_error.close().await;
        if let Some(vlm) = self.vlm.get() {
            vlm.close().await;
        }
    }
}

/// How long a job waits for a server that jobs here do not usually need.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// The kind of failure when a model gave no answer.
pub(super) const MODEL_SERVER: &str = "model_server";

/// How many tokens one request of the vision model may need: a page as a picture, the question, and 12,288 of text. What
/// does not fit is cut off without a word.
const CONTEXT_A_REQUEST: u32 = 17_408;
/// Never fewer in all.
const CONTEXT_AT_LEAST: u32 = 16_384;

/// The program that runs the vision model, where nobody else does.
pub(super) fn llama_server() -> Result<PathBuf, String> {
    let name = env::var_os("LLAMA_CPP_BINARY").unwrap_or_else(|| "llama-server".into());
    let shown = name.display().to_string();
    program::find(&PathBuf::from(name)).map_err(|error| {
        format!(
            "the vision model is needed and {shown} is not there ({error}): install llama.cpp, or give the address of a \
             server that runs the model with --vlm-url, or take the mode no-ocr for files that have text"
        )
    })
}

async fn hold(server: &Server, is_usual: bool, place: &Workplace) -> Result<Hold, JobError> {
    server.hold(place).await.map_err(|why| unusable(why, is_usual, server.is_missing()))
}

/// What it means that a server cannot be used: nothing that the job is to blame for, unless it asks for what this worker
/// does not have.
fn unusable(why: String, is_usual: bool, is_missing: bool) -> JobError {
    if is_usual {
        // The next job would need it as well.
        JobError::host_trouble(MODEL_SERVER, why)
    } else if is_missing {
        JobError::retryable(MODEL_SERVER, why)
    } else {
        tracing::warn!("this job has to wait: {why}");
        JobError::snooze(TRY_AGAIN)
    }
}
