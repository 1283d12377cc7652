//! Waits for the definition of a kind (its CustomResourceDefinition). Entry point: [`wait`].
//!
//! An update of the hub may bring kinds whose definitions are not installed yet, for Helm installs none in an upgrade.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::ApiResource;
use kube::{Api, Client};

/// Time between two looks for a missing definition.
const PAUSE: Duration = Duration::from_secs(2);

/// Returns once the kind's definition is installed, or at once if the hub has no right to look for it. Calls `absent`, once,
/// if the API server says that it is not installed. A 404 of the objects' own path would not say that: the API server
/// also answers so shortly after its own start.
pub async fn wait(client: &Client, resource: &ApiResource, absent: impl FnOnce()) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = format!("{}.{}", resource.plural, resource.group);
    let mut absent = Some(absent);
    loop {
        match definitions.get_metadata_opt(&name).await {
            Ok(Some(_)) => return,
            // Without the right to look, the watch itself shows whether the kind exists.
            Err(kube::Error::Api(_)) => return,
            Ok(None) => {
                if let Some(absent) = absent.take() {
                    tracing::warn!(
                        definition = name,
                        install = format!("kubectl apply --server-side -f deploy/crds/{name}.yaml"),
                        "the definition is not installed: the hub works without objects of this kind until it is"
                    );
                    absent();
                }
            }
            Err(error) => {
                tracing::warn!(definition = name, %error, "the definition can't be looked for: will retry")
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
