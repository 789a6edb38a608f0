//! Settings that people know from earlier and that this version does not follow: said at the start, never ignored.

/// A setting that is not followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotYet {
    /// What the environment calls it.
    pub(crate) name: &'static str,
    /// What happens instead.
    pub(crate) instead: &'static str,
    /// Going on without it would do something that nobody who sets it expects.
    pub(crate) stops: bool,
}

impl NotYet {
    /// What people are told.
    pub(crate) fn said(self, origin: &str) -> String {
        format!("{} is set ({origin}), but {}", self.name, self.instead)
    }
}

const fn stops(name: &'static str, instead: &'static str) -> NotYet {
    NotYet { name, instead, stops: true }
}

const fn harmless(name: &'static str, instead: &'static str) -> NotYet {
    NotYet { name, instead, stops: false }
}

const LOGIN: &str = "login through OIDC is not supported yet: people log in with a token or a login link";

/// All of them.
pub(crate) const NOT_YET: &[NotYet] = &[
    stops("BLOBFORGE_OIDC_ISSUER", LOGIN),
    harmless("BLOBFORGE_OIDC_CLIENT_ID", LOGIN),
    harmless("BLOBFORGE_OIDC_CLIENT_SECRET", LOGIN),
    harmless("BLOBFORGE_OIDC_CLIENT_SECRET_FILE", LOGIN),
    harmless("BLOBFORGE_OIDC_REDIRECT_URL", LOGIN),
    // Without an issuer nobody comes in through OIDC, whatever the group.
    harmless("BLOBFORGE_OIDC_ALLOWED_GROUPS", LOGIN),
    harmless("BLOBFORGE_OIDC_ADMIN_GROUPS", LOGIN),
];

/// Those that are set, with where; what is empty is not set.
pub(crate) fn asked_for(origin: impl Fn(&str) -> Option<String>) -> Vec<(NotYet, String)> {
    NOT_YET.iter().filter_map(|setting| Some((*setting, origin(setting.name)?))).collect()
}
