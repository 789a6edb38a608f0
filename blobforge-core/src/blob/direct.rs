//! Access to files past the queue, by URLs that work for a short time.

use std::{fmt, ops::Range, time::Duration};

use async_trait::async_trait;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{BlobError, Method, SignedUrl};
use crate::Timestamp;

/// What stays as it is in a name that is percent-encoded: what RFC 3986 calls unreserved.
pub(super) const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a URL is to allow.
///
/// As in [`DirectAccess`].
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// To do what.
    pub method: Method,
    /// With which file.
    pub key: &'a str,
    /// What whoever reads it and saves it should call it.
    pub name: Option<&'a str>,
    /// From when on.
    pub now: Timestamp,
    /// For how long.
    pub lasts: Duration,
}

/// Gives URLs by which programs without credentials move single files straight to and from where they lie.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use blobforge_core::{Timestamp, blob::{DirectAccess, Grant, Method, UrlSigner}};
/// use std::time::Duration;
/// let (signer, now) = (UrlSigner::new([7; 32], "/files/"), Timestamp::from_millis(0));
/// let (key, name, lasts) = ("outputs/1/1-1/a.md", Some("letter.md"), Duration::from_secs(900));
/// let signed = signer.url(Grant { method: Method::Get, key, name, now, lasts }).await.unwrap();
/// assert!(signed.url.starts_with("/files/outputs/1/1-1/a.md?expires=900000&name=letter.md&signature="));
/// assert!(signer.multipart().is_none(), "it knows of no files that parts could be of");
/// # });
/// ```
#[async_trait]
pub trait DirectAccess: Send + Sync + fmt::Debug {
    /// A URL that allows what is granted and nothing else.
    ///
    /// As in [`DirectAccess`].
    ///
    /// # Errors
    /// When the key is none, or there is no credential to sign with.
    async fn url(&self, grant: Grant<'_>) -> Result<SignedUrl, BlobError>;

    /// Who takes files in parts, each by a URL of its own, if anybody does.
    ///
    /// As in [`DirectAccess`].
    fn multipart(&self) -> Option<&dyn Multipart>;
}

/// Takes files in parts: all of the same size but the last, in any order, several at once. Nothing is visible before
/// [`Multipart::complete`]. A queue does what is needed with it: see [`Queue::send_source`](crate::Queue::send_source).
///
/// ```
/// # use async_trait::async_trait;
/// use blobforge_core::blob::{BlobError, Grant, Multipart, SignedUrl};
/// use std::ops::Range;
/// /// A store that keeps no parts at all.
/// #[derive(Debug)]
/// struct Nowhere;
/// #[async_trait]
/// impl Multipart for Nowhere {
///     fn part_bytes(&self) -> u64 {
///         16 << 20
///     }
///     async fn begin(&self, key: &str) -> Result<String, BlobError> {
///         Ok(format!("upload of {key}"))
///     }
///     async fn part_url(&self, _: Grant<'_>, upload: &str, _: u32, _: Range<u64>) -> Result<SignedUrl, BlobError> {
///         Err(BlobError::Over(upload.to_owned()))
///     }
///     async fn complete(&self, key: &str, _: &str, _: Vec<String>) -> Result<(), BlobError> {
///         Err(BlobError::NotFound(key.to_owned()))
///     }
///     async fn abort(&self, _: &str, _: &str) -> Result<(), BlobError> {
///         Ok(())
///     }
/// }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let upload = Nowhere.begin("sources/a").await.unwrap();
/// assert!(matches!(Nowhere.complete("sources/a", &upload, Vec::new()).await, Err(BlobError::NotFound(_))));
/// # });
/// ```
#[async_trait]
pub trait Multipart: Send + Sync + fmt::Debug {
    /// The size of parts that is wished for, in bytes; files that are no larger go in one request.
    ///
    /// As in [`Multipart`].
    fn part_bytes(&self) -> u64;

    /// Begins an upload and names it.
    ///
    /// As in [`Multipart`].
    ///
    /// # Errors
    /// When the key is none, or the store fails.
    async fn begin(&self, key: &str) -> Result<String, BlobError>;

    /// A URL that allows to send one part, numbered from 1 on: these bytes of the file.
    ///
    /// As in [`Multipart`].
    ///
    /// # Errors
    /// When the key is none, or there is no credential to sign with.
    async fn part_url(
        &self,
        grant: Grant<'_>,
        upload: &str,
        number: u32,
        range: Range<u64>,
    ) -> Result<SignedUrl, BlobError>;

    /// Makes one file of all parts, by what the store called each in its reply (its ETag), in order.
    ///
    /// As in [`Multipart`].
    ///
    /// # Errors
    /// [`BlobError::NotFound`] when there is no such upload, or a part is not what was sent: begin again.
    async fn complete(&self, key: &str, upload: &str, etags: Vec<String>) -> Result<(), BlobError>;

    /// Throws away what was sent; an upload that is over is fine.
    ///
    /// As in [`Multipart`].
    ///
    /// # Errors
    /// When the key is none, or the store fails.
    async fn abort(&self, key: &str, upload: &str) -> Result<(), BlobError>;
}

/// The value of a `Content-Disposition` header: always to be saved, never to be shown, for what is in a file comes from
/// strangers. Who does not understand its second name gets a plain one.
///
/// ```
/// use blobforge_core::blob::disposition;
/// assert_eq!(disposition("letter.md"), "attachment; filename=\"letter.md\"");
/// let header = "attachment; filename=\"_ber.md\"; filename*=UTF-8''%C3%BCber.md";
/// assert_eq!(disposition("images/über.md"), header);
/// ```
pub fn disposition(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    let name = if name.is_empty() { "file" } else { name.as_str() };
    let is_plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !"\"\\%;".contains(c);
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain == name {
        return format!("attachment; filename=\"{plain}\"");
    }
    let encoded = utf8_percent_encode(name, ENCODED);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_header() {
        let header = disposition("x/a\"b;\u{7f}\r\nSet-Cookie: c.md");
        assert!(
            header.starts_with("attachment; filename=\"a_b_Set-Cookie: c.md\"; filename*=UTF-8''a%22b"),
            "{header}"
        );
        assert!(header.bytes().all(|b| (b' '..=b'~').contains(&b)), "{header}");
        assert_eq!(disposition("a/"), "attachment; filename=\"file\"");
        assert_eq!(disposition("C:\\letters\\a.md"), "attachment; filename=\"a.md\"");
    }
}
