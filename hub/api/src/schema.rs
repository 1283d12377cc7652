//! Additions to the schemas that are generated from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps,
};

/// Limits the length of the names of a kind's objects, the only constraint that a CRD may put on `metadata`. Existing
/// objects with longer names can still be changed: the API server ignores a broken rule while the value stays the same.
pub(crate) fn bound_name(mut crd: CustomResourceDefinition, most: usize) -> CustomResourceDefinition {
    let description =
        format!("At most {most} characters: on its nodes the name is that of a directory of sockets.");
    let name = JSONSchemaProps {
        type_: Some("string".into()),
        max_length: i64::try_from(most).ok(),
        description: Some(description),
        ..JSONSchemaProps::default()
    };
    let metadata = JSONSchemaProps {
        type_: Some("object".into()),
        properties: Some([("name".to_owned(), name)].into()),
        ..JSONSchemaProps::default()
    };
    let schemas = crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    for schema in schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()) {
        schema.properties.get_or_insert_default().insert("metadata".into(), metadata.clone());
    }
    crd
}
