//! What follows from the result of a write.

use std::time::Instant;

use super::request::Outcome;
use super::{Landed, Writer};

// === impl Writer ===

impl Writer {
    /// Records the result of a write.
    pub(super) fn note(&mut self, Landed { key, status, outcome }: Landed) {
        let now = Instant::now();
        match outcome {
            Ok(Outcome::Stands(stored)) => {
                self.board.written(&key, status, now);
                if let Some(newer) = self.known.wrote(&key, stored) {
                    self.board.observe(&key, (&newer.conditions, newer.applied), now);
                }
            }
            Ok(Outcome::Passed) => self.board.passed(&key, now),
            Ok(Outcome::Early | Outcome::Raced) => self.board.failed(&key, now),
            Ok(Outcome::Told(conditions)) => {
                self.statusless.tell(&key, conditions);
                self.board.written(&key, status, now);
            }
            Ok(Outcome::Refused { generation, conditions, why }) => {
                tracing::warn!(
                    namespace = &*key.namespace,
                    name = &*key.name,
                    error = why,
                    "the stored object breaks its definition's schema, so its status can't be written: its conditions are \
                         published as events"
                );
                self.statusless.refuse(&key, generation, conditions);
                self.board.written(&key, status, now);
            }
            Ok(Outcome::NoStatus(row)) => {
                self.statusless.add(row.kind, &(row.resource)(), now);
                self.board.failed(&key, now);
            }
            Ok(Outcome::Forbidden(row)) => {
                if self.unannotated.insert(row.kind) {
                    let resource = (row.resource)();
                    tracing::warn!(
                        resource = format!("{}.{}", resource.plural, resource.group),
                        "the hub may not patch these objects, so it can't annotate those that are applied: apply this \
                             release's deploy/rbac"
                    );
                }
                self.board.forbidden(&key, now);
            }
            Err(error) => {
                let (namespace, name) = (&*key.namespace, &*key.name);
                tracing::warn!(namespace, name, %error, "can't write conditions, trying again");
                self.board.failed(&key, now);
            }
        }
    }
}
