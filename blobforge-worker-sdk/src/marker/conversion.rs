//! One job: its pages, range by range, and the document they make.

use std::{collections::BTreeSet, path::PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    MarkerPdf,
    options::{Mode, Wish},
    plan::{Plan, TooMuch},
    server::Hold,
    servers::{Held, MODEL_SERVER, Needs},
};
use crate::{JobContext, JobError, program::JobFiles};

/// How often a page may kill what converts it before it is left out.
const KILLS_MAX: u32 = 2;
/// What the runner says when pages need the vision model after all.
const NEEDS_VLM: &str = "needs_vlm";
/// What it says when a card has no room for what is asked of it.
const GPU_OOM: &str = "gpu_oom";
/// The most pages that a source may have. A short file can claim any number.
const PAGES_MAX: u32 = 200_000;
/// The most ranges that a document is converted in, well below the checkpoints that a job may have.
const RANGES_MAX: usize = 500;

/// A job under way.
pub(super) struct Conversion<'a> {
    engine: &'a MarkerPdf,
    job: &'a JobContext,
    files: JobFiles,
    wish: Wish,
    mode: Mode,
    needs: Needs,
    /// Where the source's pages are, as files that survive.
    parts: Vec<PathBuf>,
    source_pages: u32,
    /// The pages to convert, in order.
    wanted: Vec<u32>,
    /// A server went down while it worked on this job.
    suspect: bool,
}

/// What a look at the source finds.
#[derive(Deserialize)]
struct Inspected {
    pages: u32,
    parts: Vec<Kept>,
}

/// A part that an earlier attempt kept.
#[derive(Deserialize)]
struct Kept {
    name: String,
    /// The first and the last of those that follow each other.
    pages: Vec<(u32, u32)>,
    mode: String,
}

impl<'a> Conversion<'a> {
    /// Looks at the source and at what earlier attempts left.
    pub(super) async fn begin(engine: &'a MarkerPdf, job: &'a JobContext) -> Result<(Self, Plan), JobError> {
        let wish = Wish::of(job.raw_params())?;
        if !job.has_source() {
            return Err(JobError::permanent("bad_input", "this job has no source to convert"));
        }
        let files = JobFiles::fetch(job).await?;
        let mode = engine.settings.default_mode();
        let (needs, parts, source_pages, wanted, suspect) = Default::default();
        let mut conversion =
            Self { engine, job, files, wish, mode, needs, parts, source_pages, wanted, suspect };
        let plan = conversion.inspect().await?;
        Ok((conversion, plan))
    }

    async fn inspect(&mut self) -> Result<Plan, JobError> {
        let kept = self.files.checkpoints.iter();
        let kept: Vec<_> = kept.map(|(name, path)| json!({"name": name, "path": path})).collect();
        let inspected = self.step(json!({"step": "inspect", "parts": kept})).await?;
        let Inspected { pages, parts } = serde_json::from_value(inspected)?;
        if pages > PAGES_MAX {
            let message = format!("this PDF claims to have {pages} pages, and {PAGES_MAX} are taken at most");
            return Err(JobError::permanent("bad_input", message));
        }
        self.source_pages = pages;
        self.wanted = self.wish.pages(pages)?;
        // A document is of one piece: who goes on goes on as it was begun, unless the job says how.
        let begun = parts.iter().find_map(|kept| kept.mode.parse().ok());
        self.mode = self.wish.mode_for(self.wish.mode.or(begun).unwrap_or(self.mode));
        self.needs = Needs::of(self.mode, &self.wish);
        let mut open: BTreeSet<u32> = self.wanted.iter().copied().collect();
        for kept in parts.iter().filter(|kept| kept.mode == self.mode.as_str()) {
            let pages = || kept.pages.iter().flat_map(|(first, last)| *first..=*last);
            // Never more than are wanted are looked at, whatever it says.
            if pages().all(|page| open.contains(&page)) {
                pages().for_each(|page| _ = open.remove(&page));
                self.parts.extend(self.path_of(&kept.name));
            }
        }
        if open.len() < self.wanted.len() {
            let done = self.wanted.len() - open.len();
            self.job.log(format!("{done} of {} pages were done before", self.wanted.len()));
        }
        let most = self.engine.settings.pages_at_a_time.max(self.wanted.len().div_ceil(RANGES_MAX));
        Ok(Plan::new(&self.wanted, &open, most, self.job.losses()))
    }

    fn path_of(&self, checkpoint: &str) -> Option<PathBuf> {
        let found = self.files.checkpoints.iter().find(|(name, _)| name == checkpoint);
        found.map(|(_, path)| path.clone())
    }

    /// Converts what is left, and joins everything.
    pub(super) async fn run(mut self, mut plan: Plan) -> Result<Value, JobError> {
        let mut kills = 0;
        while let Some(pages) = plan.next() {
            let Err(error) = self.convert(&plan, &pages).await else {
                plan.went_well();
                (kills, self.suspect) = (0, false);
                continue;
            };
            if !error.is_loss() || self.job.stop_reason().is_some() {
                return Err(self.unless_suspect(error));
            }
            match plan.was_too_much() {
                TooMuch::Smaller => self.job.log(format!(
                    "{} pages were too much at a time ({error}): going on with fewer",
                    pages.len()
                )),
                // Elsewhere there may be more room. Who wants what can be had shall have it, but a card that is full is full
                // for every page.
                TooMuch::Alone(_) if !self.wish.allow_partial || error.kind() == Some(GPU_OOM) => {
                    return Err(error);
                }
                TooMuch::Alone(page) => {
                    kills += 1;
                    if kills >= KILLS_MAX {
                        self.leave_out(page, &error).await?;
                        plan.left_out();
                        kills = 0;
                    }
                }
            }
        }
        self.document(&plan).await
    }

    /// A server that goes down whenever it works on this job is given back for nothing only so often.
    fn unless_suspect(&self, error: JobError) -> JobError {
        if self.suspect && error.kind() == Some(MODEL_SERVER) { error.into_loss() } else { error }
    }

    /// Converts some pages, and has them kept.
    async fn convert(&mut self, plan: &Plan, pages: &[u32]) -> Result<(), JobError> {
        let name = name_of(pages);
        let order = json!({
            "step": "pages",
            "pages": pages,
            "done": plan.done(),
            "total": plan.total(),
            "allow_partial": self.wish.allow_partial,
            "name": name,
        });
        match self.with_servers(order.clone()).await {
            // From here on it is needed: what follows is likely to be of the same kind.
            Err(error) if error.kind() == Some(NEEDS_VLM) && !self.needs.vlm => {
                self.job.log("some of these pages have to be read by the vision model");
                self.needs.vlm = true;
                self.with_servers(order).await?;
            }
            other => {
                other?;
            }
        }
        self.keep(&name).await
    }

    /// Does a step while the servers are held that it needs.
    async fn with_servers(&mut self, mut order: Value) -> Result<Value, JobError> {
        let place = self.job.workplace();
        // While a server starts nothing else can happen.
        let waiting = self.job.waiting();
        let held = tokio::select! {
            held = self.engine.servers.hold(self.needs, &place) => held?,
            _ = self.job.stopped() => return Err(JobError::retryable("cancelled", "the job was called off")),
        };
        drop(waiting);
        let url = |hold: &Option<Hold>| hold.as_ref().map(|hold| hold.url.clone());
        order["servers"] =
            json!({"layout": url(&held.layout), "ocr_error": url(&held.ocr_error), "vlm": url(&held.vlm)});
        let done = self.step(order).await;
        match done {
            Err(error) if error.kind() == Some(MODEL_SERVER) => Err(self.whose_fault(error, &held).await),
            other => other,
        }
    }

    /// A server that is gone is no failure of the job, though it may have been too much for it.
    async fn whose_fault(&mut self, error: JobError, held: &Held) -> JobError {
        match self.engine.servers.down(held).await {
            Some(why) => {
                self.suspect = true;
                JobError::loss(MODEL_SERVER, why)
            }
            None => error,
        }
    }

    /// Puts a mark where a page would be.
    async fn leave_out(&mut self, page: u32, error: &JobError) -> Result<(), JobError> {
        self.job.log(format!("page {} is left out: {error}", page + 1));
        let name = name_of(&[page]);
        let why = format!("it could not be converted ({error})");
        self.step(json!({"step": "skip", "pages": [page], "name": name, "why": why})).await?;
        self.keep(&name).await
    }

    async fn document(&self, plan: &Plan) -> Result<Value, JobError> {
        let order = json!({
            "step": "document",
            "pages": ranges(&self.wanted),
            "parts": self.parts,
            "total": plan.total(),
            "source_pages": self.source_pages,
            "outputs_max": blobforge_core::queue::MAX_OUTPUTS,
        });
        self.step(order).await
    }

    /// Has a runner do a step.
    async fn step(&self, mut order: Value) -> Result<Value, JobError> {
        order["options"] = Value::Object(self.wish.options.clone());
        order["mode"] = self.mode.as_str().into();
        let mut told = self.files.told(self.job);
        told["params"] = order;
        self.engine.runners()?.have_done(self.job, &self.files, &told).await
    }

    /// Puts a part that was made where a runner that fails does not take it along.
    async fn keep(&mut self, name: &str) -> Result<(), JobError> {
        let (made, kept) = (self.files.scratch_dir.join(format!("{name}.zip")), self.job.kept_dir());
        tokio::fs::create_dir_all(&kept).await?;
        let kept = kept.join(format!("{name}.zip"));
        tokio::fs::rename(made, &kept).await?;
        self.parts.push(kept);
        Ok(())
    }
}

/// Pages in few words: the first and the last of those that follow each other.
fn ranges(pages: &[u32]) -> Vec<(u32, u32)> {
    let follows = |one: &u32, next: &u32| one + 1 == *next;
    let runs = pages.chunk_by(follows);
    runs.filter_map(|run| Some((*run.first()?, *run.last()?))).collect()
}

/// What the part with these pages is called.
fn name_of(pages: &[u32]) -> String {
    let (first, last) = (pages.first().unwrap_or(&0), pages.last().unwrap_or(&0));
    format!("pages-{first:05}-{last:05}")
}
