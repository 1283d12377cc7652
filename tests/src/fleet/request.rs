//! The path and the query of a request to an API server ([`Request`]).

use std::collections::BTreeMap;

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The name of the collection: `PLURAL.GROUP`, or `PLURAL` for the core group.
    pub collection: String,
    /// `GROUP/VERSION`, or `VERSION`.
    pub api_version: String,
    /// The namespace, if one is given.
    pub namespace: String,
    /// The name of an object; empty for the collection.
    pub name: String,
    /// Whether the request is for the object's status.
    pub of_status: bool,
    query: BTreeMap<String, String>,
}

// === impl Request ===

impl Request {
    /// Reads a path with its query. Returns `None` if it is no path of objects.
    pub fn parse(path: &str, query: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return None,
        };
        let (dot, slash) = if group.is_empty() { ("", "") } else { (".", "/") };
        Some(Self {
            collection: format!("{plural}{dot}{group}"),
            api_version: format!("{group}{slash}{version}"),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            of_status: subresource == "status",
            query: query.split('&').filter_map(pair).collect(),
        })
    }

    /// Returns the key of the object in the store.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Returns what the keys of the requested objects begin with: a namespace, or a namespace and a name.
    pub fn prefix(&self) -> String {
        let selector = self.query.get("fieldSelector").map(String::as_str).unwrap_or_default();
        let name = selector.strip_prefix("metadata.name=").unwrap_or_default();
        match self.namespace.as_str() {
            "" => String::new(),
            namespace => format!("{namespace}/{name}"),
        }
    }

    /// Returns whether the request is a watch.
    pub fn is_watch(&self) -> bool {
        self.query.get("watch").is_some_and(|value| value == "true" || value == "1")
    }

    /// Returns a parameter of the query; an empty text if it is missing.
    pub fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map(String::as_str).unwrap_or_default()
    }

    /// Returns a parameter that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.parameter(name).parse().ok()
    }
}

fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    Some((decode(name), decode(value)))
}

/// Decodes `%XX` and `+`.
fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let code =
            tail.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_collections_objects_and_statuses() {
        for (path, collection, key, of_status) in [
            ("/api/v1/pods", "pods", "/", false),
            ("/api/v1/namespaces", "namespaces", "/", false),
            ("/api/v1/namespaces/ns", "namespaces", "/ns", false),
            ("/api/v1/namespaces/ns/secrets/s", "secrets", "ns/s", false),
            ("/apis/portreeve.dev/v1alpha1/nodeproxies/p/status", "nodeproxies.portreeve.dev", "/p", true),
            (
                "/apis/servicemesh.l7mp.io/v1/namespaces/ns/virtualservices/v",
                "virtualservices.servicemesh.l7mp.io",
                "ns/v",
                false,
            ),
        ] {
            let request = Request::parse(path, "").unwrap();
            assert_eq!((request.collection.as_str(), request.key().as_str()), (collection, key), "{path}");
            assert_eq!(request.of_status, of_status);
        }
        assert_eq!(Request::parse("/version", ""), None);
        let group = Request::parse("/apis/portreeve.dev/v1alpha1", "");
        assert_eq!(group, None);
    }

    #[test]
    fn query_is_decoded() {
        let query = "watch=true&fieldSelector=metadata.name%3Ds&continue=a%2Fb+c&limit=500";
        let request = Request::parse("/api/v1/namespaces/ns/secrets", query).unwrap();
        assert!(request.is_watch());
        assert_eq!((request.prefix().as_str(), request.parameter("continue")), ("ns/s", "a/b c"));
        assert_eq!((request.number("limit"), request.number("timeoutSeconds")), (Some(500), None));
    }
}
