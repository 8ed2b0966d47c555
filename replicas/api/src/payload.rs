//! Bodies of the routes beside documents. Whatever is refused becomes a [`Problem`] that names the limit.

use axum::body::HttpBody;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::problem::{Kind, Problem};

/// A body's bytes, within the route's limit.
pub struct RawBody(
    /// The bytes.
    pub Bytes,
);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let length = request.body().size_hint().exact();
        let bytes = Bytes::from_request(request, state).await.map_err(|error| match error {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
                let found = length.map_or_else(String::new, |length| format!(" of {length} bytes"));
                Problem::new(Kind::TooLarge, format!("the body{found} is longer than this route takes"))
            }
            error => Problem::new(Kind::Malformed, format!("the body cannot be read: {}", error.body_text())),
        })?;
        Ok(Self(bytes))
    }
}

/// A body that is JSON of one form.
pub struct JsonBody<T>(
    /// What it says.
    pub T,
);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        parsed(&bytes).map(Self)
    }
}

/// A body that is JSON of one form, or none at all, which says the default.
pub struct OptionalJsonBody<T>(
    /// What it says.
    pub T,
);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { parsed(&bytes).map(Self) }
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::new(Kind::Malformed, format!("the body: {error}")))
}
