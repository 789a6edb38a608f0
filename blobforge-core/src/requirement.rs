//! What a job asks of the worker that runs it, and whether a worker's labels answer.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Invalid;

/// The most requirements of a job.
///
/// ```
/// use blobforge_core::{MAX_REQUIREMENTS, NewJob};
/// let wants = |job: NewJob, n| job.requires(format!("label{n}").parse().unwrap());
/// let greedy = (0..=MAX_REQUIREMENTS).fold(NewJob::new("pdf").unwrap(), wants);
/// assert_eq!(greedy.validate().unwrap_err().field, "requires");
/// ```
pub const MAX_REQUIREMENTS: usize = 16;
/// The most labels of a worker.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{JobType, MAX_LABELS, Registration, WorkerId};
/// let (smith, pdf) = (WorkerId::new("smith").unwrap(), JobType::new("pdf").unwrap());
/// let mut registration = Registration::new(smith, [pdf], "drawn at the start");
/// registration.labels = (0..=MAX_LABELS).map(|n| (format!("label{n}"), true.into())).collect();
/// assert!(queue.register(registration).await.unwrap_err().to_string().starts_with("labels: "));
/// # });
/// ```
pub const MAX_LABELS: usize = 64;
/// The most bytes of a label's name.
///
/// ```
/// use blobforge_core::{MAX_LABEL_BYTES, Requirement};
/// assert!("x".repeat(MAX_LABEL_BYTES).parse::<Requirement>().is_ok());
/// assert!("x".repeat(MAX_LABEL_BYTES + 1).parse::<Requirement>().is_err());
/// ```
pub const MAX_LABEL_BYTES: usize = 64;
/// The most bytes of a label's value, as JSON: a word counts with its quotes.
///
/// ```
/// use blobforge_core::{MAX_LABEL_VALUE_BYTES, Requirement};
/// let engine = |bytes| format!("engine = {}", "x".repeat(bytes)).parse::<Requirement>();
/// assert!(engine(MAX_LABEL_VALUE_BYTES - 2).is_ok() && engine(MAX_LABEL_VALUE_BYTES - 1).is_err());
/// ```
pub const MAX_LABEL_VALUE_BYTES: usize = 1024;

/// One thing that a job asks of its worker's labels, such as `vram_gb >= 24`.
///
/// | written | holds when the worker's label |
/// |---|---|
/// | `gpu` | is there, and is not `false` |
/// | `engine = marker` | is that, or is a list that has it |
/// | `engine != marker` | is there, and is neither |
/// | `vram_gb >= 24`, `<=`, `>`, `<` | is a number, and compares so |
///
/// A value is a number, `true`, `false`, or text, in quotes if it is anything but one plain word.
///
/// ```
/// use blobforge_core::Requirement;
/// use serde_json::json;
/// let asks: Requirement = "vram_gb >= 24".parse().unwrap();
/// assert!(asks.is_met_by(json!({"vram_gb": 48}).as_object().unwrap()));
/// assert!(!asks.is_met_by(json!({"gpu": true}).as_object().unwrap()));
/// assert!("vram_gb ~ 24".parse::<Requirement>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Requirement {
    label: String,
    asks: Asks,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asks {
    Present,
    Is(Value),
    IsNot(Value),
    Number(Comparison, serde_json::Number),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// The operators, longer ones first, so that `>=` is not read as `>`.
const OPERATORS: [&str; 6] = [">=", "<=", "!=", ">", "<", "="];

impl Requirement {
    /// Whether a worker with these labels can do it.
    ///
    /// As in [`Requirement`].
    pub fn is_met_by(&self, labels: &Map<String, Value>) -> bool {
        let Some(found) = labels.get(&self.label) else { return false };
        match &self.asks {
            Asks::Present => *found != Value::Bool(false) && !found.is_null(),
            Asks::Is(wanted) => has(found, wanted),
            Asks::IsNot(unwanted) => !has(found, unwanted),
            Asks::Number(comparison, bound) => match (found.as_f64(), bound.as_f64()) {
                (Some(found), Some(bound)) => match comparison {
                    Comparison::AtLeast => found >= bound,
                    Comparison::AtMost => found <= bound,
                    Comparison::Above => found > bound,
                    Comparison::Below => found < bound,
                },
                _ => false,
            },
        }
    }
}

/// Whether a label is a value, or a list that has it. Numbers are compared as numbers: 24 is 24.0.
fn has(found: &Value, wanted: &Value) -> bool {
    match found {
        Value::Array(several) => several.iter().any(|one| has(one, wanted)),
        Value::Number(_) => found.as_f64() == wanted.as_f64(),
        plain => plain == wanted,
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = &self.label;
        match &self.asks {
            Asks::Present => f.write_str(label),
            Asks::Is(value) => write!(f, "{label} = {value}"),
            Asks::IsNot(value) => write!(f, "{label} != {value}"),
            Asks::Number(comparison, bound) => {
                let sign = match comparison {
                    Comparison::AtLeast => ">=",
                    Comparison::AtMost => "<=",
                    Comparison::Above => ">",
                    Comparison::Below => "<",
                };
                write!(f, "{label} {sign} {bound}")
            }
        }
    }
}

impl FromStr for Requirement {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| {
            let examples = "write it like `gpu`, `vram_gb >= 24`, `engine = marker` or `engine != marker`";
            Invalid::new("requires", format!("{text:?} is no requirement: {why}; {examples}"))
        };
        let label_ends = text.find(|c| !is_label_char(c)).unwrap_or(text.len());
        // Leading spaces are no part of a label, but nobody means anything by them.
        let (label, rest) = match text.trim_start() {
            trimmed if trimmed.len() != text.len() => return trimmed.parse(),
            _ => text.split_at(label_ends),
        };
        if label.is_empty() || label.len() > MAX_LABEL_BYTES {
            return Err(wrong("it begins with no label of 1 to 64 letters, digits, '_', '-' and '.'"));
        }
        let rest = rest.trim();
        if rest.is_empty() {
            return Ok(Self { label: label.to_owned(), asks: Asks::Present });
        }
        let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)) else {
            return Err(wrong("its operator is none of = != >= <= > <"));
        };
        let value = value(rest[operator.len()..].trim()).map_err(wrong)?;
        let comparison = match operator {
            "=" => return Ok(Self { label: label.to_owned(), asks: Asks::Is(value) }),
            "!=" => return Ok(Self { label: label.to_owned(), asks: Asks::IsNot(value) }),
            ">=" => Comparison::AtLeast,
            "<=" => Comparison::AtMost,
            ">" => Comparison::Above,
            _ => Comparison::Below,
        };
        match value {
            Value::Number(bound) => {
                Ok(Self { label: label.to_owned(), asks: Asks::Number(comparison, bound) })
            }
            _ => Err(wrong("only numbers can be compared")),
        }
    }
}

fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn value(text: &str) -> Result<Value, &'static str> {
    if text.is_empty() {
        return Err("it names no value");
    }
    if text.len() > MAX_LABEL_VALUE_BYTES {
        return Err("its value is too long");
    }
    let value = match serde_json::from_str(text) {
        Ok(plain @ (Value::Bool(_) | Value::Number(_) | Value::String(_))) => plain,
        Ok(_) => return Err("its value is no number, word or text in quotes"),
        Err(_) if text.chars().all(is_label_char) => Value::String(text.to_owned()),
        Err(_) => return Err("a value that is not one plain word stands in double quotes"),
    };
    // As it is kept, in quotes: what does not fit so could not be read again.
    if value.to_string().len() > MAX_LABEL_VALUE_BYTES {
        return Err("its value is too long");
    }
    Ok(value)
}

impl TryFrom<String> for Requirement {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Requirement> for String {
    fn from(requirement: Requirement) -> Self {
        requirement.to_string()
    }
}

/// All that a job asks of its worker; every one has to be met. The order in which they are given means nothing.
///
/// ```
/// use blobforge_core::Requirements;
/// use serde_json::json;
/// let mut asks = Requirements::parse(["vram_gb >= 24", "gpu"]).unwrap();
/// assert_eq!(asks.to_string(), "gpu, vram_gb >= 24");
/// asks.push("gpu".parse().unwrap());
/// assert_eq!(asks.len(), 2, "the same again asks for nothing more");
/// let (able, unable) = (json!({"gpu": true, "vram_gb": 48}), json!({"gpu": true}));
/// assert!(asks.are_met_by(able.as_object().unwrap()) && !asks.are_met_by(unable.as_object().unwrap()));
/// assert!(asks.iter().any(|one| one.is_met_by(unable.as_object().unwrap())));
/// assert!(Requirements::default().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Requirement>")]
#[serde(into = "Vec<Requirement>")]
pub struct Requirements(Vec<Requirement>);

impl Requirements {
    /// Reads each of these texts as a [`Requirement`].
    ///
    /// As in [`Requirements`].
    ///
    /// # Errors
    /// The first text that is none, and how one is written.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, Invalid> {
        let all =
            texts.into_iter().map(|text| text.as_ref().parse()).collect::<Result<Vec<Requirement>, _>>()?;
        Ok(all.into())
    }

    /// Whether nothing is asked, so that every worker will do.
    ///
    /// As in [`Requirements`].
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in order of their text.
    ///
    /// As in [`Requirements`].
    pub fn iter(&self) -> std::slice::Iter<'_, Requirement> {
        self.0.iter()
    }

    /// How many there are.
    ///
    /// As in [`Requirements`].
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds one more; one that is there already changes nothing.
    ///
    /// As in [`Requirements`].
    pub fn push(&mut self, requirement: Requirement) {
        self.0.push(requirement);
        *self = std::mem::take(&mut self.0).into();
    }

    /// Whether a worker with these labels can do it.
    ///
    /// As in [`Requirements`].
    pub fn are_met_by(&self, labels: &Map<String, Value>) -> bool {
        self.0.iter().all(|requirement| requirement.is_met_by(labels))
    }
}

/// Sorted and without repetition, so that what means the same is the same.
impl From<Vec<Requirement>> for Requirements {
    fn from(mut all: Vec<Requirement>) -> Self {
        all.sort_by_cached_key(ToString::to_string);
        all.dedup();
        Self(all)
    }
}

impl From<Requirements> for Vec<Requirement> {
    fn from(requirements: Requirements) -> Self {
        requirements.0
    }
}

impl fmt::Display for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            fmt::Display::fmt(requirement, f)?;
        }
        Ok(())
    }
}

/// Checks what a worker says that it offers.
///
/// # Errors
/// When there are too many labels, or one has a name or value that no requirement could speak of.
pub(crate) fn check_labels(labels: &Map<String, Value>) -> Result<(), Invalid> {
    let refuse = |reason: String| Err(Invalid::new("labels", reason));
    if labels.len() > MAX_LABELS {
        return refuse(format!("{} labels are too many: at most {MAX_LABELS}", labels.len()));
    }
    for (name, value) in labels {
        if name.is_empty() || name.len() > MAX_LABEL_BYTES || !name.chars().all(is_label_char) {
            return refuse(format!(
                "{name:?} is no label: use 1 to {MAX_LABEL_BYTES} letters, digits, '_', '-' and '.'"
            ));
        }
        let plain = |value: &Value| matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_));
        let fits = match value {
            Value::Array(several) => several.iter().all(plain),
            single => plain(single),
        };
        if !fits || value.to_string().len() > MAX_LABEL_VALUE_BYTES {
            return refuse(format!(
                "the label {name:?} has to be a number, true, false, text, or a list of these, in at most {MAX_LABEL_VALUE_BYTES} bytes"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy as _;
    use serde_json::json;

    use super::*;

    fn met(requirement: &str, labels: &Value) -> bool {
        requirement.parse::<Requirement>().unwrap().is_met_by(labels.as_object().unwrap())
    }

    #[test]
    fn each_operator_compares() {
        let labels = json!({"gpu": true, "vram_gb": 24, "engine": ["marker", "docling"], "zone": "eu-1", "cuda": false});
        for yes in [
            "gpu",
            "gpu = true",
            "vram_gb",
            "vram_gb = 24.0",
            "vram_gb >= 24",
            "vram_gb <= 24",
            "vram_gb > 23.5",
            "vram_gb < 25",
            "engine = marker",
            "engine = \"docling\"",
            "engine != tesseract",
            "zone = eu-1",
            "  zone=eu-1 ",
            "cuda = false",
        ] {
            assert!(met(yes, &labels), "{yes}");
        }
        for no in [
            "cuda",
            "memory_gb",
            "memory_gb != 1",
            "vram_gb > 24",
            "vram_gb < 24",
            "vram_gb >= 24.5",
            "engine != marker",
            "engine >= 1",
            "zone = EU-1",
            "gpu = \"true\"",
        ] {
            assert!(!met(no, &labels), "{no}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        for (text, why) in [
            ("", "label"),
            (">= 3", "label"),
            ("vram_gb ~ 3", "operator"),
            ("vram_gb >=", "value"),
            ("vram_gb >= many", "numbers"),
            ("engine = two words", "quotes"),
            ("engine = [1]", "no number"),
            (&"x".repeat(65), "label"),
        ] {
            let refused = text.parse::<Requirement>().unwrap_err();
            assert!(refused.to_string().contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn the_text_of_a_requirement_reads_back() {
        for text in
            ["gpu", "a = 1", "a != \"two words\"", "a >= 24", "a <= 0.5", "a > 1", "a < 2", "a = true"]
        {
            let read: Requirement = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
            assert_eq!(read.to_string().parse::<Requirement>().unwrap(), read);
        }
        let word: Requirement = "engine=marker".parse().unwrap();
        assert_eq!(word.to_string(), "engine = \"marker\"");
        assert_eq!(word.to_string().parse::<Requirement>().unwrap(), word);
    }

    proptest::proptest! {
        #[test]
        fn whatever_can_be_written_reads_back(
            label in "[a-z0-9_.-]{1,64}",
            operator in proptest::sample::select(OPERATORS.to_vec()),
            value in proptest::prop_oneof![
                "[a-zA-Z0-9_.-]{1,12}",
                "[a-z]{1020,1024}",
                "\\PC{0,20}".prop_map(|text| serde_json::to_string(&text).unwrap()),
                proptest::num::f64::NORMAL.prop_map(|number| json!(number).to_string()),
                proptest::num::i64::ANY.prop_map(|number| number.to_string()),
            ],
        ) {
            if let Ok(read) = format!("{label} {operator} {value}").parse::<Requirement>() {
                proptest::prop_assert_eq!(read.to_string().parse::<Requirement>(), Ok(read));
            }
        }
    }

    #[test]
    fn order_and_repetition_mean_nothing() {
        let one = Requirements::parse(["b", "a >= 2", "b"]).unwrap();
        assert_eq!(one, Requirements::parse(["a >= 2", "b"]).unwrap());
    }

    #[test]
    fn labels_that_nothing_could_ask_for_are_refused() {
        let labels = |value: Value| check_labels(value.as_object().unwrap());
        assert!(labels(json!({"gpu": true, "vram_gb": 24, "engine": ["a", "b"]})).is_ok());
        assert!(labels(json!({"two words": 1})).is_err());
        assert!(labels(json!({"nested": {"a": 1}})).is_err());
        assert!(labels(json!({"nothing": null})).is_err());
        assert!(labels(json!({"long": "x".repeat(2000)})).is_err());
        let many: Map<_, _> = (0..65).map(|n| (format!("l{n}"), json!(1))).collect();
        assert!(check_labels(&many).is_err());
    }
}
