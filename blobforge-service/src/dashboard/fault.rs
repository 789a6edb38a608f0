//! What a page says that cannot be shown.

use askama::Template;
use poem::{IntoResponse, Response};

use super::frame::with_policy;
use crate::problem::Problem;

/// A problem, told to a person instead of a program.
#[derive(Debug)]
pub(super) struct Fault(Problem);

impl<P: Into<Problem>> From<P> for Fault {
    fn from(problem: P) -> Self {
        Self(problem.into())
    }
}

#[derive(Template)]
#[template(path = "fault.html")]
struct FaultPage<'a> {
    problem: &'a Problem,
}

impl From<Fault> for poem::Error {
    fn from(fault: Fault) -> Self {
        Self::from_response(fault.into_response())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = self.0.http_status();
        match (FaultPage { problem: &self.0 }).render() {
            Ok(html) => with_policy(status, html),
            Err(_) => status.into_response(),
        }
    }
}

/// The page that tells a person what a program would be told.
pub(crate) fn told(problem: Problem) -> Response {
    Fault(problem).into_response()
}
