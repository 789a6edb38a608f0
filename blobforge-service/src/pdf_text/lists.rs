//! List markers.

/// What a list item begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    Bullet,
    Number(u32),
}

const BULLETS: &[char] = &['•', '◦', '▪', '■', '□', '●', '○', '‣', '⁃', '∙', '·', '➢', '✓'];
/// These begin sentences too, so they count as bullets only with a space behind them.
const DASHES: &[char] = &['-', '–', '—', '*'];

/// Splits a line into its marker and its text.
pub(super) fn marker(line: &str) -> Option<(Marker, &str)> {
    let first = line.chars().next()?;
    let rest = &line[first.len_utf8()..];
    if BULLETS.contains(&first) {
        return Some((Marker::Bullet, rest.trim_start()));
    }
    if DASHES.contains(&first) {
        return rest.strip_prefix(' ').map(|text| (Marker::Bullet, text.trim_start()));
    }
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    // Four digits and a full stop are the end of a sentence with a year.
    if !(1..=3).contains(&digits) {
        return None;
    }
    let text = line[digits..].strip_prefix(['.', ')'])?;
    if !text.is_empty() && !text.starts_with(' ') {
        return None;
    }
    Some((Marker::Number(line[..digits].parse().ok()?), text.trim_start()))
}

/// Whether a text is a marker and nothing else.
pub(super) fn is_marker(text: &str) -> bool {
    marker(text).is_some_and(|(_, text)| text.is_empty())
        || (text.len() < 4 && DASHES.iter().any(|dash| text.chars().eq([*dash])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_told_from_text() {
        assert_eq!(marker("• Coal"), Some((Marker::Bullet, "Coal")));
        assert_eq!(marker("- Coal"), Some((Marker::Bullet, "Coal")));
        assert_eq!(marker("12. Coal"), Some((Marker::Number(12), "Coal")));
        assert_eq!(marker("3) Coal"), Some((Marker::Number(3), "Coal")));
        for text in ["-5 degrees", "1985. The flood", "3.5 barrels", "Coal", "", "12 barrels"] {
            assert_eq!(marker(text), None, "{text}");
        }
    }

    #[test]
    fn a_marker_may_stand_alone() {
        assert!(is_marker("•") && is_marker("4.") && is_marker("–"));
        assert!(!is_marker("• Coal") && !is_marker("Coal"));
    }
}
