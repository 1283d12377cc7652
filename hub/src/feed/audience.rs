//! Which of a node's resources an agent is sent, by the kinds of proxies that it runs: [`Audience`].

use portreeve_api::PlanType;
use portreeve_api::model::ProxyKind;
use portreeve_api::names::PROGRAMS_KEY;
use portreeve_xds::{Changes, Name, Node};

/// The agents that are sent the same of a node's resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Audience {
    /// Agents that run Envoys only. They would take every NodeProxy for an Envoy.
    Envoys,
    /// Agents that run every kind of proxy.
    All,
}

// === impl Audience ===

impl Audience {
    /// All audiences.
    pub(super) const EVERY: [Self; 2] = [Self::Envoys, Self::All];

    /// Returns the audience of an agent with this node.
    pub(super) fn of(agent: &Node) -> Self {
        let programs = agent.metadata.get(PROGRAMS_KEY).map(String::as_str).unwrap_or_default();
        match programs.split(',').any(|one| one == ProxyKind::L7mp.word()) {
            true => Self::All,
            false => Self::Envoys,
        }
    }

    /// Returns the part of a node's changes for this audience. A NodeProxy that became an l7mp is removed from agents
    /// that run Envoys only.
    pub(super) fn part(
        self,
        changes: &Changes<PlanType>,
        is_l7mp: impl Fn(&Name) -> bool,
    ) -> Changes<PlanType> {
        let mut part = Changes { upsert: changes.upsert.clone(), remove: changes.remove.clone() };
        if self == Self::All {
            return part;
        }
        let foreign = |ty: PlanType, name: &Name| ty == PlanType::NodeProxy && is_l7mp(name);
        let kept = part.upsert.extract_if(.., |(ty, resource)| foreign(*ty, resource.name()));
        part.remove.extend(kept.map(|(ty, resource)| (ty, resource.name().clone())));
        part
    }
}

#[cfg(test)]
mod tests {
    use portreeve_api::PlanType;
    use portreeve_api::names::PROGRAMS_KEY;
    use portreeve_xds::{Changes, Name, Node, Resource};

    use super::Audience;

    fn mk_agent(programs: Option<&str>) -> Node {
        let programs = programs.map(|text| (PROGRAMS_KEY.to_owned(), text.to_owned()));
        Node { id: "n".into(), metadata: programs.into_iter().collect(), ..Node::default() }
    }

    #[test]
    fn agents_without_a_list_run_envoys() {
        for (programs, expected) in [
            (None, Audience::Envoys),
            (Some(""), Audience::Envoys),
            (Some("envoy"), Audience::Envoys),
            (Some("envoy,l7mp"), Audience::All),
            (Some("envoy,l7mp,later"), Audience::All),
        ] {
            assert_eq!(Audience::of(&mk_agent(programs)), expected, "{programs:?}");
        }
    }

    #[test]
    fn l7mp_is_withdrawn_from_agents_that_run_envoys() {
        let resource = |ty, name: &str| (ty, Resource::new(ty, Name::from(name), b"x"));
        let changes = Changes {
            upsert: vec![
                resource(PlanType::NodeProxy, "mesh"),
                resource(PlanType::NodeProxy, "edge"),
                resource(PlanType::Plan, "mesh"),
            ],
            remove: vec![],
        };
        let names = |part: &Changes<PlanType>| {
            let upsert = part.upsert.iter().map(|(_, one)| one.name().to_string());
            let remove = part.remove.iter().map(|(_, name)| format!("-{name}"));
            upsert.chain(remove).collect::<Vec<_>>()
        };
        let part = |audience: Audience| names(&audience.part(&changes, |name| &**name == "mesh"));
        assert_eq!(part(Audience::All), ["mesh", "edge", "mesh"]);
        assert_eq!(part(Audience::Envoys), ["edge", "mesh", "-mesh"]);
    }
}
