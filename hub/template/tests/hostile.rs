//! Hostile templates: each limit holds, and nothing overflows the stack.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by it")]

mod support;

use std::time::{Duration, Instant};

use portreeve_template::go::{Budget, Template, Value};
use portreeve_template::{OUTPUT_BYTES, RESOURCES, render};
use support::{descriptors, error, facts, http, port, spec};

/// The error of a template whose dot is a list of this many numbers.
fn failed(template: &str, length: i64) -> String {
    let began = Instant::now();
    let dot = Value::list((0..length).map(Value::Int));
    let error = match Template::read(template) {
        Ok(template) => template.run(&dot, &mut Budget::default()).expect_err("it should be refused"),
        Err(error) => error,
    };
    assert!(began.elapsed() < Duration::from_secs(60), "took {:?}", began.elapsed());
    error.to_string()
}

#[test]
fn texts_of_templates_are_limited() {
    let error = failed(&"x".repeat(64 * 1024 + 1), 0);
    assert_eq!(error, "line 1: the template has 65537 bytes, 65536 are allowed: split it");
}

#[test]
fn nested_ranges_run_out_of_steps() {
    let steps = "the templates take more than 4000000 steps together: make their ranges smaller";
    let nested = format!("{}{}", "{{range $}}".repeat(6), "{{end}}".repeat(6));
    assert_eq!(failed(&nested, 1000), format!("line 1: {steps}"));
    // Comparing long texts takes steps too.
    let text = "x".repeat(30_000);
    let compares =
        "{{$a := \"T\"}}{{range $}}{{range $}}{{if eq $a $a}}{{end}}{{end}}{{end}}".replace('T', &text);
    assert_eq!(failed(&compares, 1000), format!("line 1: {steps}"));
}

#[test]
fn blocks_and_parentheses_are_nested_32_deep_at_most() {
    let deep = "line 1: blocks and parentheses are nested more than 32 deep";
    for count in [33, 4000] {
        let blocks = format!("{}{}", "{{if 1}}".repeat(count), "{{end}}".repeat(count));
        assert_eq!(failed(&blocks, 0), deep);
        let parentheses = format!("{{{{{}1{}}}}}", "(".repeat(count), ")".repeat(count));
        assert_eq!(failed(&parentheses, 0), deep);
        let chain = format!("{{{{if 0}}}}{}{{{{end}}}}", "{{else if 0}}".repeat(count));
        assert_eq!(failed(&chain, 0), deep);
    }
    let right = format!("{}x{}", "{{if 1}}".repeat(32), "{{end}}".repeat(32));
    let text = Template::read(&right).unwrap().run(&Value::Nil, &mut Budget::default());
    assert_eq!(text.unwrap(), "x");
}

#[test]
fn texts_that_grow_are_limited() {
    let bytes = "line 1: the template makes more than 1048576 bytes of text";
    let doubles = format!("{{{{$a := \"xxxxxxxx\"}}}}{}", "{{$a = print $a $a}}".repeat(40));
    assert_eq!(failed(&doubles, 0), bytes);
    let formats = format!("{{{{$a := \"xxxxxxxx\"}}}}{}", "{{$a = printf \"%s%s\" $a $a}}".repeat(40));
    assert_eq!(failed(&formats, 0), bytes);
    assert_eq!(failed("{{range $}}{{range $}}xxxxxxxxxx{{end}}{{end}}", 1000), bytes);
}

#[test]
fn all_templates_share_their_steps() {
    let clusters: Vec<String> = (0..300).map(|index| format!("c{index}")).collect();
    let clusters: Vec<&str> = clusters.iter().map(String::as_str).collect();
    let mut facts = facts(&clusters);
    facts.ports = (1..=200).map(|number| port("", number, "TCP")).collect();
    let work = "name: {{.PortName}}{{range .Clusters}}{{range $.Clusters}}{{end}}{{end}}";
    let refused = render(&spec("v3", "listeners", work), &facts, descriptors()).unwrap_err().to_string();
    assert!(
        refused.ends_with("the templates take more than 4000000 steps together: make their ranges smaller"),
        "{refused}"
    );
}

#[test]
fn resources_and_their_texts_are_limited() {
    let clusters: Vec<String> = (0..=RESOURCES).map(|index| format!("c{index}")).collect();
    let clusters: Vec<&str> = clusters.iter().map(String::as_str).collect();
    let named = spec("v3", "clusters", "name: {{.ClusterName}}");
    let refused = render(&named, &facts(&clusters), descriptors()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "envoyResources.clusters[0] (web) for cluster c1024: the templates make more than 1024 resources"
    );
    let long = format!("name: {{{{.ClusterName}}}}\n# {}", "x".repeat(60_000));
    let refused =
        render(&spec("v3", "clusters", &long), &facts(&clusters[..500]), descriptors()).unwrap_err();
    let wanted = format!("the templates make more than {OUTPUT_BYTES} bytes of text together");
    assert!(refused.to_string().ends_with(&wanted), "{refused}");
}

#[test]
fn aliases_of_yaml_are_limited() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (from, to) in ["ab", "bc", "cd", "de", "ef", "fg"].map(|pair| pair.split_at(1)) {
        bomb.push_str(&format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 10].join(", ")));
    }
    let refused = error("v3", "clusters", &bomb);
    assert!(refused.contains("serialization is yaml, but the rendered text is not: "), "{refused}");
}

#[test]
fn deep_values_do_not_overflow_the_stack() {
    for depth in [20, 60, 100, 127, 200, 10_000] {
        let lists = format!("name: a\nmetadata: {}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!error("v3", "clusters", &lists).is_empty());
        let filter = format!("{}{{}}{}", "{and_filter: {filters: [".repeat(depth), "]}}".repeat(depth));
        let log = format!("access_log: [{{name: a, filter: {filter}, typed_config: {{}}}}]");
        for api in ["v2", "v3"] {
            assert!(!error(api, "listeners", &http(api, &log)).is_empty());
        }
    }
    let any =
        "{'@type': type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig, name: a, typed_config: ";
    let nested = format!(
        "name: a\ncluster_type: {{name: a, typed_config: {}{{}}{}}}",
        any.repeat(100),
        "}".repeat(100)
    );
    assert!(!error("v3", "clusters", &nested).is_empty());
}
