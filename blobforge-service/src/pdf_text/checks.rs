//! Checks before the work: what the library would choke on, and what would be half a document.

use std::collections::HashSet;

use pdf_oxide::PdfDocument;
use pdf_oxide::object::ObjectRef;

use super::refusal::Refusal;

/// Where the header may stand, as all readers have it.
const HEADER_WITHIN: usize = 1024;
/// Where the end of the file must be marked. Some files carry a good deal after it.
const END_WITHIN: usize = 64 * 1024;
/// No writer nests this deep; the library's parser recurses once for each level.
const NESTING_MAX: usize = 2_000;
/// The page tree of an honest document is a few levels deep.
const TREE_DEPTH_MAX: usize = 64;
/// A file that was changed and saved many times holds old pages too.
const PAGE_OBJECTS_PER_PAGE: usize = 5;

/// Looks at the bytes.
pub(super) fn bytes(bytes: &[u8], pages_max: usize) -> Result<(), Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::empty());
    }
    let head = &bytes[..bytes.len().min(HEADER_WITHIN)];
    if !contains(head, b"%PDF-") {
        return Err(Refusal::not_a_pdf(head));
    }
    // The library would rebuild what it can, and half a document would pass for a whole one.
    let end = &bytes[bytes.len().saturating_sub(END_WITHIN)..];
    if !contains(end, b"startxref") && !contains(end, b"%%EOF") {
        return Err(Refusal::cut_off());
    }
    if nests_too_deeply(bytes) {
        return Err(Refusal::nested_too_deeply());
    }
    if page_objects(bytes) > PAGE_OBJECTS_PER_PAGE * pages_max {
        return Err(Refusal::too_many_pages(pages_max));
    }
    Ok(())
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Counts arrays and dictionaries that open and do not close. Compressed data has as many of either, on average, and
/// every `obj` starts afresh, so that no honest file comes near the limit.
fn nests_too_deeply(bytes: &[u8]) -> bool {
    let mut depth = 0_usize;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'[' | b'<' => depth += 1,
            b']' | b'>' => depth = depth.saturating_sub(1),
            b'o' if bytes[at..].starts_with(b"obj") => depth = 0,
            _ => {}
        }
        if depth > 2 * NESTING_MAX {
            return true;
        }
    }
    false
}

/// Counts what look like pages, to refuse the worst before the library reads a million objects.
fn page_objects(bytes: &[u8]) -> usize {
    let name = b"/Page";
    let names = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    names
        .filter(|(at, _)| bytes[*at..].starts_with(name))
        .filter(|(at, _)| bytes.get(at + name.len()).is_none_or(|next| !next.is_ascii_alphanumeric()))
        .count()
}

/// Counts the pages by walking the tree, which neither loops nor lies can lead astray.
pub(super) fn pages(document: &PdfDocument, limit: usize) -> Result<usize, Refusal> {
    let catalog = document.catalog().map_err(|error| Refusal::of(&error))?;
    let root = catalog
        .as_dict()
        .and_then(|catalog| catalog.get("Pages"))
        .and_then(pdf_oxide::object::Object::as_reference)
        .ok_or_else(|| Refusal::damaged("its catalog names no pages"))?;
    let mut pages = 0;
    let mut seen: HashSet<ObjectRef> = HashSet::new();
    let mut waiting = vec![(root, 0)];
    while let Some((node, depth)) = waiting.pop() {
        if depth > TREE_DEPTH_MAX {
            return Err(Refusal::nested_too_deeply());
        }
        let Ok(object) = document.load_object(node) else {
            // A page that is missing is counted, so that its absence shows in the result.
            pages += 1;
            continue;
        };
        let Some(dictionary) = object.as_dict() else {
            pages += 1;
            continue;
        };
        let Some(kids) = dictionary.get("Kids").map(|kids| document.resolve_object(kids)) else {
            pages += 1;
            if pages > limit {
                return Err(Refusal::too_many_pages(limit));
            }
            continue;
        };
        if !seen.insert(node) {
            return Err(Refusal::damaged("its page tree leads back to itself"));
        }
        // A root that claims too many is believed: walking them all would only take longer.
        let claimed = dictionary.get("Count").and_then(pdf_oxide::object::Object::as_integer).unwrap_or(0);
        let kids = kids.map_err(|error| Refusal::of(&error))?;
        let kids = kids.as_array().map_or(&[][..], |kids| &kids[..]);
        if claimed > limit as i64 || pages + waiting.len() + kids.len() > limit + TREE_DEPTH_MAX {
            return Err(Refusal::too_many_pages(limit));
        }
        let below = kids.iter().filter_map(pdf_oxide::object::Object::as_reference);
        waiting.extend(below.map(|kid| (kid, depth + 1)));
    }
    if pages == 0 {
        return Err(Refusal::damaged("it has no pages"));
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_of_a_whole_pdf_are_asked_for() {
        assert_eq!(bytes(b"", 10).unwrap_err().kind, "empty_file");
        assert_eq!(bytes(b"hello", 10).unwrap_err().kind, "not_a_pdf");
        assert_eq!(bytes(b"%PDF-1.4\n1 0 obj\n", 10).unwrap_err().kind, "damaged");
        assert_eq!(bytes(b"\n\n%PDF-1.4\n1 0 obj\nendobj startxref 9 %%EOF", 10), Ok(()));
    }

    #[test]
    fn deep_nesting_is_refused_and_closed_nesting_is_not() {
        assert!(nests_too_deeply(&[b'['; 10_000]));
        assert!(!nests_too_deeply(&b"[]".repeat(10_000)));
        assert!(!nests_too_deeply(&b"1 0 obj [[[".repeat(10_000)));
    }

    #[test]
    fn more_pages_than_any_history_explains_are_refused() {
        let file = |pages| {
            [b"%PDF-1.4\n".to_vec(), b"<</Type/Page>> /Pages ".repeat(pages), b"startxref".to_vec()].concat()
        };
        assert_eq!(bytes(&file(50), 10), Ok(()));
        assert_eq!(bytes(&file(51), 10).unwrap_err().kind, "too_many_pages");
    }
}
