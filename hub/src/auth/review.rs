//! TokenReviews: sending one to the API server ([`ask`]), and checking its status ([`read`]).

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use portreeve_api::names::HUB_AUDIENCE;

use super::claims::{Account, Identity};
use super::refusal::{Refusal, shortened};

/// Timeout of a review. A review takes about 2 ms.
const PATIENCE: Duration = Duration::from_secs(1);

/// The key of the node's name in the API server's answer for a bound token.
const NODE: &str = "authentication.kubernetes.io/node-name";

/// The result of a review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The token is valid, and belongs to the agent that it names.
    Good,
    /// The token is refused.
    Refused(Refusal),
    /// The API server can't be reached, for this reason.
    Away(String),
}

/// Sends a review to the API server.
pub async fn ask(client: &Client, token: &str, account: &Account, identity: &Identity) -> Answer {
    let spec = TokenReviewSpec { token: Some(token.into()), audiences: Some(vec![HUB_AUDIENCE.into()]) };
    let review = TokenReview { spec, ..TokenReview::default() };
    let (reviews, params) = (Api::<TokenReview>::all(client.clone()), PostParams::default());
    match tokio::time::timeout(PATIENCE, reviews.create(&params, &review)).await {
        Err(_) => Answer::Away(format!("the API server did not answer in {PATIENCE:?}")),
        Ok(Ok(review)) => match read(&review.status.unwrap_or_default(), account, identity) {
            Ok(()) => Answer::Good,
            Err(refusal) => Answer::Refused(refusal),
        },
        // For example, the hub may lack the right to create reviews. That is no outage, so the fetched keys aren't used
        // instead.
        Ok(Err(kube::Error::Api(status))) if (400..500).contains(&status.code) && status.code != 429 => {
            let words =
                format!("the API server rejects the hub's TokenReview: {}", shortened(&status.message));
            Answer::Refused(Refusal::Unknown(words))
        }
        Ok(Err(error)) => Answer::Away(shortened(&error.to_string())),
    }
}

/// Checks that the API server's answer matches the token.
///
/// # Errors
/// Returns an error if the API server rejects the token, or if its answer differs from the token's claims.
pub fn read(status: &TokenReviewStatus, account: &Account, identity: &Identity) -> Result<(), Refusal> {
    if status.authenticated != Some(true) {
        let words = status.error.as_deref().unwrap_or("it gives no reason");
        return Err(Refusal::Rejected(shortened(words)));
    }
    // A server without support for audiences accepts a token for any audience.
    let audiences = status.audiences.as_deref().unwrap_or_default();
    if !audiences.iter().any(|one| one == HUB_AUDIENCE) {
        return Err(Refusal::Audience { has: shortened(&audiences.join(", ")), wanted: HUB_AUDIENCE });
    }
    let user = status.user.clone().unwrap_or_default();
    let name = user.username.unwrap_or_default();
    if name != account.user() {
        return Err(Refusal::Account { is: shortened(&name), wanted: account.to_string() });
    }
    let extra = user.extra.unwrap_or_default();
    let node = extra.get(NODE).and_then(|nodes| nodes.first()).ok_or(Refusal::Unbound)?;
    identity.is_node(node)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judged(change: impl FnOnce(&mut Value)) -> Result<(), &'static str> {
        let mut status = json!({
            "authenticated": true, "audiences": ["portreeve-hub"],
            "user": {"username": "system:serviceaccount:portreeve:portreeve-agent", "extra": {NODE: ["n1"]}},
        });
        change(&mut status);
        let account = "portreeve/portreeve-agent".parse().unwrap();
        let identity = Identity { node: "n1".into(), pod: "portreeve/agent-1".into(), until: 0 };
        let status = serde_json::from_value(status).unwrap();
        read(&status, &account, &identity).map_err(|refusal| refusal.reason())
    }

    #[test]
    fn every_fault_of_the_answer_is_named() {
        type Change = fn(&mut Value);
        let faults: [(&str, Change); 7] = [
            ("rejected", |s| *s = json!({"error": "invalidated"})),
            ("rejected", |s| s["authenticated"] = json!(false)),
            ("audience", |s| s["audiences"] = Value::Null),
            ("audience", |s| s["audiences"] = json!(["other"])),
            ("account", |s| s["user"]["username"] = json!("system:serviceaccount:portreeve:other")),
            ("unbound", |s| s["user"]["extra"] = Value::Null),
            ("other-node", |s| s["user"]["extra"][NODE] = json!(["n2"])),
        ];
        assert_eq!(judged(|_| ()), Ok(()));
        for (reason, change) in faults {
            assert_eq!(judged(change), Err(reason));
        }
    }
}
