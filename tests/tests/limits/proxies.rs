//! The agent's code names no kind of proxy's resource types, but where it is about that kind.

use std::path::Path;

/// Words that only Envoy's code says.
const WORDS: [&str; 4] = ["EnvoyType", "envoy_types", "xds::envoy", "portreeve_envoy::Envoy"];

/// Where Envoy's code is: the translation with the list of kinds, and the server that Envoys connect to.
const PLACES: [&str; 2] = ["agent/envoy/src/", "agent/src/ads.rs"];

/// The lines of a file of the agent that name Envoy's resource types in the wrong place.
pub fn faults(path: &Path, text: &str) -> Vec<String> {
    let name = path.display().to_string();
    let free = !name.starts_with("agent/")
        || !name.contains("/src/")
        || PLACES.iter().any(|place| name.contains(place));
    if free || crate::is_test(path) {
        return Vec::new();
    }
    let production = text.lines().take(crate::production_lines(text)).enumerate();
    let found = production.filter(|(_, line)| WORDS.iter().any(|word| line.contains(word)));
    found.map(|(at, line)| format!("{name}:{}: {}", at + 1, line.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_types_of_envoy_are_found_outside_of_their_places_and_of_tests() {
        let line = "use portreeve_envoy::Envoy;\n";
        let of = |path: &str, text: &str| faults(Path::new(path), text);
        assert_eq!(
            of("agent/core/src/world/mod.rs", &format!("//! Doc.\n{line}")),
            [format!("agent/core/src/world/mod.rs:2: {}", line.trim())]
        );
        for free in ["agent/envoy/src/listener.rs", "agent/src/ads.rs", "agent/envoy/tests/world/main.rs"] {
            assert!(of(free, line).is_empty(), "{free}");
        }
        assert!(of("hub/cli/src/table.rs", line).is_empty());
        assert!(of("agent/src/traces.rs", &format!("#[cfg(test)]\nmod tests {{\n{line}}}\n")).is_empty());
    }
}
