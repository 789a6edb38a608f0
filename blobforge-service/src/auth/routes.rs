//! Every route there is, and who may use it. What is not in this table does not exist.

use super::{Principal, Scope};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Whoever has a URL that this service signed; credentials mean nothing here.
    Signed,
    /// Anybody with a good token or session.
    Any,
    /// Who hands in jobs.
    Submit,
    /// Who runs jobs.
    Worker,
    /// Administrators.
    Admin,
    /// A page: as `Any`, but who is not logged in is sent to do so.
    Page,
    /// A page for administrators: who is not logged in is sent to do so.
    AdminPage,
}

impl Access {
    /// Whether somebody, or nobody in particular, may use such a route.
    pub(crate) fn allows(self, principal: Option<&Principal>) -> bool {
        let has = |scope| principal.is_some_and(|principal| principal.has(scope));
        match self {
            Self::Public | Self::Signed => true,
            Self::Any | Self::Page => principal.is_some(),
            Self::Submit => has(Scope::Submit),
            Self::Worker => has(Scope::Worker),
            Self::Admin | Self::AdminPage => has(Scope::Admin),
        }
    }

    /// Whether it is a page, to which people come by their browser.
    pub(crate) fn is_page(self) -> bool {
        matches!(self, Self::Page | Self::AdminPage)
    }

    /// The scope that it asks for, if it asks for one.
    pub(crate) fn scope(self) -> Option<Scope> {
        match self {
            Self::Submit => Some(Scope::Submit),
            Self::Worker => Some(Scope::Worker),
            Self::Admin | Self::AdminPage => Some(Scope::Admin),
            Self::Public | Self::Signed | Self::Any | Self::Page => None,
        }
    }
}

/// One route. In a pattern `{name}` stands for one part of a path, and `{name*}` for all the rest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The HTTP method; HEAD follows GET.
    pub method: &'static str,
    /// Which paths it serves.
    pub pattern: &'static str,
    /// Who may use it.
    pub access: Access,
    /// The method and pattern that it is another spelling of.
    pub alias_of: Option<(&'static str, &'static str)>,
    /// It is an operation of the OpenAPI document.
    pub is_operation: bool,
}

const fn api(method: &'static str, pattern: &'static str, access: Access) -> Route {
    Route { method, pattern, access, alias_of: None, is_operation: true }
}

const fn page(method: &'static str, pattern: &'static str, access: Access) -> Route {
    Route { method, pattern, access, alias_of: None, is_operation: false }
}

const fn alias(
    method: &'static str,
    pattern: &'static str,
    access: Access,
    of: (&'static str, &'static str),
) -> Route {
    Route { method, pattern, access, alias_of: Some(of), is_operation: false }
}

/// The page for logging in.
pub(crate) const LOGIN: &str = "/auth/login";
/// Where a login with the identity provider begins.
pub(crate) const OIDC_LOGIN: &str = "/auth/oidc";
/// Where the identity provider sends people back to.
pub(crate) const OIDC_CALLBACK: &str = "/auth/callback";

/// All routes.
pub const ROUTES: &[Route] = &[
    api("GET", "/api/health", Access::Public),
    api("GET", "/api/health/live", Access::Public),
    alias("GET", "/health", Access::Public, ("GET", "/api/health")),
    page("GET", "/api/openapi.json", Access::Public),
    page("GET", "/docs", Access::Public),
    page("GET", "/assets/{file}", Access::Public),
    page("GET", LOGIN, Access::Public),
    page("POST", LOGIN, Access::Public),
    page("GET", OIDC_LOGIN, Access::Public),
    page("GET", OIDC_CALLBACK, Access::Public),
    page("POST", "/auth/logout", Access::Public),
    alias("GET", "/login", Access::Public, ("GET", LOGIN)),
    api("GET", "/api/auth/info", Access::Public),
    page("GET", "/", Access::Page),
    page("GET", "/jobs", Access::Page),
    page("GET", "/jobs/{id}", Access::Page),
    page("GET", "/jobs/{id}/source", Access::Page),
    page("GET", "/jobs/{id}/preview", Access::Page),
    page("GET", "/jobs/{id}/files/{name*}", Access::Page),
    page("GET", "/library", Access::Page),
    page("GET", "/submit", Access::Page),
    page("GET", "/workers", Access::Page),
    page("GET", "/workers/add", Access::AdminPage),
    page("GET", "/admin/tokens", Access::AdminPage),
    page("GET", "/admin/users", Access::AdminPage),
    page("GET", "/admin/audit", Access::AdminPage),
    page("GET", "/admin/types", Access::AdminPage),
    page("GET", "/admin/webhooks", Access::AdminPage),
    page("GET", "/admin/webhooks/{id}", Access::AdminPage),
    page("GET", "/admin/system", Access::AdminPage),
    page("GET", "/metrics", Access::Any),
    page("GET", "/files/{key*}", Access::Signed),
    page("PUT", "/files/{key*}", Access::Signed),
    api("POST", "/api/workers/register", Access::Worker),
    api("POST", "/api/workers/{id}/heartbeat", Access::Worker),
    api("POST", "/api/workers/{id}/unregister", Access::Worker),
    api("POST", "/api/workers/{id}/drain", Access::Admin),
    api("POST", "/api/workers/{id}/resume", Access::Admin),
    api("DELETE", "/api/workers/{id}", Access::Admin),
    api("GET", "/api/workers", Access::Any),
    api("GET", "/api/workers/{id}", Access::Any),
    api("POST", "/api/jobs", Access::Submit),
    api("POST", "/api/jobs/batch", Access::Submit),
    api("PUT", "/api/jobs/upload", Access::Submit),
    api("POST", "/api/jobs/{id}/uploaded", Access::Submit),
    // To delete by it takes the scope admin.
    api("POST", "/api/jobs/bulk", Access::Submit),
    api("POST", "/api/jobs/lookup", Access::Any),
    api("GET", "/api/jobs", Access::Any),
    api("GET", "/api/jobs/{id}", Access::Any),
    api("DELETE", "/api/jobs/{id}", Access::Admin),
    api("GET", "/api/jobs/{id}/history", Access::Any),
    api("GET", "/api/jobs/{id}/logs", Access::Any),
    api("GET", "/api/jobs/{id}/outputs/{name*}", Access::Any),
    api("GET", "/api/jobs/{id}/outputs.zip", Access::Any),
    api("POST", "/api/jobs/{id}/retry", Access::Submit),
    api("POST", "/api/jobs/{id}/cancel", Access::Submit),
    api("PATCH", "/api/jobs/{id}/priority", Access::Submit),
    alias("POST", "/api/jobs/{id}/priority", Access::Submit, ("PATCH", "/api/jobs/{id}/priority")),
    api("POST", "/api/jobs/claim", Access::Worker),
    api("POST", "/api/jobs/{id}/complete", Access::Worker),
    api("POST", "/api/jobs/{id}/fail", Access::Worker),
    api("POST", "/api/jobs/{id}/release", Access::Worker),
    api("POST", "/api/jobs/{id}/snooze", Access::Worker),
    api("POST", "/api/jobs/{id}/progress", Access::Worker),
    api("POST", "/api/jobs/{id}/logs", Access::Worker),
    api("POST", "/api/jobs/{id}/checkpoint", Access::Worker),
    api("POST", "/api/jobs/{id}/source-verified", Access::Worker),
    api("POST", "/api/files/upload-url", Access::Submit),
    api("GET", "/api/files/{job_id}/{type}/url", Access::Any),
    api("POST", "/api/files/{job_id}/outputs/url", Access::Worker),
    api("GET", "/api/failures", Access::Any),
    api("GET", "/api/types", Access::Any),
    api("GET", "/api/types/{type}", Access::Any),
    api("PATCH", "/api/types/{type}", Access::Admin),
    api("GET", "/api/stats", Access::Any),
    api("GET", "/api/events", Access::Any),
    alias("GET", "/events", Access::Any, ("GET", "/api/events")),
    api("GET", "/api/webhooks", Access::Any),
    api("POST", "/api/webhooks", Access::Admin),
    api("DELETE", "/api/webhooks/{id}", Access::Admin),
    api("GET", "/api/webhooks/{id}/deliveries", Access::Any),
    api("POST", "/api/webhooks/{id}/redeliver", Access::Admin),
    api("GET", "/api/admin/tokens", Access::Admin),
    api("POST", "/api/admin/tokens", Access::Admin),
    api("DELETE", "/api/admin/tokens/{id}", Access::Admin),
    api("POST", "/api/admin/workers", Access::Admin),
    api("POST", "/api/admin/workers/{id}/regenerate", Access::Admin),
    api("POST", "/api/admin/workers/{id}/enable", Access::Admin),
    api("POST", "/api/admin/workers/{id}/disable", Access::Admin),
    api("GET", "/api/admin/users", Access::Admin),
    alias("GET", "/api/users", Access::Admin, ("GET", "/api/admin/users")),
    api("DELETE", "/api/admin/users/{id}/sessions", Access::Admin),
    api("GET", "/api/admin/audit", Access::Admin),
    alias("GET", "/api/tokens", Access::Admin, ("GET", "/api/admin/tokens")),
    alias("POST", "/api/tokens", Access::Admin, ("POST", "/api/admin/tokens")),
    alias("DELETE", "/api/tokens/{id}", Access::Admin, ("DELETE", "/api/admin/tokens/{id}")),
];

/// What the table says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This route, and the path under which it is served.
    Route(&'static Route, String),
    /// The path takes these other methods.
    OtherMethods(Vec<&'static str>),
    /// Nothing has such a path.
    Nothing,
}

/// Looks a request up.
pub(super) fn find(method: &str, path: &str) -> Found {
    let best = ROUTES
        .iter()
        .filter_map(|route| Some((fit(route.pattern, path)?, route)))
        .min_by(|a, b| a.0.cmp(&b.0));
    let Some((_, best)) = best else { return Found::Nothing };
    let same: Vec<_> = ROUTES.iter().filter(|route| route.pattern == best.pattern).collect();
    let wanted = |method: &str| same.iter().copied().find(|route| route.method == method);
    let route = wanted(method).or_else(|| wanted("GET").filter(|_| method == "HEAD"));
    match route {
        Some(route) => Found::Route(route, served_path(route, path)),
        None => Found::OtherMethods(same.iter().map(|route| route.method).collect()),
    }
}

/// How a path fits a pattern, part by part: words before parameters before a rest. The smallest fit is the closest.
fn fit(pattern: &str, path: &str) -> Option<Vec<u8>> {
    let mut parts = path.split('/');
    let mut fit = Vec::new();
    for wanted in pattern.split('/') {
        let part = parts.next()?;
        if wanted.ends_with("*}") {
            let rest_is_whole = !part.is_empty() && parts.all(|part| !part.is_empty());
            fit.push(2);
            return rest_is_whole.then_some(fit);
        }
        if wanted.starts_with('{') {
            if part.is_empty() {
                return None;
            }
            fit.push(1);
        } else if wanted == part {
            fit.push(0);
        } else {
            return None;
        }
    }
    parts.next().is_none().then_some(fit)
}

/// The path as the handler of a route knows it: an alias becomes the real one, and a rest becomes one part.
fn served_path(route: &Route, path: &str) -> String {
    let Some(fixed) = route.pattern.split('/').position(|part| part.ends_with("*}")) else {
        let Some((_, real)) = route.alias_of else { return path.to_owned() };
        let mut given =
            route.pattern.split('/').zip(path.split('/')).filter(|(p, _)| p.starts_with('{')).map(|(_, v)| v);
        let part = |wanted: &'static str| if wanted.starts_with('{') { given.next() } else { Some(wanted) };
        return real.split('/').filter_map(part).collect::<Vec<_>>().join("/");
    };
    if !route.is_operation {
        return path.to_owned();
    }
    let parts: Vec<_> = path.split('/').collect();
    let (begin, rest) = parts.split_at(fixed);
    format!("{}/{}", begin.join("/"), rest.join("%2F"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(method: &str, path: &str) -> Option<(&'static str, String)> {
        match find(method, path) {
            Found::Route(route, path) => Some((route.pattern, path)),
            _ => None,
        }
    }

    #[test]
    fn the_closest_pattern_wins_whatever_the_method() {
        assert_eq!(served("POST", "/api/jobs/claim").map(|f| f.0), Some("/api/jobs/claim"));
        assert_eq!(find("GET", "/api/jobs/claim"), Found::OtherMethods(vec!["POST"]));
        assert_eq!(served("GET", "/api/jobs/7").map(|f| f.0), Some("/api/jobs/{id}"));
        assert_eq!(find("GET", "/api/jobs/7/nothing"), Found::Nothing);
        assert_eq!(find("GET", "/api/jobs/"), Found::Nothing);
        assert_eq!(find("GET", "/api//jobs"), Found::Nothing);
    }

    #[test]
    fn head_follows_get_and_nothing_else() {
        assert!(served("HEAD", "/api/jobs/7").is_some());
        assert_eq!(find("HEAD", "/api/jobs/7/retry"), Found::OtherMethods(vec!["POST"]));
    }

    #[test]
    fn aliases_and_long_names_become_what_the_handlers_know() {
        assert_eq!(
            served("DELETE", "/api/tokens/abc").map(|f| f.1),
            Some("/api/admin/tokens/abc".to_owned())
        );
        let long = served("GET", "/api/jobs/7/outputs/images/p%201.png").map(|f| f.1);
        assert_eq!(long, Some("/api/jobs/7/outputs/images%2Fp%201.png".to_owned()));
        assert_eq!(
            served("GET", "/files/outputs/7/1-1/a").map(|f| f.1),
            Some("/files/outputs/7/1-1/a".to_owned())
        );
    }

    #[test]
    fn every_alias_names_a_route_with_the_same_access() {
        for route in ROUTES {
            let Some((method, pattern)) = route.alias_of else { continue };
            let real = ROUTES.iter().find(|real| (real.method, real.pattern) == (method, pattern));
            assert_eq!(
                real.map(|real| real.access),
                Some(route.access),
                "{} {}",
                route.method,
                route.pattern
            );
        }
    }
}
