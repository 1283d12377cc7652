//! Random changes of good templates: nothing panics, and whatever is accepted decodes again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by it")]

mod support;

use portreeve_api::c::envoy_config::{EnvoyApi, EnvoyConfigSpec, EnvoyResource, Serialization};
use portreeve_template::go::{Budget, Template, Value};
use portreeve_template::render;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use support::{descriptors, facts, sample};

/// What is inserted: parts of the language, of YAML and of Envoy's names.
const PIECES: [&str; 40] = [
    "{{",
    "}}",
    "{{- ",
    " -}}",
    "{{end}}",
    "{{else}}",
    "{{if .Port}}",
    "{{range .Clusters}}",
    "{{with ",
    "$x",
    " := ",
    "|",
    "(",
    ")",
    "\"",
    "`",
    "\\",
    "{{/*",
    "*/}}",
    "printf \"%s\" ",
    ".Spec",
    "é",
    "\u{1F600}",
    "\n",
    "  ",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a ",
    "!!binary ",
    "null",
    "-1",
    "1e999",
    "config: {}",
    "tls_context: {}",
    "'@type': x",
];

fn mutate(text: &str, random: &mut StdRng) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=chars.len());
        let end = (at + random.random_range(0..12)).min(chars.len());
        match random.random_range(0..3) {
            0 => drop(chars.drain(at..end)),
            1 => {
                let piece = PIECES.choose(random).unwrap().chars();
                drop(chars.splice(at..at, piece));
            }
            _ => {
                let copied = chars[at..end].to_vec();
                let to = random.random_range(0..=chars.len());
                drop(chars.splice(to..to, copied));
            }
        }
    }
    chars.into_iter().collect()
}

fn change(spec: &mut EnvoyConfigSpec, random: &mut StdRng) {
    let resources = spec.envoy_resources.as_mut().unwrap();
    let lists = [
        &mut resources.clusters,
        &mut resources.endpoints,
        &mut resources.listeners,
        &mut resources.routes,
        &mut resources.runtime,
    ];
    let mut all: Vec<&mut EnvoyResource> = lists.into_iter().flatten().flatten().collect();
    let index = random.random_range(0..all.len());
    all[index].value = mutate(&all[index].value, random);
    if random.random_ratio(1, 4) {
        spec.envoy_api = Some(*[EnvoyApi::V2, EnvoyApi::V3].choose(random).unwrap());
    }
    if random.random_ratio(1, 20) {
        spec.serialization = Some(*[Serialization::Json, Serialization::B64json].choose(random).unwrap());
    }
}

#[test]
fn changed_samples_are_refused_or_rendered_but_never_panic() {
    let (facts, mut random) = (facts(&["web-1", "web-2"]), StdRng::seed_from_u64(16));
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..3000 {
        let mut spec = sample(["v2", "inline", "v3"][round % 3]);
        change(&mut spec, &mut random);
        match render(&spec, &facts, descriptors()) {
            Ok(rendered) => {
                accepted += 1;
                for resource in rendered.listeners.iter().chain(&rendered.clusters) {
                    descriptors().json(&resource.type_url, &resource.value).unwrap();
                }
                let public = |port: u16| facts.ports.iter().any(|known| known.port == port);
                assert!(rendered.sockets.iter().all(|socket| public(socket.port)));
                assert!(rendered.sockets.iter().all(|socket| socket.address == facts.public_address));
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().len() < 2000, "{error}");
            }
        }
    }
    assert!(accepted > 100 && refused > 1000, "{accepted} accepted, {refused} refused");
}

#[test]
fn random_pieces_are_refused_or_rendered_but_never_panic() {
    let mut random = StdRng::seed_from_u64(3);
    let dot = Value::record([("Clusters", Value::list([Value::text("a")])), ("Port", Value::Int(1))]);
    for _ in 0..100_000 {
        let count = random.random_range(1..12);
        let text: String = (0..count).map(|_| *PIECES[..26].choose(&mut random).unwrap()).collect();
        if let Ok(template) = Template::read(&text) {
            let _ = template.run(&dot, &mut Budget::default());
        }
    }
}
