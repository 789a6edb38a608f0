//! Markdown that came from anywhere, as HTML that does nothing.
//!
//! A document is somebody else's: it may hold HTML, scripts and addresses of any kind. What is left of it is text, tables,
//! links that lead out of the frame, and pictures among the job's own files. The frame and the policy of its page would let
//! nothing run either; none of the three relies on the others.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use ammonia::{Builder, UrlRelative};
use pulldown_cmark::{CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// How many headings the table of contents has.
const HEADINGS: usize = 500;
/// How deeply the elements of a document may nest; a deeper one is shown as plain text.
const DEEPEST: usize = 200;
/// Elements that hold nothing.
const CHILDLESS: [&str; 6] = ["br", "hr", "img", "input", "col", "wbr"];
/// What ids of a document begin with, so that they are none of the page's.
const IDS: &str = "doc-";

/// A document that can be shown.
pub(super) struct Document {
    /// Its text, as HTML without anything that could do something.
    pub(super) html: String,
    /// Its headings.
    pub(super) contents: Vec<Heading>,
}

/// The pictures that a document may show: those of its own job.
#[derive(Default)]
pub(super) struct Pictures {
    /// Where each is, by the name that the document has for it.
    pub(super) addresses: HashMap<String, String>,
}

impl Pictures {
    fn address(&self, named: &str) -> Option<&str> {
        let name = percent_encoding::percent_decode_str(named).decode_utf8().ok()?;
        self.addresses.get(name.strip_prefix("./").unwrap_or(&name)).map(String::as_str)
    }
}

/// A heading: where it leads.
pub(super) struct Heading {
    /// 1 to 6.
    pub(super) level: u8,
    pub(super) text: String,
    pub(super) id: String,
}

impl Document {
    /// Reads Markdown, whose pictures are among `pictures`.
    pub(super) fn new(markdown: &str, pictures: Pictures) -> Self {
        let options = Options::ENABLE_TABLES
            | Options::ENABLE_FOOTNOTES
            | Options::ENABLE_STRIKETHROUGH
            | Options::ENABLE_TASKLISTS;
        let mut events: Vec<_> = Parser::new_ext(markdown, options).collect();
        let contents = name_headings(&mut events);
        let mut html = String::with_capacity(markdown.len() * 3 / 2);
        html::push_html(&mut html, events.into_iter());
        if depth(&html) > DEEPEST {
            // To clean it would take its depth times its length.
            let mut plain = String::with_capacity(markdown.len() + 16);
            html::push_html(
                &mut plain,
                [
                    Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)),
                    Event::Text(markdown.into()),
                    Event::End(TagEnd::CodeBlock),
                ]
                .into_iter(),
            );
            return Self { html: plain, contents: Vec::new() };
        }
        Self { html: cleaned(&html, pictures), contents }
    }
}

/// How deeply its elements nest at most, as far as their tags say.
fn depth(html: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for tag in html.split('<').skip(1) {
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).take(8).collect();
        if tag.starts_with('/') {
            depth = depth.saturating_sub(1);
        } else if !name.is_empty() && !CHILDLESS.contains(&name.to_ascii_lowercase().as_str()) {
            depth += 1;
            deepest = deepest.max(depth);
        }
    }
    deepest
}

/// Gives each heading the id by which documents link to it, and lists them.
fn name_headings(events: &mut [Event<'_>]) -> Vec<Heading> {
    let mut contents: Vec<Heading> = Vec::new();
    let mut names: HashMap<String, usize> = HashMap::new();
    let mut open: Option<(usize, u8, String)> = None;
    for at in 0..events.len() {
        match &events[at] {
            Event::Start(Tag::Heading { level, .. }) if contents.len() < HEADINGS => {
                open = Some((at, number(*level), String::new()));
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some((.., heading)) = &mut open {
                    heading.push_str(text);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let Some((begun_at, level, text)) = open.take() else { continue };
                let name = named(&text, &mut names);
                if !text.trim().is_empty() {
                    contents.push(Heading { level, text, id: format!("{IDS}{name}") });
                }
                if let Event::Start(Tag::Heading { id, .. }) = &mut events[begun_at] {
                    *id = Some(CowStr::from(name));
                }
            }
            _ => {}
        }
    }
    contents
}

/// What a heading is called in links: its words in small letters with a dash between, and a number where it is not the first.
fn named(text: &str, names: &mut HashMap<String, usize>) -> String {
    let words = text.trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
    let name = if name.is_empty() { "section".to_owned() } else { name };
    let times = names.entry(name.clone()).or_default();
    *times += 1;
    if *times == 1 { name } else { format!("{name}-{}", *times - 1) }
}

fn number(level: HeadingLevel) -> u8 {
    level as u8
}

/// What is left of HTML once all is gone that could do something.
fn cleaned(html: &str, pictures: Pictures) -> String {
    let mut builder = Builder::default();
    let html = builder
        .add_tags(["section"])
        .add_generic_attributes(["id"])
        .id_prefix(Some(IDS))
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .url_relative(UrlRelative::PassThrough)
        .link_rel(Some("noopener noreferrer nofollow"))
        .attribute_filter(move |element, attribute, value| match (element, attribute) {
            ("img", "src") => pictures.address(value).map(|address| Cow::Owned(address.to_owned())),
            ("a", "href") => link(value),
            (_, "cite" | "srcset" | "background") => None,
            _ => Some(value.into()),
        })
        .clean(html)
        .to_string();
    // The page has other links open beside the frame. Within the text of a clean document no quote and no bracket are bare.
    html.replace("<a href=\"#", "<a target=\"_self\" href=\"#")
}

/// Where a link leads: out, or to another place of the document.
fn link(to: &str) -> Option<Cow<'_, str>> {
    if let Some(id) = to.strip_prefix('#') {
        return Some(format!("#{IDS}{id}").into());
    }
    let out = ["http://", "https://", "mailto:"].iter().any(|scheme| to.starts_with(scheme));
    out.then(|| to.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(markdown: &str) -> String {
        let known = |name: &str| (name.to_owned(), format!("/jobs/7/files/{name}"));
        let pictures = Pictures { addresses: ["images/map.png", "a b.png"].map(known).into() };
        Document::new(markdown, pictures).html
    }

    #[test]
    fn nothing_of_a_document_can_do_anything() {
        let hostile = [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "[a](javascript:alert(1)) [b](JaVaScRiPt:alert(1)) [c](data:text/html,x) [d](vbscript:x)",
            "<iframe src=\"https://evil.example\"></iframe><object data=x></object><embed src=x>",
            "<form action=\"https://evil.example\"><input name=a><button>go</button></form>",
            "<svg onload=alert(1)><script>1</script></svg><math><mtext></mtext></math>",
            "<style>body{background:url(https://evil.example)}</style><p style=\"x\" class=\"y\">t</p>",
            "<base href=\"https://evil.example/\"><meta http-equiv=refresh content=0><link rel=stylesheet href=x>",
            "![p](https://evil.example/p.png) ![q](//evil.example/q.png) ![r](/api/jobs) ![s](../../x.png)",
            "<a href=\"x\" ping=\"https://evil.example\" onclick=\"alert(1)\">t</a>",
            "<a title='<a href=\"http' href=\"https://a.example\">t</a>",
        ];
        for markdown in hostile {
            let html = shown(markdown);
            let bad = [
                "<script",
                "onerror",
                "onload",
                "onclick",
                "javascript:",
                "data:",
                "vbscript",
                "<iframe",
                "<form",
                "<input",
                "<svg",
                "<style",
                "<base",
                "<meta",
                "<link",
                "style=",
                "ping=",
                "src=\"http",
                "src=\"//",
                "src=\"/api",
                "<object",
                "<embed",
                "evil.example/p",
                "..",
            ];
            for word in bad {
                assert!(!html.to_lowercase().contains(word), "{word} is left of {markdown}: {html}");
            }
        }
    }

    #[test]
    fn a_document_keeps_what_it_says() {
        let html = shown(
            "# Ash\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![map](images/map.png) ![gone](gone.png) ![b](<./a b.png>) [out](https://a.example) [in](#ash)",
        );
        for kept in [
            "<h1 id=\"doc-ash\">Ash</h1>",
            "<table>",
            "<td>1</td>",
            "src=\"/jobs/7/files/images/map.png\" alt=\"map\"",
            "<img alt=\"gone\">",
            "src=\"/jobs/7/files/a b.png\"",
            "<a href=\"https://a.example\" rel=\"noopener noreferrer nofollow\">",
            "<a target=\"_self\" href=\"#doc-ash\"",
        ] {
            assert!(html.contains(kept), "{kept} is missing: {html}");
        }
    }

    #[test]
    fn its_contents_are_its_headings() {
        let document = Document::new("# One\n\n## Two *and* `three`\n\n#\n\ntext", Pictures::default());
        let contents: Vec<_> =
            document.contents.iter().map(|h| (h.level, h.text.as_str(), h.id.as_str())).collect();
        assert_eq!(contents, [(1, "One", "doc-one"), (2, "Two and three", "doc-two-and-three")]);
        let twice = Document::new("# Ash\n\n# Ash\n\n# ?\n", Pictures::default());
        let ids: Vec<_> = twice.contents.iter().map(|heading| heading.id.as_str()).collect();
        assert_eq!(ids, ["doc-ash", "doc-ash-1", "doc-section"]);
    }

    #[test]
    fn deep_nesting_ends_nothing() {
        for deep in [">".repeat(20_000), "<div>".repeat(20_000), "* ".repeat(5_000), "[".repeat(20_000)] {
            assert!(shown(&format!("{deep} deep")).contains("deep"));
        }
        let plain = shown(&"<div>".repeat(300));
        assert!(plain.starts_with("<pre><code>&lt;div&gt;&lt;div&gt;"), "{plain}");
        assert!(shown(&"<div>a<br></div>".repeat(300)).starts_with("<div>"));
    }
}
