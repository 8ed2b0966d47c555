//! What handlers take from a request. Whatever is refused becomes a [`Problem`], never axum's own text.

use axum::extract::rejection::{BytesRejection, FailedToBufferBody, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use skerry_model::CollectionName;

use crate::cbor;
use crate::documents::Address;
use crate::limits::DOCUMENT_BODY_BYTES_MAX;
use crate::problem::{Kind, Problem};
use crate::wire::media;

/// The document that the path names; its segments are percent-decoded, so that a key may contain any character.
pub(crate) struct AtDocument(pub(crate) Address);

impl<S: Send + Sync> FromRequestParts<S> for AtDocument {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path: Result<Path<(String, String)>, PathRejection> = Path::from_request_parts(parts, state).await;
        let Path((collection, key)) = path.map_err(|error| malformed("the path", &error.body_text()))?;
        Ok(Self(Address { collection: collection.parse()?, key: key.parse()? }))
    }
}

/// The collection that the path names.
pub(crate) struct InCollection(pub(crate) CollectionName);

impl<S: Send + Sync> FromRequestParts<S> for InCollection {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let Path(collection) = path.map_err(|error| malformed("the path", &error.body_text()))?;
        Ok(Self(collection.parse()?))
    }
}

/// The query's parameters. `T` denies unknown fields, so that a misspelt parameter is refused by name.
pub struct Parameters<T>(
    /// The parameters.
    pub T,
);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let parameters: Result<Query<T>, _> = Query::try_from_uri(&parts.uri);
        let Query(parameters) = parameters.map_err(|error| malformed("the query", &error.body_text()))?;
        Ok(Self(parameters))
    }
}

fn malformed(place: &str, reason: &str) -> Problem {
    let reason = reason.strip_prefix("Failed to deserialize query string: ").unwrap_or(reason);
    Problem::new(Kind::Malformed, format!("{place}: {reason}"))
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// application/json.
    Json,
    /// application/cbor.
    Cbor,
    /// application/x-ndjson.
    Lines,
}

impl Format {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => media::JSON,
            Self::Cbor => media::CBOR,
            Self::Lines => media::LINES,
        }
    }

    /// Which of these the client would rather have (RFC 9110, section 12.5.1). A tie goes to what is named outright, then
    /// to the first offered; a client that wants none of them gets the first offered too.
    pub(crate) fn wanted(headers: &HeaderMap, offered: &[Self]) -> Self {
        let ranges: Vec<_> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
        let mut best = (0, 0, offered[0]);
        for &format in offered {
            let (quality, precision) = preference(&ranges, format.media_type());
            if quality > 0 && (quality, precision) > (best.0, best.1) {
                best = (quality, precision, format);
            }
        }
        best.2
    }
}

/// The quality, in thousandths, that a client gives a media type, and how precisely it named it (0: not at all).
fn preference(accept: &[&str], media_type: &str) -> (u16, u8) {
    let mut found = (0, 0);
    for range in accept.iter().flat_map(|line| line.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default();
        let precision = match range {
            _ if range.eq_ignore_ascii_case(media_type) => 3,
            "application/*" => 2,
            "*/*" => 1,
            _ => continue,
        };
        if precision > found.1 {
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, thousandths);
            found = (quality, precision);
        }
    }
    found
}

/// A quality value; what is not one counts as 1.
fn thousandths(quality: &str) -> u16 {
    let digits = match quality.split_once('.') {
        Some(("0", digits)) if digits.len() <= 3 => digits,
        None if quality == "0" => "",
        _ => return 1000,
    };
    format!("{digits:0<3}").parse().unwrap_or(1000)
}

/// A request's body, whole, within [`DOCUMENT_BODY_BYTES_MAX`].
pub(crate) struct Body {
    bytes: Bytes,
    media_type: Option<HeaderValue>,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let media_type = request.headers().get(CONTENT_TYPE).cloned();
        let bytes = Bytes::from_request(request, state).await.map_err(|error| match error {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
                let detail =
                    format!("the body is longer than {DOCUMENT_BODY_BYTES_MAX} bytes, the limit for a document");
                Problem::new(Kind::TooLarge, detail)
            }
            error => malformed("the body", &error.body_text()),
        })?;
        Ok(Self { bytes, media_type })
    }
}

impl Body {
    /// The value in it, when its format is CBOR or one of these; a body without a format is JSON.
    pub(crate) fn value(&self, json_types: &[&str]) -> Result<Value, Problem> {
        let named = self.media_type.as_ref().map_or(Ok(media::JSON), |value| value.to_str());
        let named = named.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if named == media::CBOR {
            return cbor::decode(&self.bytes).map_err(|error| Problem::new(Kind::Malformed, error.to_string()));
        }
        if !json_types.contains(&named.as_str()) {
            let taken = json_types.join(", ");
            let detail = format!("the body's Content-Type is {named:?}, this route takes {taken} and {}", media::CBOR);
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
        serde_json::from_slice(&self.bytes)
            .map_err(|error| Problem::new(Kind::Malformed, format!("the body is not valid JSON: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_wanted(accept: &[&str], expected: Format) {
        let headers = accept.iter().map(|line| (ACCEPT, line.parse().unwrap())).collect();
        assert_eq!(Format::wanted(&headers, &[Format::Json, Format::Cbor, Format::Lines]), expected, "{accept:?}");
    }

    #[test]
    fn formats_are_negotiated() {
        check_wanted(&[], Format::Json);
        check_wanted(&["*/*"], Format::Json);
        check_wanted(&["text/html"], Format::Json);
        check_wanted(&["application/cbor"], Format::Cbor);
        check_wanted(&["application/cbor, */*"], Format::Cbor);
        check_wanted(&["application/cbor;q=0.5, application/json"], Format::Json);
        check_wanted(&["application/cbor;q=0.5", "application/json;q=0.25"], Format::Cbor);
        check_wanted(&["application/x-ndjson"], Format::Lines);
        check_wanted(&["Application/X-NDJSON; charset=utf-8"], Format::Lines);
        check_wanted(&["application/json;q=0, */*;q=0.1"], Format::Cbor);
        check_wanted(&["application/cbor;q=0"], Format::Json);
    }
}
