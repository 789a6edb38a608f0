//! JSON bodies: bounded, and with messages that name the field that is wrong.

use bytes::Bytes;
use poem::{FromRequest, Request, RequestBody, Result, http::StatusCode};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    payload::{Binary, Payload},
    registry::{MetaMediaType, MetaRequest, Registry},
    types::Type,
};
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The largest JSON body that an ordinary route takes, in bytes.
pub(crate) const ORDINARY: usize = 1024 * 1024;

/// A JSON body of at most `LIMIT` bytes, read and as it came. An empty one is `null`.
#[derive(Debug)]
pub(crate) struct Body<T, const LIMIT: usize = ORDINARY>(pub(crate) T, pub(crate) Bytes);

impl<T: DeserializeOwned, const LIMIT: usize> Body<T, LIMIT> {
    async fn read(request: &Request, body: &mut RequestBody) -> Result<Self, Problem> {
        if let Some(content_type) = request.content_type()
            && !is_json(content_type)
        {
            let detail = format!("this route takes JSON, not {content_type}");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
                .hint("send Content-Type: application/json"));
        }
        let body = <poem::Body as FromRequest>::from_request(request, body).await;
        let body = body.map_err(|error| Problem::of_framework(&error))?;
        let bytes = body.into_bytes_limit(LIMIT).await.map_err(|error| Problem::of_body(&error))?;
        let json: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        let mut parser = serde_json::Deserializer::from_slice(json);
        let value = serde_path_to_error::deserialize(&mut parser).map_err(|error| wrong_field(&error))?;
        parser.end().map_err(|error| not_json(&error))?;
        Ok(Self(value, bytes))
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json")
}

fn wrong_field(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    if !inner.is_data() {
        return not_json(inner);
    }
    let field = error.path().to_string();
    let text = inner.to_string();
    // The place in the text means little to who did not write it by hand; the name of the field says it better.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    if field == "." {
        return Problem::invalid(text);
    }
    Problem::invalid(format!("{field}: {text}")).field(field)
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::bad_request("not_json", format!("the request body is not JSON: {error}"))
}

impl<'a, T: DeserializeOwned + Type, const LIMIT: usize> ApiExtractor<'a> for Body<T, LIMIT> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: "application/json", schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: T::IS_REQUIRED })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        Ok(Self::read(request, body).await?)
    }
}

/// A file as the body of a request, whatever type it is said to have.
pub(crate) struct FileBody(pub(crate) poem::Body);

impl<'a> ApiExtractor<'a> for FileBody {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn request_meta() -> Option<MetaRequest> {
        let schema = Binary::<Vec<u8>>::schema_ref();
        let content = vec![MetaMediaType { content_type: "application/octet-stream", schema }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        Ok(Self(<poem::Body as FromRequest>::from_request(request, body).await?))
    }
}
