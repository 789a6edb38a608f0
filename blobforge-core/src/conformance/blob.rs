//! What every [`BlobStore`] has to do, one case for each behaviour.
//!
//! [`blob_conformance!`](crate::blob_conformance) makes a test of each, so that one failure hides no other.

// Each case is named for the behaviour it protects; the name is its documentation.
#![allow(missing_docs)]

use std::{io, ops::Range};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256 as Hasher};

use crate::{
    Sha256,
    blob::{BlobError, BlobStore, ByteStream, Stored, read_bytes},
};

/// Makes a `#[tokio::test]` of every case.
///
/// `$make` names an async function that gives an `Arc<dyn BlobStore>`, empty, and whatever has to live as long. The
/// calling crate needs tokio with its `macros` and `rt`.
///
/// ```
/// use std::sync::Arc;
/// use blobforge_core::blob::{BlobStore, ObjectBlobs};
///
/// async fn memory() -> (Arc<dyn BlobStore>, ()) {
///     (Arc::new(ObjectBlobs::in_memory()), ())
/// }
///
/// mod in_memory {
///     blobforge_core::blob_conformance!(super::memory);
/// }
/// ```
#[macro_export]
macro_rules! blob_conformance {
    ($make:path) => {
        $crate::blob_conformance! { @cases $make;
            what_was_put_is_got,
            a_put_says_what_was_written,
            an_empty_file_is_a_file,
            a_file_of_many_pieces_comes_back_whole,
            a_range_is_a_part,
            a_range_may_end_behind_the_file,
            a_range_outside_the_file_is_refused,
            a_file_that_is_not_there_has_no_size,
            a_file_that_is_not_there_is_not_found,
            a_folder_is_no_file,
            a_deleted_file_is_gone_and_may_be_deleted_again,
            a_put_replaces_the_whole_file,
            a_file_of_just_the_size_allowed_is_taken,
            a_file_that_is_too_large_leaves_nothing,
            a_long_file_that_is_too_large_leaves_nothing,
            a_stream_that_breaks_off_leaves_nothing,
            a_long_stream_that_breaks_off_leaves_nothing,
            a_put_that_fails_keeps_what_was_there,
            a_key_that_climbs_or_is_not_plain_is_refused,
            every_plain_key_is_taken,
            puts_to_different_keys_do_not_disturb_each_other,
        }
    };
    (@cases $make:path; $($case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let (blobs, _guard) = $make().await;
                $crate::conformance::blob::$case(&*blobs).await;
            }
        )*
    };
}

const KEY: &str = "outputs/1/1-1/text.md";
const PLENTY: u64 = 1 << 30;
/// More than any store sends in one part.
const LONG: usize = 20 * 1024 * 1024;

pub async fn what_was_put_is_got(blobs: &dyn BlobStore) {
    put(blobs, KEY, "some text").await;
    assert_eq!(get(blobs, KEY, None).await, "some text");
}

pub async fn a_put_says_what_was_written(blobs: &dyn BlobStore) {
    let content = Bytes::from_static(b"\0some\r\nbytes\xff");
    let stored = blobs.put(KEY, read_bytes(content.clone()), PLENTY).await.unwrap();
    assert_eq!(stored, Stored { size: 13, sha256: hash(&content) });
    assert_eq!(blobs.size(KEY).await.unwrap(), Some(13));
}

pub async fn an_empty_file_is_a_file(blobs: &dyn BlobStore) {
    let stored = blobs.put(KEY, stream::empty().boxed(), PLENTY).await.unwrap();
    assert_eq!(stored, Stored { size: 0, sha256: hash(b"") });
    assert_eq!(blobs.size(KEY).await.unwrap(), Some(0));
    assert_eq!(get(blobs, KEY, None).await, "");
    let refused = refused(blobs.get(KEY, Some(0..1)).await);
    assert!(matches!(refused, BlobError::BadRange(0)), "{refused}");
}

pub async fn a_file_of_many_pieces_comes_back_whole(blobs: &dyn BlobStore) {
    let content = long();
    let stored = blobs.put(KEY, in_pieces(&content), PLENTY).await.unwrap();
    assert_eq!(stored, Stored { size: LONG as u64, sha256: hash(&content) });
    assert!(get(blobs, KEY, None).await == content, "the content is the same");
    let middle = LONG as u64 / 2 - 1..LONG as u64 / 2 + 8;
    assert_eq!(get(blobs, KEY, Some(middle)).await, content.slice(LONG / 2 - 1..LONG / 2 + 8));
}

pub async fn a_range_is_a_part(blobs: &dyn BlobStore) {
    put(blobs, KEY, "0123456789").await;
    assert_eq!(get(blobs, KEY, Some(2..5)).await, "234");
    assert_eq!(get(blobs, KEY, Some(0..10)).await, "0123456789");
    assert_eq!(get(blobs, KEY, Some(9..10)).await, "9");
}

pub async fn a_range_may_end_behind_the_file(blobs: &dyn BlobStore) {
    put(blobs, KEY, "0123456789").await;
    assert_eq!(get(blobs, KEY, Some(7..11)).await, "789");
    assert_eq!(get(blobs, KEY, Some(7..u64::MAX)).await, "789");
}

pub async fn a_range_outside_the_file_is_refused(blobs: &dyn BlobStore) {
    put(blobs, KEY, "0123456789").await;
    for (start, end) in [(10, 11), (10, 10), (4, 4), (5, 3), (u64::MAX, u64::MAX)] {
        let refused = refused(blobs.get(KEY, Some(Range { start, end })).await);
        assert!(matches!(refused, BlobError::BadRange(10)), "{start}..{end}: {refused}");
    }
}

pub async fn a_file_that_is_not_there_has_no_size(blobs: &dyn BlobStore) {
    assert_eq!(blobs.size(KEY).await.unwrap(), None);
    put(blobs, KEY, "a file").await;
    assert_eq!(blobs.size("outputs/1/1-1/text").await.unwrap(), None);
    assert_eq!(blobs.size("outputs/1/1-1/text.md/more").await.unwrap(), None);
}

pub async fn a_file_that_is_not_there_is_not_found(blobs: &dyn BlobStore) {
    put(blobs, KEY, "a file").await;
    for key in ["outputs/1/1-1/text", "outputs/1/1-2/text.md", "outputs/1/1-1/text.md/more"] {
        for range in [None, Some(0..1)] {
            let refused = refused(blobs.get(key, range).await);
            assert!(matches!(&refused, BlobError::NotFound(named) if named == key), "{refused}");
            assert!(!refused.is_retryable());
        }
    }
}

pub async fn a_folder_is_no_file(blobs: &dyn BlobStore) {
    put(blobs, KEY, "a file").await;
    assert_eq!(blobs.size("outputs/1/1-1").await.unwrap(), None);
    assert!(matches!(refused(blobs.get("outputs/1/1-1", None).await), BlobError::NotFound(_)));
    blobs.delete("outputs/1/1-1").await.unwrap();
    blobs.delete("outputs/1/1-1/text.md/more").await.unwrap();
    assert_eq!(get(blobs, KEY, None).await, "a file");
}

pub async fn a_deleted_file_is_gone_and_may_be_deleted_again(blobs: &dyn BlobStore) {
    put(blobs, KEY, "a file").await;
    put(blobs, "outputs/1/1-1/other.md", "another").await;
    blobs.delete(KEY).await.unwrap();
    assert_eq!(blobs.size(KEY).await.unwrap(), None);
    blobs.delete(KEY).await.unwrap();
    blobs.delete("outputs/never/there.md").await.unwrap();
    assert_eq!(get(blobs, "outputs/1/1-1/other.md", None).await, "another");
}

pub async fn a_put_replaces_the_whole_file(blobs: &dyn BlobStore) {
    put(blobs, KEY, "a longer text than the next").await;
    put(blobs, KEY, "short").await;
    assert_eq!(blobs.size(KEY).await.unwrap(), Some(5));
    assert_eq!(get(blobs, KEY, None).await, "short");
}

pub async fn a_file_of_just_the_size_allowed_is_taken(blobs: &dyn BlobStore) {
    assert_eq!(blobs.put(KEY, read_bytes("12345"), 5).await.unwrap().size, 5);
    assert_eq!(blobs.put("outputs/empty", read_bytes(""), 0).await.unwrap().size, 0);
}

pub async fn a_file_that_is_too_large_leaves_nothing(blobs: &dyn BlobStore) {
    let refused = refused(blobs.put(KEY, read_bytes("123456"), 5).await);
    assert!(matches!(refused, BlobError::TooLarge(5)), "{refused}");
    assert!(!refused.is_retryable());
    assert_eq!(blobs.size(KEY).await.unwrap(), None);
}

pub async fn a_long_file_that_is_too_large_leaves_nothing(blobs: &dyn BlobStore) {
    let limit = LONG as u64 - 1;
    let refused = refused(blobs.put(KEY, in_pieces(&long()), limit).await);
    assert!(matches!(refused, BlobError::TooLarge(at) if at == limit), "{refused}");
    assert_eq!(blobs.size(KEY).await.unwrap(), None);
}

pub async fn a_stream_that_breaks_off_leaves_nothing(blobs: &dyn BlobStore) {
    let refused = refused(blobs.put(KEY, breaking_off(read_bytes("the first half")), PLENTY).await);
    assert!(matches!(refused, BlobError::BrokenOff(_)), "{refused}");
    assert!(refused.is_retryable(), "who sends it again may succeed");
    assert_eq!(blobs.size(KEY).await.unwrap(), None);
    put(blobs, KEY, "the whole").await;
    assert_eq!(get(blobs, KEY, None).await, "the whole");
}

pub async fn a_long_stream_that_breaks_off_leaves_nothing(blobs: &dyn BlobStore) {
    let refused = refused(blobs.put(KEY, breaking_off(in_pieces(&long())), PLENTY).await);
    assert!(matches!(refused, BlobError::BrokenOff(_)), "{refused}");
    assert_eq!(blobs.size(KEY).await.unwrap(), None);
}

pub async fn a_put_that_fails_keeps_what_was_there(blobs: &dyn BlobStore) {
    put(blobs, KEY, "what was there").await;
    refused(blobs.put(KEY, breaking_off(read_bytes("half")), PLENTY).await);
    refused(blobs.put(KEY, breaking_off(in_pieces(&long())), PLENTY).await);
    refused(blobs.put(KEY, read_bytes("too much"), 3).await);
    assert_eq!(get(blobs, KEY, None).await, "what was there");
}

pub async fn a_key_that_climbs_or_is_not_plain_is_refused(blobs: &dyn BlobStore) {
    put(blobs, "a/b", "untouched").await;
    let keys = [
        "",
        "/",
        "/a/b",
        "a/b/",
        "a//b",
        ".",
        "..",
        "../a/b",
        "a/../a/b",
        "a/./b",
        "a/..",
        "a\\b",
        "a b",
        "a/b#1",
        "a%2fb",
        "a/%2e%2e/b",
        "a:b",
        "a?b",
        "a*b",
        "ü.md",
        "a\nb",
        "a\0b",
    ];
    for key in keys {
        let bad = |error: BlobError| {
            assert!(matches!(&error, BlobError::BadKey(named) if named == key), "{key:?}: {error}");
            assert!(!error.is_retryable());
        };
        bad(refused(blobs.put(key, read_bytes("never seen"), PLENTY).await));
        bad(refused(blobs.get(key, None).await));
        bad(refused(blobs.get(key, Some(0..1)).await));
        bad(refused(blobs.size(key).await));
        bad(refused(blobs.delete(key).await));
    }
    assert_eq!(get(blobs, "a/b", None).await, "untouched");
}

pub async fn every_plain_key_is_taken(blobs: &dyn BlobStore) {
    let long = format!("outputs/{}/{}", "x".repeat(200), "y".repeat(200));
    let keys = ["a", "A", "0/1-2/3_4", ".hidden", "a.b..c", "a~20b", "outputs/1/1-1/images/p1.png", &long];
    for key in keys {
        put(blobs, key, key).await;
    }
    for key in keys {
        assert_eq!(get(blobs, key, None).await, key);
    }
}

pub async fn puts_to_different_keys_do_not_disturb_each_other(blobs: &dyn BlobStore) {
    let content = |number: usize| Bytes::from(vec![u8::try_from(number).unwrap(); 100_000 + number]);
    let puts = (0..16).map(async |number: usize| {
        let pieces = in_pieces(&content(number));
        blobs.put(&format!("outputs/{number}/1-1/text.md"), pieces, PLENTY).await.unwrap()
    });
    let stored = futures_util::future::join_all(puts).await;
    for (number, stored) in stored.into_iter().enumerate() {
        let content = content(number);
        assert_eq!(stored, Stored { size: content.len() as u64, sha256: hash(&content) });
        assert!(get(blobs, &format!("outputs/{number}/1-1/text.md"), None).await == content, "{number}");
    }
}

async fn put(blobs: &dyn BlobStore, key: &str, text: &str) {
    blobs.put(key, read_bytes(text.to_owned()), PLENTY).await.unwrap();
}

async fn get(blobs: &dyn BlobStore, key: &str, range: Option<Range<u64>>) -> Bytes {
    let pieces: Vec<Bytes> = blobs.get(key, range).await.unwrap().try_collect().await.unwrap();
    pieces.concat().into()
}

fn refused<T>(result: Result<T, BlobError>) -> BlobError {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error,
    }
}

fn hash(content: &[u8]) -> Sha256 {
    Sha256::from_bytes(Hasher::digest(content).into())
}

/// Content in which no two places look alike.
fn long() -> Bytes {
    (0..LONG / 4).flat_map(|number| u32::try_from(number).unwrap().to_le_bytes()).collect()
}

/// The content in pieces of an odd size, an empty one among them.
fn in_pieces(content: &Bytes) -> ByteStream {
    let mut pieces: Vec<io::Result<Bytes>> =
        content.chunks(99_991).map(|piece| Ok(content.slice_ref(piece))).collect();
    pieces.insert(1, Ok(Bytes::new()));
    stream::iter(pieces).boxed()
}

fn breaking_off(content: ByteStream) -> ByteStream {
    content.chain(stream::once(async { Err(io::ErrorKind::ConnectionReset.into()) })).boxed()
}
