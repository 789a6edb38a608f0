//! What all pages have around them, and the policy under which browsers show them.

use std::sync::Arc;

use askama::Template;
use poem::{
    FromRequest, IntoResponse, Request, RequestBody, Response, Result,
    http::{HeaderValue, StatusCode, header},
    web::Html,
};

use super::fault::Fault;
use crate::{
    auth::{Principal, Scope, csrf_token, session_secret},
    problem::Problem,
    service::Shared,
};

/// What a page may load: files of this service and pictures made within the page, and no script or style that stands in it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                      connect-src 'self'; frame-src 'self'; worker-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// Where in the navigation a page stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// How things are.
    Overview,
    /// All jobs.
    Jobs,
    /// What is finished.
    Library,
    /// Handing in files.
    Submit,
    /// Who runs jobs.
    Workers,
    /// What only administrators see.
    Admin,
}

impl Section {
    /// All of them, in the order of the navigation, with what they are called and where they are.
    const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::Overview, "Overview", "/"),
        (Self::Jobs, "Jobs", "/jobs"),
        (Self::Library, "Library", "/library"),
        (Self::Submit, "Submit", "/submit"),
        (Self::Workers, "Workers", "/workers"),
        (Self::Admin, "Admin", "/admin/tokens"),
    ];
}

/// Who looks at a page, and where from.
pub(super) struct Visitor {
    pub(super) shared: Arc<Shared>,
    pub(super) principal: Principal,
    /// The address of the service, as far as this visitor knows it.
    pub(super) origin: String,
    csrf: String,
    here: String,
}

impl<'a> FromRequest<'a> for Visitor {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> Result<Self> {
        let (Some(shared), Some(principal)) = (request.data::<Arc<Shared>>(), request.data::<Principal>())
        else {
            return Err(Fault::from(Problem::internal()).into());
        };
        let secret = session_secret(request.headers(), shared.config.is_https());
        // Who comes with a token is asked for none.
        let csrf = secret.filter(|_| principal.by_session).map(csrf_token).unwrap_or_default();
        let here = request.uri().path_and_query().map_or("/", |here| here.as_str()).to_owned();
        let origin = shared.config.public_url.clone().unwrap_or_else(|| origin(request));
        Ok(Self { shared: shared.clone(), principal: principal.clone(), origin, csrf, here })
    }
}

/// The address that a request was sent to. It goes into commands, so that it is an address or nothing at all.
fn origin(request: &Request) -> String {
    let host = request.header(header::HOST).unwrap_or_default();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
    if host.is_empty() || !host.bytes().all(plain) { String::new() } else { format!("http://{host}") }
}

impl Visitor {
    /// What stands around a page for this visitor.
    pub(super) fn frame(&self, section: Section, title: impl Into<String>) -> Frame {
        Frame {
            section,
            title: title.into(),
            here: self.here.clone(),
            now: self.shared.queue.now().to_string(),
            csrf: self.csrf.clone(),
            account: self.principal.name.clone(),
            may_submit: self.principal.has(Scope::Submit),
            is_admin: self.principal.has(Scope::Admin),
        }
    }
}

/// What stands around a page.
pub(super) struct Frame {
    section: Section,
    /// What the page is called.
    pub(super) title: String,
    /// Its own address, by which it is asked for again.
    pub(super) here: String,
    /// When it was made, by the service's clock.
    pub(super) now: String,
    /// What changes are sent with, so that no other site can ask for them.
    pub(super) csrf: String,
    /// Who is logged in.
    pub(super) account: String,
    /// Whether they may hand in and steer jobs.
    pub(super) may_submit: bool,
    /// Whether they may do everything.
    pub(super) is_admin: bool,
}

impl Frame {
    /// The navigation: what each page is called, where it is, and whether this is it.
    pub(super) fn links(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let open =
            Section::ALL.into_iter().filter(|(section, ..)| *section != Section::Admin || self.is_admin);
        let pages = open.map(|(section, name, to)| (name, to, section == self.section));
        pages.chain([("API", "/docs", false)])
    }

    /// Whether the page is asked for again as things change: not where people work in it.
    pub(super) fn is_live(&self) -> bool {
        self.section != Section::Submit
    }

    /// The version of the service.
    pub(super) fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }
}

/// A page for a browser.
pub(super) fn page(template: &impl Template) -> Result<Response, Fault> {
    page_that_connects(template, None)
}

/// A page that also sends files to `store`, an origin.
pub(super) fn page_that_connects(template: &impl Template, store: Option<&str>) -> Result<Response, Fault> {
    let html = template.render().map_err(|error| {
        tracing::error!(%error, "a page could not be made");
        Problem::internal()
    })?;
    let mut reply = with_policy(StatusCode::OK, html);
    if let Some(store) = store {
        let policy = POLICY.replace("connect-src 'self'", &format!("connect-src 'self' {store}"));
        let policy = HeaderValue::try_from(policy).map_err(|_| Problem::internal())?;
        reply.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(reply)
}

/// HTML under the policy of all pages.
pub(super) fn with_policy(status: StatusCode, html: String) -> Response {
    let mut reply = Html(html).into_response();
    reply.set_status(status);
    reply.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    reply
}
