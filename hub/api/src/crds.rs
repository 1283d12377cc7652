//! The custom resource definitions, generated from the Rust types. `deploy/crds` holds their text; a test compares the
//! two.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::kinds;
use crate::own::node_report::NodeReport;

/// Returns every definition that the product needs, in installation order.
pub fn all() -> Vec<CustomResourceDefinition> {
    let kinds = kinds::ALL.iter().map(|row| (row.crd)());
    kinds.chain([NodeReport::crd()]).map(tidy).collect()
}

/// Returns every definition as a file: its name, `<plural>.<group>.yaml`, and its text.
///
/// # Errors
/// Returns an error if a definition can't be written as YAML, which would be a bug in its types.
pub fn to_yaml() -> Result<Vec<(String, String)>, serde_yaml::Error> {
    all().iter().map(|crd| Ok((file_name(crd), serde_yaml::to_string(crd)?))).collect()
}

fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}.{}.yaml", crd.spec.names.plural, crd.spec.group)
}

fn tidy(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crd.spec.preserve_unknown_fields = Some(false);
    let schemas = crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut());
    schemas.filter_map(|schema| schema.open_api_v3_schema.as_mut()).for_each(forbid_null);
    crd
}

/// Removes `nullable`, so that the API server drops an explicit null. Otherwise `has()` in a rule is true for a null
/// field, and `udp: {…}, tcp: null` breaks "exactly one of".
fn forbid_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.properties.iter_mut().flatten().for_each(|(_, property)| forbid_null(property));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        forbid_null(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        forbid_null(values);
    }
}
