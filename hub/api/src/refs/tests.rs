use super::*;
use crate::kind::Kind;
use crate::kinds;
use crate::plan::Origin;

/// Names that an API server accepts.
const NAMES: [&str; 6] = ["a", "call", "call-1.rtcp", "0", "media.example.com", "x-y"];

/// Names that users may give to a listener or a cluster.
const PARTS: [&str; 9] = ["l", "a/b", "/", "a, b", "é", "%2F", "100%", "A/ns/name", "x\ny"];

fn objects() -> impl Iterator<Item = ObjectRef> {
    let of = |kind: &'static Kind, namespace: &'static str, name: &'static str| match kind.namespaced {
        true => ObjectRef::namespaced(kind, namespace, name),
        false => ObjectRef::cluster_scoped(kind, name),
    };
    let named = move |kind| {
        NAMES.into_iter().flat_map(move |ns| NAMES.into_iter().map(move |name| of(kind, ns, name)))
    };
    kinds::ALL.iter().flat_map(move |row| named(row.kind))
}

fn plan_names() -> Vec<PlanName> {
    let several = ["B/VirtualService/ns/call", "E/Gateway/a.b/c", "B/Target/0/0"];
    let several = several.map(|text| text.parse().unwrap());
    let of_objects = objects().filter(|object| object.kind.namespaced).map(|object| PlanName::from(&object));
    of_objects.chain(several).collect()
}

#[test]
fn objects_are_read_back_and_stay_apart() {
    let mut texts = std::collections::BTreeMap::new();
    for object in objects() {
        assert_eq!(object.to_string().parse(), Ok(object.clone()));
        if let Some(other) = texts.insert(object.to_string(), object.clone()) {
            assert_eq!(other, object);
        }
    }
}

#[test]
fn names_that_running_agents_know_are_as_they_were() {
    let call = ObjectRef::namespaced(&crate::a::virtual_service::KIND, "ns", "call");
    assert_eq!(call.to_string(), "A/ns/call");
    let origin =
        Origin { api: "A".into(), namespace: "ns".into(), name: "call".into(), ..Default::default() };
    assert_eq!(PlanName::from(&origin).to_string(), "A/ns/call");
    assert_eq!(ResourceName::new(&PlanName::from(&call), "a, b").to_string(), "A/ns/call/a%2C%20b");
    let edge = ObjectRef::cluster_scoped(&crate::own::node_proxy::KIND, "edge");
    assert_eq!(
        (edge.to_string(), ProxyId::Node("edge".into()).to_string()),
        ("nodeproxy/edge".into(), "nodeproxy/edge".into())
    );
}

#[test]
fn plans_of_apis_with_several_kinds_carry_the_kind() {
    let origin = Origin {
        api: "B".into(),
        kind: "VirtualService".into(),
        namespace: "ns".into(),
        name: "call".into(),
        ..Default::default()
    };
    assert_eq!(PlanName::from(&origin).to_string(), "B/VirtualService/ns/call");
    assert_eq!(ResourceName::plan_in("B/VirtualService/ns/call/a/b"), Some("B/VirtualService/ns/call"));
}

#[test]
fn plans_are_read_back_also_of_kinds_that_are_not_known() {
    for plan in plan_names() {
        assert_eq!(plan.to_string().parse(), Ok(plan.clone()));
    }
    for text in
        ["", "A", "A/ns", "A/ns/", "A//n", "/ns/n", "A/ns/n/l", "B/Kind/ns", "B/Kind//n", "B/Kind/ns/"]
    {
        assert!(text.parse::<PlanName>().is_err(), "{text}");
    }
}

#[test]
fn resources_are_read_back_with_their_plan() {
    for plan in plan_names() {
        for part in PARTS {
            let name = ResourceName::new(&plan, part);
            assert_eq!(name.to_string().parse(), Ok(name.clone()));
            assert_eq!(name.plan(), plan.to_string());
            assert_eq!(name.part(), crate::names::proxy_part(part));
            assert_eq!(*name.as_name(), ResourceName::of(&plan.to_string(), part));
            assert_eq!(ResourceName::plan_of(&name.to_string()), plan.to_string());
            assert!(name.to_string().starts_with(&ResourceName::start_of(&plan.to_string())));
        }
        assert_eq!(ResourceName::plan_of(&plan.to_string()), plan.to_string());
        assert!(plan.to_string().parse::<ResourceName>().is_err());
        assert!(format!("{plan}/").parse::<ResourceName>().is_err());
    }
}

#[test]
fn clusters_of_different_listeners_stay_apart_and_are_read_back() {
    let mut seen = std::collections::BTreeSet::new();
    for (listener, cluster) in PARTS.into_iter().flat_map(|l| PARTS.into_iter().map(move |c| (l, c))) {
        let path = ClusterPath::new(listener, cluster);
        assert!(seen.insert(path.to_string()), "{path}");
        assert_eq!(path.to_string().parse(), Ok(path));
    }
    assert_eq!(ClusterPath::new("l", "c").to_string(), "l/c");
    assert!(ResourceName::is_cluster_of("A/ns/o/l/c", "A/ns/o/l"));
    assert!(
        !ResourceName::is_cluster_of("A/ns/o/l2/c", "A/ns/o/l")
            && !ResourceName::is_cluster_of("A/ns/o/l", "A/ns/o/l")
    );
    for text in ["", "l", "a%2/c", "a%2f/c", "100%/c"] {
        assert!(text.parse::<ClusterPath>().is_err(), "{text}");
    }
}

#[test]
fn proxies_are_read_back() {
    for name in NAMES {
        for id in [ProxyId::Node(name.into()), ProxyId::Pod(name.into())] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(ProxyId::of_node_id(name), ProxyId::Pod(name.into()));
        assert_eq!(ProxyId::of_node_id(&format!("nodeproxy/{name}")), ProxyId::Node(name.into()));
    }
    for text in ["", "pod/", "nodeproxy/", "nodeproxy/a/b", "edge"] {
        assert!(text.parse::<ProxyId>().is_err(), "{text}");
    }
}

#[test]
fn texts_that_are_no_references_say_what_was_expected() {
    let error = "C/ns/call".parse::<ObjectRef>().unwrap_err().to_string();
    assert_eq!(error, r#""C/ns/call" is not the text of an object of a known kind, as A/namespace/name"#);
}

#[test]
fn parts_of_secrets_are_read_back_and_nothing_else_is() {
    for (part, text) in
        [(SecretPart::Certificate, "ns/web.1/tls.crt"), (SecretPart::Authority, "ns/web.1/ca.crt")]
    {
        let name = SecretName::new("ns", "web.1", part);
        assert_eq!((name.to_string().as_str(), text.parse()), (text, Ok(name)));
    }
    for wrong in ["", "ns/web", "ns/web/tls.key", "/web/tls.crt", "ns//tls.crt", "ns/web/tls.crt/x"] {
        assert!(wrong.parse::<SecretName>().is_err(), "{wrong:?}");
    }
}
