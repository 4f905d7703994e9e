//! A size as people type it: `1GiB`, `500M`.

use std::{fmt, str::FromStr};

/// So many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor = UNITS.iter().find(|(name, _)| *name == unit.trim_start().trim_end_matches('B'));
        let bytes =
            number.parse::<u64>().ok().zip(factor).and_then(|(number, (_, factor))| number.checked_mul(*factor));
        match bytes {
            Some(bytes) if bytes > 0 => Ok(Self(bytes)),
            _ => Err("a size is a whole number above 0 with a unit, such as 1GiB, 500MiB or 2GB".to_owned()),
        }
    }
}

/// In the largest unit that leaves it whole.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS.iter().rfind(|(_, factor)| self.0.is_multiple_of(*factor)).unwrap_or(&UNITS[0]);
        write!(f, "{}{unit}B", self.0 / factor)
    }
}

/// As Kubernetes and the IEC have them, the smallest first; a B may follow.
const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("k", 1_000),
    ("Ki", 1 << 10),
    ("M", 1_000_000),
    ("Mi", 1 << 20),
    ("G", 1_000_000_000),
    ("Gi", 1 << 30),
    ("T", 1_000_000_000_000),
    ("Ti", 1 << 40),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_units_of_kubernetes_with_or_without_a_b() {
        let sizes =
            [("1GiB", 1 << 30), ("1Gi", 1 << 30), ("500MB", 500_000_000), ("2 MiB", 2 << 20), ("7", 7), ("7B", 7)];
        for (text, bytes) in sizes {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "0", "0GiB", "GiB", "-1", "1.5GiB", "1Xi", "1giB", "99999999TiB", "99999999999999999999"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_is_shown_as_it_would_be_typed() {
        for text in ["1GiB", "500MB", "7B", "1536MiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
    }
}
