//! A result as it is put beside its source: one Markdown file, and the files that it shows.

use std::{
    collections::HashMap,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use blobforge_core::saved_names;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd};

use crate::archive::files_below;

/// What the Markdown of a result is called, the likeliest first.
const DOCUMENTS: [&str; 2] = ["content.md", "document.md"];
/// Where a result keeps its pictures, so that the folder beside the source need not say so again.
const ASSETS: &str = "assets/";
/// The largest Markdown that is looked through, in bytes: that of ten thousand pages has a tenth of it.
const MAX_MARKDOWN: u64 = 256 * 1024 * 1024;
/// What is told of how a result was made, and no part of it.
const ABOUT: [&str; 2] = ["info.json", "metadata.json"];

/// The files of a result, in a folder.
#[derive(Debug)]
pub(in crate::cli) struct Document {
    pub(super) markdown: PathBuf,
    /// What else there is.
    pub(super) assets: Vec<Asset>,
}

/// A file that belongs to a Markdown.
#[derive(Debug)]
pub(super) struct Asset {
    /// What the Markdown calls it.
    named: String,
    /// What it is called in the folder beside the source.
    pub(super) saved: String,
    pub(super) lies_at: PathBuf,
}

impl Document {
    /// Finds out what is what in a folder; `None` if there is no Markdown, or no saying which.
    pub(super) fn in_folder(folder: &Path) -> io::Result<Option<Self>> {
        let mut files = files_below(folder)?;
        let named = |wanted: &str| files.iter().position(|(name, _)| name == wanted);
        let is_markdown = |name: &str| name.ends_with(".md") && !name.contains('/');
        let mut any = files.iter().enumerate().filter(|(_, (name, _))| is_markdown(name)).map(|(at, _)| at);
        let only = any.next().filter(|_| any.next().is_none());
        let Some(at) = DOCUMENTS.iter().find_map(|name| named(name)).or(only) else { return Ok(None) };
        let (_, markdown) = files.remove(at);
        files.retain(|(name, _)| !ABOUT.contains(&name.as_str()));
        let saved = saved_names(files.iter().map(|(name, _)| name.strip_prefix(ASSETS).unwrap_or(name)));
        let asset = |((named, lies_at), saved)| Asset { named, saved, lies_at };
        let assets = files.into_iter().zip(saved).map(asset).collect();
        Ok(Some(Self { markdown, assets }))
    }

    /// The Markdown as it is.
    pub(in crate::cli) fn original(&self) -> io::Result<String> {
        let size = fs::metadata(&self.markdown)?.len();
        if size > MAX_MARKDOWN {
            let what = format!("the Markdown has {size} bytes: at most {MAX_MARKDOWN} are looked through");
            return Err(io::Error::other(what));
        }
        fs::read_to_string(&self.markdown)
    }

    /// The Markdown, with the addresses of what it shows changed to lie in `folder`.
    pub(super) fn text(&self, folder: &str) -> io::Result<String> {
        let text = self.original()?;
        let saved: HashMap<_, _> =
            self.assets.iter().map(|asset| (asset.named.as_str(), asset.saved.as_str())).collect();
        Ok(with_assets_in(&text, folder, |name| saved.get(name).copied()))
    }
}

/// Changes the addresses of links and pictures that lead to assets, and nothing else. `saved` is what an asset is called in
/// the folder.
fn with_assets_in<'a>(text: &str, folder: &str, saved: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut changes: Vec<(Range<usize>, String)> = Vec::new();
    // Where an address is looked for only if it leads to an asset: most lead elsewhere.
    let mut change = |named: &str, find: &dyn Fn() -> Option<Range<usize>>| {
        if let Some(saved) = saved(&unescaped(named.trim_start_matches("./")))
            && let Some(at) = find()
        {
            changes.push((at, escaped(&format!("{folder}/{saved}"))));
        }
    };
    let parsed = Parser::new_ext(text, Options::ENABLE_TABLES);
    for (_, definition) in parsed.reference_definitions().iter() {
        change(&definition.dest, &|| address(text, definition.span.clone(), "]:", &definition.dest));
    }
    // The links and pictures around a place, and where what they contain ends: their addresses come after it.
    let mut around: Vec<(CowStr<'_>, usize)> = Vec::new();
    for (event, range) in parsed.into_offset_iter() {
        match event {
            Event::Start(Tag::Image { dest_url, .. } | Tag::Link { dest_url, .. }) => {
                around.push((dest_url, range.start));
                continue;
            }
            Event::End(TagEnd::Image | TagEnd::Link) => {
                if let Some((named, inner_end)) = around.pop() {
                    change(&named, &|| address(text, inner_end..range.end, "](", &named));
                }
            }
            // As it is written: in quotes and lists the event has lines without what they begin with.
            Event::InlineHtml(html) if html.starts_with("<!--") => {}
            Event::InlineHtml(_) => attributes(text, range.clone(), &mut change),
            Event::Html(_) => {
                for tag in tags(&text[range.clone()]) {
                    attributes(text, range.start + tag.start..range.start + tag.end, &mut change);
                }
            }
            _ => {}
        }
        if let Some((_, inner_end)) = around.last_mut() {
            *inner_end = range.end.max(*inner_end);
        }
    }
    changes.sort_by_key(|(range, _)| range.start);
    changes.dedup_by_key(|(range, _)| range.start);
    let (mut changed, mut from) = (String::with_capacity(text.len()), 0);
    for (range, address) in changes {
        // A picture within a link is both.
        if range.start >= from {
            changed.push_str(&text[from..range.start]);
            changed.push_str(&address);
            from = range.end;
        }
    }
    changed.push_str(&text[from..]);
    changed
}

/// Where the address stands that means `named`: after the first of these marks within a range.
fn address(text: &str, within: Range<usize>, mark: &str, named: &str) -> Option<Range<usize>> {
    let rest = text.get(within.clone())?.split_once(mark)?.1;
    let written = rest.trim_start_matches([' ', '\t', '\n', '<']);
    let begin = within.end - written.len();
    let is_pointed = rest[..rest.len() - written.len()].ends_with('<');
    // It ends where something stands that ends addresses.
    let ends = written.char_indices().filter(|(_, c)| matches!(c, ' ' | '\t' | '\n' | ')' | '>'));
    let ends = ends.map(|(at, _)| at).chain([written.len()]).filter(|at| *at > 0).take(MOST_ENDS);
    let length = ends.into_iter().find(|at| means(&written[..*at], is_pointed, named))?;
    Some(begin..begin + length)
}

/// In how many places an address is looked for the end of: a text that was made to be slow is not.
const MOST_ENDS: usize = 16;

/// Whether an address as it is written in Markdown, with what is escaped in it, means this one.
fn means(written: &str, is_pointed: bool, named: &str) -> bool {
    if written == named {
        return true;
    }
    let link = if is_pointed { format!("[x](<{written}>)") } else { format!("[x]({written})") };
    let found = Parser::new(&link).find_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. }) => Some(&*dest_url == named),
        _ => None,
    });
    found.unwrap_or(false)
}

/// Changes the values of `src` and `href` in a tag of HTML.
fn attributes(
    text: &str,
    tag: Range<usize>,
    change: &mut impl FnMut(&str, &dyn Fn() -> Option<Range<usize>>),
) {
    let html = &text[tag.clone()];
    for name in ["src", "href"] {
        for (at, _) in html.match_indices(name) {
            // A name of its own, and not the end of another one.
            let is_name = html[..at].ends_with(char::is_whitespace);
            let rest = html[at + name.len()..].trim_start();
            let Some(value) = rest.strip_prefix('=').filter(|_| is_name).map(str::trim_start) else {
                continue;
            };
            let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
            let value = if quote.is_some() { &value[1..] } else { value };
            let ends = |c: char| quote.map_or(c.is_whitespace() || c == '>', |quote| c == quote);
            let begin = tag.end - value.len();
            let at = begin..begin + value.find(ends).unwrap_or(value.len());
            change(&text[at.clone()], &|| Some(at.clone()));
        }
    }
}

/// Where in a piece of HTML tags stand, without comments.
fn tags(html: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = html[from..].find('<').map(|at| from + at) {
        let is_comment = html[at..].starts_with("<!--");
        let end = html[at..].find(if is_comment { "-->" } else { ">" }).map_or(html.len(), |end| at + end);
        if !is_comment {
            found.push(at..end);
        }
        from = end.max(at + 1);
    }
    found
}

/// What an address in Markdown means.
fn unescaped(address: &str) -> String {
    percent_encoding::percent_decode_str(address).decode_utf8_lossy().into_owned()
}

/// An address that is one in Markdown, whatever the file is called.
fn escaped(path: &str) -> String {
    const SPECIAL: percent_encoding::AsciiSet = percent_encoding::CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'%')
        .add(b'(')
        .add(b')')
        .add(b'<')
        .add(b'>')
        .add(b'?')
        .add(b'[')
        .add(b']')
        .add(b'\\');
    percent_encoding::utf8_percent_encode(path, &SPECIAL).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_assets_lead_into_the_folder_beside_the_source_and_others_stay() {
        let saved = |name: &str| match name {
            "assets/p 1.png" => Some("p 1.png"),
            "assets/p2.png" => Some("p2.png"),
            "assets/P2.png" => Some("P2-1.png"),
            "assets/a_b(1).png" => Some("a_b(1).png"),
            "images/3.png" => Some("images/3.png"),
            _ => None,
        };
        let changed = |text| with_assets_in(text, "my book.assets", saved);
        let cases = [
            ("![a](assets/p2.png)", "![a](my%20book.assets/p2.png)"),
            ("![assets/p2.png](assets/p2.png)", "![assets/p2.png](my%20book.assets/p2.png)"),
            ("![a](assets/p%201.png \"title\")", "![a](my%20book.assets/p%201.png \"title\")"),
            ("![a](<assets/p 1.png>)", "![a](<my%20book.assets/p%201.png>)"),
            (
                "see [it](images/3.png) and ![](assets/p2.png)",
                "see [it](my%20book.assets/images/3.png) and ![](my%20book.assets/p2.png)",
            ),
            (
                "[![x](assets/p2.png)](assets/p2.png)",
                "[![x](my%20book.assets/p2.png)](my%20book.assets/p2.png)",
            ),
            ("<img src=\"assets/p2.png\">", "<img src=\"my%20book.assets/p2.png\">"),
            ("a <img alt='' src='assets/p2.png'> b", "a <img alt='' src='my%20book.assets/p2.png'> b"),
            ("a <a href=assets/p2.png>b</a>", "a <a href=my%20book.assets/p2.png>b</a>"),
            (
                "> text <img\n> src=\"assets/p2.png\"> tail",
                "> text <img\n> src=\"my%20book.assets/p2.png\"> tail",
            ),
            (
                "![](assets/p2.png \"see ](assets/p2.png)\")",
                "![](my%20book.assets/p2.png \"see ](assets/p2.png)\")",
            ),
            // What is written with escapes, or elsewhere, or was saved under another name.
            ("![](assets/a\\_b\\(1\\).png)", "![](my%20book.assets/a_b%281%29.png)"),
            ("![](<assets/a_b(1).png>)", "![](<my%20book.assets/a_b%281%29.png>)"),
            ("![](assets/a_b(1).png)", "![](my%20book.assets/a_b%281%29.png)"),
            ("![](assets/P2.png)", "![](my%20book.assets/P2-1.png)"),
            ("![map][m]\n\n[m]: assets/p2.png 'map'\n", "![map][m]\n\n[m]: my%20book.assets/p2.png 'map'\n"),
            ("| a |\n|---|\n| ![](images/3.png) |", "| a |\n|---|\n| ![](my%20book.assets/images/3.png) |"),
        ];
        for (text, expected) in cases {
            assert_eq!(changed(text), expected);
        }
        for same in [
            "`![a](assets/p2.png)`",
            "![a](https://a.example/assets/p2.png)",
            "assets/p2.png",
            "![a](assets/p9.png)",
            "<img data-src=\"assets/p2.png\">",
            "<!-- <img src=\"assets/p2.png\"> -->",
        ] {
            assert_eq!(changed(same), same);
        }
    }
}
