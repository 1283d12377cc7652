//! The users of the web service ([`Users`]): htpasswd files in Secrets. A Secret serves the account of its namespace; one in
//! `epic` serves all (C.6).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::ListParams;
use kube::{Api, Client};
use portreeve_api::c::account::{self, Account};
use portreeve_api::c::names::{EPIC, namespace_of_account};
use portreeve_epic::auth::Htpasswd;
use tokio::sync::Mutex;

use crate::epic::failure::Failure;
use crate::epic::objects::limited;
use crate::feed::Feed;
use crate::resolve::c::account as accounts;
use crate::secrets::SecretObject;

/// How long what was read of a namespace's Secrets is used.
const KEPT: Duration = Duration::from_secs(10);

/// The most accounts whose Secrets are read to tell a user of another account from an unknown one.
const OTHERS: usize = 100;

/// What the original's Secrets with users are marked with.
const MARKS: [(&str, &str); 2] =
    [("projectcontour.io/auth-type", "basic"), ("projectcontour.io/auth-realm", "epicauth")];

/// The key of such a Secret that holds the htpasswd file.
const KEY: &str = "auth";

/// The users that Secrets name.
pub struct Users {
    client: Client,
    read: Mutex<HashMap<String, Read>>,
}

/// What was read of a namespace's Secrets.
#[derive(Clone)]
struct Read {
    at: Instant,
    files: Arc<Vec<File>>,
}

/// The users of one Secret.
pub struct File {
    /// The Secret's namespace, name and resource version.
    pub version: String,
    /// The users and their passwords.
    pub users: Htpasswd,
}

// === impl Users ===

impl Users {
    /// Creates a store that has read nothing yet.
    pub fn new(client: Client) -> Self {
        Self { client, read: Mutex::default() }
    }

    /// Returns the files whose users may use an account: those of its namespace, and those of `epic`.
    ///
    /// # Errors
    /// Returns an error if the hub may not read the Secrets of any of both namespaces.
    pub async fn of_account(&self, account: &str) -> Result<Vec<Arc<Vec<File>>>, Failure> {
        let (own, all) =
            (self.of_namespace(&namespace_of_account(account)).await, self.of_namespace(EPIC).await);
        match (own, all) {
            (Err(error), Err(_)) => Err(error),
            (own, all) => Ok([own, all].into_iter().flatten().collect()),
        }
    }

    /// Returns the files of other accounts.
    pub async fn of_others(&self, feed: &Feed, account: &str) -> Vec<Arc<Vec<File>>> {
        let namespaces: BTreeSet<String> = feed.look(|lookup| {
            let all = lookup.listed::<Account>(&account::KIND, accounts::EVERY, "").into_iter();
            let named = all.filter(|(key, _)| &*key.name != account);
            named.map(|(key, _)| namespace_of_account(&key.name)).take(OTHERS).collect()
        });
        let mut found = Vec::new();
        for namespace in namespaces {
            found.extend(self.of_namespace(&namespace).await);
        }
        found
    }

    /// Returns the files of a namespace. If it can't be read now, what was read last is used.
    async fn of_namespace(&self, namespace: &str) -> Result<Arc<Vec<File>>, Failure> {
        let mut known = self.read.lock().await;
        if let Some(read) = known.get(namespace).filter(|read| read.at.elapsed() < KEPT) {
            return Ok(read.files.clone());
        }
        let api = Api::<SecretObject>::namespaced(self.client.clone(), namespace);
        let listed = match limited(api.list(&ListParams::default())).await {
            Ok(listed) => listed,
            Err(Failure::Api(kube::Error::Api(status))) if status.code == 403 => {
                known.remove(namespace);
                return Err(forbidden(namespace));
            }
            Err(error) => return known.get(namespace).map(|read| read.files.clone()).ok_or(error),
        };
        let files: Arc<Vec<File>> = Arc::new(listed.items.into_iter().filter_map(file).collect());
        known.retain(|_, read| read.at.elapsed() < KEPT * 10);
        known.insert(namespace.to_owned(), Read { at: Instant::now(), files: files.clone() });
        Ok(files)
    }
}

/// Reads the users of a Secret. `None` if it isn't marked as one with users.
fn file(secret: SecretObject) -> Option<File> {
    let meta = kube::Resource::meta(&secret);
    let annotations = meta.annotations.as_ref()?;
    if !MARKS.iter().all(|(key, value)| annotations.get(*key).is_some_and(|found| found == value)) {
        return None;
    }
    let (namespace, name) =
        (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    let version = format!("{namespace}/{name}/{}", meta.resource_version.as_deref().unwrap_or_default());
    let facts = secret.into_facts();
    let Some(content) = facts.content(KEY) else {
        tracing::warn!(namespace, name, "a Secret with users of the web service has no key auth");
        return None;
    };
    let (users, problems) = Htpasswd::parse(&String::from_utf8_lossy(content.as_slice()));
    for problem in problems {
        tracing::warn!(namespace, name, %problem, "a line of a Secret with users of the web service is left out");
    }
    Some(File { version, users })
}

fn forbidden(namespace: &str) -> Failure {
    Failure::Missing(format!(
        "the hub may not list the Secrets of namespace {namespace}, so it knows no users: bind the ClusterRole \
         portreeve-hub-secrets to the hub's ServiceAccount in this namespace"
    ))
}
