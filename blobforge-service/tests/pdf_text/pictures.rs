//! Pictures in PDFs.

use std::fs;

use super::convert_bytes;
use super::maker::{document, text};

const SHOWN: &str = "q 200 0 0 100 72 400 cm /X1 Do Q";

fn picture(side: usize) -> (String, Vec<u8>) {
    let entries = format!(
        "/Type /XObject /Subtype /Image /Width {side} /Height {side} /ColorSpace /DeviceRGB /BitsPerComponent 8"
    );
    (entries, (0..side * side * 3).map(|n| (n % 251) as u8).collect())
}

#[tokio::test]
async fn a_picture_is_saved_once_and_shown_where_it_stands() {
    let (entries, pixels) = picture(40);
    let page = format!("{} {SHOWN} BT /F1 11 Tf 72 300 Td (Below.) Tj ET", text(&["Above."]));
    let outcome = convert_bytes(&document(&[&page, SHOWN], Some((&entries, &pixels)))).await.unwrap();
    assert_eq!(outcome.converted.files, ["document.md", "images/page-0001-1.png", "metadata.json"]);
    assert_eq!(outcome.metadata["images"], 1);
    assert_eq!(
        outcome.document,
        "Above.\n\n![](images/page-0001-1.png)\n\nBelow.\n\n> Page 2 has no text layer.\n\n![](images/page-0001-1.png)\n"
    );
    let saved = fs::read(outcome.folder.path().join("out/images/page-0001-1.png")).unwrap();
    assert!(saved.starts_with(b"\x89PNG"));
    // Width and height in the header of the PNG.
    assert_eq!(saved[16..24], [0, 0, 0, 40, 0, 0, 0, 40]);
}

#[tokio::test]
async fn ornaments_are_left_out_and_giants_skipped() {
    let (entries, pixels) = picture(8);
    let outcome = convert_bytes(&document(&[SHOWN], Some((&entries, &pixels)))).await.unwrap();
    assert_eq!((&outcome.metadata["images"], &outcome.metadata["images_skipped"]), (&0.into(), &0.into()));

    let giant = "/Type /XObject /Subtype /Image /Width 200000 /Height 200000 /ColorSpace /DeviceRGB /BitsPerComponent 8";
    let outcome = convert_bytes(&document(&[SHOWN], Some((giant, b"little")))).await.unwrap();
    assert_eq!((&outcome.metadata["images"], &outcome.metadata["images_skipped"]), (&0.into(), &1.into()));
}
