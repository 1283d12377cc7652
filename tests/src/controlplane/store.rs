//! The objects that an API server has stored, read from etcd: their keys and revisions.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::site::Site;
use crate::http;

/// The prefix of an API server's keys, and the first key after them.
const ALL: (&str, &str) = ("/registry/", "/registry0");
/// Objects that the API server creates and renews by itself.
const OWN: [&str; 2] = ["/registry/apiregistration.k8s.io/", "/registry/leases/kube-system/"];
/// Maximum number of keys in one transaction of etcd.
const AT_ONCE: usize = 100;

/// The keys and revisions of all objects, without the API server's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents(BTreeMap<String, u64>);

// === impl Contents ===

impl Contents {
    /// Reads the current keys and revisions.
    pub(super) fn now(site: &Site) -> Result<Self> {
        let range = json!({"key": encoded(ALL.0), "range_end": encoded(ALL.1), "keys_only": true});
        let answer = ask(site, "/v3/kv/range", &range)?;
        let found = answer["kvs"].as_array().context("an API server's store is never empty")?;
        let read =
            found.iter().map(|kv| Some((decoded(kv["key"].as_str()?)?, revision(&kv["mod_revision"])?)));
        let mut all: BTreeMap<_, _> = read.collect::<Option<_>>().context("unexpected keys")?;
        all.retain(|key, _| !OWN.iter().any(|own| key.starts_with(own)));
        Ok(Self(all))
    }

    /// Deletes all newer objects. Returns the older objects that were changed or deleted, which aren't restored.
    pub(super) fn restore(&self, site: &Site) -> Result<Vec<String>> {
        let now = Self::now(site)?;
        let since: Vec<_> = now.0.keys().filter(|key| !self.0.contains_key(*key)).collect();
        for keys in since.chunks(AT_ONCE) {
            let delete = |key: &&String| json!({"request_delete_range": {"key": encoded(key)}});
            let all: Vec<Value> = keys.iter().map(delete).collect();
            ask(site, "/v3/kv/txn", &json!({"success": all}))?;
        }
        let differs = |(key, revision): &(&String, &u64)| now.0.get(*key) != Some(revision);
        Ok(self.0.iter().filter(differs).map(|(key, _)| key.clone()).collect())
    }
}

/// Sends a request to etcd's JSON gateway.
fn ask(site: &Site, path: &str, request: &Value) -> Result<Value> {
    let netns = site.namespace.as_ref().context("servers of the test's own namespace are not shared")?;
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), site.etcd);
    let (status, body) = http::post(netns, address, (path, &request.to_string()))?;
    ensure!(status == 200, "etcd answers {status} to {path}: {body}");
    Ok(serde_json::from_str(&body)?)
}

fn encoded(key: &str) -> String {
    BASE64_STANDARD.encode(key)
}

fn decoded(key: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(key).ok()?).ok()
}

/// The gateway encodes 64-bit numbers as strings.
fn revision(value: &Value) -> Option<u64> {
    value.as_str()?.parse().ok()
}
