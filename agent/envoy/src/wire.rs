//! Protobuf's wrapper messages.

use envoy_types::pb::google::protobuf::{Any, Duration, UInt32Value, UInt64Value};
use prost::Message;

pub(super) fn any(type_name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{type_name}"), value: message.encode_to_vec() }
}

pub(super) fn u32_value(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(super) fn u64_value(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

pub(super) fn duration(time: std::time::Duration) -> Option<Duration> {
    let nanos = i32::try_from(time.subsec_nanos()).unwrap_or_default();
    Some(Duration { seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), nanos })
}
