//! Types of work: as requests name them, and what holds for them.

use std::{collections::BTreeMap, sync::Arc};

use blobforge_core::{
    Invalid, JobType, QueueError, TypeRecord,
    storage::{Command, Counts, Done},
};
use poem::web::Data;
use poem_openapi::{OpenApi, param::Path, payload::Json};

use super::{
    body::Body,
    settings::{TypePatch, TypeView, as_named_here},
};
use crate::{audit::Actor, problem::Problem, service::Shared};

/// Other names that earlier clients have for a type.
const ALIASES: [(&str, &str); 1] = [("pdf-convert", "pdf")];

/// The type that a name means.
pub(super) fn job_type(name: &str) -> Result<JobType, Invalid> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    JobType::new(alias.map_or(name, |(_, real)| real))
}

/// The types that a request names, one by one or in a list.
pub(super) fn job_types(one: Option<String>, many: Option<Vec<String>>) -> Result<Vec<JobType>, Invalid> {
    let named = many.unwrap_or_default().into_iter().chain(one);
    let types = named.map(|name| job_type(&name)).collect::<Result<Vec<_>, _>>()?;
    if types.is_empty() {
        return Err(Invalid::new("types", "name at least one type"));
    }
    Ok(types)
}

pub(super) struct TypesApi(pub(super) Arc<Shared>);

#[OpenApi(tag = "super::openapi::Section::Types")]
impl TypesApi {
    /// List the types that jobs were submitted of or that were set up, by name
    #[oai(path = "/types", method = "get", operation_id = "list_types")]
    async fn list(&self) -> Result<Json<Vec<TypeView>>, Problem> {
        let types = self.0.queue.types().await?;
        let counts = self.0.queue.counts().await?;
        Ok(Json(types.into_iter().map(|record| view(record, &counts)).collect()))
    }

    /// One type
    #[oai(path = "/types/:type", method = "get", operation_id = "get_type")]
    async fn get(
        &self,
        /// The type's name; `pdf-convert` is `pdf`.
        #[oai(name = "type")]
        name: Path<String>,
    ) -> Result<Json<TypeView>, Problem> {
        let wanted = job_type(&name.0)?;
        let types = self.0.queue.types().await?;
        let record = types.into_iter().find(|record| record.job_type == wanted);
        let record = record.ok_or_else(|| no_type(&wanted))?;
        Ok(Json(view(record, &self.0.queue.counts().await?)))
    }

    /// Pause a type or resume it, and change what holds for its jobs: from the next claim on, at once
    ///
    /// Only what is named changes, in one step, so that two who change different settings at the same time both get what
    /// they asked for; `null` takes a setting back. A type that is not known yet can be set up before its first job.
    #[oai(path = "/types/:type", method = "patch", operation_id = "change_type")]
    async fn change(
        &self,
        /// The type's name; `pdf-convert` is `pdf`.
        #[oai(name = "type")]
        name: Path<String>,
        actor: Data<&Actor>,
        body: Body<TypePatch>,
    ) -> Result<Json<TypeView>, Problem> {
        let job_type = job_type(&name.0)?;
        let changes = body.0.changes()?;
        if changes.is_empty() {
            return Err(Problem::invalid("nothing is named: name at least one setting to change"));
        }
        let command = Command::ChangeType { job_type: job_type.clone(), changes };
        let done = actor.act(&self.0.queue, "type_changed", &job_type, command).await;
        let done = done.map_err(|error| match error {
            QueueError::Invalid(invalid) => as_named_here(invalid).into(),
            other => Problem::from(other),
        })?;
        let Done::Type(record) = done else { return Err(Problem::internal()) };
        tracing::info!(job_type = %record.job_type, paused = record.paused, "a type was changed");
        Ok(Json(view(*record, &self.0.queue.counts().await?)))
    }
}

fn view(record: TypeRecord, counts: &Counts) -> TypeView {
    let of_type = counts.0.iter().filter(|((job_type, _), _)| *job_type == record.job_type);
    let jobs: BTreeMap<_, _> = of_type.map(|((_, status), jobs)| (status.to_string(), *jobs)).collect();
    TypeView::new(record, jobs)
}

fn no_type(job_type: &JobType) -> Problem {
    Problem::not_found("type_not_found", format!("no job of type {job_type} was ever submitted"))
        .hint("GET /api/types lists the types that are known; PATCH sets one up before its first job")
}
