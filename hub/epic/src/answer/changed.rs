//! Answers to POST and DELETE: [`created`], [`exists`], [`duplicate_endpoint`], [`message`] and [`clusters_left`] (seed
//! C.5).

use http::status::StatusCode;
use portreeve_api::c::refusal;
use serde_json::{Value, json};

use super::Answer;
use super::links::links;
use crate::path::Target;

/// Answers 302 with the Location of what was created. Clients follow it with GET.
pub fn created(target: &Target) -> Answer {
    let location = Some(target.to_string());
    Answer { location, ..Answer::new(StatusCode::FOUND, json!({})) }
}

/// Answers 409 `{message, link: {self}}` with the Location of what exists already: a service or a cluster.
pub fn exists(target: &Target) -> Answer {
    let message = format!("{target} exists already: GET it, or create it with another name");
    conflict(target, message)
}

/// Answers 409 `{message, link: {self}, endpoint}` with the Location of the endpoint that has the same spec. The message
/// ends with `duplicate endpoint: E`, for which clients search. `target` is a [`Target::Endpoint`], and `object` the
/// endpoint that exists.
pub fn duplicate_endpoint(target: &Target, object: Value) -> Answer {
    let (account, service, name) = match target {
        Target::Endpoint { account, service, endpoint } => {
            (account.as_str(), service.as_str(), endpoint.as_str())
        }
        _ => ("", "", ""),
    };
    let message = format!("service {account}/{service}: {}", refusal::duplicate_endpoint(name));
    let mut answer = conflict(target, message);
    answer.body["endpoint"] = object;
    answer
}

/// Answers 200 `{message}`: a thing was deleted, or a service or endpoint was missing already.
pub fn message(text: &str) -> Answer {
    Answer::new(StatusCode::OK, json!({"message": text}))
}

/// Answers 409 `{message}`: a service can't be deleted because it has upstream clusters. `text` is
/// [`LoadBalancer::deletion_refusal`](portreeve_api::c::load_balancer::LoadBalancer::deletion_refusal)'s.
pub fn clusters_left(text: &str) -> Answer {
    Answer::new(StatusCode::CONFLICT, json!({"message": text}))
}

fn conflict(target: &Target, message: String) -> Answer {
    let own = links(target).remove("self");
    let body = json!({"message": message, "link": {"self": own}});
    Answer { location: Some(target.to_string()), ..Answer::new(StatusCode::CONFLICT, body) }
}
