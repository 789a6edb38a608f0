//! Every public item of the core is shown by an example that runs, its own or that of an item which its documentation
//! names: "As in [`Queue::submit`]".

use super::{Source, has_word, read, sources};

/// Public items that show nothing by themselves, and why.
const WITHOUT_EXAMPLE: [(&str, &str); 4] = [
    ("Halted", "no public function gives one: what a program waits for is Queue::halted"),
    ("MAX_FAILURE_GROUPS", "it takes a thousand kinds of failure to meet it"),
    ("MAX_CHECKPOINTS", "it takes a thousand checkpoints to meet it"),
    ("MAX_EXAMINED", "it takes ten thousand jobs to meet it"),
];

/// A public item, as far as a reader of its documentation is concerned.
#[derive(Default)]
struct Item {
    path: String,
    /// `Queue::submit` for what belongs to a type, `Queue` for what stands alone.
    name: String,
    /// What its documentation says, line by line.
    docs: Vec<String>,
    /// The public fields of a struct.
    fields: Vec<String>,
    is_macro: bool,
}

impl Item {
    /// The code in its documentation, as far as readers see it.
    fn code(&self) -> String {
        let mut inside = false;
        let mut code = String::new();
        for line in &self.docs {
            if line.starts_with("```") {
                inside = !inside;
            } else if inside && !line.starts_with("# ") {
                code.extend([line.as_str(), "\n"]);
            }
        }
        code
    }

    /// Whether its own documentation has code that is run and would fail if the item did something else. A macro's makes
    /// tests of its own.
    fn has_example(&self) -> bool {
        let code = self.code();
        code.contains("assert") || (self.is_macro && !code.is_empty())
    }

    /// Whose examples show this item too, as its documentation says: "As in [`Queue::submit`]".
    fn shown_in(&self) -> Vec<String> {
        let docs = self.docs.join(" ");
        let links = |rest: &str| -> Vec<String> {
            let sentence = rest.split(". ").next().unwrap();
            sentence.split("[`").skip(1).map(|link| link.split('`').next().unwrap().to_owned()).collect()
        };
        docs.split("As in ").skip(1).flat_map(links).collect()
    }

    /// Whether some code shows this item: names it, calls it, or reads a field of it.
    fn is_shown(&self, code: &str) -> bool {
        let fields = || self.fields.iter().any(|field| has_word(code, &format!(".{field}")));
        match self.name.split_once("::") {
            None => has_word(code, &self.name) || fields(),
            Some((_, name)) => {
                let calls =
                    [self.name.clone(), format!(".{name}"), format!("const {name}"), format!("fn {name}")];
                calls.iter().any(|call| has_word(code, call))
            }
        }
    }
}

/// What is public in a source, in the order of its lines. It is formatted, so that how far a line is indented says what
/// it belongs to; and what is `pub` can be reached from outside, or the compiler warns.
fn items(path: &str, text: &str) -> Vec<Item> {
    let mut found: Vec<Item> = Vec::new();
    let (mut docs, mut owner, mut in_trait, mut exported) = (Vec::new(), None, false, false);
    for line in text.lines() {
        let member = line.starts_with("    ") && !line.starts_with("     ");
        let code = line.trim_start();
        if line == "mod tests {" {
            break;
        }
        if let Some(said) = code.strip_prefix("///") {
            docs.push(said.strip_prefix(' ').unwrap_or(said).to_owned());
            continue;
        }
        if code.starts_with("#[") || code.starts_with("//") {
            exported |= code == "#[macro_export]";
            continue;
        }
        let (docs, exported) = (std::mem::take(&mut docs), std::mem::take(&mut exported));
        if !member && line.starts_with("impl") {
            owner = implements(line);
        } else if line == "}" {
            (owner, in_trait) = (None, false);
        }
        let public = code.strip_prefix("pub ").or((in_trait && member).then_some(code));
        let declared = public.or(exported.then_some(code)).and_then(declared);
        if let Some((kind, name)) = declared.filter(|_| member == owner.is_some()) {
            let full = owner.iter().chain([&name]).cloned().collect::<Vec<_>>().join("::");
            let is_macro = kind == "macro_rules!";
            found.push(Item { path: path.to_owned(), name: full, docs, is_macro, ..Item::default() });
            if matches!(kind, "struct" | "trait") && line.ends_with('{') {
                (owner, in_trait) = (Some(name), kind == "trait");
            }
        } else if let (true, Some(field)) = (member, code.strip_prefix("pub "))
            && let Some((field, _)) = field.split_once(": ")
            && let Some(item) = found.last_mut()
        {
            item.fields.push(field.to_owned());
        }
    }
    found
}

/// The type that a block gives functions to; none if they are those of a trait.
fn implements(line: &str) -> Option<String> {
    let of = line.strip_prefix("impl")?;
    // What it is generic over does not matter here, and is short.
    let of = if of.starts_with('<') { of.split_once("> ")?.1 } else { of.trim_start() };
    (!of.contains(" for ")).then(|| first_name(of).to_owned())
}

/// What kind of item a declaration makes, and its name. An alias is only another name.
fn declared(code: &str) -> Option<(&str, String)> {
    let code = code.strip_prefix("async ").unwrap_or(code);
    let (kind, rest) = code.split_once(' ')?;
    matches!(kind, "struct" | "enum" | "trait" | "fn" | "const" | "macro_rules!")
        .then(|| (kind, first_name(rest).to_owned()))
}

fn first_name(code: &str) -> &str {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    &code[..code.find(|c| !is_part(c)).unwrap_or(code.len())]
}

/// The public items of the core. The cases of its conformance suites are tests: their names say what they show.
fn public_items() -> Vec<Item> {
    let of_source = |source: Source| {
        let text = read(&source.path);
        let cases = source.path.contains("/conformance/");
        let is_case = |item: &Item| !item.is_macro && item.docs.is_empty();
        items(&source.path, &text).into_iter().filter(move |item| !cases || !is_case(item))
    };
    sources(&["blobforge-core/src"])
        .into_iter()
        .filter(|s| s.path.ends_with(".rs"))
        .flat_map(of_source)
        .collect()
}

#[test]
fn every_public_item_has_an_example() {
    let all = public_items();
    assert!(all.len() > 300, "only {} public items were found: repair the check", all.len());
    let excepted = |item: &Item| WITHOUT_EXAMPLE.iter().any(|(name, _)| *name == item.name);
    let shown = |item: &Item| {
        let links = item.shown_in();
        let named = |by: &&Item| {
            links.iter().any(|link| *link == by.name || link.ends_with(&format!("::{}", by.name)))
        };
        item.has_example() || all.iter().filter(named).any(|by| by.has_example() && item.is_shown(&by.code()))
    };
    let lacking: Vec<String> = all
        .iter()
        .filter(|item| !shown(item) && !excepted(item))
        .map(|item| format!("  {} in {}", item.name, item.path))
        .collect();
    assert!(
        lacking.is_empty(),
        "{} public items have no example that asserts something. Write one of 3 to 10 lines, or say \"As in [`Other`]\" \
         where Other's example shows the item:\n{}",
        lacking.len(),
        lacking.join("\n")
    );
    for (name, _) in WITHOUT_EXAMPLE {
        let needed = all.iter().any(|item| item.name == name && !shown(item));
        assert!(needed, "{name} needs no exception any more: remove it");
    }
}

#[test]
fn the_front_door_opens_with_an_example() {
    let text = read("blobforge-core/src/lib.rs");
    let door = text.lines().map_while(|line| line.strip_prefix("//!"));
    let docs = door.map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned()).collect();
    let door = Item { docs, ..Item::default() };
    assert!(door.has_example(), "blobforge-core/src/lib.rs begins with no example");
}

#[test]
fn every_example_is_run() {
    for source in sources(&["blobforge-core/src"]) {
        for line in read(&source.path).lines().map(str::trim_start) {
            let fence = line.strip_prefix("/// ```").or(line.strip_prefix("//! ```"));
            assert!(fence.is_none_or(str::is_empty), "{}: {line}: an example compiles and runs", source.path);
        }
    }
}

#[test]
fn the_check_for_examples_sees_what_lacks_one() {
    let text = r"
/// Shown.
///
/// ```
/// assert!(queue.add(1).is_ok());
/// ```
pub struct Queue {
    /// How many.
    pub length: usize,
}

impl Queue {
    /// As in [`Queue`].
    pub async fn add(&self) {}
    /// As in [`Queue`].
    #[must_use]
    pub fn take(self) {}
    fn hidden(&self) {}
}

impl<T> Shelf<T> {
    pub fn clear(&mut self) {}
}

impl Drop for Queue {
    fn drop(&mut self) {}
}

/// Nothing asserted.
///
/// ```
/// let _ = queue;
/// ```
pub trait Kept {
    /// Nothing.
    fn keep(&self);
}
pub(crate) const INSIDE: u8 = 1;
pub const OUTSIDE: u8 = 1;
";
    let found = items("x.rs", text);
    let names: Vec<&str> = found.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(
        names,
        ["Queue", "Queue::add", "Queue::take", "Shelf::clear", "Kept", "Kept::keep", "OUTSIDE"]
    );
    let own: Vec<bool> = found.iter().map(Item::has_example).collect();
    assert_eq!(own, [true, false, false, false, false, false, false]);
    assert_eq!(found[1].shown_in(), ["Queue"]);
    assert!(found[1].is_shown(&found[0].code()), "it is called there");
    assert!(!found[2].is_shown(&found[0].code()), "a link to what does not show it is no example");
    assert!(found[0].is_shown("job.length"), "a field says what a struct is for");
    assert!(found.iter().skip(3).all(|item| item.shown_in().is_empty()));
}
