//! Documents to try the service with. `scripts/make-samples` writes them.

/// What comes of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It becomes Markdown.
    Readable,
    /// It is refused with this kind.
    Unreadable(&'static str),
}

/// A document that the program carries with it.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Its file name.
    pub name: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
    /// What comes of it.
    pub expect: Expect,
}

macro_rules! sample {
    ($name:literal, $expect:expr) => {
        Sample { name: $name, bytes: include_bytes!(concat!("../../samples/", $name)), expect: $expect }
    };
}

/// Four documents that can be read and two that cannot.
pub const SAMPLES: &[Sample] = &[
    sample!("letter.pdf", Expect::Readable),
    sample!("tables.pdf", Expect::Readable),
    sample!("columns.pdf", Expect::Readable),
    sample!("book-100-pages.pdf", Expect::Readable),
    sample!("damaged.pdf", Expect::Unreadable("damaged")),
    sample!("encrypted.pdf", Expect::Unreadable("encrypted")),
];
