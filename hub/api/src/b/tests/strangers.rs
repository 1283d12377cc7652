//! Fields that API B doesn't know, at any depth.

use super::*;

/// Returns the warnings of an object.
fn warnings(value: Value) -> Vec<String> {
    match value["kind"].as_str() {
        Some("VirtualService") => VirtualService::parse(value).unwrap().1,
        Some("Target") => Target::parse(value).unwrap().1,
        Some("Route") => Route::parse(value).unwrap().1,
        Some("Rule") => Rule::parse(value).unwrap().1,
        other => panic!("kind {other:?}"),
    }
}

/// Adds a field to the object at a JSON pointer in `spec`.
fn plus(mut object: Value, pointer: &str, key: &str) -> Value {
    let parent = object.pointer_mut(&format!("/spec{pointer}")).unwrap_or_else(|| panic!("no {pointer}"));
    parent[key] = json!({"inner": 1});
    object
}

#[test]
fn samples_have_no_unknown_field() {
    for object in [mk_service(), mk_target(), mk_route(), mk_rule()] {
        assert_eq!(warnings(object.clone()), Vec::<String>::new(), "{object}");
    }
}

/// An object, the place of one more field in it, and the field's path.
type Row = (Value, String, &'static str, String);

#[test]
fn misspelled_field_is_named_by_its_path_and_refuses_nothing() {
    let rows = rows_of_listeners().into_iter().chain(rows_of_clusters());
    for (object, pointer, key, path) in rows {
        let strange = plus(object, &pointer, key);
        assert_eq!(warnings(strange.clone()), [format!("spec.{path}: unknown field, ignored")], "{strange}");
        assert_eq!(judge(strange.clone()), (vec![], vec![]), "{strange}");
    }
}
fn rows_of_listeners() -> Vec<Row> {
    let places = [
        ("", "selectors"),
        ("/selector", "matchLabel"),
        ("/selector/matchExpressions/0", "value"),
        ("/listener", "rule"),
        ("/listener/options", "tracks"),
        ("/listener/spec", "udp"),
        ("/listener/spec/UDP", "conect"),
        ("/listener/spec/UDP/connect", "addr"),
        ("/listener/spec/UDP/options", "modes"),
        ("/listener/rules/0", "matches"),
        ("/listener/rules/0/match/apply/0", "val"),
        ("/listener/rules/0/action", "rewrites"),
        ("/listener/rules/0/action/rewrite/0", "val"),
        ("/listener/rules/0/action/route/retry", "retries"),
        ("/listener/rules/0/action/route/ingress/2/cluster/spec/Echo", "x"),
    ];
    places.map(|(pointer, key)| (mk_service(), pointer.to_owned(), key, path(pointer, key))).into()
}

/// Returns a path in the API server's notation: numbers are places in lists.
fn path(pointer: &str, key: &str) -> String {
    let parts = pointer.split('/').filter(|part| !part.is_empty()).chain([key]);
    let path = parts.map(|part| match part.parse::<usize>() {
        Ok(index) => format!("[{index}]"),
        Err(_) => format!(".{part}"),
    });
    path.collect::<String>().trim_start_matches('.').to_owned()
}

fn rows_of_clusters() -> Vec<Row> {
    let places = [
        (mk_target(), "/cluster", "endpoint"),
        (mk_target(), "/cluster/endpoints/0/spec", "port"),
        (mk_target(), "/cluster/endpoints/1/selector", "labels"),
        (mk_target(), "/cluster/loadbalancer", "keys"),
        (mk_target(), "/cluster/spec/JSONSocket/header/0/path", "form"),
        (mk_route(), "/destination/spec/TCP", "prt"),
        (mk_route(), "/egress/0", "weight"),
        (mk_rule(), "/rule", "actions"),
    ];
    places.map(|(object, pointer, key)| (object, pointer.to_owned(), key, path(pointer, key))).into()
}

#[test]
fn values_of_the_users_own_have_no_unknown_fields() {
    let labels = with(mk_service(), "/selector/matchLabels", json!({"any": "x", "other": "y"}));
    let value = json!({"path": "/a", "value": {"deep": {"er": 1}}});
    let rewrite = with(mk_service(), "/listener/rules/0/action/rewrite/0", value);
    let test = json!({"op": "test", "path": "/labels", "value": {"deep": {"er": 1}}});
    let condition = with(mk_service(), "/listener/rules/0/match", test);
    for object in [labels, rewrite, condition] {
        assert_eq!(warnings(object.clone()), Vec::<String>::new(), "{object}");
    }
}

#[test]
fn fields_that_the_deployed_schema_has_and_l7mp_drops_are_known() {
    for (pointer, key, value) in [
        ("/cluster", "endpointNum", json!(1)),
        ("/cluster", "options", json!({})),
        ("", "cluster", json!({})),
    ] {
        let mut object = mk_target();
        if !pointer.is_empty() {
            object["spec"]["cluster"][key] = value;
        }
        assert_eq!(warnings(object.clone()), Vec::<String>::new(), "{object}");
    }
    let mut object = mk_service();
    object["spec"]["listener"]["name"] = json!("l");
    assert_eq!(warnings(object), Vec::<String>::new());
}
