//! Parsing of a ServiceAccount token ([`Parts::read`]), and whether its claims are those of an agent
//! ([`Claims::identity`]).
//!
//! Nothing here verifies the signature: the API server or the issuer's keys do. A token that is refused here needs no
//! verification.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use portreeve_api::names::HUB_AUDIENCE;
use serde::Deserialize;

use super::refusal::{Refusal, shortened};

/// Maximum length of a token in bytes. Real tokens have about 1,200.
const LONGEST: usize = 8 << 10;

/// Allowed difference between the clocks of hub and API server, in seconds. A token is accepted for this long after its
/// expiry.
pub const LEEWAY: i64 = 10;

/// The ServiceAccount that the agents use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The namespace of the ServiceAccount.
    pub namespace: String,
    /// The name of the ServiceAccount.
    pub name: String,
}

/// The parts of a token.
#[derive(Clone, Debug)]
pub struct Parts<'t> {
    /// The signed part of the text.
    pub signed: &'t str,
    /// The decoded signature.
    pub signature: Vec<u8>,
    /// The algorithm in the header.
    pub algorithm: String,
    /// The key id in the header.
    pub key: Option<String>,
    /// The token's claims.
    pub claims: Claims,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
}

/// The claims of a token.
#[derive(Clone, Debug, Deserialize)]
pub struct Claims {
    /// The issuer.
    #[serde(default)]
    pub iss: String,
    #[serde(default)]
    aud: Audiences,
    exp: i64,
    #[serde(default)]
    nbf: i64,
    #[serde(default)]
    sub: String,
    #[serde(default, rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Kubernetes {
    #[serde(default)]
    namespace: String,
    node: Option<Named>,
    pod: Option<Named>,
    serviceaccount: Option<Named>,
}

#[derive(Clone, Debug, Deserialize)]
struct Named {
    name: String,
}

/// The agent that a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node of the pod that the token is bound to.
    pub node: String,
    /// The pod that the token is bound to, as namespace/name.
    pub pod: String,
    /// Time until which the token is accepted, in seconds since the Unix epoch, including [`LEEWAY`].
    pub until: i64,
}

// === impl Account ===

impl Account {
    /// Returns the user name that the API server gives to the ServiceAccount.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl std::str::FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.into(), name: name.into() })
            }
            _ => Err(format!("{text:?} is not namespace/name")),
        }
    }
}

impl Default for Audiences {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

// === impl Parts ===

impl<'t> Parts<'t> {
    /// Splits and decodes a token.
    ///
    /// # Errors
    /// Returns [`Refusal::Malformed`] if the text is not a ServiceAccount token.
    pub fn read(token: &'t str) -> Result<Self, Refusal> {
        if token.len() > LONGEST {
            return Err(Refusal::Malformed("it is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed("it has no signature"))?;
        let (header, payload) = signed.split_once('.').ok_or(Refusal::Malformed("it has no content"))?;
        let Header { alg, kid } = json(header, "its header can't be read")?;
        let claims = json(payload, "its content can't be read")?;
        let signature = decoded(signature, "its signature can't be read")?;
        Ok(Self { signed, signature, algorithm: alg, key: kid, claims })
    }
}

fn decoded(part: &str, wrong: &'static str) -> Result<Vec<u8>, Refusal> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed(wrong))
}

fn json<T: serde::de::DeserializeOwned>(part: &str, wrong: &'static str) -> Result<T, Refusal> {
    serde_json::from_slice(&decoded(part, wrong)?).map_err(|_| Refusal::Malformed(wrong))
}

// === impl Claims ===

impl Claims {
    /// Returns the agent that the token claims to belong to, if the claims are valid at `now` (seconds since the Unix
    /// epoch).
    ///
    /// # Errors
    /// Returns an error if the token has expired, has another audience or ServiceAccount, or isn't bound to a node.
    pub fn identity(&self, account: &Account, now: i64) -> Result<Identity, Refusal> {
        let until = self.exp.saturating_add(LEEWAY);
        if now >= until {
            return Err(Refusal::Expired(now.saturating_sub(self.exp)));
        }
        if self.nbf > now.saturating_add(LEEWAY) {
            return Err(Refusal::Early(self.nbf.saturating_sub(now)));
        }
        self.for_hub()?;
        self.of(account)?;
        let (Some(node), Some(pod)) = (&self.kubernetes.node, &self.kubernetes.pod) else {
            return Err(Refusal::Unbound);
        };
        Ok(Identity {
            node: node.name.clone(),
            pod: format!("{}/{}", self.kubernetes.namespace, pod.name),
            until,
        })
    }

    fn for_hub(&self) -> Result<(), Refusal> {
        let has = match &self.aud {
            Audiences::One(one) => std::slice::from_ref(one),
            Audiences::Many(many) => many,
        };
        match has.iter().any(|one| one == HUB_AUDIENCE) {
            true => Ok(()),
            false => Err(Refusal::Audience { has: shortened(&has.join(", ")), wanted: HUB_AUDIENCE }),
        }
    }

    fn of(&self, account: &Account) -> Result<(), Refusal> {
        let named = self.kubernetes.serviceaccount.as_ref().map_or("", |named| &named.name);
        let same = self.kubernetes.namespace == account.namespace && named == account.name;
        match same && self.sub == account.user() {
            true => Ok(()),
            false => Err(Refusal::Account { is: shortened(&self.sub), wanted: account.to_string() }),
        }
    }
}

// === impl Identity ===

impl Identity {
    /// Compares the node that a stream claims with the token's node.
    ///
    /// # Errors
    /// Returns an error if they differ.
    pub fn is_node(&self, said: &str) -> Result<(), Refusal> {
        match self.node == said {
            true => Ok(()),
            false => Err(Refusal::OtherNode { token: shortened(&self.node), said: shortened(said) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_000_000;

    fn account() -> Account {
        "portreeve/portreeve-agent".parse().unwrap()
    }

    fn token(change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({
            "iss": "https://kubernetes.default.svc", "aud": ["portreeve-hub"], "exp": NOW + 600, "nbf": NOW - 5,
            "sub": "system:serviceaccount:portreeve:portreeve-agent",
            "kubernetes.io": {
                "namespace": "portreeve", "node": {"name": "n1", "uid": "u"}, "pod": {"name": "agent-1", "uid": "u"},
                "serviceaccount": {"name": "portreeve-agent", "uid": "u"},
            },
        });
        change(&mut claims);
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", encode(&json!({"alg": "ES256", "kid": "k"})), encode(&claims))
    }

    fn judged(change: impl FnOnce(&mut Value)) -> Result<Identity, Refusal> {
        Parts::read(&token(change))?.claims.identity(&account(), NOW)
    }

    #[test]
    fn agents_token_says_node_pod_and_end() {
        let identity = judged(|_| ()).unwrap();
        assert_eq!((identity.node.as_str(), identity.pod.as_str()), ("n1", "portreeve/agent-1"));
        assert_eq!(identity.until, NOW + 600 + LEEWAY);
        assert!(identity.is_node("n1").is_ok());
        assert_eq!(identity.is_node("n2").unwrap_err().reason(), "other-node");
    }

    #[test]
    fn every_fault_of_the_content_is_named() {
        type Change = fn(&mut Value);
        let faults: [(&str, Change); 9] = [
            ("expired", |c| c["exp"] = json!(NOW - LEEWAY)),
            ("early", |c| c["nbf"] = json!(NOW + LEEWAY + 1)),
            ("audience", |c| c["aud"] = json!(["https://kubernetes.default.svc"])),
            ("audience", |c| drop(c.as_object_mut().map(|c| c.remove("aud")))),
            ("account", |c| c["sub"] = json!("system:serviceaccount:portreeve:other")),
            ("account", |c| c["kubernetes.io"]["serviceaccount"]["name"] = json!("other")),
            ("account", |c| c["kubernetes.io"]["namespace"] = json!("other")),
            ("unbound", |c| c["kubernetes.io"]["node"] = Value::Null),
            ("unbound", |c| c["kubernetes.io"]["pod"] = Value::Null),
        ];
        for (reason, change) in faults {
            assert_eq!(judged(change).unwrap_err().reason(), reason);
        }
        assert!(judged(|c| c["aud"] = json!("portreeve-hub")).is_ok(), "one audience may be no list");
        assert!(judged(|c| c["exp"] = json!(NOW - LEEWAY + 1)).is_ok(), "clocks differ");
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        let long = "x".repeat(LONGEST + 1);
        for text in ["", "a", "a.b", "a.b.c", "..", "é.é.é", &token(|_| ())[1..], &long] {
            let refusal = Parts::read(text).map(|_| ()).unwrap_err();
            assert_eq!(refusal.reason(), "malformed", "{text}");
        }
        assert_eq!(judged(|c| c["exp"] = json!("soon")).unwrap_err().reason(), "malformed");
    }

    #[test]
    fn account_is_namespace_and_name() {
        assert_eq!(account().to_string(), "portreeve/portreeve-agent");
        for wrong in ["", "a", "/a", "a/", "a/b/c"] {
            assert!(wrong.parse::<Account>().is_err(), "{wrong}");
        }
    }
}
