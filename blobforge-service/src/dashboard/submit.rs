//! Handing in files by dropping them. The page does what every program does: it hashes each file, announces it, sends what
//! is missing directly to where files are kept, and says that it is there.

use std::collections::BTreeSet;

use askama::Template;
use blobforge_core::{Priority, Queue, blob::Method};
use poem::{Response, handler};

use super::{
    fault::Fault,
    frame::{Frame, Section, Visitor, page_that_connects},
};

/// The type that is offered where there is none yet.
const FIRST_TYPE: &str = "pdf-text";
/// How many types can be chosen from.
const TYPES: usize = 100;

#[derive(Template)]
#[template(path = "submit.html")]
struct SubmitPage {
    frame: Frame,
    types: BTreeSet<String>,
    served: BTreeSet<String>,
}

impl SubmitPage {
    fn priorities(&self) -> [&'static str; 5] {
        Priority::ALL.map(Priority::name)
    }

    /// What stands first: a type that somebody serves.
    fn is_first(&self, name: &str) -> bool {
        let first = self.served.iter().find(|served| *served == FIRST_TYPE);
        let first = first.or_else(|| self.served.first());
        first.map_or(name == FIRST_TYPE, |first| first == name)
    }
}

/// Shows where to drop files.
#[handler]
pub(super) async fn page(visitor: Visitor) -> Result<Response, Fault> {
    let queue = &visitor.shared.queue;
    let now = queue.now();
    let lease = queue.settings().lease;
    let online = queue.workers().await?.into_iter().filter(|worker| worker.is_online(now, lease));
    let served: BTreeSet<_> =
        online.flat_map(|worker| worker.registration.types).map(|name| name.to_string()).collect();
    let known = queue.types().await?.into_iter().map(|known| known.job_type.to_string());
    let types = known.chain(served.clone()).chain([FIRST_TYPE.to_owned()]).collect::<BTreeSet<_>>();
    let frame = visitor.frame(Section::Submit, "Submit files");
    let types = types.into_iter().take(TYPES).collect();
    page_that_connects(&SubmitPage { frame, types, served }, store(queue).await?.as_deref())
}

/// Where files are sent to, if that is not this service: what the browser has to be allowed to connect to.
async fn store(queue: &Queue) -> Result<Option<String>, Fault> {
    let signed = queue.signed_url(Method::Put, "sources/somewhere", None).await?;
    let url = signed.and_then(|signed| reqwest::Url::parse(&signed.url).ok());
    Ok(url.map(|url| url.origin().ascii_serialization()))
}
