//! Amounts of memory in Kubernetes notation: a whole number of bytes, or of a unit. Entry point: [`bytes()`].

/// The schema's pattern for the texts that [`bytes()`] accepts.
pub const PATTERN: &str = "^[1-9][0-9]*(k|M|G|T|Ki|Mi|Gi|Ti)?$";
/// Maximum length of a quantity, in characters.
pub const MAX_LENGTH: usize = 16;

const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
];

/// Returns the number of bytes, or `None` if `text` is not a quantity above zero or exceeds `u64`.
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let plain = text.len() <= MAX_LENGTH && !number.starts_with('0');
    number.parse::<u64>().ok()?.checked_mul(*factor).filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn quantities_are_bytes_with_and_without_unit_and_nothing_else() {
        for (text, expected) in [
            ("1", Some(1)),
            ("536870912", Some(512 << 20)),
            ("512Mi", Some(512 << 20)),
            ("2G", Some(2_000_000_000)),
            ("7k", Some(7_000)),
            ("3Ti", Some(3 << 40)),
            ("9999999999999Ti", None),
            ("99999999999999999", None),
            ("0", None),
            ("01Mi", None),
            ("", None),
            ("Mi", None),
            ("1.5Gi", None),
            ("-1", None),
            ("1 Mi", None),
            ("1mi", None),
            ("\u{661}Mi", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
