//! What a job may ask of the engine.

use std::{fmt, str::FromStr};

use blobforge_core::Invalid;
use serde_json::{Map, Value, json};

use crate::JobError;

/// How pages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A small model finds the blocks, the text comes from the file where it has any, and the vision model reads what is
    /// left: good on a CPU as long as most pages have text.
    Fast,
    /// The vision model finds the blocks and reads whatever is doubtful: the best result, and the work of a GPU.
    Balanced,
    /// Only the text that the file has. No vision model is asked.
    NoOcr,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Balanced, Self::NoOcr];

    /// Its name in parameters and on the command line.
    ///
    /// ```
    /// use blobforge_worker_sdk::marker::Mode;
    /// assert!(Mode::ALL.into_iter().all(|mode| mode.as_str().parse() == Ok(mode)));
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Balanced => "balanced",
            Self::NoOcr => "no-ocr",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let named = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        named.ok_or_else(|| Invalid::new("mode", format!("{text:?} is none of fast, balanced and no-ocr")))
    }
}

/// What an option may be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    YesOrNo,
    OneOf(&'static [&'static str]),
}

/// The options that go to marker as they are. Every other one is refused: among marker's own are paths of files, other
/// people's services and classes to be loaded.
const OPTIONS: &[(&str, Kind)] = &[
    ("output_format", Kind::OneOf(&["markdown", "html", "json", "chunks"])),
    ("force_ocr", Kind::YesOrNo),
    ("strip_existing_ocr", Kind::YesOrNo),
    ("ocr_inline_math", Kind::YesOrNo),
    ("paginate_output", Kind::YesOrNo),
    ("disable_image_extraction", Kind::YesOrNo),
    ("disable_links", Kind::YesOrNo),
    ("keep_pageheader_in_output", Kind::YesOrNo),
    ("keep_pagefooter_in_output", Kind::YesOrNo),
    ("html_tables_in_markdown", Kind::YesOrNo),
    ("force_layout_block", Kind::OneOf(&["Text", "Table", "Form", "Code"])),
];
/// Those that are about the work rather than the document.
const OURS: [&str; 3] = ["mode", "page_range", "allow_partial"];

/// What a job asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wish {
    /// For marker.
    pub(super) options: Map<String, Value>,
    pub(super) mode: Option<Mode>,
    page_range: Option<Vec<(u32, u32)>>,
    /// A document with holes is better than none.
    pub(super) allow_partial: bool,
}

impl Wish {
    /// Reads the parameters of a job.
    pub(super) fn of(params: &Map<String, Value>) -> Result<Self, JobError> {
        let mut wish = Self::default();
        for (name, value) in params {
            match name.as_str() {
                "mode" => wish.mode = Some(text(name, value)?.parse().map_err(refused)?),
                "page_range" => wish.page_range = Some(ranges(text(name, value)?)?),
                "allow_partial" => wish.allow_partial = yes_or_no(name, value)?,
                other => {
                    let known = OPTIONS.iter().find(|(option, _)| *option == other);
                    let (_, kind) = known.ok_or_else(|| unknown(other))?;
                    kind.check(name, value)?;
                    wish.options.insert(name.clone(), value.clone());
                }
            }
        }
        if wish.mode == Some(Mode::NoOcr) && wish.forces_ocr() {
            return Err(invalid("force_ocr and the mode no-ocr exclude each other: leave one of them out"));
        }
        Ok(wish)
    }

    /// How pages are read in a mode that others chose.
    pub(super) fn mode_for(&self, mode: Mode) -> Mode {
        match mode {
            // To read everything is more than was chosen, and what this job asks for.
            Mode::NoOcr if self.forces_ocr() => Mode::Fast,
            mode => mode,
        }
    }

    /// The pages to convert of a source with so many, counted from 0.
    pub(super) fn pages(&self, of: u32) -> Result<Vec<u32>, JobError> {
        let Some(ranges) = &self.page_range else { return Ok((0..of).collect()) };
        let mut pages: Vec<u32> = Vec::new();
        let mut ranges = ranges.clone();
        ranges.sort_unstable();
        for (first, last) in &ranges {
            if *last >= of {
                let end = of.saturating_sub(1);
                return Err(invalid(format!(
                    "page_range names page {last}, and this source has pages 0 to {end}"
                )));
            }
            // What earlier ranges had is not taken again: there are never more than the source has.
            let next = pages.last().map_or(0, |page| page + 1);
            pages.extend(*first.max(&next)..=*last);
        }
        Ok(pages)
    }

    /// Whether every page counts as one block of a kind, so that nobody has to look for blocks.
    pub(super) fn has_forced_layout(&self) -> bool {
        self.options.contains_key("force_layout_block")
    }

    /// Whether all pages are read by the vision model.
    pub(super) fn forces_ocr(&self) -> bool {
        self.options.get("force_ocr") == Some(&json!(true))
    }
}

impl Kind {
    fn check(self, name: &str, value: &Value) -> Result<(), JobError> {
        match self {
            Self::YesOrNo => yes_or_no(name, value).map(|_| ()),
            Self::OneOf(known) => {
                let text = text(name, value)?;
                if known.contains(&text) {
                    return Ok(());
                }
                Err(invalid(format!("{name} is {text:?}, and can be one of {}", known.join(", "))))
            }
        }
    }
}

fn yes_or_no(name: &str, value: &Value) -> Result<bool, JobError> {
    value.as_bool().ok_or_else(|| invalid(format!("{name} is {value}, and can be true or false")))
}

fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, JobError> {
    value.as_str().ok_or_else(|| invalid(format!("{name} is {value}, and has to be a text")))
}

/// Reads `0,5-10,20`.
fn ranges(text: &str) -> Result<Vec<(u32, u32)>, JobError> {
    let range = |piece: &str| {
        let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last).then_some((first, last))
    };
    let read: Option<Vec<_>> = text.split(',').map(range).collect();
    read.ok_or_else(|| {
        invalid(format!("page_range is {text:?}, and has to look like 0,5-10,20: pages from 0 on"))
    })
}

fn unknown(name: &str) -> JobError {
    let known: Vec<_> = OURS.into_iter().chain(OPTIONS.iter().map(|(option, _)| *option)).collect();
    invalid(format!("there is no option {name:?} here; there are {}", known.join(", ")))
}

fn refused(error: Invalid) -> JobError {
    invalid(error.to_string())
}

fn invalid(message: impl Into<String>) -> JobError {
    JobError::permanent("invalid_params", message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn wish(params: Value) -> Result<Wish, JobError> {
        Wish::of(params.as_object().unwrap())
    }

    #[test]
    fn what_is_known_is_taken() {
        let wish = wish(
            json!({"mode": "balanced", "output_format": "html", "force_ocr": true, "page_range": "2, 0-1"}),
        );
        let wish = wish.unwrap();
        assert_eq!(wish.mode, Some(Mode::Balanced));
        assert_eq!(wish.options.len(), 2, "those that are ours do not go to marker");
        assert_eq!(wish.pages(3).unwrap(), [0, 1, 2]);
        assert!(wish.forces_ocr() && !wish.has_forced_layout() && !wish.allow_partial);
    }

    #[test]
    fn what_is_not_known_is_refused_by_its_name_and_for_good() {
        let cases = [
            (json!({"llm_service": "x"}), "llm_service"),
            (json!({"config_json": "/etc/passwd"}), "config_json"),
            (json!({"processors": "os.system"}), "processors"),
            (json!({"output_format": "docx"}), "docx"),
            (json!({"force_ocr": "yes"}), "force_ocr"),
            (json!({"mode": "slow"}), "slow"),
            (json!({"mode": 3}), "mode"),
            (json!({"page_range": "5-2"}), "page_range"),
            (json!({"page_range": "-1"}), "page_range"),
            (json!({"mode": "no-ocr", "force_ocr": true}), "exclude"),
        ];
        for (params, named) in cases {
            let error = wish(params.clone()).unwrap_err();
            assert!(error.to_string().contains(named) && !error.is_retryable(), "{params}: {error}");
            assert_eq!(error.kind(), Some("invalid_params"));
        }
    }

    #[test]
    fn pages_beyond_the_end_are_refused() {
        let wish = wish(json!({"page_range": "0,5-10"})).unwrap();
        assert!(wish.pages(10).unwrap_err().to_string().contains("page 10"));
        assert_eq!(wish.pages(11).unwrap().len(), 7);
    }

    #[test]
    fn ranges_that_overlap_count_once_however_many_there_are() {
        let many = vec!["3-9,0-5"; 100_000].join(",");
        let wish = wish(json!({"page_range": many})).unwrap();
        assert_eq!(wish.pages(10).unwrap(), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn whoever_wants_everything_read_gets_that_from_a_worker_that_usually_reads_nothing() {
        let forced = wish(json!({"force_ocr": true})).unwrap();
        assert_eq!(forced.mode_for(Mode::NoOcr), Mode::Fast);
        assert_eq!(wish(json!({})).unwrap().mode_for(Mode::NoOcr), Mode::NoOcr);
    }
}
