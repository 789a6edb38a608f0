//! Pages of lists, each of which goes on after the last entry of the one before.

use std::{fmt::Display, str::FromStr};

use blobforge_core::{Timestamp, storage::MAX_PAGE};
use poem_openapi::{
    Object, Union,
    types::{ParseFromJSON, ToJSON},
};

use crate::problem::Problem;

/// How many entries a page has unless the request says otherwise.
pub(super) const USUAL_LIMIT: usize = 50;

/// A page, as it comes when `cursor` is given, even empty.
#[derive(Debug, Object)]
pub(super) struct Page<T: ParseFromJSON + ToJSON> {
    /// What is on it.
    pub(super) items: Vec<T>,
    /// What to give as `cursor` for the next page; `null` after the last one.
    pub(super) next_cursor: Option<String>,
}

/// A list that is short enough to be read whole: as earlier clients have it, or a page of it.
#[derive(Debug, Union)]
pub(super) enum List<T: ParseFromJSON + ToJSON> {
    Page(Page<T>),
    All(Vec<T>),
}

/// Which part of a list is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    /// The `next_cursor` of the page before, empty for the first page; `None` for no pages.
    pub(super) cursor: Option<String>,
    /// How many entries at most.
    pub(super) limit: Option<usize>,
}

impl Asked {
    /// The part of this list that is asked for, in the order of the places that its entries have.
    pub(super) fn of<T, K>(self, mut items: Vec<T>, place: impl Fn(&T) -> K) -> Result<List<T>, Problem>
    where
        T: ParseFromJSON + ToJSON,
        K: Ord + Display + FromStr,
    {
        let most = page_limit(self.limit, USUAL_LIMIT)?;
        items.sort_by_cached_key(&place);
        let Some(cursor) = self.cursor else {
            items.truncate(self.limit.unwrap_or(usize::MAX));
            return Ok(List::All(items));
        };
        if let Some(last) = after::<K>(&cursor)? {
            items.retain(|item| place(item) > last);
        }
        let is_more = items.len() > most;
        items.truncate(most);
        let next_cursor = items.last().filter(|_| is_more).map(|last| place(last).to_string());
        Ok(List::Page(Page { items, next_cursor }))
    }
}

/// How many entries a page has at most: `usual` unless the request says otherwise.
pub(super) fn page_limit(asked: Option<usize>, usual: usize) -> Result<usize, Problem> {
    match asked.unwrap_or(usual) {
        limit if (1..=MAX_PAGE).contains(&limit) => Ok(limit),
        _ => Err(wrong("limit", &format!("use 1 to {MAX_PAGE}"))),
    }
}

/// The place that a cursor names; `None` for the first page.
pub(super) fn after<K: FromStr>(cursor: &str) -> Result<Option<K>, Problem> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let place = cursor.parse();
    place.map(Some).map_err(|_| wrong("cursor", "use the next_cursor of the page before, or nothing"))
}

/// A parameter that says what it may not.
pub(super) fn wrong(name: &str, why: &str) -> Problem {
    Problem::bad_request("invalid_parameter", format!("{name}: {why}"))
        .hint("/docs says what each parameter may be")
        .field(name)
}

/// The place of an account among all: the oldest first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Age {
    created_at: Timestamp,
    id: String,
}

impl Age {
    pub(super) fn new(created_at: Timestamp, id: &str) -> Self {
        Self { created_at, id: id.to_owned() }
    }
}

impl Display for Age {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.created_at.as_millis(), self.id)
    }
}

impl FromStr for Age {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (millis, id) = text.split_once('-').ok_or(())?;
        let millis = millis.parse().map_err(|_| ())?;
        Ok(Self::new(Timestamp::from_millis(millis), id))
    }
}
