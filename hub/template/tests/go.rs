//! The language of templates: what it does, and the exact text of each error (seed C.3 "Templates").

use std::fmt::Write as _;

use portreeve_template::go::{Budget, Template, Value};

fn dot() -> Value {
    let endpoint = |address| Value::record([("Spec", Value::record([("Address", Value::text(address))]))]);
    Value::record([
        ("Name", Value::text("web")),
        ("Port", Value::Int(8080)),
        ("Protocol", Value::text("tcp")),
        ("Clusters", Value::list(["a", "b", "c"].map(Value::text))),
        ("Endpoints", Value::list(["10.0.0.1", "10.0.0.2"].map(endpoint))),
        ("None", Value::list([])),
        ("On", Value::Bool(true)),
    ])
}

fn run(template: &str) -> Result<String, String> {
    let template = Template::read(template).map_err(|error| error.to_string())?;
    template.run(&dot(), &mut Budget::default()).map_err(|error| error.to_string())
}

/// Compares each template's text.
fn make(table: &[(&str, &str)]) {
    for (template, wanted) in table {
        assert_eq!(run(template).as_deref(), Ok(*wanted), "{template}");
    }
}

/// Compares each template's error.
fn fail(table: &[(&str, &str)]) {
    for (template, wanted) in table {
        assert_eq!(run(template), Err((*wanted).to_owned()), "{template}");
    }
}

#[test]
fn text_fields_and_trimmed_space() {
    make(&[
        ("", ""),
        ("a { b } }} c", "a { b } }} c"),
        ("{{.Name}}:{{.Port}}", "web:8080"),
        ("{{ .Name }} {{ $.Port }}", "web 8080"),
        ("a \n {{- .Name -}} \n b", "awebb"),
        ("a{{/* no }} text */}}b {{- /* c */ -}} d", "abd"),
        ("{{.On}} {{true}} {{3}} {{-3}} {{\"q\"}} {{`r\\n`}}", "true true 3 -3 q r\\n"),
        ("{{\"a\\tb\\\"\\\\é\"}}", "a\tb\"\\é"),
        ("{{\n.Name\n}}", "web"),
    ]);
}

#[test]
fn branches() {
    make(&[
        ("{{if .None}}a{{else}}b{{end}}", "b"),
        ("{{if .Clusters}}a{{end}}", "a"),
        ("{{if eq .Port 1}}a{{else if eq .Port 8080}}b{{else}}c{{end}}", "b"),
        ("{{if .None}}a{{else if .None}}b{{else}}c{{end}}", "c"),
        ("{{with .Name}}{{.}}{{end}}", "web"),
        ("{{with .None}}a{{else}}{{.Name}}{{end}}", "web"),
        ("{{with $x := .Port}}{{$x}}{{end}}", "8080"),
        ("{{if and .On (not .None)}}a{{end}}{{if or .None 0 \"\"}}b{{end}}", "a"),
    ]);
}

#[test]
fn ranges() {
    make(&[
        ("{{range .Clusters}}{{.}},{{end}}", "a,b,c,"),
        ("{{range $i, $cl := .Clusters}}{{$i}}{{$cl}}{{$.Port}} {{end}}", "0a8080 1b8080 2c8080 "),
        ("{{range $e := .Endpoints}}{{$e.Spec.Address}} {{end}}", "10.0.0.1 10.0.0.2 "),
        ("{{range .Endpoints}}{{.Spec.Address}} {{else}}none{{end}}", "10.0.0.1 10.0.0.2 "),
        ("{{range .None}}a{{else}}none {{.Name}}{{end}}", "none web"),
        ("{{range nil}}a{{end}}", ""),
        ("{{$last := \"\"}}{{range .Clusters}}{{$last = .}}{{end}}{{$last}}", "c"),
        ("{{$x := 1}}{{range .Clusters}}{{$x := 2}}{{end}}{{$x}}", "1"),
    ]);
}

#[test]
fn functions() {
    make(&[
        ("{{.Protocol | ToUpper}} {{ToUpper .Name}} {{(ToUpper .Name)}}", "TCP WEB WEB"),
        (
            "{{len .Clusters}} {{len .Name}} {{index .Clusters 1}} {{(index .Endpoints 1).Spec.Address}}",
            "3 3 b 10.0.0.2",
        ),
        ("{{print .Name 1 2 \"x\" 3}} {{println .Name 1}}", "web1 2x3 web 1\n"),
        ("{{printf \"%s-%d %v %t %q %%\" .Name .Port .Name .On .Name}}", "web-8080 web true \"web\" %"),
        ("{{.Port | printf \"%s-%d\" .Name}}", "web-8080"),
        (
            "{{eq .Name \"a\" \"web\"}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}}",
            "true true true true true false",
        ),
        ("{{or 0 \"x\"}} {{and 1 \"\"}}{{not 0}}", "x true"),
    ]);
}

#[test]
fn templates_that_are_none_are_refused_with_their_line() {
    fail(&[
        ("a\n{{.Name", "line 2: an action {{ is not closed"),
        ("{{ ", "line 1: an action {{ is not closed"),
        ("{{/* a", "line 1: a comment {{/* is not closed"),
        ("{{/* a */ }}", "line 1: a comment {{/* is not closed"),
        ("{{\"a", "line 1: a text in \" is not closed"),
        ("{{\"a\n\"}}", "line 1: a text in \" is not closed"),
        ("{{`a", "line 1: a text in ` is not closed"),
        ("{{if .On}}\na", "line 1: {{if}} is not closed"),
        ("{{range .None}}{{else}}", "line 1: {{range}} is not closed"),
        ("{{with .On}}", "line 1: {{with}} is not closed"),
        ("\n{{end}}", "line 2: unexpected {{end}} in the template: no block is open"),
        ("{{else}}", "line 1: unexpected {{else}} in the template: no block is open"),
        ("{{if 1}}{{else}}{{else}}{{end}}", "line 1: unexpected {{else}} in a block that has one already"),
        (
            "{{range .None}}{{else if 1}}{{end}}",
            "line 1: unexpected {{else if}} in a block that is no {{if}}",
        ),
        ("{{}}", "line 1: unexpected }} in a command"),
        ("{{if}}{{end}}", "line 1: unexpected }} in a command"),
        ("{{.Name |}}", "line 1: unexpected }} in a command"),
        ("{{(.Name}}", "line 1: unexpected }} in an action"),
        ("{{.Name)}}", "line 1: unexpected ) in an action"),
        ("{{.Name\"a\"}}", "line 1: unexpected \"a\" in an action"),
        (
            "{{é}}",
            "line 1: there is no function é: there are ToUpper, and, eq, ge, gt, index, le, len, lt, ne, not, or, print, printf, println",
        ),
        ("{{^}}", "line 1: unexpected ^ in an action"),
        ("{{1.5}}", "line 1: 1.5 is not a number of a template: only whole numbers are supported"),
        (
            "{{99999999999999999999}}",
            "line 1: 99999999999999999999 is not a number of a template: only whole numbers are supported",
        ),
        (
            "{{\"\\é\"}}",
            "line 1: unknown escape \\é in a text: only \\n, \\t, \\r, \\\", \\' and \\\\ are supported",
        ),
        ("{{$ := 1}}", "line 1: unexpected $ in a declaration"),
        ("{{$a, $b := 1}}", "line 1: unexpected , in an action"),
        ("{{.Name .Port}}", "line 1: .Name is not a function, so it can't have arguments"),
        ("{{1 | .Name}}", "line 1: .Name is not a function, so it can't have arguments"),
    ]);
}

#[test]
fn calls_of_other_templates_are_refused() {
    fail(&[
        (
            "{{define \"x\"}}{{template \"x\"}}{{end}}",
            "line 1: {{define}} is not allowed: write the text in place",
        ),
        ("\n{{template \"x\" .}}", "line 2: {{template}} is not allowed: write the text in place"),
        ("{{block \"x\" .}}{{end}}", "line 1: {{block}} is not allowed: write the text in place"),
        ("{{range .None}}{{break}}{{end}}", "line 1: {{break}} is not allowed: write the text in place"),
        ("{{continue}}", "line 1: {{continue}} is not allowed: write the text in place"),
        (
            "{{call .Name}}",
            "line 1: there is no function call: there are ToUpper, and, eq, ge, gt, index, le, len, lt, ne, not, or, print, printf, println",
        ),
    ]);
}

#[test]
fn values_that_do_not_fit_are_refused_with_their_line() {
    fail(&[
        (
            "a\n\n{{.Nope}}",
            "line 3: there is no field Nope in a record of Clusters, Endpoints, Name, None, On, Port, Protocol",
        ),
        ("{{.Name.X}}", "line 1: there is no field X in a text"),
        ("{{nil.X}}", "line 1: unexpected .X in an action"),
        ("{{$x}}", "line 1: the variable $x is not declared"),
        ("{{$x = 1}}", "line 1: the variable $x is not declared"),
        ("{{if 1}}{{$x := 1}}{{end}}{{$x}}", "line 1: the variable $x is not declared"),
        ("{{.}}", "line 1: a record can't be printed: print its parts"),
        ("{{.Clusters}}", "line 1: a list can't be printed: print its parts"),
        ("{{nil}}", "line 1: nil can't be printed: print its parts"),
        ("{{range .Name}}{{end}}", "line 1: range needs a list, not a text"),
        ("{{range .}}{{end}}", "line 1: range needs a list, not a record"),
        ("{{ToUpper .Port}}", "line 1: ToUpper: needs one text, not a number"),
        ("{{len .Port}}", "line 1: len: needs one text or list, not a number"),
        ("{{index .Clusters 3}}", "line 1: index: there is no element 3 among 3"),
        ("{{index .Clusters -1}}", "line 1: index: there is no element -1 among 3"),
        ("{{index .Name 0}}", "line 1: index: needs a list and a number, not a text and a number"),
        ("{{eq 1}}", "line 1: eq: needs two values, not a number"),
        ("{{eq 1 \"1\"}}", "line 1: eq: can't compare a number and a text"),
        ("{{lt true false}}", "line 1: lt: can't compare a boolean and a boolean"),
        ("{{not}}", "line 1: not: needs one value, not nothing"),
        ("{{and}}", "line 1: and: needs a value, not nothing"),
        ("{{print .Clusters}}", "line 1: print: a list can't be printed"),
        ("{{printf .Port}}", "line 1: printf: needs a format first"),
        (
            "{{printf \"%99999d\" 1}}",
            "line 1: printf: %9 is not supported: only %s, %d, %v, %q, %t and %% are",
        ),
        ("{{printf \"%[0]v\" 1}}", "line 1: printf: %[ is not supported: only %s, %d, %v, %q, %t and %% are"),
        ("{{printf \"%*d\" 9 1}}", "line 1: printf: %* is not supported: only %s, %d, %v, %q, %t and %% are"),
        ("{{printf \"%\"}}", "line 1: printf: the format ends with %"),
        ("{{printf \"%d\"}}", "line 1: printf: the format has more verbs than there are values"),
        ("{{printf \"a\" 1}}", "line 1: printf: there are more values than verbs in the format"),
        ("{{printf \"%d\" \"a\"}}", "line 1: printf: %d doesn't fit a text"),
        ("{{if 1}}\n{{printf \"%v\"\n.Clusters}}{{end}}", "line 2: printf: %v doesn't fit a list"),
    ]);
}

#[test]
fn errors_shorten_what_they_repeat() {
    let error = run(&format!("{{{{.{}}}}}", "x".repeat(10_000))).unwrap_err();
    assert!(error.starts_with("line 1: there is no field xxx") && error.len() < 200, "{error}");
    let mut long = String::new();
    write!(long, "{{{{{}}}}}", "y".repeat(10_000)).unwrap();
    assert!(run(&long).unwrap_err().len() < 300);
}
