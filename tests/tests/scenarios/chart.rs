//! The chart in `deploy/chart`: it contains the same objects as the kustomize base, its values have an effect, invalid
//! values are rejected by name, and a real install, upgrade and removal work.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use portreeve_tests::assets;
use portreeve_tests::controlplane::ControlPlane;
use portreeve_tests::kustomize::{self, deploy};
use portreeve_tests::process::run;
use serde_json::{Value, json};

/// An object's identity: version, kind, namespace and name.
type Title = [String; 4];

/// Runs Helm without the user's configuration.
fn helm(words: &[&str]) -> Result<Command> {
    let mut command = Command::new(assets::helm()?);
    let home = assets::cache_dir()?.join("helm");
    command
        .args(words)
        .env("HELM_CACHE_HOME", &home)
        .env("HELM_CONFIG_HOME", &home)
        .env("HELM_DATA_HOME", &home);
    command.env("KUBECONFIG", "/dev/null");
    Ok(command)
}

fn template(namespace: &str, values: &[&str]) -> Result<Command> {
    let mut command = helm(&["template", "portreeve"])?;
    command.arg(deploy().join("chart")).args(["--namespace", namespace, "--include-crds"]);
    command.args(values.iter().flat_map(|value| ["--set", value]));
    Ok(command)
}

fn rendered(namespace: &str, values: &[&str]) -> Result<BTreeMap<Title, Value>> {
    titled(kustomize::objects(&run(&mut template(namespace, values)?)?)?)
}

/// Returns objects by their identity.
fn titled(objects: Vec<Value>) -> Result<BTreeMap<Title, Value>> {
    let mut found = BTreeMap::new();
    for object in objects.into_iter().map(whole).filter(|object| !object.is_null()) {
        let words = ["/apiVersion", "/kind", "/metadata/namespace", "/metadata/name"];
        let title =
            words.map(|word| object.pointer(word).and_then(Value::as_str).unwrap_or_default().to_owned());
        ensure!(found.insert(title.clone(), object).is_none(), "{title:?} is there twice");
    }
    Ok(found)
}

/// Writes whole numbers as integers: kustomize writes 1 where a definition has 1.0.
fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => json!(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(whole).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, whole(value))).collect(),
        other => other,
    }
}

/// Returns the only object of a kind and name.
fn one<'a>(objects: &'a BTreeMap<Title, Value>, kind: &str, name: &str) -> Result<&'a Value> {
    let found = objects.iter().find(|([_, is, _, called], _)| is == kind && called == name);
    Ok(found.with_context(|| format!("no {kind} {name}"))?.1)
}

fn pod<'a>(objects: &'a BTreeMap<Title, Value>, kind: &str, name: &str) -> Result<&'a Value> {
    Ok(&one(objects, kind, name)?["spec"]["template"]["spec"])
}

/// Returns the manifests of the hub's rights in an installation with these values.
pub fn rights_of_hub(namespace: &str, values: &[&str]) -> Result<String> {
    let kinds = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
    let objects = rendered(namespace, values)?.into_iter();
    let rights = objects.filter(|([_, kind, _, name], _)| {
        kinds.contains(&kind.as_str()) && name.starts_with("portreeve-hub")
    });
    Ok(rights.map(|(_, object)| format!("---\n{object}\n")).collect())
}

/// Checks that the chart with these values contains the objects of the base with these components.
fn makes_the_same(values: &[&str], components: &[&str]) -> Result<()> {
    let (base, chart) = (titled(kustomize::built(components)?)?, rendered("portreeve", values)?);
    let titles = |objects: &BTreeMap<Title, Value>| objects.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(titles(&chart), titles(&base), "{values:?}");
    for (title, object) in &base {
        ensure!(
            &chart[title] == object,
            "{title:?} is by the chart with {values:?}\n{}\nand by the base\n{object}",
            chart[title]
        );
    }
    println!("{} objects with {components:?}", base.len());
    Ok(())
}

#[test]
fn objects_are_those_of_the_base_and_of_its_components() -> Result<()> {
    let (prometheus, cert_manager) = ("prometheus.enabled=true", "certManager.enabled=true");
    makes_the_same(&[], &[])?;
    makes_the_same(&[prometheus], &["prometheus"])?;
    makes_the_same(&[cert_manager], &["cert-manager"])?;
    makes_the_same(&["hub.sources.secret=portreeve-sources"], &["sources"])?;
    makes_the_same(&["hub.secrets.namespaces={default}"], &["secrets"])?;
    makes_the_same(&["hub.epic.enabled=true"], &["epic"])?;
    makes_the_same(&["addresses.enabled=true"], &["addresses"])?;
    makes_the_same(&["tunnels.enabled=true"], &["tunnels"])?;
    makes_the_same(&[prometheus, cert_manager], &["prometheus", "cert-manager"])
}

#[test]
fn definitions_are_not_a_copy_and_go_into_the_package() -> Result<()> {
    let (chart, out) = (deploy().join("chart"), tempfile::tempdir()?);
    assert_eq!(chart.join("crds").canonicalize()?, deploy().join("crds").canonicalize()?);
    run(helm(&["lint", "--strict"])?.arg(&chart))?;
    run(helm(&["package"])?.arg(&chart).arg("--destination").arg(out.path()))?;
    let package = out.path().join(format!("portreeve-{}.tgz", env!("CARGO_PKG_VERSION")));
    let listed = run(Command::new("tar").arg("-tzf").arg(package))?;
    let definitions = listed.lines().filter(|name| name.starts_with("portreeve/crds/")).count();
    assert_eq!(definitions, std::fs::read_dir(deploy().join("crds"))?.count(), "{listed}");
    ensure!(listed.contains("portreeve/files/alerts.yaml"), "{listed}");
    Ok(())
}

#[test]
fn the_chart_has_the_version_of_the_programs() -> Result<()> {
    let chart: Value = serde_yaml::from_str(&std::fs::read_to_string(deploy().join("chart/Chart.yaml"))?)?;
    assert_eq!([&chart["version"], &chart["appVersion"]], [env!("CARGO_PKG_VERSION"); 2]);
    Ok(())
}

#[test]
fn nonsense_is_refused_by_name() -> Result<()> {
    let cases = [
        ("hub.replicaz=3", "'replicaz' not allowed"),
        ("agents.image.tag=1", "'agents' not allowed"),
        ("hub.replicas=many", "hub/replicas"),
        ("hub.replicas=-1", "hub/replicas"),
        ("hub.namespaces[0]=a_b", "hub/namespaces/0"),
        ("hub.namespaces=calls", "hub/namespaces"),
        ("hub.secrets.namespaces[0]=a_b", "hub/secrets/namespaces/0"),
        ("hub.secrets.everywhere=yes", "hub/secrets/everywhere"),
        ("hub.secrets.cluster=true", "'cluster' not allowed"),
        ("hub.sources.secret=A_B", "hub/sources/secret"),
        ("hub.sources.kubeconfigs.config=x", "invalid propertyName 'config'"),
        ("hub.image.pullPolicy=Sometimes", "hub/image/pullPolicy"),
        ("hub.image.tag=", "hub/image/tag"),
        ("hub.image=portreeve/hub:1", "hub/image"),
        ("agent.tolerations.operator=Exists", "agent/tolerations"),
        ("agent.tolerations[0].efect=NoSchedule", "'efect' not allowed"),
        ("agent.maxSurge=some", "agent/maxSurge"),
        ("agent.resources.request.cpu=1", "'request' not allowed"),
        ("agent.nodeSelector.a=1", "agent/nodeSelector/a"),
        ("namespace=maybe", "namespace"),
        ("clusterDomain=a b", "clusterDomain"),
        ("csi.enabled=perhaps", "csi/enabled"),
        ("prometheus=true", "prometheus"),
        ("certManager.enabled=1", "certManager/enabled"),
        ("csi.kubeletDir=kubelet", "csi/kubeletDir"),
        ("csi.kubeletDir=/var/lib/kubelet/", "csi/kubeletDir"),
        ("csi.kubelet=/x", "'kubelet' not allowed"),
        ("tunnels.enabled=perhaps", "tunnels/enabled"),
        ("tunnels.image.tag=v4", "'image' not allowed"),
    ];
    for (value, named) in cases {
        let error =
            run(&mut template("portreeve", &[value])?).err().with_context(|| format!("{value} is taken"))?;
        let text = error.to_string();
        assert!(text.contains("schema") && text.contains(named), "{value}: {text}");
    }
    Ok(())
}

#[test]
fn changed_values_have_effect() -> Result<()> {
    let chart = rendered(
        "portreeve",
        &[
            "hub.replicas=5",
            "hub.image.repository=registry.example/p/hub",
            "hub.image.tag=v2",
            "hub.image.pullPolicy=Always",
            "hub.nodeSelector.disk=fast",
            "hub.tolerations[0].key=dedicated",
            "hub.tolerations[0].operator=Exists",
            "hub.resources.limits.memory=1Gi",
            "hub.extraArgs[0]=--log-level=debug",
            "hub.priorityClassName=",
            "agent.image.tag=v3",
            "agent.tolerations=null",
            "agent.maxSurge=1",
            "agent.extraArgs[0]=--max-stale=60",
            "imagePullSecrets[0].name=pull",
            "clusterDomain=example",
        ],
    )?;
    let hub = pod(&chart, "Deployment", "portreeve-hub")?;
    assert_eq!(one(&chart, "Deployment", "portreeve-hub")?["spec"]["replicas"], 5);
    assert_eq!(hub["containers"][0]["image"], "registry.example/p/hub:v2");
    assert_eq!(hub["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(hub["nodeSelector"], json!({"disk": "fast"}));
    assert_eq!(hub["tolerations"], json!([{"key": "dedicated", "operator": "Exists"}]));
    let resources = json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}});
    assert_eq!(hub["containers"][0]["resources"], resources);
    assert_eq!(last(&hub["containers"][0]["args"]), "--log-level=debug");
    assert_eq!(
        (&hub["priorityClassName"], &hub["imagePullSecrets"]),
        (&Value::Null, &json!([{"name": "pull"}]))
    );
    let agent = pod(&chart, "DaemonSet", "portreeve-agent")?;
    assert_eq!(agent["containers"][0]["image"], "portreeve/agent:v3");
    assert_eq!(agent["tolerations"], Value::Null);
    assert_eq!(last(&agent["containers"][0]["args"]), "--max-stale=60");
    assert!(agent["containers"][0]["args"].to_string().contains("portreeve-hub.portreeve.svc.example:18100"));
    let update = &one(&chart, "DaemonSet", "portreeve-agent")?["spec"]["updateStrategy"]["rollingUpdate"];
    assert_eq!(update, &json!({"maxSurge": 1, "maxUnavailable": 0}));
    Ok(())
}

#[test]
fn the_driver_goes_where_the_kubelet_is_or_not_at_all() -> Result<()> {
    let chart = rendered("portreeve", &["csi.kubeletDir=/srv/kubelet", "csi.image.tag=v4"])?;
    let driver = pod(&chart, "DaemonSet", "portreeve-csi")?;
    assert_eq!(driver["containers"][0]["image"], "portreeve/agent:v4");
    let text = driver.to_string();
    ensure!(!text.contains("/var/lib/kubelet"), "{text}");
    assert_eq!(text.matches("--kubelet-dir=/srv/kubelet\"").count(), 3, "{text}");
    assert_eq!(driver["containers"][0]["volumeMounts"][1]["mountPath"], "/srv/kubelet/pods");
    let without = rendered("portreeve", &["csi.enabled=false"])?;
    let left: Vec<_> = without.keys().filter(|[_, _, _, name]| name.contains("csi")).collect();
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

fn last(words: &Value) -> &str {
    words.as_array().and_then(|words| words.last()?.as_str()).unwrap_or_default()
}

#[test]
fn another_namespace_is_named_everywhere() -> Result<()> {
    let chart = rendered("elsewhere", &["prometheus.enabled=true", "certManager.enabled=true"])?;
    for ([_, kind, namespace, name], object) in &chart {
        ensure!(namespace.is_empty() || namespace == "elsewhere", "{kind} {name} is in {namespace}");
        let text = object.to_string();
        for left in [
            "portreeve/portreeve-agent",
            "serviceaccount:portreeve:",
            ".portreeve.svc",
            "\"namespace\":\"portreeve\"",
        ] {
            ensure!(!text.contains(left), "{kind} {name} names the other namespace: {left}");
        }
    }
    let hub = pod(&chart, "Deployment", "portreeve-hub")?;
    let account = json!("--agent-service-account=elsewhere/portreeve-agent");
    ensure!(hub["containers"][0]["args"].as_array().is_some_and(|args| args.contains(&account)), "{hub}");
    one(&chart, "Namespace", "elsewhere")?;
    assert!(one(&rendered("elsewhere", &["namespace=never"])?, "Namespace", "elsewhere").is_err());
    Ok(())
}

#[test]
fn hubs_of_some_namespaces_have_no_right_in_others() -> Result<()> {
    let chart = rendered("tenant", &["hub.namespaces={calls,more}"])?;
    let hub = pod(&chart, "Deployment", "portreeve-hub")?;
    assert_eq!(last(&hub["containers"][0]["args"]), "--namespaces=calls,more");
    let everywhere = one(&chart, "ClusterRole", "portreeve-hub")?["rules"].to_string();
    for namespaced in ["pods", "virtualservices", "ingresslisteners", "egresslisteners", "events"] {
        ensure!(!everywhere.contains(&format!("\"{namespaced}\"")), "{everywhere}");
    }
    let places = |kind: &str, name: &str| -> Vec<&str> {
        let found = chart.keys().filter(|[_, is, _, called]| is == kind && called == name);
        found.map(|[_, _, namespace, _]| namespace.as_str()).collect()
    };
    for kind in ["Role", "RoleBinding"] {
        assert_eq!(places(kind, "portreeve-hub-objects"), ["calls", "more"]);
        assert_eq!(places(kind, "portreeve-hub-events"), ["default"]);
    }
    Ok(())
}

#[test]
fn secrets_are_read_where_the_values_say() -> Result<()> {
    let bindings = |values: &[&str]| -> Result<Vec<[String; 2]>> {
        let chart = rendered("tenant", values)?;
        for ([_, kind, _, name], object) in &chart {
            let subject = &object["subjects"][0];
            let (kind, own) = (kind.ends_with("Binding"), name == "portreeve-hub-secrets");
            ensure!(!kind || !own || subject["namespace"] == "tenant", "{object}");
        }
        let bound =
            |[_, kind, _, name]: &&Title| kind.ends_with("Binding") && name == "portreeve-hub-secrets";
        let found = chart.keys().filter(bound);
        Ok(found.map(|[_, kind, namespace, _]| [kind.clone(), namespace.clone()]).collect())
    };
    assert!(bindings(&[])?.is_empty());
    let [one, two] = ["calls", "more"].map(|namespace| ["RoleBinding".to_owned(), namespace.to_owned()]);
    assert_eq!(bindings(&["hub.secrets.namespaces={calls,more}"])?, [one, two]);
    let everywhere = ["ClusterRoleBinding".to_owned(), String::new()];
    assert_eq!(bindings(&["hub.secrets.everywhere=true"])?, [everywhere]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_upgrades_and_removes() -> Result<()> {
    let control = ControlPlane::start().await?;
    let (kubeconfig, chart) = (control.kubeconfig("admin")?, deploy().join("chart"));
    let deployments = Api::<Deployment>::namespaced(control.client()?, "calls");
    let namespaces = Api::<Namespace>::all(control.client()?);
    let call = |words: &[&str]| -> Result<String> {
        run(helm(words)?.arg("--kubeconfig").arg(&kubeconfig).args(["--namespace", "calls"]))
    };
    let chart = chart.to_str().context("a path")?;
    let notes = call(&["install", "portreeve", chart, "--create-namespace"])?;
    ensure!(notes.contains("2 hubs") && notes.contains("label namespace calls"), "{notes}");
    let replicas = |hub: Deployment| hub.spec.and_then(|spec| spec.replicas);
    assert_eq!(replicas(deployments.get("portreeve-hub").await?), Some(2));
    // Helm, not the release, owns the namespace: neither an upgrade nor a removal deletes it.
    call(&["upgrade", "portreeve", chart, "--set", "hub.replicas=3"])?;
    assert_eq!(replicas(deployments.get("portreeve-hub").await?), Some(3));
    call(&["uninstall", "portreeve"])?;
    assert!(deployments.get_opt("portreeve-hub").await?.is_none());
    assert!(namespaces.get("calls").await?.metadata.deletion_timestamp.is_none());
    Ok(())
}
