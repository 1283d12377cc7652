//! Fields that can be spelt in two ways: [`either`].

use crate::violation::Checks;

/// A spelling of a field: its path and its value.
pub(super) type Spelling<'a, T> = (&'static str, Option<&'a T>);

/// Returns the spelling that is given, `None` if neither is. Both at once is a violation, and `None` too.
pub(super) fn either<'a, T: ?Sized>(
    checks: &mut Checks,
    of: (&str, &str),
    one: Spelling<'a, T>,
    other: Spelling<'a, T>,
) -> Option<(&'static str, &'a T)> {
    let (path, rule) = of;
    checks.must(one.1.is_none() || other.1.is_none(), path, rule);
    match (one, other) {
        ((path, Some(value)), (_, None)) | ((_, None), (path, Some(value))) => Some((path, value)),
        _ => None,
    }
}
