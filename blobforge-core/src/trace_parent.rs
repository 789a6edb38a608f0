//! Where in a trace something belongs that goes on in several programs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How long one is, without what later versions may add.
const BYTES: usize = 55;

/// A W3C `traceparent`: the trace that somebody writes down, and the span in it that something is done for.
///
/// ```
/// use blobforge_core::{NewJob, TraceParent};
/// let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let parent: TraceParent = text.parse().unwrap();
/// assert_eq!(parent.trace_id(), "0af7651916cd43dd8448eb211c80319c");
/// assert_eq!(parent.to_string(), text);
/// let mut job = NewJob::new("pdf").unwrap();
/// job.body.traceparent = Some(parent);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// The name of the trace, in hexadecimal.
    ///
    /// As in [`TraceParent`].
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id(), hex::encode(self.span), self.flags)
    }
}

/// A text that is no `traceparent`.
///
/// ```
/// use blobforge_core::{BadTraceParent, TraceParent};
/// let refused: Result<TraceParent, BadTraceParent> = "somewhere".parse();
/// assert!(refused.unwrap_err().to_string().contains("traceparent"));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("this is no traceparent as the W3C describes it, such as 00-<32 hex digits>-<16 hex digits>-01")]
pub struct BadTraceParent;

impl FromStr for TraceParent {
    type Err = BadTraceParent;

    fn from_str(text: &str) -> Result<Self, BadTraceParent> {
        parsed(text).ok_or(BadTraceParent)
    }
}

/// A later version begins as this one does, and may add something.
fn parsed(text: &str) -> Option<TraceParent> {
    let (known, added) = text.split_at_checked(BYTES)?;
    let mut parts = known.split('-');
    let [version] = bytes(parts.next()?)?;
    let (trace, span, [flags]) = (bytes(parts.next()?)?, bytes(parts.next()?)?, bytes(parts.next()?)?);
    let ends_well = added.is_empty() || (version > 0 && added.starts_with('-'));
    let names_something = trace != [0; 16] && span != [0; 8];
    let fits = version != 0xff && parts.next().is_none() && ends_well && names_something;
    fits.then_some(TraceParent { trace, span, flags })
}

/// As many bytes in small hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let is_small = !text.bytes().any(|b| b.is_ascii_uppercase());
    (is_small && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads one that may be missing. What is none is taken for none: no job is lost for its trace.
pub(crate) fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TraceParent>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn what_is_no_traceparent_is_none() {
        let zeros = "0".repeat(32);
        for bad in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01 "),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("01-{TRACE}-{SPAN}-01more"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{TRACE}{SPAN}--01"),
            "ä".repeat(40),
        ] {
            assert!(bad.parse::<TraceParent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = format!("cc-{TRACE}-{SPAN}-03-what-comes-then");
        assert_eq!(later.parse::<TraceParent>().unwrap().to_string(), format!("00-{TRACE}-{SPAN}-03"));
    }
}
