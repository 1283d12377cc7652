//! Connects the world with its store: restores the stored state into the world at a start ([`restore`]), and saves
//! changes of the world ([`save`], [`save_feed`]).

use std::collections::BTreeSet;

use portreeve_agent_core::world::{Host, ProxyId, Sent, World};
use portreeve_api::PlanType;
use portreeve_xds::{Name, ResourceType};

use crate::store::{Content, Key, Restored, Saver};

/// Fills an empty world with the state that an earlier agent stored. Resources without references are deleted from the
/// store.
pub fn restore(world: &mut World, kept: Restored, saver: &Saver) {
    let plans: BTreeSet<&Name> = names(&kept, PlanType::Plan);
    let proxies: BTreeSet<&Name> = names(&kept, PlanType::NodeProxy);
    for (owner, all) in &kept.accepted {
        let proxy = match &owner.proxy {
            ProxyId::Node(name) => {
                proxies.contains(name) || kept.lost(&Key::Resource(PlanType::NodeProxy, name.clone()))
            }
            ProxyId::Pod(uid) => {
                kept.pods.iter().any(|pod| pod.uid == *uid) || kept.lost(&Key::Pod(uid.clone()))
            }
        };
        // If a Plan's file is lost, the resources that the proxy had accepted are served. A Plan that wasn't stored is
        // gone.
        let plan = &owner.plan;
        let wanted = plans.contains(plan) || kept.lost(&Key::Resource(PlanType::Plan, plan.clone()));
        let known = proxy && wanted && world.restore_accepted(owner.clone(), all);
        if proxy && wanted && !known {
            tracing::warn!(
                proxy = %owner.proxy,
                plan = &**plan,
                "the proxy's accepted resources were stored by a newer version of the agent; they are translated again"
            );
        }
        if !known {
            saver.remove(Key::Accepted(owner.clone()));
        }
    }
    let (effects, errors) = world.restore_feed(&kept.resources, kept.complete);
    for error in errors {
        tracing::warn!(error, "a stored resource can't be decoded; the hub will send it again");
    }
    for error in effects.refused {
        tracing::warn!(error, "a stored resource is invalid for this version");
    }
    kept.pods.iter().for_each(|pod| world.apply_pod(pod.clone()));
    kept.announced.into_iter().for_each(|(uid, announced)| world.restore_announced(uid, announced));
    let wanted = world.wanted_hosts();
    for (host, addresses) in kept.hosts {
        if wanted.contains(&host) {
            world.set_host(&host, addresses);
        } else {
            saver.remove(Key::Host(host));
        }
    }
    save(world, saver);
    if kept.complete {
        tracing::info!(
            plans = world.plans().count(),
            pods = world.pods().count(),
            "the last known good is in force"
        );
    }
}

fn names(kept: &Restored, ty: PlanType) -> BTreeSet<&Name> {
    kept.resources.get(&ty).into_iter().flatten().map(|(name, ..)| name).collect()
}

/// Saves the resources that proxies have accepted since the last call.
pub fn save(world: &mut World, saver: &Saver) {
    for (owner, all) in world.take_unsaved() {
        match all.is_empty() {
            true => saver.remove(Key::Accepted(owner)),
            false => saver.put(Key::Accepted(owner), Content::Accepted(all)),
        }
    }
}

/// Saves a response of the hub that the world has applied. `hosts` are the names that were wanted before. Key material is
/// never stored: proxies keep theirs while the agent restarts, and the hub sends it again.
pub fn save_feed(
    world: &World,
    saver: &Saver,
    ty: PlanType,
    (upsert, removed): (&[Sent], &[Name]),
    hosts: &BTreeSet<Host>,
) {
    let stored = |(name, ..): &&Sent| !ty.secret() && !world.is_refused_resource(ty, name);
    let good = upsert.iter().filter(stored);
    for (name, version, body) in good {
        saver.put(Key::Resource(ty, name.clone()), Content::Resource(*version, body.clone()));
    }
    removed.iter().for_each(|name| saver.remove(Key::Resource(ty, name.clone())));
    for host in hosts.difference(&world.wanted_hosts()) {
        saver.remove(Key::Host(host.clone()));
    }
    if world.complete() {
        saver.put(Key::Complete, Content::Complete);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portreeve_xds::Version;

    use super::*;
    use crate::store;
    use portreeve_agent_core::translate::Families;

    /// Long, because the machine may be busy.
    const BOUND: Duration = Duration::from_secs(20);

    #[test]
    fn key_material_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let (saver, _) = store::open(dir.path()).unwrap();
        let world = World::new(portreeve_envoy::registry::fleets(), Families::V4);
        for (ty, body) in [(PlanType::Secret, "PRIVATE KEY"), (PlanType::Group, "GROUP")] {
            let sent = [("name".into(), Version::of(body.as_bytes()), body.into())];
            save_feed(&world, &saver, ty, (&sent, &[]), &BTreeSet::new());
        }
        saver.flush(BOUND).unwrap();
        let (_, restored) = store::open(dir.path()).unwrap();
        assert_eq!(restored.resources.keys().collect::<Vec<_>>(), [&PlanType::Group]);
        let files = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path());
        let all: Vec<u8> = files.filter_map(|file| std::fs::read(file).ok()).flatten().collect();
        let holds = |text: &str| all.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("GROUP") && !holds("PRIVATE KEY"));
    }
}
