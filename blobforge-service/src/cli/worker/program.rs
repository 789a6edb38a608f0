//! What does the work: the built-in engine, or a program of the user's and what it may use.

use std::{ffi::OsString, path::Path, time::Duration};

use blobforge_core::JobType;
use blobforge_worker_sdk::{
    WorkerBuilder,
    marker::{JOB_TYPE, Settings},
    program::{Command, Limits, Program, Recycling, Runner},
};
use clap::{ArgMatches, parser::ValueSource};

use super::{
    CliError,
    marker::{self, Engine, MarkerArgs},
    seconds,
};
use crate::{
    cli::job_type,
    pdf_text::{self, PdfText},
};

/// What does the work.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "What does the work")]
pub(super) struct HandlerArgs {
    /// The engine that is built in.
    #[arg(long, env = "BLOBFORGE_ENGINE", default_value = "text")]
    engine: Engine,
    #[command(flatten)]
    marker: MarkerArgs,
    #[command(flatten)]
    program: ProgramArgs,
}

/// A program of the user's, and what it, or the engine marker, may use.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "A program of yours, and its limits")]
struct ProgramArgs {
    /// Type of the jobs that the program does.
    #[arg(long = "type", value_name = "TYPE", requires = "program", value_parser = job_type)]
    job_type: Option<JobType>,
    /// The program stays, and is told its jobs as docs/runner-protocol.md says.
    #[arg(long, requires = "program")]
    runner: bool,
    /// Seconds that the program may show no progress, 0 for as long as it likes [default: 600 for a runner, 3600 for a
    /// command, for which whatever it says or writes is progress].
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_never)]
    no_progress: Option<Limit>,
    /// Seconds that a job may take in all.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Memory of the program and everything it starts, in MiB [default: 16384].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    memory_mib: Option<u64>,
    /// Size of a job's outputs, in MiB [default: 16384].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    output_mib: Option<u64>,
    /// Size of a job's temporary files, in MiB [default: 65536].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    scratch_mib: Option<u64>,
    /// Seconds that the program may take to stop before it is killed [default: 5].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    grace: Option<Duration>,
    /// Seconds that a runner may take until it is ready [default: 300, and 600 for marker].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    ready_within: Option<Duration>,
    /// After how many jobs a runner is replaced by a fresh one.
    #[arg(long, value_name = "JOBS", value_parser = clap::value_parser!(u64).range(1..))]
    recycle_jobs: Option<u64>,
    /// From how much memory on a runner is replaced after a job, in MiB.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    recycle_mib: Option<u64>,
    /// Variable of the environment that the program may see besides the usual ones; repeatable.
    #[arg(long, value_name = "NAME", requires = "program")]
    pass: Vec<String>,
    /// Cut the program off the network.
    #[arg(long, requires = "program")]
    no_network: bool,
    /// The program and its arguments, after --. A command finds the source at {source}, and what it leaves in {outdir} are the
    /// job's outputs.
    #[arg(last = true, id = "program", value_name = "PROGRAM", requires = "job_type")]
    program: Vec<OsString>,
}

/// A span that may also be none.
type Limit = Option<Duration>;

fn seconds_or_never(text: &str) -> Result<Limit, String> {
    if text == "0" { Ok(None) } else { seconds(text).map(Some) }
}

/// What programs, and the engine marker, may use.
const LIMITS: [&str; 6] = ["no_progress", "timeout", "memory_mib", "output_mib", "scratch_mib", "grace"];
/// What is said of something that stays for many jobs.
const OF_WHAT_STAYS: [&str; 3] = ["ready_within", "recycle_jobs", "recycle_mib"];

impl HandlerArgs {
    /// Refuses what was said on the command line and would be ignored. What the environment says may be meant for others.
    pub(super) fn check(&self, matches: &ArgMatches) -> Result<(), CliError> {
        let is_said = |id: &&&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let (is_program, is_runner) = (self.call().is_some(), self.program.runner);
        let is_marker = !is_program && self.engine == Engine::Marker;
        let rules = [
            (!is_program, &["engine"][..], "the engines that are built in, and a program of yours is none"),
            (is_marker, &marker::FLAGS, "--engine marker"),
            (is_marker || is_program, &LIMITS, "--engine marker, and for programs of yours"),
            (
                is_marker || is_runner,
                &OF_WHAT_STAYS,
                "--engine marker, and for programs of yours with --runner",
            ),
        ];
        let mut wrong = rules.into_iter().filter(|(holds, ..)| !holds);
        match wrong.find_map(|(_, flags, whose)| Some((flags.iter().find(is_said)?, whose))) {
            Some((flag, whose)) => {
                let flag = flag.replace('_', "-");
                Err(CliError::usage(format!("--{flag} would say nothing here: it is for {whose}")))
            }
            None => Ok(()),
        }
    }

    /// What it serves.
    pub(super) fn job_type(&self) -> &str {
        match (&self.program.job_type, self.engine) {
            (Some(program), _) => program.as_str(),
            (None, Engine::Text) => pdf_text::ENGINE,
            (None, Engine::Marker) => JOB_TYPE,
        }
    }

    /// The program that is called, if it is not a built-in engine.
    pub(super) fn call(&self) -> Option<&Path> {
        self.program.program.first().map(Path::new)
    }

    /// How marker is set up, if that is what does the work.
    pub(super) fn marker_settings(&self, use_gpu: bool) -> Option<Settings> {
        if self.call().is_some() || self.engine != Engine::Marker {
            return None;
        }
        let (program, usual) = (&self.program, Settings::default());
        let usual = Settings {
            limits: Limits {
                no_progress: program.no_progress.unwrap_or(usual.limits.no_progress),
                ..program.limits(usual.limits)
            },
            recycling: Recycling {
                jobs: program.recycle_jobs.or(usual.recycling.jobs),
                memory_bytes: program.recycle_mib.map(mib).or(usual.recycling.memory_bytes),
            },
            ready_within: program.ready_within.unwrap_or(usual.ready_within),
            ..usual
        };
        Some(self.marker.settings(use_gpu, usual))
    }

    /// A worker with this handler.
    pub(super) async fn added_to(
        &self,
        builder: WorkerBuilder,
        use_gpu: bool,
    ) -> Result<WorkerBuilder, CliError> {
        if let Some(settings) = self.marker_settings(use_gpu) {
            return marker::added_to(builder, settings).await;
        }
        let Some(job_type) = &self.program.job_type else {
            return Ok(builder.handler(PdfText::new()?));
        };
        let program = self.program.as_program(use_gpu)?;
        Ok(if self.program.runner {
            builder.handler(Runner::new(job_type.as_str(), program))
        } else {
            builder.handler(Command::new(job_type.as_str(), program))
        })
    }
}

impl ProgramArgs {
    fn as_program(&self, use_gpu: bool) -> Result<Program, CliError> {
        let mut program = Program::new(self.program.clone())?
            .limits(self.limits(Program::LIMITS))
            .recycling(Recycling { jobs: self.recycle_jobs, memory_bytes: self.recycle_mib.map(mib) });
        if let Some(time) = self.ready_within {
            program = program.ready_within(time);
        }
        // After the limits, of which it is one.
        if let Some(silence) = self.no_progress {
            program = program.silence(silence);
        }
        for variable in &self.pass {
            program = program.pass(variable);
        }
        if use_gpu {
            program = program.env("BLOBFORGE_USE_GPU", "true");
        }
        if self.no_network {
            program = program.without_network()?;
        }
        Ok(program)
    }

    /// What was said, and for the rest what is usual.
    fn limits(&self, usual: Limits) -> Limits {
        Limits {
            total: self.timeout.or(usual.total),
            memory_bytes: self.memory_mib.map_or(usual.memory_bytes, mib),
            output_bytes: self.output_mib.map_or(usual.output_bytes, mib),
            scratch_bytes: self.scratch_mib.map_or(usual.scratch_bytes, mib),
            grace: self.grace.unwrap_or(usual.grace),
            ..usual
        }
    }
}

fn mib(number: u64) -> u64 {
    number.saturating_mul(1 << 20)
}
