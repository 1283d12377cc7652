//! `portreeve translate FILE…`: prints the configuration of every proxy in some files, offline.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::ValueEnum;
use portreeve_agent_core::fleet::{Announced, Proxy};
use portreeve_agent_core::translate::Families;
use portreeve_agent_core::world::{ProxyId, World};
use portreeve_api::PlanType;
use portreeve_envoy::{Envoy, registry};
use portreeve_hub::files::{Folder, Objects, Reading};
use portreeve_hub::index::Index;
use portreeve_hub::settings::Settings;
use portreeve_runtime::out;
use portreeve_template::Descriptors;
use portreeve_xds::ResourceType;
use serde_json::{Value, json};

use crate::statics::{self, Printed};

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// One YAML document per proxy.
    Yaml,
    /// One JSON object per proxy.
    Json,
}
/// Flags of `portreeve translate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifests, or folders of manifests.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Flags that decide what objects mean.
    #[command(flatten)]
    pub settings: Settings,
    /// Output format.
    #[arg(short, long, value_enum, default_value = "yaml")]
    pub output: Output,
    /// Print complete static configurations for `envoy -c FILE`. Envoy reads only one: choose a proxy if there are
    /// several.
    #[arg(long)]
    pub bootstrap: bool,
    /// Print only the proxies of this node.
    #[arg(long)]
    pub node: Option<String>,
    /// Print only this proxy, for example nodeproxy/gateway or pod/default/worker-1.
    #[arg(long)]
    pub proxy: Option<String>,
}

/// Prints the resources of every proxy.
///
/// # Errors
/// Returns an error if a file can't be read or an object is rejected. The error names the field.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut folder = Folder::of_files(&args.files);
    let Reading { objects, complaints, .. } = folder.read(0);
    complaints.iter().for_each(|c| out::note(format_args!("{}: {}", c.file.display(), c.text)));
    let mut index = Index::new(args.settings.clone(), 0);
    objects.reset(&mut index, 0);
    let mut rejected = complaints.iter().filter(|c| c.broken).count();
    for verdict in index.take_verdicts() {
        if let Some(rejection) = &verdict.rejection {
            out::note(format_args!("{}: {rejection}", verdict.key.title()));
            rejected += 1;
        }
        verdict
            .warnings
            .iter()
            .for_each(|(_, text)| out::note(format_args!("{}: {text}", verdict.key.title())));
    }
    let (descriptors, mut printed) = (Descriptors::built_in()?, 0);
    for node in nodes(&objects).into_iter().filter(|node| args.node.as_ref().is_none_or(|only| only == node))
    {
        let world = world(&node, &objects, &index)?;
        let titled =
            |proxy: &&Proxy<Envoy>| args.proxy.as_ref().is_none_or(|only| **only == *proxy.facts.title);
        let envoys = world.fleet().into_iter().flat_map(|fleet| fleet.proxies().values());
        for proxy in envoys.filter(|p| !p.plans.is_empty()).filter(titled) {
            print(args, (&node, proxy), &descriptors)?;
            printed += 1;
        }
    }
    if printed == 0 {
        let chosen = if args.node.is_some() || args.proxy.is_some() { " that was chosen" } else { "" };
        out::note(format_args!("no proxy in these files{chosen} is selected by any object"));
    }
    if rejected > 0 {
        bail!("{rejected} objects or files were rejected");
    }
    Ok(())
}

fn nodes(objects: &Objects) -> Vec<String> {
    let declared = objects.nodes.iter().map(|(name, _)| name.to_string());
    let used = objects.pods.iter().filter_map(|p| p.spec.as_ref()?.node_name.clone());
    let mut all: Vec<String> = declared.chain(used).collect();
    all.sort();
    all.dedup();
    all
}

/// Builds the world of one node, as its agent does.
fn world(node: &str, objects: &Objects, index: &Index) -> anyhow::Result<World> {
    let mut world = World::new(registry::fleets(), Families::V4);
    world.reset_pods(objects.pods_on(node));
    let changes = index.all_of(&node.into());
    let mut by_type: BTreeMap<PlanType, Vec<_>> = PlanType::ALL.iter().map(|ty| (*ty, Vec::new())).collect();
    for (ty, resource) in changes.upsert {
        let body = resource.body().to_vec().into();
        by_type.entry(ty).or_default().push((resource.name().clone(), resource.version(), body));
    }
    for ty in PlanType::ALL {
        world.apply_feed(*ty, &by_type[ty], &[]).map_err(anyhow::Error::msg).context("decoding the plan")?;
    }
    for host in world.wanted_hosts() {
        out::note(format_args!(
            "{}: names are not resolved offline, this cluster is shown without addresses",
            host.1
        ));
        world.set_host(&host, Vec::new());
    }
    for pod in objects.pods_on(node) {
        let _ = world.open::<Envoy>(&ProxyId::Pod(pod.uid), &Announced::default());
    }
    Ok(world)
}

fn print(args: &Args, (node, proxy): (&str, &Proxy<Envoy>), descriptors: &Descriptors) -> anyhow::Result<()> {
    let (title, resources) = (&*proxy.facts.title, resources(proxy, descriptors)?);
    let document = if args.bootstrap {
        statics::bootstrap((node, title), &resources)
    } else {
        let typed = resources.into_iter().map(|(ty, _, value)| with_type(ty, value));
        json!({"node": node, "proxy": title, "resources": typed.collect::<Vec<_>>()})
    };
    match args.output {
        Output::Yaml => {
            let text = serde_yaml::to_string(&document)?;
            out::print(format_args!(
                "---\n# node {}, proxy {}\n{}",
                out::plain(node),
                out::plain(title),
                text.trim_end()
            ))
        }
        Output::Json => out::print(out::plain_json(&serde_json::to_string_pretty(&document)?)),
    }
}

/// Returns all resources of a proxy. The content of secrets is never shown.
fn resources(proxy: &Proxy<Envoy>, descriptors: &Descriptors) -> anyhow::Result<Vec<Printed>> {
    let mut printed = Vec::new();
    for ty in Envoy::ALL {
        let found: Vec<_> = proxy.view.snapshot(|s| {
            s.iter(*ty).map(|(name, resource)| (name.to_string(), resource.body().to_vec())).collect()
        });
        for (name, body) in found {
            let value = match ty {
                Envoy::Secret => json!({"name": name}),
                _ => descriptors.json(ty.type_url(), &body).with_context(|| name.clone())?,
            };
            printed.push((*ty, name, value));
        }
    }
    Ok(printed)
}

fn with_type(ty: Envoy, mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.insert("@type".into(), ty.type_url().into());
    }
    value
}
