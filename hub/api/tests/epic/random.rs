//! Random values at random places of good objects.

use serde_json::{Value, json};

use super::{FILES, judge, objects};

/// A linear congruential generator: the same objects in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    /// Returns a value, mostly of the type of the one that it replaces.
    fn value(&mut self, old: &Value) -> Value {
        let values = [
            Value::Null,
            json!(true),
            json!(false),
            json!(0),
            json!(-1),
            json!(65_535),
            json!(65_536),
            json!(i64::MAX),
            json!(u64::MAX),
            json!(1.5),
            json!(""),
            json!("a b"),
            json!("epic"),
            json!("UDP"),
            json!("::"),
            json!("10.0.0.1"),
            json!("::/0"),
            json!("0.0.0.0/0"),
            json!("/0"),
            json!("/128"),
            json!("-"),
            json!("é\u{0}-\u{1F600}/"),
            json!("AAECAwQFBgcICQoLDA0ODw=="),
            json!([]),
            json!({}),
            json!([[]]),
            json!([null]),
            json!([{"port": 1}]),
            json!({"port": 1, "protocol": ""}),
            json!({"owning-servicegroup": "a", "epic.acnodal.io/owning-servicegroup": "b"}),
            json!({"::1": {"tunnel-id": 4_294_967_296_i64}}),
            json!("x".repeat(2000)),
        ];
        let alike = |value: &&Value| std::mem::discriminant(*value) == std::mem::discriminant(old);
        let alike: Vec<&Value> = values.iter().filter(alike).collect();
        match self.below(8) {
            0 => values[self.below(values.len())].clone(),
            _ => alike[self.below(alike.len())].clone(),
        }
    }
}

/// Collects the JSON pointers of all values below one.
fn pointers(at: &str, value: &Value, out: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (format!("{at}/{}", key.replace('/', "~1")), value)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, value)| (format!("{at}/{index}"), value)).collect()
        }
        _ => Vec::new(),
    };
    for (pointer, child) in children {
        pointers(&pointer, child, out);
        out.push(pointer);
    }
}

#[test]
fn any_value_anywhere_is_read_or_refused() {
    let goods: Vec<Value> = FILES.into_iter().flat_map(objects).collect();
    let mut dice = Dice(1);
    let (mut unreadable, mut refused, mut accepted) = (0, 0, 0);
    for _ in 0..6000 {
        let mut object = goods[dice.below(goods.len())].clone();
        for _ in 0..=dice.below(3) {
            let mut all = Vec::new();
            pointers("", &object, &mut all);
            all.retain(|pointer| pointer != "/kind");
            let pointer = &all[dice.below(all.len())];
            let place = object.pointer_mut(pointer).unwrap();
            *place = dice.value(place);
        }
        let text = object.to_string();
        let Ok(judged) = judge(object) else {
            unreadable += 1;
            continue;
        };
        // Only objects that break a rule lack a form, and a written object is read back as the same one.
        assert!(judged.reasons.is_empty() || !judged.violations.is_empty(), "{text}");
        let again = judge(with_kind(&judged.written, &text)).unwrap();
        assert_eq!(
            (again.written, again.violations.len()),
            (judged.written, judged.violations.len()),
            "{text}"
        );
        match judged.violations.is_empty() {
            true => accepted += 1,
            false => refused += 1,
        }
    }
    println!("{accepted} accepted, {refused} refused, {unreadable} unreadable");
    assert!(accepted > 500 && refused > 500 && unreadable > 500);
}

/// Gives a written object its version and kind.
fn with_kind(written: &Value, original: &str) -> Value {
    let original: Value = serde_json::from_str(original).unwrap();
    let mut written = written.clone();
    for key in ["apiVersion", "kind"] {
        written[key] = original[key].clone();
    }
    written
}
