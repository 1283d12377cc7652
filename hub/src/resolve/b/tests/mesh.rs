//! Every real object of API B resolves, and all of its references lead to something.

use portreeve_api::model::Plan;

use super::World;

const FILES: [&str; 4] = [
    include_str!("../../../../api/tests/mesh/media-plane.yaml"),
    include_str!("../../../../api/tests/mesh/envoy-and-rtpengine.yaml"),
    include_str!("../../../../api/tests/mesh/calls.yaml"),
    include_str!("../../../../api/tests/mesh/tutorials.yaml"),
];

/// Resolves all objects of the files. Returns the Plans by the kind of their origin, and the references that lead to nothing.
fn resolve_all() -> ([Vec<Plan>; 3], Vec<String>) {
    let world = World::of(&FILES.join("---\n"));
    let mut plans = [Vec::new(), Vec::new(), Vec::new()];
    let mut missing = Vec::new();
    for object in &world.objects {
        let reference = object.reference().to_string();
        let resolved = world.resolve(&reference);
        missing.extend(resolved.missing.into_iter().map(|text| format!("{reference}: {text}")));
        let kinds = ["B/VirtualService/", "B/Target/", "B/Rule/"];
        let kind = kinds.iter().position(|kind| reference.starts_with(kind)).unwrap();
        plans[kind].push(resolved.plan);
    }
    (plans, missing)
}

#[test]
fn every_real_object_resolves_into_one_plan_without_a_missing_reference() {
    let (plans, missing) = resolve_all();
    assert_eq!(missing, Vec::<String>::new());
    let counts = plans.each_ref().map(Vec::len);
    assert_eq!(counts, [16 + 6 + 8 + 6, 24 + 6 + 4 + 5, 8], "VirtualServices, Targets, Rules");
    let [services, targets, rules] = plans;
    assert!(services.iter().all(|plan| plan.listeners.len() == 1 && plan.rule_lists.is_empty()));
    assert!(targets.iter().all(|plan| plan.listeners.is_empty() && plan.cluster("cluster").is_some()));
    assert!(rules.iter().all(|plan| plan.listeners.is_empty() && plan.rule_lists.len() == 1));
}
