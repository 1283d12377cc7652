//! The resource types between hub and agent.

use std::collections::BTreeSet;

use portreeve_api::PlanType;
use portreeve_xds::ResourceType;

#[test]
fn what_is_referred_to_is_sent_before_what_refers_to_it() {
    let place = |wanted: PlanType| PlanType::ALL.iter().position(|found| *found == wanted).unwrap();
    assert!(place(PlanType::Slice) < place(PlanType::Group));
    assert!(place(PlanType::Group) < place(PlanType::Plan));
    assert!(place(PlanType::Secret) < place(PlanType::Plan));
    assert!(PlanType::ALL.is_sorted());
}

#[test]
fn type_urls_are_distinct_and_found_again() {
    let urls: BTreeSet<_> = PlanType::ALL.iter().map(|found| found.type_url()).collect();
    assert_eq!(urls.len(), PlanType::ALL.len());
    for found in PlanType::ALL {
        assert_eq!(PlanType::from_type_url(found.type_url()), Some(*found));
    }
    assert_eq!(PlanType::Plan.type_url(), "type.googleapis.com/portreeve.plan.v1.Plan");
    assert_eq!(PlanType::from_type_url("type.googleapis.com/envoy.config.cluster.v3.Cluster"), None);
}

#[test]
fn only_key_material_is_secret() {
    let secret: Vec<_> = PlanType::ALL.iter().filter(|found| found.secret()).collect();
    assert_eq!(secret, [&PlanType::Secret]);
}
