//! The sources that are to be followed ([`Wishes`]), from the file and from the Secret.

use std::collections::BTreeMap;

use portreeve_xds::{Name, Version};

use super::kubeconfig::{self, Place, Readable};
use super::list;
use crate::lookup::SecretBytes;

/// The most sources that a hub follows. Each takes connections and memory.
pub const MOST: usize = 100;

/// The sources that are to be followed, by name.
pub type Wishes = BTreeMap<Name, Wish>;

/// A source that is to be followed.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The version of its kubeconfig.
    pub version: Version,
    /// The kubeconfig, or why it can't be used.
    pub kubeconfig: Result<Readable, String>,
}

/// Reads the Secret: each key is the name of a source, its value a kubeconfig.
pub fn of_secret(contents: &BTreeMap<Name, SecretBytes>) -> Wishes {
    let wish = |(name, content): (&Name, &SecretBytes)| {
        let read = list::check_name(name).and_then(|()| kubeconfig::read(content.as_slice(), Place::Secret));
        let kubeconfig = read.map_err(|error| format!("key {name} of the Secret: {error}"));
        (name.clone(), Wish { version: Version::of(content.as_slice()), kubeconfig })
    };
    contents.iter().map(wish).collect()
}

/// Joins both origins. Of two sources with one name, that of the file counts. Returns the refused ones, each with the reason.
pub fn join(file: &Wishes, secret: &Wishes) -> (Wishes, Vec<String>) {
    let (mut all, mut refused) = (file.clone(), Vec::new());
    for (name, wish) in secret {
        if all.contains_key(name) {
            refused.push(format!(
                "source {name} of the Secret has the name of one in the sources file: rename its key"
            ));
        } else {
            all.insert(name.clone(), wish.clone());
        }
    }
    while all.len() > MOST
        && let Some((name, _)) = all.pop_last()
    {
        refused.push(format!("source {name} is not followed: a hub follows {MOST} at most"));
    }
    (all, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "{current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}], \
         clusters: [{name: k, cluster: {server: 'https://a:1'}}], users: []}";

    fn secret(keys: &[(&str, &str)]) -> Wishes {
        let content =
            |(key, text): &(&str, &str)| (Name::from(*key), SecretBytes::new(text.as_bytes().to_vec()));
        of_secret(&keys.iter().map(content).collect())
    }

    #[test]
    fn each_key_of_the_secret_is_a_source_of_its_own() {
        let read = secret(&[("aws", KUBECONFIG), ("gcp", "hidden"), ("ca.crt", "hidden")]);
        assert!(read["aws"].kubeconfig.is_ok());
        for bad in ["gcp", "ca.crt"] {
            let why = read[bad].kubeconfig.as_ref().unwrap_err();
            assert!(
                why.starts_with(&format!("key {bad} of the Secret: ")) && !why.contains("hidden"),
                "{why}"
            );
        }
        let again = secret(&[("aws", KUBECONFIG), ("gcp", "other")]);
        assert_eq!(read["aws"].version, again["aws"].version);
        assert_ne!(read["gcp"].version, again["gcp"].version);
    }

    #[test]
    fn source_of_the_file_counts_and_there_is_a_limit() {
        let (file, secret_) = (secret(&[("aws", KUBECONFIG)]), secret(&[("aws", "x"), ("gcp", KUBECONFIG)]));
        let (all, refused) = join(&file, &secret_);
        assert_eq!(all.keys().map(|name| &**name).collect::<Vec<_>>(), ["aws", "gcp"]);
        assert!(all["aws"].kubeconfig.is_ok());
        assert!(
            refused[0].starts_with("source aws of the Secret has the name of one in the sources file"),
            "{refused:?}"
        );
        let names: Vec<String> = (0..=MOST).map(|i| format!("s{i:04}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), KUBECONFIG)).collect();
        let (all, refused) = join(&Wishes::new(), &secret(&many));
        assert_eq!((all.len(), refused.len()), (MOST, 1));
        assert!(refused[0].contains(&format!("source s{MOST:04} is not followed")), "{refused:?}");
    }
}
