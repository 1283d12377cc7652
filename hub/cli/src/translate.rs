//! `portreeve translate FILE…`: what every proxy in some files would be sent, offline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use portreeve_agent::translate::{Families, show};
use portreeve_agent::world::{ProxyId, World};
use portreeve_api::PlanType;
use portreeve_hub::files::{Folder, Objects};
use portreeve_hub::index::Index;
use portreeve_hub::resolve::SelectorScope;
use portreeve_runtime::out;
use portreeve_xds::envoy::EnvoyType;
use portreeve_xds::{Name, Resource, ResourceType};

/// Flags of `portreeve translate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifests, or folders of them.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Where selectors look.
    #[arg(long, value_enum, default_value = "namespace")]
    pub selector_scope: SelectorScope,
}

/// Prints the resources of every proxy.
///
/// # Errors
/// A file can't be read, or an object is not accepted: named with its field.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut folder = Folder::of_files(&args.files);
    let (objects, complaints) = folder.read(0)?;
    complaints.iter().for_each(|c| out::note(format_args!("{}: {}", c.file.display(), c.text)));
    let mut index = Index::new(args.selector_scope, 0);
    objects.reset(&mut index, 0);
    let mut rejected = complaints.iter().filter(|c| c.broken).count();
    for verdict in index.take_verdicts() {
        if let Some(rejection) = &verdict.rejection {
            out::note(format_args!("VirtualService {}/{}: {rejection}", verdict.key.0, verdict.key.1));
            rejected += 1;
        }
        verdict
            .warnings
            .iter()
            .for_each(|(_, text)| out::note(format_args!("VirtualService {}: {text}", verdict.key.1)));
    }
    let mut printed = 0;
    for node in nodes(&objects) {
        printed += print(&node, &objects, &index)?;
    }
    if printed == 0 {
        out::note(format_args!("no proxy in these files takes any of the objects"));
    }
    if rejected > 0 {
        bail!("{rejected} of the objects or files were not accepted");
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

fn print(node: &str, objects: &Objects, index: &Index) -> anyhow::Result<usize> {
    let mut world = World::new(Families::V4);
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
            "{}: names are not resolved offline, this one is shown without addresses",
            host.1
        ));
        world.set_host(&host, Vec::new());
    }
    for pod in objects.pods_on(node) {
        let _ = world.open(&ProxyId::Pod(pod.uid));
    }
    let mut printed = 0;
    for proxy in world.proxies().values().filter(|p| !p.plans.is_empty()) {
        out::print(format_args!("# node {node}, proxy {}", proxy.facts.title))?;
        for ty in EnvoyType::ALL {
            let one = |(name, r): (&Name, &Arc<Resource>)| show::text(*ty, name, r.body());
            let texts = proxy.view.snapshot(|s| s.iter(*ty).map(one).collect::<Vec<_>>());
            texts.iter().try_for_each(out::print)?;
        }
        printed += 1;
    }
    Ok(printed)
}
