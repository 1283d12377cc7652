//! Counts what an encoded request holds ([`Tally`]), so that a request that holds too much is not decoded: decoding 16 MiB
//! with 5.6 million short names took 277 MiB (measured).

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::budget::check;
use crate::load::Load;
use crate::message::Variant;

/// Longest accepted node, bytes. Envoy 1.40 lists its 516 extensions there: 61 kB (measured).
const NODE: usize = 512 << 10;

/// The content of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Names and all other repeated fields.
    load: Load,
    /// Length of the node, bytes.
    node: usize,
}

/// A field of a request.
enum Field {
    /// The node.
    Node,
    /// The type URL.
    Type,
    /// A name or a locator.
    Name,
    /// A name with its version.
    Claim,
    /// The status of a rejection.
    Status,
    Other,
}

// === impl Tally ===

impl Tally {
    /// Counts an encoded request. A malformed one counts up to its fault.
    pub(crate) fn of(variant: Variant, request: &[u8]) -> Self {
        let mut tally = Self::default();
        walk(request, |number, bytes| tally.add(&Field::of(variant, number), bytes));
        tally
    }

    fn add(&mut self, field: &Field, bytes: &[u8]) {
        match field {
            Field::Node => self.node += bytes.len(),
            Field::Name => self.count(bytes.len()),
            Field::Claim => {
                let mut key = 0;
                walk(bytes, |number, name| key += if number == 1 { name.len() } else { 0 });
                self.count(key);
            }
            // A status has one message, but any number of details.
            Field::Status => walk(bytes, |number, detail| {
                if number != 2 {
                    self.count(detail.len());
                }
            }),
            Field::Type | Field::Other => {}
        }
    }

    fn count(&mut self, bytes: usize) {
        self.load = self.load.plus(Load { names: 1, bytes });
    }

    /// Fails if the request holds more than a stream may.
    pub(crate) fn check(&self, limit: Load) -> Result<(), String> {
        if self.node > NODE {
            let length = self.node;
            return Err(format!(
                "the node has {length} bytes; at most {NODE} are taken: shorten its metadata"
            ));
        }
        check(self.load, limit, "one request")
    }
}

/// Returns the node and the type URL of an encoded request, encoded.
pub(crate) fn head(variant: Variant, request: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    walk(request, |number, bytes| {
        let field = Field::of(variant, number);
        if matches!(field, Field::Type) || matches!(field, Field::Node) && head.len() + bytes.len() <= NODE {
            prost::encoding::bytes::encode(number, &bytes.to_vec(), &mut head);
        }
    });
    head
}

// === impl Field ===

impl Field {
    /// The field of `DeltaDiscoveryRequest` or `DiscoveryRequest` with this number.
    fn of(variant: Variant, number: u32) -> Self {
        match (variant, number) {
            (Variant::Delta, 1) | (Variant::Sotw, 2) => Self::Node,
            (Variant::Delta, 2) | (Variant::Sotw, 4) => Self::Type,
            (Variant::Delta, 3 | 4 | 8 | 9) | (Variant::Sotw, 3 | 7) => Self::Name,
            (Variant::Delta, 5) => Self::Claim,
            (Variant::Delta, 7) | (Variant::Sotw, 6) => Self::Status,
            _ => Self::Other,
        }
    }
}

/// Visits the length-delimited fields of a message, up to the first malformed field.
fn walk(mut message: &[u8], mut visit: impl FnMut(u32, &[u8])) {
    while !message.is_empty() {
        let Ok((number, wire)) = decode_key(&mut message) else { return };
        if wire != WireType::LengthDelimited {
            if skip_field(wire, number, &mut message, DecodeContext::default()).is_err() {
                return;
            }
            continue;
        }
        let length = decode_varint(&mut message).ok().and_then(|length| usize::try_from(length).ok());
        let Some((bytes, rest)) = length.and_then(|length| message.split_at_checked(length)) else { return };
        visit(number, bytes);
        message = rest;
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::config::core::v3::Node;
    use envoy_types::pb::envoy::service::discovery::v3::{
        DeltaDiscoveryRequest, DiscoveryRequest, ResourceLocator,
    };
    use envoy_types::pb::google::protobuf::Any;
    use envoy_types::pb::google::rpc::Status;
    use prost::Message;

    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn locator(name: &str) -> ResourceLocator {
        ResourceLocator { name: name.into(), ..ResourceLocator::default() }
    }

    fn status(details: usize) -> Option<Status> {
        Some(Status { code: 3, message: "a long text".into(), details: vec![Any::default(); details] })
    }

    fn node(id: usize) -> Option<Node> {
        Some(Node { id: "x".repeat(id), ..Node::default() })
    }

    #[test]
    fn every_repeated_field_counts() {
        let delta = DeltaDiscoveryRequest {
            type_url: "type".into(),
            resource_names_subscribe: strings(&["a", "bb"]),
            resource_names_unsubscribe: strings(&["ccc"]),
            initial_resource_versions: [("dddd".to_string(), "version".to_string())].into(),
            resource_locators_subscribe: vec![locator("e")],
            resource_locators_unsubscribe: vec![locator("f")],
            response_nonce: "nonce".into(),
            error_detail: status(2),
            ..DeltaDiscoveryRequest::default()
        };
        let load = Tally::of(Variant::Delta, &delta.encode_to_vec()).load;
        assert_eq!(load, Load { names: 8, bytes: 1 + 2 + 3 + 4 + 3 + 3 });
        let sotw = DiscoveryRequest {
            type_url: "type".into(),
            version_info: "version".into(),
            resource_names: strings(&["a", "bb"]),
            resource_locators: vec![locator("e")],
            error_detail: status(1),
            ..DiscoveryRequest::default()
        };
        let load = Tally::of(Variant::Sotw, &sotw.encode_to_vec()).load;
        assert_eq!(load, Load { names: 4, bytes: 1 + 2 + 3 });
    }

    #[test]
    fn node_has_a_limit_of_its_own() {
        let limit = Load { names: 0, bytes: 0 };
        for (id, good) in [(100 << 10, true), (NODE, false)] {
            let delta = DeltaDiscoveryRequest { node: node(id), ..DeltaDiscoveryRequest::default() };
            let tally = Tally::of(Variant::Delta, &delta.encode_to_vec());
            assert_eq!(tally.check(limit).is_ok(), good, "{id}");
        }
    }

    #[test]
    fn head_is_the_node_and_the_type() {
        let whole = DiscoveryRequest {
            node: node(3),
            type_url: "type".into(),
            resource_names: strings(&["a"]),
            ..DiscoveryRequest::default()
        };
        let head = DiscoveryRequest::decode(&*head(Variant::Sotw, &whole.encode_to_vec())).unwrap();
        assert_eq!(head, DiscoveryRequest { resource_names: Vec::new(), ..whole });
        let long = DiscoveryRequest { node: node(NODE), type_url: "type".into(), ..Default::default() };
        let head = DiscoveryRequest::decode(&*super::head(Variant::Sotw, &long.encode_to_vec())).unwrap();
        assert_eq!(head, DiscoveryRequest { type_url: "type".into(), ..Default::default() });
    }

    #[test]
    fn malformed_request_counts_up_to_its_fault() {
        for tail in [&[0x1a, 0x05, b'x'][..], &[0xff], &[0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x1b]] {
            let request = [&[0x1a, 1, b'a'][..], tail].concat();
            assert_eq!(Tally::of(Variant::Delta, &request).load, Load { names: 1, bytes: 1 }, "{tail:?}");
        }
    }
}
