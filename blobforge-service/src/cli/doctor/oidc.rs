//! The provider that people log in with.

use super::Finding;
use crate::{auth::Provider, config::ServeConfig};

pub(super) async fn look(config: &ServeConfig) -> Vec<Finding> {
    let Some(options) = &config.oidc else { return Vec::new() };
    let looked = match Provider::new(options.clone(), config.clock()) {
        Ok(provider) => provider.look().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let looked = match looked {
        Ok(looked) => looked,
        Err(error) => {
            let remedy = "Put BLOBFORGE_OIDC_ISSUER right: it is the address that the provider's \
                          /.well-known/openid-configuration names as issuer, to the letter";
            return vec![Finding::fail("OpenID provider", error, remedy)];
        }
    };
    let logout = if looked.has_logout { "" } else { "; it cannot be logged out of from here" };
    let found =
        format!("{} answers; it sends people back to {}{logout}", options.host(), options.redirect_url);
    let mut findings = vec![Finding::ok("OpenID provider", found)];
    let guests = &options.guests;
    let names_groups = !guests.groups.is_empty() || !guests.admin_groups.is_empty();
    if names_groups && !looked.has_groups && options.scopes.is_none() {
        let found = format!("groups are named, and {} has no scope for groups", options.host());
        let remedy = "If it says nothing of groups, name people with BLOBFORGE_OIDC_ALLOWED_USERS and \
                      BLOBFORGE_OIDC_ADMIN_USERS; if it says so by another scope or name, set \
                      BLOBFORGE_OIDC_SCOPES and BLOBFORGE_OIDC_GROUPS_CLAIM";
        findings.push(Finding::warn("groups", found, remedy));
    }
    if guests.everybody {
        let found = format!("everybody whom {} knows may log in", options.host());
        let remedy = "Set BLOBFORGE_OIDC_ALLOWED_GROUPS or BLOBFORGE_OIDC_ALLOWED_USERS unless that is meant";
        findings.push(Finding::warn("guests", found, remedy));
    }
    if guests.admin_groups.is_empty() && guests.admin_users.is_empty() {
        let remedy = "Set BLOBFORGE_OIDC_ADMIN_GROUPS or BLOBFORGE_OIDC_ADMIN_USERS if somebody should be";
        findings.push(Finding::warn("administrators", "nobody who logs in by it is one", remedy));
    }
    findings
}
