//! Which part of an object decides what the hub makes of it: [`version`]. The rest is what the hub itself writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use portreeve_api::names::APPLIED_ANNOTATION;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

/// Returns a hash of the generation, which stands for the spec, of the metadata without what the API server and the hub write,
/// and of the part of the status that the object's Plan depends on (`None`: the object can't be read). `None` for an object
/// without a generation, which counts as changed.
pub(super) fn version(meta: &ObjectMeta, status: Option<Value>) -> Option<u64> {
    meta.generation.filter(|generation| *generation > 0)?;
    let mut meta = ObjectMeta { resource_version: None, managed_fields: None, ..meta.clone() };
    let annotations = meta.annotations.as_mut();
    if annotations.is_some_and(|all| all.remove(APPLIED_ANNOTATION).is_some() && all.is_empty()) {
        meta.annotations = None;
    }
    let text = serde_json::to_string(&(meta, status.is_some(), status)).ok()?;
    Some(xxh3_64(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

    use super::*;

    fn mk_meta() -> ObjectMeta {
        ObjectMeta { uid: Some("u".into()), generation: Some(1), ..ObjectMeta::default() }
    }

    fn of(meta: &ObjectMeta) -> Option<u64> {
        version(meta, Some(Value::Null))
    }

    fn annotated(key: &str) -> ObjectMeta {
        ObjectMeta { annotations: Some([(key.to_owned(), "1".to_owned())].into()), ..mk_meta() }
    }

    #[test]
    fn what_the_hub_and_the_api_server_write_makes_no_new_version() {
        let managed = ObjectMeta {
            resource_version: Some("7".into()),
            managed_fields: Some(vec![ManagedFieldsEntry::default()]),
            ..annotated(APPLIED_ANNOTATION)
        };
        assert_eq!(of(&managed), of(&mk_meta()));
    }

    #[test]
    fn everything_else_makes_a_new_version() {
        let plain = of(&mk_meta());
        assert!(plain.is_some() && plain != version(&mk_meta(), None));
        assert_ne!(plain, version(&mk_meta(), Some(1.into())));
        for other in [
            ObjectMeta { uid: Some("v".into()), ..mk_meta() },
            ObjectMeta { generation: Some(2), ..mk_meta() },
            ObjectMeta { labels: Some([("a".to_owned(), "b".to_owned())].into()), ..mk_meta() },
            annotated("portreeve.dev/health-check-port"),
        ] {
            assert_ne!(of(&other), plain, "{other:?}");
        }
    }

    #[test]
    fn object_without_a_generation_always_counts_as_changed() {
        for generation in [None, Some(0)] {
            assert_eq!(of(&ObjectMeta { generation, ..mk_meta() }), None);
        }
    }
}
