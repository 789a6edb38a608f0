//! By which rules people come in: whose word counts, and whom of those it knows may come.

use serde_json::json;

use crate::{
    auth::token::fingerprint,
    config::{Guests, OidcOptions},
};

/// The rules of this start of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Whose word counts.
    pub(crate) issuer: String,
    /// What all of them come to: another text for other rules.
    pub(crate) fingerprint: String,
}

impl Rules {
    pub(crate) fn of(options: &OidcOptions) -> Self {
        let OidcOptions { issuer, client_id, groups_claim, guests, .. } = options;
        let Guests { groups, admin_groups, users, admin_users, everybody } = guests;
        let all =
            json!([issuer, client_id, groups_claim, groups, admin_groups, users, admin_users, everybody]);
        Self { issuer: issuer.clone(), fingerprint: fingerprint(&all.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_rules_have_another_fingerprint() {
        let options = |set: fn(&mut OidcOptions)| {
            let mut options =
                OidcOptions::new("https://auth.lan", "forge", "https://forge.lan/auth/callback");
            set(&mut options);
            Rules::of(&options).fingerprint
        };
        let all = [
            options(|_| {}),
            options(|options| options.issuer.push('/')),
            options(|options| options.client_id.push('2')),
            options(|options| options.groups_claim.push('2')),
            options(|options| options.guests.groups.push("a".to_owned())),
            options(|options| options.guests.admin_groups.push("a".to_owned())),
            options(|options| options.guests.users.push("a".to_owned())),
            options(|options| options.guests.admin_users.push("a".to_owned())),
            options(|options| options.guests.everybody = true),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(options(|_| {}), all[0]);
    }
}
