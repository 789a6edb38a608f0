//! What in a text of somebody else's steers whatever shows it.

/// Whether a letter steers terminals, or turns the direction of what stands around it.
pub(crate) fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
        )
}
