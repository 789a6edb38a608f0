//! What somebody types into the one field, and what is meant by it.

use blobforge_core::{HashBeginning, JobId};

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sought {
    /// The job with this number.
    Job(JobId),
    /// The jobs of a source whose hash begins so.
    Hash(HashBeginning),
    /// The jobs with this tag.
    Tag(String),
    /// The jobs with this text in a name or the last error.
    Text(String),
}

impl Sought {
    /// What is meant: a number is a job's, eight or more hexadecimal digits are a hash, and `tag:`, `hash:` and `text:` say
    /// so themselves. `None` of nothing.
    pub(super) fn parse(typed: &str) -> Option<Self> {
        let typed = typed.trim();
        if let Some((word, rest)) = typed.split_once(':') {
            let rest = rest.trim().to_owned();
            match word {
                "tag" if !rest.is_empty() => return Some(Self::Tag(rest)),
                "text" if !rest.is_empty() => return Some(Self::Text(rest)),
                "hash" => return Some(rest.parse().map_or(Self::Text(rest), Self::Hash)),
                _ => {}
            }
        }
        let number = typed.strip_prefix('#').unwrap_or(typed);
        if number.len() < 64
            && number.bytes().all(|digit| digit.is_ascii_digit())
            && let Ok(number) = number.parse()
        {
            return Some(Self::Job(JobId::new(number)));
        }
        match typed.parse() {
            Ok(hash) => Some(Self::Hash(hash)),
            Err(_) => (!typed.is_empty()).then(|| Self::Text(typed.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_understood() {
        let job = |number| Some(Sought::Job(JobId::new(number)));
        let hash = |text: &str| Some(Sought::Hash(text.parse().unwrap()));
        let (tag, text) = (|t: &str| Some(Sought::Tag(t.into())), |t: &str| Some(Sought::Text(t.into())));
        for (typed, meant) in [
            ("", None),
            ("  ", None),
            ("17", job(17)),
            (" #17 ", job(17)),
            ("12345678", job(12_345_678)),
            ("hash:12345678", hash("12345678")),
            ("9f86d081", hash("9f86d081")),
            ("decade", text("decade")),
            ("tag: rulebooks", tag("rulebooks")),
            ("tag:", text("tag:")),
            ("text:17", text("17")),
            ("hash:xyz", text("xyz")),
            ("C:\\books", text("C:\\books")),
            ("99999999999999999999999", hash("99999999999999999999999")),
        ] {
            assert_eq!(Sought::parse(typed), meant, "{typed:?}");
        }
    }
}
