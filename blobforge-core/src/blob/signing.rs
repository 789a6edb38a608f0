//! URLs that give access to one file for one purpose and a short time.

use std::{borrow::Cow, fmt, str::FromStr};

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use sha2::Sha256;

use super::{BlobError, DirectAccess, Grant, Multipart, direct::ENCODED};
use crate::Timestamp;

/// What a signed URL allows.
///
/// ```
/// use blobforge_core::blob::Method;
/// assert_eq!("HEAD".parse::<Method>(), Ok(Method::Get), "who may read a file may ask how large it is");
/// assert_eq!(Method::Put.as_str(), "PUT");
/// assert!("DELETE".parse::<Method>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// To read the file.
    Get,
    /// To write the file.
    Put,
}

impl Method {
    /// The HTTP method.
    ///
    /// As in [`Method`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
        }
    }
}

impl FromStr for Method {
    type Err = BadSignature;

    fn from_str(text: &str) -> Result<Self, BadSignature> {
        match text {
            // Whoever may read a file may ask how large it is.
            "GET" | "HEAD" => Ok(Self::Get),
            "PUT" => Ok(Self::Put),
            _ => Err(BadSignature::Wrong),
        }
    }
}

/// Access to one file.
///
/// As in [`UrlSigner`].
#[derive(Clone, PartialEq, Eq)]
pub struct SignedUrl {
    /// What it allows.
    pub method: Method,
    /// The URL; a secret until it expires. Relative to the service when the files are local.
    pub url: String,
    /// Until when it works.
    pub expires_at: Timestamp,
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.url.split('?').next().unwrap_or_default();
        write!(f, "SignedUrl({} {path}?… until {})", self.method.as_str(), self.expires_at)
    }
}

/// Why a URL gives no access.
///
/// ```
/// use blobforge_core::{Timestamp, blob::{BadSignature, Method, UrlSigner}};
/// use std::time::Duration;
/// let (signer, noon) = (UrlSigner::new([7; 32], "/files/"), Timestamp::from_millis(43_200_000));
/// let url = signer.sign(Method::Get, "sources/a", None, noon).url;
/// let query = url.split_once('?').unwrap().1;
/// let verify = |key, at| signer.verify(Method::Get, key, query, at).unwrap_err();
/// assert_eq!(verify("sources/b", noon), BadSignature::Wrong);
/// assert_eq!(verify("sources/a", noon + Duration::from_secs(1)), BadSignature::Expired);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// It was not signed for this.
    #[error("this URL was not signed for this file and method: ask for a new one")]
    Wrong,
    /// Its time is over.
    #[error("this URL has expired: ask for a new one")]
    Expired,
}

/// Signs relative URLs by HMAC-SHA256 and checks them.
///
/// ```
/// use blobforge_core::{Timestamp, blob::{Method, UrlSigner}};
/// let signer = UrlSigner::new([7; 32], "/files/");
/// let noon: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
/// let signed = signer.sign(Method::Get, "sources/a", Some("letter.pdf"), noon);
/// let (key, query) = signed.url.trim_start_matches("/files/").split_once('?').unwrap();
/// assert_eq!(signer.verify(Method::Get, key, query, noon), Ok(Some("letter.pdf".to_owned())));
/// assert!(signer.verify(Method::Put, key, query, noon).is_err());
/// ```
#[derive(Clone)]
pub struct UrlSigner {
    secret: [u8; 32],
    prefix: String,
}

impl fmt::Debug for UrlSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UrlSigner({})", self.prefix)
    }
}

impl UrlSigner {
    /// A signer of URLs that begin with `prefix`.
    ///
    /// As in [`UrlSigner`].
    pub fn new(secret: [u8; 32], prefix: impl Into<String>) -> Self {
        Self { secret, prefix: prefix.into() }
    }

    /// A URL that allows `method` on the file under `key` until `expires_at`, and says what to call the file.
    ///
    /// As in [`UrlSigner`].
    pub fn sign(&self, method: Method, key: &str, name: Option<&str>, expires_at: Timestamp) -> SignedUrl {
        let signature = hex::encode(self.mac(method, key, name, expires_at).finalize().into_bytes());
        let expires = expires_at.as_millis();
        let name =
            name.map(|name| format!("&name={}", utf8_percent_encode(name, ENCODED))).unwrap_or_default();
        let url = format!("{}{key}?expires={expires}{name}&signature={signature}", self.prefix);
        SignedUrl { method, url, expires_at }
    }

    /// Checks the query of a URL for `method` on the file under `key` at `now`. Returns what to call the file.
    ///
    /// As in [`UrlSigner`].
    ///
    /// # Errors
    /// When it was signed for something else, or has expired.
    pub fn verify(
        &self,
        method: Method,
        key: &str,
        query: &str,
        now: Timestamp,
    ) -> Result<Option<String>, BadSignature> {
        let field = |name: &str| {
            query.split('&').find_map(|pair| pair.split_once('=').filter(|(n, _)| *n == name).map(|(_, v)| v))
        };
        let expires: i64 = field("expires").and_then(|text| text.parse().ok()).ok_or(BadSignature::Wrong)?;
        let signature =
            field("signature").and_then(|text| hex::decode(text).ok()).ok_or(BadSignature::Wrong)?;
        let name = field("name").map(|name| percent_decode_str(name).decode_utf8()).transpose();
        let name = name.map_err(|_| BadSignature::Wrong)?;
        let expires_at = Timestamp::from_millis(expires);
        // Compares in constant time.
        let checked = self.mac(method, key, name.as_deref(), expires_at).verify_slice(&signature);
        checked.map_err(|_| BadSignature::Wrong)?;
        if now > expires_at { Err(BadSignature::Expired) } else { Ok(name.map(Cow::into_owned)) }
    }

    fn mac(&self, method: Method, key: &str, name: Option<&str>, expires_at: Timestamp) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes a key of any length");
        let text = format!("{}\n{key}\n{}\n", method.as_str(), expires_at.as_millis());
        mac.update(text.as_bytes());
        if let Some(name) = name {
            // After a mark, so that no name is another thing than one without.
            mac.update(b"name\n");
            mac.update(name.as_bytes());
        }
        mac
    }
}

#[async_trait]
impl DirectAccess for UrlSigner {
    async fn url(&self, Grant { method, key, name, now, lasts }: Grant<'_>) -> Result<SignedUrl, BlobError> {
        Ok(self.sign(method, key, name, now + lasts))
    }

    fn multipart(&self) -> Option<&dyn Multipart> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_url_opens_its_own_file_for_its_own_method_in_its_own_time_only() {
        let signer = UrlSigner::new([1; 32], "/files/");
        let now = Timestamp::from_millis(1_000_000);
        let url = signer.sign(Method::Get, "outputs/1/1-1/a.md", None, now).url;
        let query = url.split_once('?').unwrap().1;
        let verify = |method, key, query: &str, at| signer.verify(method, key, query, at);
        assert_eq!(verify(Method::Get, "outputs/1/1-1/a.md", query, now), Ok(None));
        assert_eq!(verify(Method::Put, "outputs/1/1-1/a.md", query, now), Err(BadSignature::Wrong));
        assert_eq!(verify(Method::Get, "outputs/2/1-1/a.md", query, now), Err(BadSignature::Wrong));
        let late = now + Duration::from_millis(1);
        assert_eq!(verify(Method::Get, "outputs/1/1-1/a.md", query, late), Err(BadSignature::Expired));
        let longer = query.replace("expires=1000000", "expires=2000000");
        assert_eq!(verify(Method::Get, "outputs/1/1-1/a.md", &longer, now), Err(BadSignature::Wrong));
        assert_eq!(verify(Method::Get, "outputs/1/1-1/a.md", "", now), Err(BadSignature::Wrong));
        let named = format!("{query}&name=b.md");
        assert_eq!(verify(Method::Get, "outputs/1/1-1/a.md", &named, now), Err(BadSignature::Wrong));
        let other = UrlSigner::new([2; 32], "/files/");
        assert_eq!(other.verify(Method::Get, "outputs/1/1-1/a.md", query, now), Err(BadSignature::Wrong));
    }
}
