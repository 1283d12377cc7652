//! Why a template is refused: [`Error`].

use std::fmt;
use std::net::IpAddr;

use crate::facts::Protocol;
use crate::go;
use crate::message::FieldError;

/// The largest number of resources of a LoadBalancer.
pub const RESOURCES: usize = 1024;
/// The longest text of all rendered templates together, in bytes.
pub const OUTPUT_BYTES: usize = 8 * 1024 * 1024;
/// The largest number of values in one rendered template.
pub const VALUES: usize = 100_000;

/// A template that is refused. The whole EnvoyConfigSpec is refused with it.
#[derive(Debug)]
pub struct Error {
    /// The template, for example `envoyResources.listeners[0]`.
    pub from: String,
    /// Its name there, for example `SET_BY_EPIC`.
    pub name: String,
    /// The cluster or the port that it was rendered for, for example `port TCP-80`. `None` if it is rendered once.
    pub instance: Option<String>,
    /// What is wrong.
    pub reason: Box<Reason>,
}

/// What is wrong with a template.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// It can't be rendered.
    #[error("{0}")]
    Template(go::Error),
    /// There are too many resources.
    #[error("the templates make more than {RESOURCES} resources")]
    Resources,
    /// All rendered texts together are too long.
    #[error("the templates make more than {OUTPUT_BYTES} bytes of text together")]
    OutputBytes,
    /// The text is not base64.
    #[error("serialization is b64json, but the text is not base64: {0}")]
    Base64(base64::DecodeError),
    /// The text is not JSON or YAML.
    #[error("serialization is {serialization}, but the rendered text is not: {error}")]
    Syntax {
        /// The serialization.
        serialization: &'static str,
        /// The parser's message, with the line of the rendered text.
        error: String,
    },
    /// A field is wrong.
    #[error("{0}")]
    Field(FieldError),
    /// The resource has no name.
    #[error("{field} is missing or empty: give the resource a name")]
    Unnamed {
        /// The field of the name.
        field: &'static str,
    },
    /// Two resources of a list have the same name, and differ.
    #[error(
        "{other} made a different resource of the name {name}: put {{{{.ClusterName}}}} or {{{{.PortName}}}} into the name"
    )]
    Twice {
        /// The name.
        name: String,
        /// The first template.
        other: String,
    },
    /// A listener without an address and a port.
    #[error("{path}: a listener of an account needs a socket_address with an IP address and a port_value")]
    NoSocket {
        /// The field's path.
        path: String,
    },
    /// A listener on an address that is not the LoadBalancer's.
    #[error("{path}: {address} is not the LoadBalancer's address: use 0.0.0.0, which becomes {public}")]
    Address {
        /// The field's path.
        path: String,
        /// The listener's address.
        address: IpAddr,
        /// The LoadBalancer's address.
        public: IpAddr,
    },
    /// A listener on a port that is not the LoadBalancer's.
    #[error(
        "{path}: {protocol} port {port} is not a public port of the LoadBalancer: use {{{{.Port}}}} and {{{{.Protocol}}}}"
    )]
    Port {
        /// The field's path.
        path: String,
        /// The listener's protocol.
        protocol: Protocol,
        /// The listener's port.
        port: u16,
    },
    /// Two listeners on the same socket.
    #[error("{path}: listener {listener} has {protocol} port {port} already")]
    Taken {
        /// The field's path.
        path: String,
        /// The listener that has it.
        listener: String,
        /// The protocol.
        protocol: Protocol,
        /// The port.
        port: u16,
    },
}

// === impl Error ===

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, name, instance, reason } = self;
        write!(f, "{from} ({name})")?;
        if let Some(instance) = instance {
            write!(f, " for {instance}")?;
        }
        write!(f, ": {reason}")
    }
}

impl std::error::Error for Error {}
