//! Kubernetes Events for alarms and their end: a proxy rejects its configuration, a listener loses its port, all
//! endpoints are unhealthy. Events are derived from the conditions before and after a write, so each change is
//! published once. Entry point: [`publish`].

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use portreeve_api::conditions::{ConditionType, Reason};
use portreeve_api::refs::ObjectRef;
use xxhash_rust::xxh3::xxh3_64;

use crate::kinds;
use crate::subject::Subject;

/// The reporting controller.
const CONTROLLER: &str = "portreeve.dev/hub";

/// Maximum length of an event's name, in bytes.
const MAX_NAME: usize = 253;

/// Maximum length of a note, in bytes. The API server's limit is 1,024.
const MAX_NOTE: usize = 1000;

/// Reasons that raise an alarm.
const ALARMS: [Reason; 5] =
    [Reason::Nacked, Reason::UnsupportedByProxy, Reason::PortConflict, Reason::Unhealthy, Reason::NotRunning];

/// A change of a condition that is worth an event.
#[derive(Debug, PartialEq, Eq)]
struct News {
    warning: bool,
    reason: String,
    note: String,
}

/// Publishes the events for a change of conditions. Must be called once for each write. An event that can't be written
/// is lost, because the conditions have the same content.
pub async fn publish(
    client: &Client,
    subject: &Subject,
    identity: &str,
    before: &[Condition],
    after: &[Condition],
) {
    for news in news(before, after) {
        // Each change of conditions becomes an event of its own, even if an alarm comes back with the same text after its
        // recovery.
        let hash = hash(subject, &news, Timestamp::now().as_nanosecond());
        create(client, subject, event(subject, identity, news, hash)).await;
    }
}

/// Publishes all conditions of an object without a status as one event. `before` is what this hub published last; if it is
/// empty, another hub may have published the same, and the API server keeps one of both.
pub async fn publish_all(
    client: &Client,
    subject: &Subject,
    identity: &str,
    before: &[Condition],
    after: &[Condition],
) {
    let news = summary(after);
    let salt = if before.is_empty() { 0 } else { Timestamp::now().as_nanosecond() };
    let hash = hash(subject, &news, salt);
    create(client, subject, event(subject, identity, news, hash)).await;
}

/// Publishes a warning with this reason and text. The API server keeps one of equal warnings about an object.
pub async fn warn_once(client: &Client, subject: &Subject, identity: &str, (reason, note): (&str, &str)) {
    let news = News { warning: true, reason: reason.into(), note: cut(note.into()) };
    let hash = hash(subject, &news, 0);
    create(client, subject, event(subject, identity, news, hash)).await;
}

async fn create(client: &Client, subject: &Subject, event: Event) {
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    match api.create(&PostParams::default(), &event).await {
        Ok(_) => {}
        // The same event was published already.
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => {
            let key = &subject.verdict.key;
            tracing::warn!(namespace = &*key.namespace, name = &*key.name, %error, "can't publish an event")
        }
    }
}

/// All conditions in one note, with the reason of the first one that is not as wanted.
fn summary(conditions: &[Condition]) -> News {
    let wrong = conditions.iter().find(|one| one.status == "False");
    let reason = wrong.or(conditions.last()).map(|one| one.reason.clone()).unwrap_or_default();
    let text = |one: &Condition| {
        let message = if one.message.is_empty() { &one.reason } else { &one.message };
        format!("{}={}: {message}", one.type_, one.status)
    };
    let note = cut(conditions.iter().map(text).collect::<Vec<_>>().join("; "));
    News { warning: wrong.is_some_and(|one| one.reason != Reason::Pending.as_str()), reason, note }
}

fn hash(subject: &Subject, news: &News, salt: i128) -> u64 {
    let text = format!("{} {} {} {salt}", subject.verdict.uid, news.reason, news.note);
    xxh3_64(text.as_bytes())
}

fn news(before: &[Condition], after: &[Condition]) -> Vec<News> {
    let changed = |new: &Condition| {
        let old = before.iter().find(|old| old.type_ == new.type_).map_or("", |old| old.reason.as_str());
        let reason = match (is_alarm(old), is_alarm(&new.reason)) {
            (_, true) if old != new.reason => new.reason.clone(),
            (true, false) if new.status == "True" => "Recovered".to_owned(),
            _ => return None,
        };
        let note = cut(format!("{}: {}", new.type_, new.message));
        Some(News { warning: is_alarm(&new.reason), reason, note })
    };
    // `Programmed` says the same as an `Accepted` that proxies make False.
    let accepted = ConditionType::Accepted.as_str();
    after.iter().filter(|one| one.type_ != accepted).filter_map(changed).collect()
}

fn is_alarm(reason: &str) -> bool {
    ALARMS.iter().any(|alarm| alarm.as_str() == reason)
}

fn event(subject: &Subject, identity: &str, news: News, hash: u64) -> Event {
    let uid = &subject.verdict.uid;
    let ObjectRef { namespace, name, kind } = &subject.verdict.key;
    let resource = kinds::row(kind).map(|row| (row.resource)());
    let of = Some(namespace.to_string()).filter(|namespace| !namespace.is_empty());
    // The API server requires the namespace `default` for events on cluster-scoped objects.
    let (name, place) = (name.to_string(), of.clone().unwrap_or_else(|| "default".into()));
    Event {
        metadata: ObjectMeta {
            name: Some(event_name(&name, hash)),
            namespace: Some(place),
            ..Default::default()
        },
        action: Some("Program".into()),
        event_time: Some(MicroTime(Timestamp::now())),
        note: Some(news.note),
        reason: Some(news.reason),
        regarding: Some(ObjectReference {
            api_version: resource.map(|resource| resource.api_version),
            kind: Some(kind.name.into()),
            name: Some(name),
            namespace: of,
            uid: Some(uid.clone()),
            ..Default::default()
        }),
        reporting_controller: Some(CONTROLLER.into()),
        reporting_instance: Some(identity.chars().take(128).collect()),
        type_: Some(if news.warning { "Warning" } else { "Normal" }.into()),
        ..Default::default()
    }
}

/// Returns `OBJECT.HASH`, with the object's name cut so that the result fits into an event's name.
fn event_name(object: &str, hash: u64) -> String {
    let room = MAX_NAME - 17;
    let part = &object[..object.floor_char_boundary(room.min(object.len()))];
    // A part of a DNS name must not end with `-` or `.`.
    format!("{}.{hash:016x}", part.trim_end_matches(['.', '-']))
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_NOTE));
    text
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use portreeve_api::a::virtual_service;
    use portreeve_api::own::node_proxy;

    use portreeve_api::model::ProxyKind;

    use super::*;
    use crate::subject::Of;

    fn condition(type_: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.into(),
            message: "m".into(),
            observed_generation: Some(1),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn only_alarms_and_their_end_are_told() {
        // (before, after, told)
        let table = [
            ("", "Pending", None),
            ("Pending", "Programmed", None),
            ("Pending", "Nacked", Some("Nacked")),
            ("Nacked", "Nacked", None),
            ("Nacked", "PortConflict", Some("PortConflict")),
            ("Nacked", "Pending", None),
            ("Nacked", "Programmed", Some("Recovered")),
            ("Unreachable", "Programmed", None),
        ];
        for (before, after, told) in table {
            let status = if after == "Programmed" { "True" } else { "False" };
            let before = match before {
                "" => vec![],
                reason => vec![condition("Programmed", "False", reason)],
            };
            let found = news(&before, &[condition("Programmed", status, after)]);
            assert_eq!(found.first().map(|n| n.reason.as_str()), told, "{before:?} → {after}");
        }
    }

    fn subject(of: Of, key: ObjectRef) -> Subject {
        let verdict = crate::verdict::Verdict {
            key,
            uid: "uid".into(),
            generation: 1,
            rejection: None,
            previous_in_force: false,
            warnings: Vec::new(),
            missing: Vec::new(),
            refs: crate::verdict::Refs::Resolved,
            losses: Vec::new(),
        };
        Subject { of, verdict, served: None, told: Vec::new() }
    }

    #[test]
    fn event_of_an_object_without_namespace_is_in_default() {
        let news = News { warning: true, reason: "NotRunning".into(), note: "n".into() };
        let event = event(
            &subject(Of::NodeProxy(ProxyKind::Envoy), ObjectRef::cluster_scoped(&node_proxy::KIND, "call")),
            "hub",
            news,
            7,
        );
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
        let regarding = event.regarding.unwrap();
        assert_eq!((regarding.kind.as_deref(), regarding.namespace), (Some("NodeProxy"), None));
    }

    #[test]
    fn alarm_that_comes_back_after_its_recovery_is_told_again() {
        let subject = subject(Of::Plan, ObjectRef::namespaced(&virtual_service::KIND, "ns", "call"));
        let (good, bad) =
            (condition("Programmed", "True", "Programmed"), condition("Programmed", "False", "Nacked"));
        let mut told = std::collections::BTreeSet::new();
        for (before, after) in [(&good, &bad), (&bad, &good), (&good, &bad), (&bad, &good)] {
            for news in news(std::slice::from_ref(before), std::slice::from_ref(after)) {
                let hash = hash(&subject, &news, told.len() as i128);
                told.insert(event(&subject, "hub", news, hash).metadata.name);
            }
        }
        assert_eq!(told.len(), 4);
    }

    #[test]
    fn all_conditions_are_told_in_one_note_with_the_reason_of_the_first_that_is_wrong() {
        for (conditions, warning, reason, note) in [
            (
                vec![
                    condition("Accepted", "True", "Accepted"),
                    condition("Programmed", "True", "Programmed"),
                ],
                false,
                "Programmed",
                "Accepted=True: m; Programmed=True: m",
            ),
            (vec![condition("Accepted", "False", "Invalid")], true, "Invalid", "Accepted=False: m"),
            (vec![condition("Programmed", "False", "Pending")], false, "Pending", "Programmed=False: m"),
        ] {
            let expected = News { warning, reason: reason.into(), note: note.into() };
            assert_eq!(summary(&conditions), expected);
        }
        let silent = Condition { message: String::new(), ..condition("Accepted", "True", "Accepted") };
        assert_eq!(summary(&[silent]).note, "Accepted=True: Accepted");
    }

    #[test]
    fn name_of_an_event_is_one_that_an_api_server_takes() {
        let labels = format!("{}.{}", "a".repeat(235), "b".repeat(17));
        for object in ["call", &"a".repeat(253), &labels, &"a".repeat(236), &"a".repeat(237)] {
            let name = event_name(object, 7);
            assert!(name.len() <= MAX_NAME && name.ends_with(".0000000000000007"), "{name}");
            assert!(name.split('.').all(|label| !label.is_empty() && !label.ends_with('-')), "{name}");
        }
        assert_eq!(event_name("call", 7), "call.0000000000000007");
        assert!(
            event_name(&"a".repeat(236), 7).starts_with(&"a".repeat(236)),
            "as much as there is room for"
        );
    }
}
