//! The edge's answers: status, fields, body.

use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// The product's name is added.
pub(crate) const WAITING_ROOM: &str = "http://localhost:4000/?product=";

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const ONE: HeaderValue = HeaderValue::from_static("1");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

pub(crate) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [(CONTENT_TYPE, MEDIA_TYPE)], body.into()).into_response()
}

pub(crate) fn error(status: StatusCode, why: &str) -> Response {
    json(status, serde_json::json!({ "error": why }).to_string())
}

/// A body that is none of ours. axum answers 422 to JSON of another shape, the edge 400.
pub(crate) fn rejected(rejection: &JsonRejection) -> Response {
    let status = match rejection {
        JsonRejection::JsonDataError(_) => StatusCode::BAD_REQUEST,
        other => other.status(),
    };
    error(status, &rejection.body_text())
}

pub(crate) fn redirect(location: String) -> Response {
    let Ok(location) = HeaderValue::try_from(location) else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "location");
    };
    (StatusCode::FOUND, [(LOCATION, location), (CACHE_CONTROL, NO_STORE)]).into_response()
}

pub(crate) fn accepted(order: &str, replayed: bool) -> Response {
    let body = format!(r#"{{"status":"success","msg":"Order accepted","orderId":"{order}"}}"#);
    mark(json(StatusCode::OK, body), replayed)
}

pub(crate) fn pending(order: &str, replayed: bool) -> Response {
    let body = format!(r#"{{"status":"pending","msg":"Order reserved","orderId":"{order}"}}"#);
    mark(retry_later(json(StatusCode::ACCEPTED, body)), replayed)
}

pub(crate) fn sold_out() -> Response {
    json(StatusCode::CONFLICT, r#"{"status":"sold_out","msg":"Inventory empty"}"#)
}

pub(crate) fn insufficient(available: &str) -> Response {
    let body = format!(r#"{{"status":"insufficient","msg":"Not enough units left","available":{available}}}"#);
    json(StatusCode::CONFLICT, body)
}

pub(crate) fn key_reused() -> Response {
    error(StatusCode::UNPROCESSABLE_ENTITY, "Idempotency key reused with a different order")
}

pub(crate) fn unknown_product() -> Response {
    error(StatusCode::NOT_FOUND, "Unknown product")
}

/// Redis is out of reach: nothing was sold.
pub(crate) fn unavailable() -> Response {
    let body = r#"{"status":"unavailable","msg":"Redis unavailable"}"#;
    retry_later(json(StatusCode::SERVICE_UNAVAILABLE, body))
}

/// Redis was asked and did not answer.
pub(crate) fn unknown_outcome() -> Response {
    let body = r#"{"status":"unknown","msg":"Outcome unknown, repeat with the same key"}"#;
    retry_later(json(StatusCode::SERVICE_UNAVAILABLE, body))
}

pub(crate) fn stock(product: &str, available: u64) -> Response {
    let state = if available == 0 { "sold_out" } else { "open" };
    let body = format!(r#"{{"productId":"{product}","available":{available},"state":"{state}"}}"#);
    (StatusCode::OK, [(CONTENT_TYPE, MEDIA_TYPE), (CACHE_CONTROL, NO_STORE)], body).into_response()
}

fn retry_later(mut response: Response) -> Response {
    response.headers_mut().insert(RETRY_AFTER, ONE);
    response
}

fn mark(mut response: Response, replayed: bool) -> Response {
    if replayed {
        response.headers_mut().insert(REPLAYED, TRUE);
    }
    response
}
