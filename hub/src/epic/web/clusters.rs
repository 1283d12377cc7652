//! Customers' clusters that use a load balancer.

use axum::http::StatusCode;
use kube::core::DynamicObject;
use portreeve_api::c::schema::MAX_CLUSTERS;
use portreeve_epic::answer;
use portreeve_epic::path::Target;
use portreeve_epic::request::NewCluster;
use serde_json::json;

use super::found::{key, parsed};
use super::services::no_service;
use super::{Outcome, Web};
use crate::epic::failure::Failure;
use crate::epic::objects::{ATTEMPTS, patch};

// === impl Web ===

impl Web {
    /// Adds a cluster to a load balancer.
    pub(super) async fn create_cluster(&self, of: (&str, &str), body: &[u8]) -> Outcome {
        let cluster = match NewCluster::parse(body) {
            Ok(new) => new.cluster,
            Err(why) => return Ok(answer::bad_request(&why)),
        };
        let target =
            Target::Cluster { account: of.0.to_owned(), service: of.1.to_owned(), cluster: cluster.clone() };
        for _ in 0..ATTEMPTS {
            let Some(found) = self.load_balancer(of).await? else { return Ok(no_service(of)) };
            let mut clusters = parsed(&found)?.spec.upstream_clusters.unwrap_or_default();
            if clusters.contains(&cluster) {
                return Ok(answer::exists(&target));
            }
            if clusters.len() >= MAX_CLUSTERS {
                let text =
                    format!("service {} has {MAX_CLUSTERS} clusters, the most that are possible", of.1);
                return Ok(answer::error(StatusCode::CONFLICT, text));
            }
            clusters.push(cluster.clone());
            if self.set_clusters(of, &found, &clusters).await? {
                return Ok(answer::created(&target));
            }
        }
        Err(Failure::Contended { object: key(of).title(), attempts: ATTEMPTS })
    }

    /// Answers whether a cluster uses a load balancer.
    pub(super) async fn cluster(&self, target: &Target, of: (&str, &str), cluster: &str) -> Outcome {
        let Some(found) = self.load_balancer(of).await? else { return Ok(no_service(of)) };
        let uses =
            parsed(&found)?.spec.upstream_clusters.is_some_and(|all| all.iter().any(|one| one == cluster));
        Ok(if uses { answer::cluster(target) } else { no_cluster(of, cluster) })
    }

    /// Removes a cluster from a load balancer, and deletes the cluster's endpoints.
    pub(super) async fn delete_cluster(&self, of: (&str, &str), cluster: &str) -> Outcome {
        for _ in 0..ATTEMPTS {
            let Some(found) = self.get(&key(of)).await? else { return Ok(no_service(of)) };
            let clusters = parsed(&found)?.spec.upstream_clusters.unwrap_or_default();
            let left: Vec<String> = clusters.iter().filter(|one| *one != cluster).cloned().collect();
            if left.len() == clusters.len() {
                return Ok(no_cluster(of, cluster));
            }
            if self.set_clusters(of, &found, &left).await? {
                self.delete_endpoints(of, |form| form.cluster.as_deref() == Some(cluster)).await?;
                return Ok(answer::message(&format!("cluster {cluster} is deleted")));
            }
        }
        Err(Failure::Contended { object: key(of).title(), attempts: ATTEMPTS })
    }

    /// Stores the clusters of a load balancer. Returns whether they were stored: another program may have changed it.
    async fn set_clusters(
        &self,
        of: (&str, &str),
        read: &DynamicObject,
        clusters: &[String],
    ) -> Result<bool, Failure> {
        let meta = json!({"uid": read.metadata.uid, "resourceVersion": read.metadata.resource_version});
        patch(&self.client, &key(of), &json!({"metadata": meta, "spec": {"upstream-clusters": clusters}}))
            .await
    }
}

fn no_cluster((_, service): (&str, &str), cluster: &str) -> answer::Answer {
    answer::not_found(format!("service {service} has no cluster {cluster}"))
}
