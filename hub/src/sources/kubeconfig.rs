//! Kubeconfigs of sources ([`read`]), and which of them lead to the hub's own cluster ([`is_same_cluster`]).

use std::path::Path;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// Where a kubeconfig comes from, which decides whether it may name files.
#[derive(Clone, Copy, Debug)]
pub enum Place<'p> {
    /// A file. Relative paths in it start at its directory.
    File(&'p Path),
    /// A key of a Secret. It may name no files: whoever writes the Secret must not read those of the hub.
    Secret,
}

/// A readable kubeconfig.
#[derive(Clone, Debug)]
pub struct Readable {
    kubeconfig: Kubeconfig,
    /// The context to use.
    context: String,
    /// A remark on an unusual form, for the log.
    pub remark: Option<String>,
}

/// Reads a kubeconfig. If its current-context names no context and there is only one, that one is used.
///
/// # Errors
/// Returns an error that says what to do. It quotes nothing that may be secret.
pub fn read(text: &[u8], place: Place<'_>) -> Result<Readable, String> {
    let text = std::str::from_utf8(text).map_err(|_| "the kubeconfig is not UTF-8".to_owned())?;
    // The parser's error may quote a token.
    let mut kubeconfig = Kubeconfig::from_yaml(text)
        .map_err(|_| "the kubeconfig is not YAML of the form that kubectl config view shows".to_owned())?;
    let (context, remark) = context(&kubeconfig)?;
    for named in &kubeconfig.clusters {
        if named.cluster.as_ref().is_some_and(|cluster| cluster.proxy_url.is_some()) {
            return Err(format!("cluster {} has a proxy-url, which is not supported: remove it", named.name));
        }
    }
    for named in &kubeconfig.auth_infos {
        let Some(user) = &named.auth_info else { continue };
        if user.exec.is_some() || user.auth_provider.is_some() {
            return Err(format!(
                "user {} has {}, which the hub doesn't run: use the token of a ServiceAccount, or a client certificate",
                named.name,
                if user.exec.is_some() { "an exec plugin" } else { "an auth-provider" }
            ));
        }
    }
    match place {
        Place::File(path) => files(&mut kubeconfig).for_each(|(_, file)| {
            *file = path.parent().unwrap_or(Path::new("")).join(&*file).to_string_lossy().into_owned();
        }),
        Place::Secret => {
            if let Some((field, _)) = files(&mut kubeconfig).next() {
                return Err(format!(
                    "{field} names a file, which a kubeconfig in a Secret may not: use {field}-data"
                ));
            }
        }
    }
    Ok(Readable { kubeconfig, context, remark })
}

/// Chooses the context.
fn context(kubeconfig: &Kubeconfig) -> Result<(String, Option<String>), String> {
    let current = kubeconfig.current_context.as_deref().unwrap_or_default();
    let names: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    match names.as_slice() {
        names if names.contains(&current) => Ok((current.to_owned(), None)),
        [] => Err("the kubeconfig has no context".into()),
        [only] => {
            let remark =
                format!("current-context {current:?} names no context; the only one, {only:?}, is used");
            Ok(((*only).to_owned(), Some(remark)))
        }
        names => Err(format!("current-context {current:?} names none of the contexts {}", names.join(", "))),
    }
}

/// All fields that name files, each with its name.
fn files(kubeconfig: &mut Kubeconfig) -> impl Iterator<Item = (&'static str, &mut String)> {
    let clusters = kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut());
    let authorities = clusters
        .filter_map(|cluster| Some(("certificate-authority", cluster.certificate_authority.as_mut()?)));
    let users = kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut());
    let credentials = users.flat_map(|user| {
        let fields = [
            ("client-certificate", user.client_certificate.as_mut()),
            ("client-key", user.client_key.as_mut()),
            ("tokenFile", user.token_file.as_mut()),
        ];
        fields.into_iter().filter_map(|(field, file)| Some((field, file?)))
    });
    authorities.chain(credentials).filter(|(_, file)| !file.is_empty())
}

// === impl Readable ===

impl Readable {
    /// Returns the client's configuration. Certificates that it names are read from their files.
    ///
    /// # Errors
    /// Returns an error if a file can't be read or a field has no meaning.
    pub async fn config(&self) -> Result<Config, String> {
        let options =
            KubeConfigOptions { context: Some(self.context.clone()), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(self.kubeconfig.clone(), &options).await;
        config.map_err(|error| format!("the kubeconfig can't be used: {error}"))
    }
}

/// Returns whether both configurations lead to the same cluster: they have the same URL, or, with `by_authority`, a certificate
/// authority in common. A cluster that is reached at another address from outside still has its own authority.
pub fn is_same_cluster(own: &Config, other: &Config, by_authority: bool) -> bool {
    let place = |config: &Config| {
        let url = &config.cluster_url;
        let port = url.port_u16().or(if url.scheme_str() == Some("http") { Some(80) } else { Some(443) });
        (url.host().map(str::to_lowercase), port, url.path().trim_end_matches('/').to_owned())
    };
    if place(own) == place(other) {
        return true;
    }
    let (own, other) = (own.root_cert.iter().flatten(), other.root_cert.as_deref().unwrap_or_default());
    by_authority && own.into_iter().any(|authority| other.contains(authority))
}

/// Reads a kubeconfig file.
///
/// # Errors
/// Returns an error with the path.
pub fn load(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("the kubeconfig {} can't be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the script in the replaced control plane's README writes with suffix=aws and custom unset.
    fn of_script() -> String {
        let made = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
        let authority = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, made.cert.pem());
        format!(
            "\ncurrent-context: kube-aws\napiVersion: v1\nclusters:\n- cluster:\n    server: https://aws.example.com:6443\n    \
             certificate-authority-data: {authority}\n  name: kube-aws\ncontexts:\n- context:\n    cluster: kube-aws\n    \
             user: service-account\n  name: kube-\nkind: Config\nusers:\n- name: service-account\n  user:\n    token: hidden\n"
        )
    }

    /// A kubeconfig with these fields of its cluster and its user.
    fn mk_kubeconfig(cluster: &str, user: &str) -> String {
        format!(
            "{{current-context: c, contexts: [{{name: c, context: {{cluster: k, user: u}}}}], \
             clusters: [{{name: k, cluster: {{server: 'https://a:1', {cluster}}}}}], users: [{{name: u, user: {{{user}}}}}]}}"
        )
    }

    async fn config(text: &str) -> Config {
        let place = Place::File(Path::new("/etc/aws/aws.kubeconfig"));
        read(text.as_bytes(), place).unwrap().config().await.unwrap()
    }

    #[tokio::test]
    async fn kubeconfig_of_the_original_script_uses_its_only_context_and_says_so() {
        for place in [Place::File(Path::new("/etc/aws/aws.kubeconfig")), Place::Secret] {
            let readable = read(of_script().as_bytes(), place).unwrap();
            let remark = "current-context \"kube-aws\" names no context; the only one, \"kube-\", is used";
            assert_eq!(readable.remark.as_deref(), Some(remark));
            let config = readable.config().await.unwrap();
            assert_eq!(config.cluster_url.to_string(), "https://aws.example.com:6443/");
            assert_eq!(config.root_cert.map(|authorities| authorities.len()), Some(1));
            assert!(config.auth_info.token.is_some());
        }
    }

    #[test]
    fn files_are_relative_to_the_kubeconfig_and_not_allowed_in_a_secret() {
        for (cluster, user, field) in [
            ("certificate-authority: ca.crt", "", "certificate-authority"),
            ("", "client-certificate: tls.crt", "client-certificate"),
            ("", "client-key: tls.key", "client-key"),
            ("", "tokenFile: token", "tokenFile"),
        ] {
            let text = mk_kubeconfig(cluster, user);
            let mut readable = read(text.as_bytes(), Place::File(Path::new("conf/aws"))).unwrap();
            let found: Vec<_> =
                files(&mut readable.kubeconfig).map(|(field, file)| (field, file.clone())).collect();
            let name = format!("{cluster}{user}").split_once(": ").unwrap().1.to_owned();
            assert_eq!(found, [(field, format!("conf/{name}"))]);
            let refused = read(text.as_bytes(), Place::Secret).unwrap_err();
            assert!(refused.starts_with(&format!("{field} names a file")), "{refused}");
        }
        let absolute = mk_kubeconfig("certificate-authority: /ca", "");
        let mut readable = read(absolute.as_bytes(), Place::File(Path::new("conf/aws"))).unwrap();
        assert_eq!(files(&mut readable.kubeconfig).next().unwrap().1, "/ca");
    }

    #[test]
    fn unusable_kubeconfigs_are_refused_without_quoting_them() {
        for (text, told) in [
            ("\u{fffd}: [hidden".to_owned(), "the kubeconfig is not YAML"),
            ("users: hidden".to_owned(), "the kubeconfig is not YAML"),
            (String::new(), "the kubeconfig has no context"),
            (mk_kubeconfig("proxy-url: 'http://p'", ""), "cluster k has a proxy-url"),
            (
                mk_kubeconfig("", "exec: {command: hidden}"),
                "user u has an exec plugin, which the hub doesn't run",
            ),
            (mk_kubeconfig("", "auth-provider: {name: gcp, config: {}}"), "user u has an auth-provider"),
            (
                "{current-context: x, contexts: [{name: a}, {name: b}]}".to_owned(),
                "current-context \"x\" names none of the contexts a, b",
            ),
        ] {
            let refused = read(text.as_bytes(), Place::Secret).unwrap_err();
            assert!(refused.starts_with(told) && !refused.contains("hidden"), "{text}: {refused}");
        }
        assert!(read(b"\xff", Place::Secret).is_err());
    }

    #[tokio::test]
    async fn own_cluster_is_known_by_its_url_or_by_its_authority() {
        let (script, other) = (config(&of_script()).await, config(&of_script()).await);
        assert!(is_same_cluster(&script, &other, false), "the same URL");
        let of = |url: &str, config: &Config| {
            let mut config = config.clone();
            config.cluster_url = url.parse().unwrap();
            config
        };
        let inside = |config: &Config| of("https://10.96.0.1", config);
        assert!(is_same_cluster(&inside(&script), &script, true));
        assert!(!is_same_cluster(&inside(&script), &script, false));
        assert!(!is_same_cluster(&inside(&script), &other, true));
        assert!(is_same_cluster(&of("https://A/", &script), &of("https://a:443", &other), false));
        assert!(!is_same_cluster(&of("https://a", &script), &of("http://a", &other), false));
        let mut without = of("https://b", &script);
        without.root_cert = None;
        assert!(!is_same_cluster(&without, &script, true) && !is_same_cluster(&script, &without, true));
    }
}
