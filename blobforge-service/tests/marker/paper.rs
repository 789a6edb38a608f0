//! PDFs for marker: what its models see differs, so that the stand-in can tell.

use std::fmt::Write as _;

use super::maker::{Maker, document};

/// A page with a heading, two paragraphs, a ruled table and a picture.
fn page(number: usize) -> String {
    let mut content = format!("BT /F1 20 Tf 72 770 Td (Chapter {number}: what was forged) Tj ET\n");
    content += &paragraph(
        740,
        &format!("In week {number} the forge made {} hinges and {} nails.", number * 7, number * 90),
    );
    content +=
        &paragraph(680, &format!("The river stood at mark {number}, and nobody complained about it at all."));
    content += &table(620, number);
    content
        + "q 160 0 0 90 72 380 cm /X1 Do Q\n"
        + &paragraph(350, "The picture shows two colours that do not go together.")
}

fn paragraph(top: i32, first: &str) -> String {
    let mut text = format!("BT /F1 11 Tf 14 TL 72 {top} Td ({first}) Tj T*");
    for line in 1..3 {
        write!(
            text,
            " (This is line {line} of what goes on after that, and it fills the width of the page.) Tj T*"
        )
        .unwrap();
    }
    text + " ET\n"
}

/// Four rows of three cells, with a rule above and below each.
fn table(top: i32, number: usize) -> String {
    let rows = [
        ["Grade".to_owned(), "Pieces".to_owned(), "Spoiled".to_owned()],
        ["Fine".to_owned(), (number * 10).to_string(), "1".to_owned()],
        ["Plain".to_owned(), (number * 20).to_string(), "0".to_owned()],
        ["Rough".to_owned(), (number * 30).to_string(), "2".to_owned()],
    ];
    let mut drawn = String::new();
    for (row, cells) in rows.iter().enumerate() {
        let y = top - 18 * i32::try_from(row).unwrap();
        writeln!(drawn, "72 {y} m 372 {y} l S").unwrap();
        for (column, cell) in cells.iter().enumerate() {
            writeln!(drawn, "BT /F1 11 Tf {} {} Td ({cell}) Tj ET", 80 + 100 * column, y - 13).unwrap();
        }
    }
    let bottom = top - 18 * 4;
    writeln!(drawn, "72 {bottom} m 372 {bottom} l S").unwrap();
    drawn
}

/// A book of so many pages, each of which says which it is.
pub(crate) fn book(pages: usize) -> Vec<u8> {
    let contents: Vec<_> = (1..=pages).map(page).collect();
    let contents: Vec<_> = contents.iter().map(String::as_str).collect();
    let colours: Vec<u8> =
        (0..16).flat_map(|n| if n % 4 < 2 { [220, 60, 40] } else { [30, 90, 200] }).collect();
    let entries =
        "/Type /XObject /Subtype /Image /Width 4 /Height 4 /ColorSpace /DeviceRGB /BitsPerComponent 8";
    document(&contents, Some((entries, &colours)))
}

/// Pages that are pictures of lines and have no text; each is another one.
pub(crate) fn scan(pages: usize) -> Vec<u8> {
    const SIZE: usize = 200;
    let mut pixels = vec![255_u8; SIZE * SIZE];
    for line in (20..SIZE - 20).step_by(20) {
        pixels[line * SIZE + 20..line * SIZE + SIZE - 20].fill(0);
    }
    let contents: Vec<_> =
        (0..pages).map(|page| format!("q 500 0 0 {} 40 60 cm /X1 Do Q", 700 - 20 * page)).collect();
    let contents: Vec<_> = contents.iter().map(String::as_str).collect();
    let entries = format!(
        "/Type /XObject /Subtype /Image /Width {SIZE} /Height {SIZE} /ColorSpace /DeviceGray /BitsPerComponent 8"
    );
    document(&contents, Some((&entries, &pixels)))
}

/// Two pages, the second of which is as large as pages can be: to draw it takes gigabytes.
pub(crate) fn poisoned() -> Vec<u8> {
    let mut maker = Maker::default();
    let root = maker.object("<< /Type /Catalog /Pages 2 0 R >>");
    maker.object("<< /Type /Pages /Count 2 /Kids [4 0 R 6 0 R] >>");
    maker.object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>");
    for (place, side) in [(4, 600), (6, 14_400)] {
        maker.object(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {side} {side}] /Resources << /Font << /F1 3 0 R >> >> \
             /Contents {} 0 R >>",
            place + 1
        ));
        maker.stream("", paragraph(500, &format!("This page is {side} points wide.")).as_bytes());
    }
    maker.file(root)
}

/// Pages that lead to each other: each to the next one, and all to the first.
pub(crate) fn linked(pages: usize) -> Vec<u8> {
    let mut maker = Maker::default();
    let root = maker.object("<< /Type /Catalog /Pages 2 0 R >>");
    // Each page has four objects: itself, its content, and two links.
    let page = |number: usize| 4 + 4 * number;
    let kids: Vec<_> = (0..pages).map(|number| format!("{} 0 R", page(number))).collect();
    maker.object(format!("<< /Type /Pages /Count {pages} /Kids [{}] >>", kids.join(" ")));
    maker.object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>");
    for number in 0..pages {
        let this = page(number);
        maker.object(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> /Contents {} 0 R \
             /Annots [{} 0 R {} 0 R] >>",
            this + 1,
            this + 2,
            this + 3
        ));
        let text = paragraph(700, &format!("Page {number} leads to the next one."))
            + &paragraph(600, "And to the first one.");
        maker.stream("", text.as_bytes());
        for (top, to, height) in [(698, (number + 1) % pages, 500 + number), (598, 0, 700 - number)] {
            maker.object(format!(
                "<< /Type /Annot /Subtype /Link /Rect [72 {top} 300 {}] /Dest [{} 0 R /XYZ 72 {height} 0] >>",
                top + 14,
                page(to)
            ));
        }
    }
    maker.file(root)
}
