//! A result as it is put beside its source: one Markdown file, and the files that it shows.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use pulldown_cmark::{Event, Options, Parser, Tag};

use crate::archive::files_below;

/// What the Markdown of a result is called, the likeliest first.
const DOCUMENTS: [&str; 2] = ["content.md", "document.md"];
/// Where a result keeps its pictures, so that the folder beside the source need not say so again.
const ASSETS: &str = "assets/";
/// What is told of how a result was made, and no part of it.
const ABOUT: [&str; 2] = ["info.json", "metadata.json"];

/// The files of a result, in a folder.
#[derive(Debug)]
pub(in crate::cli) struct Document {
    pub(super) markdown: PathBuf,
    /// What else there is: what the Markdown calls it, and where it lies.
    pub(super) assets: Vec<(String, PathBuf)>,
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
        Ok(Some(Self { markdown, assets: files }))
    }

    /// The Markdown as it is.
    pub(in crate::cli) fn original(&self) -> io::Result<String> {
        fs::read_to_string(&self.markdown)
    }

    /// The Markdown, with the addresses of what it shows changed to lie in `folder`.
    pub(super) fn text(&self, folder: &str) -> io::Result<String> {
        let text = self.original()?;
        let is_asset = |name: &str| self.assets.iter().any(|(asset, _)| asset == name);
        Ok(with_assets_in(&text, folder, is_asset))
    }
}

/// What an asset is called in the folder beside the source.
pub(super) fn name_there(asset: &str) -> &str {
    asset.strip_prefix(ASSETS).unwrap_or(asset)
}

/// Changes the addresses of links and pictures that lead to assets, and nothing else.
fn with_assets_in(text: &str, folder: &str, is_asset: impl Fn(&str) -> bool) -> String {
    let mut changes: Vec<(Range<usize>, String)> = Vec::new();
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        let named = match &event {
            Event::Start(Tag::Image { dest_url, .. } | Tag::Link { dest_url, .. }) => {
                vec![dest_url.to_string()]
            }
            Event::Html(html) | Event::InlineHtml(html) => sources(html),
            _ => continue,
        };
        for named in named {
            let asset = unescaped(named.trim_start_matches("./"));
            // The address comes last: the words of a link may say the same.
            if is_asset(&asset)
                && let Some(at) = text[range.clone()].rfind(&named)
            {
                let begin = range.start + at;
                changes
                    .push((begin..begin + named.len(), escaped(&format!("{folder}/{}", name_there(&asset)))));
            }
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

/// What a piece of HTML shows: the values of its `src`.
fn sources(html: &str) -> Vec<String> {
    let after = html.split("src=\"").skip(1);
    after.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
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
        let is_asset = |name: &str| ["assets/p 1.png", "assets/p2.png", "images/3.png"].contains(&name);
        let changed = |text| with_assets_in(text, "my book.assets", is_asset);
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
        ] {
            assert_eq!(changed(same), same);
        }
    }
}
