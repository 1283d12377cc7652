//! The Deployment of a load balancer's own Envoys: [`Form::deployment`] (C.3, C33).
//!
//! It is the Deployment of the replaced control plane without what was for its debugging and its own network: nothing is
//! privileged, logs have Envoy's default level, and there is no pull secret. The Envoy has the rights of a sidecar and gets
//! everything from its node's agent, as a sidecar does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    CSIVolumeSource, Capabilities, Container, ContainerPort, PodSecurityContext, PodSpec, PodTemplateSpec,
    ResourceRequirements, SeccompProfile, SecurityContext, Sysctl, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use portreeve_api::c::load_balancer::DEFINITION;
use portreeve_api::c::names::EPIC;
use portreeve_api::c::port::Port;
use serde::Serialize;

use crate::resolve::c::embodiment;

/// The label that says which program manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The value of that label.
pub const MANAGER: &str = "portreeve";

/// What the Envoy starts with, the text of the sidecar's image. It is in the command line, so that any image with an Envoy
/// serves.
const BOOTSTRAP: &str = include_str!("../../../../images/bootstrap.yaml");

/// The annotation by which Multus adds interfaces to a pod.
const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";

/// The user `envoy` of the images.
const USER: i64 = 101;

/// Where the Envoy finds the agent's socket.
const AGENT: &str = "/run/portreeve";

/// What differs between the Deployments of load balancers.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// The load balancer's namespace.
    pub namespace: String,
    /// The load balancer's name.
    pub name: String,
    /// The load balancer's uid.
    pub uid: String,
    /// The public address.
    pub address: IpAddr,
    /// The public ports.
    pub ports: Vec<Port>,
    /// The number of pods.
    pub replicas: u32,
    /// The image with the Envoy.
    pub image: String,
    /// The name of the ServicePrefix that the address belongs to. `None`: the address is in none, and the pods have no other
    /// interface than their own.
    pub prefix: Option<String>,
}

/// An entry of Multus's annotation.
#[derive(Serialize)]
struct Network<'a> {
    name: &'a str,
    namespace: &'a str,
    ips: [IpAddr; 1],
}

// === impl Form ===

impl Form {
    /// Returns the Deployment. Its pods are replaced only after they ended: two can't have the same public address.
    ///
    /// # Errors
    /// Returns an error if the annotation can't be written as JSON, which would be a bug.
    pub fn deployment(&self) -> serde_json::Result<Deployment> {
        let labels = embodiment::labels(&self.name);
        let managed = (MANAGED_BY.to_owned(), MANAGER.to_owned());
        let template = PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(labels.clone()),
                annotations: self.annotations()?,
                ..ObjectMeta::default()
            }),
            spec: Some(self.pod()),
        };
        let spec = DeploymentSpec {
            replicas: Some(i32::try_from(self.replicas).unwrap_or(i32::MAX)),
            selector: LabelSelector { match_labels: Some(labels.clone()), ..LabelSelector::default() },
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None }),
            template,
            ..DeploymentSpec::default()
        };
        let metadata = ObjectMeta {
            name: Some(embodiment::name(&self.name)),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels.into_iter().chain([managed]).collect()),
            owner_references: Some(vec![self.owner()]),
            ..ObjectMeta::default()
        };
        Ok(Deployment { metadata, spec: Some(spec), status: None })
    }

    fn owner(&self) -> OwnerReference {
        let resource = (DEFINITION.resource)();
        OwnerReference {
            api_version: resource.api_version,
            kind: resource.kind,
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: None,
        }
    }

    fn annotations(&self) -> serde_json::Result<Option<BTreeMap<String, String>>> {
        let Some(prefix) = &self.prefix else { return Ok(None) };
        let network = Network { name: prefix, namespace: EPIC, ips: [self.address] };
        Ok(Some(BTreeMap::from([(NETWORKS.to_owned(), serde_json::to_string(&[network])?)])))
    }

    fn pod(&self) -> PodSpec {
        let (volume, unprivileged) =
            ("portreeve".to_owned(), "net.ipv4.ip_unprivileged_port_start".to_owned());
        PodSpec {
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                // Ports below 1024 without a capability. Pod Security allows it in restricted namespaces.
                sysctls: Some(vec![Sysctl { name: unprivileged, value: "0".into() }]),
                ..PodSecurityContext::default()
            }),
            containers: vec![self.container(&volume)],
            volumes: Some(vec![Volume {
                name: volume,
                csi: Some(CSIVolumeSource {
                    driver: "csi.portreeve.dev".into(),
                    read_only: Some(true),
                    ..CSIVolumeSource::default()
                }),
                ..Volume::default()
            }]),
            ..PodSpec::default()
        }
    }

    fn container(&self, volume: &str) -> Container {
        let quantity = |(name, amount): (&str, &str)| (name.to_owned(), Quantity(amount.to_owned()));
        let port = |port: &Port| ContainerPort {
            container_port: port.port.get().into(),
            protocol: Some(port.transport.upper_case().into()),
            ..ContainerPort::default()
        };
        Container {
            name: embodiment::name(&self.name),
            image: Some(self.image.clone()),
            command: Some(vec!["envoy".into()]),
            args: Some(self.arguments()),
            ports: Some(self.ports.iter().map(port).collect()),
            resources: Some(ResourceRequirements {
                requests: Some([("cpu", "100m"), ("memory", "128Mi")].map(quantity).into()),
                ..ResourceRequirements::default()
            }),
            security_context: Some(SecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                allow_privilege_escalation: Some(false),
                read_only_root_filesystem: Some(true),
                capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".into()]) }),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".into(),
                    localhost_profile: None,
                }),
                ..SecurityContext::default()
            }),
            volume_mounts: Some(vec![VolumeMount {
                name: volume.to_owned(),
                mount_path: AGENT.into(),
                read_only: Some(true),
                ..VolumeMount::default()
            }]),
            ..Container::default()
        }
    }

    /// Returns the Envoy's command line: that of the sidecar's image, with two worker threads and the name that C.3 gives the
    /// Envoy, for its logs.
    fn arguments(&self) -> Vec<String> {
        let node = format!("{}.{}", self.namespace, self.name);
        let words = [
            "--config-yaml",
            BOOTSTRAP,
            "--service-node",
            &node,
            "--disable-hot-restart",
            "--concurrency",
            "2",
            "--drain-time-s",
            "1",
        ];
        words.map(str::to_owned).into()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use portreeve_api::c::port::Transport;
    use serde_json::{Value, json};

    use super::*;

    fn mk_form() -> Form {
        let port = |name: &str, transport, number| Port {
            name: name.into(),
            transport,
            port: NonZeroU16::new(number).unwrap(),
        };
        Form {
            namespace: "epic-a".into(),
            name: "web".into(),
            uid: "d0c1".into(),
            address: IpAddr::from([192, 0, 2, 7]),
            ports: vec![port("http", Transport::Tcp, 80), port("sip", Transport::Udp, 5060)],
            replicas: 1,
            image: "portreeve/sidecar:envoy1.40.0".into(),
            prefix: Some("default".into()),
        }
    }

    fn written(form: &Form) -> Value {
        serde_json::to_value(form.deployment().unwrap()).unwrap()
    }

    #[test]
    fn deployment_is_the_golden_one_with_the_bootstrap_of_the_sidecars() {
        let mut written = written(&mk_form());
        let bootstrap = &mut written["spec"]["template"]["spec"]["containers"][0]["args"][1];
        assert_eq!(bootstrap.take(), json!(BOOTSTRAP));
        *bootstrap = "<bootstrap>".into();
        let golden: Value = serde_yaml::from_str(include_str!("golden.yaml")).unwrap();
        assert_eq!(written, golden, "{}", serde_yaml::to_string(&written).unwrap());
    }

    #[test]
    fn pods_have_the_image_and_number_that_are_asked_for_and_only_known_networks() {
        let form = Form { image: "envoy:1".into(), replicas: 3, prefix: None, ..mk_form() };
        let written = written(&form);
        assert_eq!(written["spec"]["replicas"], 3);
        let template = &written["spec"]["template"];
        assert_eq!(template["spec"]["containers"][0]["image"], "envoy:1");
        assert_eq!(template["metadata"]["annotations"], Value::Null);
    }

    #[test]
    fn names_with_dots_are_valid_names_of_containers() {
        let written = written(&Form { name: "web.example.com".into(), ..mk_form() });
        let name = written["metadata"]["name"].as_str().unwrap();
        let container = &written["spec"]["template"]["spec"]["containers"][0]["name"];
        assert!(name.starts_with("envoy-web-example-com-") && container == name, "{name}");
        assert_eq!(written["metadata"]["ownerReferences"][0]["name"], "web.example.com");
    }
}
