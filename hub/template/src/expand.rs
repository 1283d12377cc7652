//! Runs the templates as often as the facts ask for: [`expand`] (seed C.3 "Templates").

use portreeve_api::c::envoy_config::{EnvoyResource, EnvoyResources};

use crate::error::{Error, OUTPUT_BYTES, RESOURCES, Reason};
use crate::facts::{Cluster, Endpoint, Facts, Port};
use crate::go::{Budget, Template, Value};
use crate::list::List;

/// A rendered text, and where it comes from.
#[derive(Debug)]
pub struct Piece {
    /// Its list.
    pub list: List,
    /// Its template, for example `envoyResources.listeners[0]`.
    pub from: String,
    /// The template's name.
    pub name: String,
    /// The cluster or the port that it was rendered for.
    pub instance: Option<String>,
    /// The text.
    pub text: String,
}

/// What one list's templates are rendered with: each instance and its values. `None` keeps the text as it is.
type Instances = Vec<(Option<String>, Option<Value>)>;

/// Returns the texts of all resources. Templates of clusters and endpoints are rendered for each upstream cluster, those of
/// listeners for each port, but not without an upstream cluster. All others are no templates.
///
/// # Errors
/// Returns an error if a template can't be rendered, or if there are too many or too long texts.
pub fn expand(resources: &EnvoyResources, facts: &Facts) -> Result<Vec<Piece>, Error> {
    let mut pieces = Pieces { made: Vec::new(), bytes: 0, budget: Budget::default() };
    for list in List::ALL {
        let instances = instances(list, facts);
        for (index, resource) in list.of(resources).iter().enumerate() {
            pieces.template((list, index), resource, &instances)?;
        }
    }
    Ok(pieces.made)
}

struct Pieces {
    made: Vec<Piece>,
    bytes: usize,
    budget: Budget,
}

// === impl Pieces ===

impl Pieces {
    fn template(
        &mut self,
        (list, index): (List, usize),
        resource: &EnvoyResource,
        instances: &Instances,
    ) -> Result<(), Error> {
        let from = format!("envoyResources.{}[{index}]", list.field());
        let error = |instance: Option<&String>, reason: Reason| Error {
            from: from.clone(),
            name: resource.name.clone(),
            instance: instance.cloned(),
            reason: reason.into(),
        };
        let template = match instances.iter().any(|(_, values)| values.is_some()) {
            true => Some(Template::read(&resource.value).map_err(|e| error(None, Reason::Template(e)))?),
            false => None,
        };
        for (instance, values) in instances {
            let text = match (&template, values) {
                (Some(template), Some(values)) => template.run(values, &mut self.budget),
                _ => Ok(resource.value.clone()),
            };
            let text = text.map_err(|e| error(instance.as_ref(), Reason::Template(e)))?;
            self.bytes += text.len();
            let piece = Piece {
                list,
                from: from.clone(),
                name: resource.name.clone(),
                instance: instance.clone(),
                text,
            };
            self.made.push(piece);
            if self.bytes > OUTPUT_BYTES {
                return Err(error(instance.as_ref(), Reason::OutputBytes));
            }
            if self.made.len() > RESOURCES {
                return Err(error(instance.as_ref(), Reason::Resources));
            }
        }
        Ok(())
    }
}

fn instances(list: List, facts: &Facts) -> Instances {
    match list {
        List::Clusters | List::Endpoints => {
            let of = |cluster: &Cluster| {
                (Some(format!("cluster {}", cluster.name)), Some(of_cluster(facts, cluster)))
            };
            facts.clusters.iter().map(of).collect()
        }
        List::Listeners if facts.clusters.is_empty() => Vec::new(),
        List::Listeners => {
            let of =
                |port: &Port| (Some(format!("port {}", port_name(port))), Some(of_listener(facts, port)));
            facts.ports.iter().map(of).collect()
        }
        List::Routes | List::Runtime => vec![(None, None)],
    }
}

fn of_cluster(facts: &Facts, cluster: &Cluster) -> Value {
    let endpoint = |endpoint: &Endpoint| {
        let spec = [
            ("Cluster", Value::text(&cluster.name)),
            ("Address", Value::text(&endpoint.address.to_string())),
            ("NodeAddress", Value::text(&endpoint.node_address.to_string())),
            ("Port", of_port(&endpoint.port)),
        ];
        Value::record([("Spec", Value::record(spec))])
    };
    Value::record([
        ("ClusterName", Value::text(&cluster.name)),
        ("ServiceName", Value::text(&facts.service_name)),
        ("Endpoints", Value::list(cluster.endpoints.iter().map(endpoint))),
    ])
}

fn of_listener(facts: &Facts, port: &Port) -> Value {
    let count = i64::try_from(facts.clusters.len()).unwrap_or(i64::MAX).max(1);
    let weight = 100 / count;
    Value::record([
        ("Clusters", Value::list(facts.clusters.iter().map(|cluster| Value::text(&cluster.name)))),
        ("ServiceName", Value::text(&facts.service_name)),
        ("PortName", Value::text(&port_name(port))),
        ("Port", Value::Int(port.port.into())),
        ("Protocol", Value::text(port.stored_protocol())),
        ("ClusterWeight", Value::Int(weight)),
        ("TotalWeight", Value::Int(weight * count)),
    ])
}

fn of_port(port: &Port) -> Value {
    Value::record([
        ("Name", Value::text(&port.name)),
        ("Port", Value::Int(port.port.into())),
        ("Protocol", Value::text(port.stored_protocol())),
    ])
}

fn port_name(port: &Port) -> String {
    format!("{}-{}", port.stored_protocol(), port.port)
}
