//! What somebody is told who is not recognised.

use poem::{
    IntoResponse, Request, Response,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};

use super::leading_back;
use crate::problem::Problem;

/// What htmx sends with a request for a part of a page, and what has it load the whole page anew.
const FRAGMENT_ASKED: HeaderName = HeaderName::from_static("hx-request");
const REFRESH: HeaderName = HeaderName::from_static("hx-refresh");

/// Somebody who is not recognised.
pub(super) enum Stranger {
    /// Their credentials open nothing.
    Refused(Box<Problem>),
    /// Their session waits for the provider's word.
    Unconfirmed,
}

impl From<Problem> for Stranger {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem.into())
    }
}

impl Stranger {
    pub(super) fn refused(self, request: &Request) -> Response {
        let mut reply = match self {
            Self::Refused(problem) => *problem,
            Self::Unconfirmed => {
                let detail = "the identity provider has to confirm this session. Nothing was changed";
                Problem::new(StatusCode::UNAUTHORIZED, "session_unconfirmed", detail)
                    .hint("load a page of this service: it goes to the provider and comes back")
            }
        }
        .into_response();
        refresh_fragment(request, &mut reply);
        reply
    }
}

/// Has a page load itself anew that asked for a part of itself: only whole pages can be sent to a login.
fn refresh_fragment(request: &Request, reply: &mut Response) {
    if request.headers().contains_key(FRAGMENT_ASKED) {
        reply.headers_mut().insert(REFRESH, HeaderValue::from_static("true"));
    }
}

/// Sends a browser to log in, and back afterwards.
pub(super) fn sent_to(login: &str, request: &Request) -> Response {
    if request.headers().contains_key(FRAGMENT_ASKED) {
        let mut reply = unauthenticated("this part of a page is for who is logged in").into_response();
        refresh_fragment(request, &mut reply);
        return reply;
    }
    // Whoever comes back looks at something; to change it they ask once more.
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    let wanted = request.uri().path_and_query().filter(|_| looks).map_or("/", |wanted| wanted.as_str());
    Response::builder()
        .status(StatusCode::SEE_OTHER)
        .header(header::LOCATION, leading_back(login, wanted))
        .finish()
}

pub(super) fn unauthenticated(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
        .hint("an administrator makes tokens with POST /api/admin/tokens")
}
