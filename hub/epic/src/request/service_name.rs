//! The names of the LoadBalancers that clients order: [`service_name`].

use xxhash_rust::xxh3::xxh3_64;

/// Maximum length of a name in bytes. Labels of other objects repeat it, and label values have at most 63.
const MOST: usize = 63;

/// Length of the text before the hash in a shortened name: a `-` and 16 digits follow.
const KEPT: usize = MOST - 17;

/// Returns the name of a new LoadBalancer's object: `<group>-<name>` if the group's load balancers can be shared, else
/// `<group>-<name>-<digits>` with 16 hexadecimal digits, so that each order gets one of its own (seed C.5).
///
/// `group` and `name` are DNS names, and so is the result. A result of more than 63 characters is shortened, and a hash of
/// the group, the name and the digits takes the place of its end. So different orders still have different names.
pub fn service_name(group: &str, name: &str, can_be_shared: bool, digits: u64) -> String {
    let end = if can_be_shared { String::new() } else { format!("-{digits:016x}") };
    let whole = format!("{group}-{name}{end}");
    if whole.len() <= MOST {
        return whole;
    }
    // The slash keeps ("a-b", "c") and ("a", "b-c") apart.
    let hash = xxh3_64(format!("{group}/{name}/{end}").as_bytes());
    let kept = whole.get(..KEPT).unwrap_or_default().trim_end_matches(['-', '.']);
    format!("{kept}-{hash:016x}")
}
