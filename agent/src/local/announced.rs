//! What a stream says of its proxy: [`of`].

use portreeve_agent_core::fleet::Announced;
use portreeve_agent_core::translate::Streams;
use portreeve_agent_core::translate::streams::Server;
use portreeve_xds::{Hello, Variant};

/// Returns what a stream says of its proxy. Its authority is the name by which the proxy knows this agent.
pub fn of(hello: &Hello) -> Announced {
    let server =
        |cluster: &String| Server { cluster: cluster.clone(), delta: hello.variant == Variant::Delta };
    let server = hello.authority.as_ref().filter(|_| !hello.aggregated).map(server);
    Announced::new(&hello.node.id, server.map_or(Streams::Aggregated, Streams::Separate))
}
