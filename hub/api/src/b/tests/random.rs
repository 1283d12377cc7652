//! Random values at random places of good objects.

use serde_json::{Value, json};

use super::{judge, mk_route, mk_rule, mk_service, mk_target};

/// A linear congruential generator: the same objects in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn value(&mut self) -> Value {
        let values = [
            Value::Null,
            json!(true),
            json!(0),
            json!(-1),
            json!(65_536),
            json!(1.5),
            json!(""),
            json!("a b"),
            json!("/x"),
            json!("UDP"),
            json!([]),
            json!({}),
            json!([[]]),
            json!([null]),
            json!({"spec": null}),
            json!({"UDP": {"port": 1}}),
            json!({"op": "not", "apply": [{}]}),
            json!({"cluster": {}}),
            json!({"path": "a", "set": 1}),
            json!("x".repeat(2000)),
        ];
        values[self.below(values.len())].clone()
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
fn any_value_anywhere_is_accepted_with_a_form_or_refused() {
    let mut dice = Dice(1);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let goods = [mk_service(), mk_target(), mk_route(), mk_rule()];
        let mut object = goods[dice.below(goods.len())].clone();
        for _ in 0..=dice.below(3) {
            let mut all = Vec::new();
            pointers("", &object["spec"], &mut all);
            if all.is_empty() {
                break;
            }
            let pointer = format!("/spec{}", all[dice.below(all.len())]);
            *object.pointer_mut(&pointer).unwrap() = dice.value();
        }
        let text = object.to_string();
        let (violations, reasons) = judge(object);
        assert_eq!(violations.is_empty(), reasons.is_empty(), "{text}: {violations:?}, {reasons:?}");
        accepted += usize::from(violations.is_empty());
    }
    assert!((200..19_000).contains(&accepted), "{accepted} accepted");
}
