//! Types of work, as requests name them.

use blobforge_core::{Invalid, JobType};

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
