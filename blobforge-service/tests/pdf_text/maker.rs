//! Makes PDFs, also such as no honest program writes.

use std::fmt::Write as _;

/// Objects of a PDF; the first has number 1.
#[derive(Default)]
pub(crate) struct Maker {
    objects: Vec<Vec<u8>>,
}

impl Maker {
    pub(crate) fn object(&mut self, text: impl AsRef<[u8]>) -> usize {
        self.objects.push(text.as_ref().to_vec());
        self.objects.len()
    }

    pub(crate) fn stream(&mut self, entries: &str, content: &[u8]) -> usize {
        let mut object = format!("<< {entries} /Length {} >>\nstream\n", content.len()).into_bytes();
        object.extend_from_slice(content);
        object.extend_from_slice(b"\nendstream");
        self.object(object)
    }

    /// The file, whose catalog has number `root`.
    pub(crate) fn file(&self, root: usize) -> Vec<u8> {
        let mut file = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n".to_vec();
        let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", self.objects.len() + 1);
        for (index, object) in self.objects.iter().enumerate() {
            writeln!(table, "{:010} 00000 n ", file.len()).unwrap();
            file.extend_from_slice(format!("{} 0 obj\n", index + 1).as_bytes());
            file.extend_from_slice(object);
            file.extend_from_slice(b"\nendobj\n");
        }
        let start = file.len();
        let size = self.objects.len() + 1;
        write!(table, "trailer\n<< /Size {size} /Root {root} 0 R >>\nstartxref\n{start}\n%%EOF\n").unwrap();
        file.extend_from_slice(table.as_bytes());
        file
    }
}

/// A document of one page a content stream, with the font F1, and the picture X1 if there is one.
pub(crate) fn document(contents: &[&str], picture: Option<(&str, &[u8])>) -> Vec<u8> {
    let mut maker = Maker::default();
    maker.object("<< /Type /Catalog /Pages 2 0 R >>");
    let first = if picture.is_some() { 5 } else { 4 };
    let kids: Vec<String> = (0..contents.len()).map(|n| format!("{} 0 R", first + 2 * n)).collect();
    maker.object(format!("<< /Type /Pages /Count {} /Kids [{}] >>", contents.len(), kids.join(" ")));
    maker.object("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>");
    let mut resources = "/Font << /F1 3 0 R >>".to_owned();
    if let Some((entries, content)) = picture {
        maker.stream(entries, content);
        resources.push_str(" /XObject << /X1 4 0 R >>");
    }
    for (n, content) in contents.iter().enumerate() {
        maker.object(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << {resources} >> /Contents {} 0 R >>",
            first + 2 * n + 1
        ));
        maker.stream("", content.as_bytes());
    }
    maker.file(1)
}

/// Content that writes lines of text, 14 points apart.
pub(crate) fn text(lines: &[&str]) -> String {
    let mut content = "BT /F1 11 Tf 14 TL 72 700 Td".to_owned();
    for line in lines {
        write!(content, " ({line}) Tj T*").unwrap();
    }
    content + " ET"
}
