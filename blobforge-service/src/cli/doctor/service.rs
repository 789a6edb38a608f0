//! The service, as the commands see it.

use std::collections::BTreeSet;

use blobforge_worker_sdk::{client::Client, version_difference};
use serde_json::Value;

use super::{Connection, Finding};
use crate::cli::listing::field;

/// This program's version.
const OURS: &str = env!("CARGO_PKG_VERSION");

pub(super) async fn look(connection: &Connection) -> Vec<Finding> {
    let client = match connection.client() {
        Ok(client) => client,
        Err(error) => {
            let remedy = "Say which service is meant: blobforge doctor --help";
            return vec![Finding::fail("service", error.to_string(), remedy)];
        }
    };
    let health = match client.health().await {
        Ok(health) => health,
        Err(error) => {
            let remedy =
                "Start it with blobforge serve, or say with --server where it is; its log says what is wrong";
            return vec![Finding::fail("service", error.to_string(), remedy)];
        }
    };
    let well = match field(&health, "trouble") {
        trouble if trouble.is_empty() => {
            Finding::ok("service", format!("{} answers; its database and its files are well", client.url()))
        }
        trouble => {
            Finding::warn("service", format!("{} answers; {trouble}", client.url()), "Look at its log")
        }
    };
    let mut findings = vec![well, version(&field(&health, "version"))];
    match client.stats().await {
        Ok(_) => findings.push(Finding::ok("token", "the service takes it")),
        Err(error) => {
            let remedy = "Make another one: blobforge tokens create NAME, or blobforge tokens reset-admin on its machine";
            findings.push(Finding::fail("token", error.to_string(), remedy));
            return findings;
        }
    }
    findings.push(workers(&client, &field(&health, "version")).await);
    findings
}

fn version(theirs: &str) -> Finding {
    if theirs == OURS {
        return Finding::ok("versions", format!("service and command line are {OURS}"));
    }
    let found = format!("the service is {theirs}, the command line is {OURS}");
    Finding::warn("versions", found, "Install the same version on both sides")
}

/// A worker that has another version than its service, and what is to be said of that.
fn other_version(worker: &Value, service: &str) -> Option<(String, String)> {
    let version = worker["metadata"]["sdk"].as_str()?;
    Some((field(worker, "id"), version_difference(version, service)?))
}

/// Whether somebody does what waits.
async fn workers(client: &Client, service: &str) -> Finding {
    let (workers, types) = match tokio::try_join!(client.workers(), client.types()) {
        Ok(both) => both,
        Err(error) => return Finding::fail("workers", error.to_string(), "Look at the service's log"),
    };
    let is_up = |worker: &&Value| field(worker, "status") != "offline";
    let online: Vec<_> = workers.iter().filter(is_up).collect();
    let served: BTreeSet<&str> = online
        .iter()
        .flat_map(|worker| worker["types"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    let waits = |of: &&Value| of["jobs"]["pending"].as_u64().unwrap_or(0) > 0;
    let unserved: Vec<_> = types
        .iter()
        .filter(waits)
        .map(|of| field(of, "type"))
        .filter(|name| !served.contains(name.as_str()))
        .collect();
    if !unserved.is_empty() {
        let found = format!("jobs of {} wait, and no live worker serves that", unserved.join(", "));
        return Finding::warn("workers", found, "Start one: blobforge worker --help");
    }
    let trouble = online.iter().map(|worker| (field(worker, "id"), field(worker, "trouble")));
    if let Some((id, trouble)) = trouble.into_iter().find(|(_, trouble)| !trouble.is_empty()) {
        return Finding::warn("workers", format!("{id}: {trouble}"), "See to that machine");
    }
    if let Some((id, version)) = online.iter().find_map(|worker| other_version(worker, service)) {
        let remedy = "Update the older one: until then what only the newer one can do is not done";
        return Finding::warn("workers", format!("{id} is {version}"), remedy);
    }
    Finding::ok("workers", format!("{} of {} are online", online.len(), workers.len()))
}
