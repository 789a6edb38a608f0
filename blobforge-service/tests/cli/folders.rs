//! Folders of files: handed in, and given their results.

use super::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The last line, which people paste.
fn last(said: &Said) -> &str {
    said.out.lines().last().unwrap_or_default()
}

impl Forge {
    fn books(&self) -> PathBuf {
        self.folder.path().join("books")
    }

    fn book(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.books().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn on_books(&self, args: &[&str]) -> Said {
        run(self.command(args).arg(self.books()))
    }
}

#[test]
fn a_folder_is_handed_in_once_whatever_lies_in_it() {
    let forge = Forge::serve(&[]);
    let large = b"%PDF-1.4 not on this machine";
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n",
        hash(large),
        large.len()
    );
    forge.book("rules/core.pdf", b"core");
    forge.book("rules/copy of core.pdf", b"core");
    forge.book("maps.PDF", b"maps");
    forge.book("notes.txt", b"notes");
    forge.book("large.pdf", pointer.as_bytes());
    let said = forge.on_books(&["ingest", "--dry-run"]);
    assert_eq!((said.code, last(&said)), (Some(1), "2 to submit, 1 existing, 1 failed"), "{said:?}");
    assert!(said.out.contains("git lfs pull"), "{}", said.out);
    assert_eq!(run(&mut forge.command(&["jobs", "list", "--quiet"])).out, "", "nothing was submitted");
    let said = forge.on_books(&["ingest"]);
    assert_eq!((said.code, last(&said)), (Some(1), "2 submitted, 1 existing, 1 failed"), "{said:?}");
    let core: Value =
        serde_json::from_str(&run(&mut forge.command(&["jobs", "get", &hash(b"core")])).out).unwrap();
    assert_eq!((&core["status"], &core["tags"]), (&"pending".into(), &serde_json::json!(["rules"])));
    assert_eq!(core["other_paths"].as_array().unwrap().len(), 1, "{core}");
    // What a pointer stands for is known by now.
    let elsewhere = forge.write("large.pdf", large);
    run(forge.command(&["submit"]).arg(&elsewhere));
    let said = forge.on_books(&["ingest"]);
    assert_eq!((said.code, last(&said)), (Some(0), "0 submitted, 4 existing, 0 failed"), "{said:?}");
    let said = forge.on_books(&["ingest", "--json"]);
    let lines: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() == 4 && lines.iter().all(|line| line["what"] == "existing"), "{said:?}");
    assert!(said.err.contains("4 existing"), "people are told beside it: {}", said.err);
    let said = forge.on_books(&["ingest", "--type", "word-count"]);
    assert_eq!(last(&said), "3 submitted, 1 existing, 1 failed", "the pointer has no content: {said:?}");
    let words = run(&mut forge.command(&["jobs", "list", "--quiet", "--type", "word-count"])).out;
    assert_eq!(words.lines().count(), 3, "other types are made of every file, and two are the same");
    forge.stop();
}

#[test]
fn what_another_engine_converts_is_not_handed_in_anew_unless_a_type_is_named() {
    let forge = Forge::serve(&[]);
    let book = forge.book("rules/core.pdf", b"core");
    run(forge.command(&["submit", "--type", "pdf"]).arg(&book));
    let said = forge.on_books(&["ingest"]);
    assert_eq!((said.code, last(&said)), (Some(0), "0 submitted, 1 existing, 0 failed"), "{said:?}");
    let job: Value = serde_json::from_str(&run(&mut forge.command(&["jobs", "get", "1"])).out).unwrap();
    assert_eq!((&job["type"], &job["tags"]), (&"pdf".into(), &serde_json::json!(["rules"])));
    let said = run(forge.command(&["submit"]).arg(&book));
    assert_eq!(last(&said), "0 submitted, 1 existing, 0 failed", "{said:?}");
    let said = forge.on_books(&["ingest", "--param", "lang=de"]);
    assert_eq!(last(&said), "1 submitted, 0 existing, 0 failed", "that is another job: {said:?}");
    let said = forge.on_books(&["ingest", "--type", "pdf-text"]);
    assert_eq!(last(&said), "1 submitted, 0 existing, 0 failed", "{said:?}");
    forge.stop();
}

#[test]
fn single_files_are_handed_in_as_those_in_folders_are() {
    let forge = Forge::serve(&[]);
    let content = b"%PDF-1.4 in the store of Git LFS";
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n",
        hash(content),
        content.len()
    );
    let (pointer, plain) = (forge.book("large.pdf", pointer.as_bytes()), forge.book("plain.pdf", b"plain"));
    let said = run(forge.command(&["submit", "--quiet"]).args([&pointer, &plain, &forge.books()]));
    assert_eq!((said.code, said.out.as_str()), (Some(1), "1\n"), "{said:?}");
    assert!(said.err.contains("git lfs pull") && said.err.contains("blobforge ingest"), "{said:?}");
    assert!(said.err.ends_with("1 submitted, 0 existing, 2 failed\n"), "{said:?}");
    let object =
        forge.books().join(format!(".git/lfs/objects/{}/{}", &hash(content)[..2], &hash(content)[2..4]));
    fs::create_dir_all(&object).unwrap();
    fs::write(object.join(hash(content)), content).unwrap();
    let said = run(forge.command(&["submit", "--json"]).args([&pointer, &plain]));
    assert_eq!(said.code, Some(0), "{said:?}");
    let lines: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |line: &Value| (line["what"].clone(), line["sha256"].clone());
    assert_eq!(of(&lines[0]), ("submitted".into(), hash(content).into()));
    assert_eq!(of(&lines[1]), ("existing".into(), hash(b"plain").into()));
    forge.stop();
}

#[test]
fn what_failed_before_is_run_again_on_request() {
    let forge = Forge::serve(&["--with-worker"]);
    forge.book("bad.pdf", b"no PDF");
    forge.on_books(&["ingest"]);
    forge.all_ended();
    let said = forge.on_books(&["ingest"]);
    assert!(said.out.contains("1 of the existing have failed: --retry-failed"), "{said:?}");
    forge.on_books(&["ingest", "--retry-failed"]);
    let jobs = forge.all_ended();
    assert_eq!((&jobs[0]["attempts"], &jobs[0]["status"]), (&2.into(), &"failed".into()));
    forge.stop();
}

#[test]
fn results_are_put_beside_their_sources_and_nothing_of_anybodys_is_touched() {
    let forge = Forge::serve(&["--with-worker"]);
    let pictures: &[u8] = include_bytes!("../../samples/tables.pdf");
    let letter = forge.book("post/letter.pdf", LETTER);
    forge.book("tables.pdf", pictures);
    forge.book("unknown.pdf", b"never handed in");
    assert_eq!(run(forge.command(&["ingest"]).arg(forge.books().join("post"))).code, Some(0));
    run(forge.command(&["submit"]).arg(forge.books().join("tables.pdf")));
    forge.all_ended();
    let said = forge.on_books(&["hydrate", "--dry-run"]);
    let summary = "2 to write, 0 there already, 0 kept, 1 without a result, 0 failed";
    assert_eq!((said.code, last(&said)), (Some(0), summary), "{said:?}");
    let markdown = letter.with_extension("md");
    assert!(!markdown.exists());
    let said = forge.on_books(&["hydrate"]);
    assert_eq!(last(&said), "2 written, 0 there already, 0 kept, 1 without a result, 0 failed", "{said:?}");
    assert!(fs::read_to_string(&markdown).unwrap().contains("# A Letter from the Forge"));
    let said = forge.on_books(&["hydrate"]);
    assert_eq!(last(&said), "0 written, 2 there already, 0 kept, 1 without a result, 0 failed", "{said:?}");
    fs::write(&markdown, "my own words").unwrap();
    let said = forge.on_books(&["hydrate"]);
    assert_eq!(last(&said), "0 written, 1 there already, 1 kept, 1 without a result, 0 failed", "{said:?}");
    assert!(said.out.contains("--force"), "{}", said.out);
    assert_eq!(fs::read_to_string(&markdown).unwrap(), "my own words");
    assert_eq!(last(&forge.on_books(&["hydrate", "--force"])).split(',').next(), Some("1 written"));
    assert!(fs::read_to_string(&markdown).unwrap().contains("# A Letter"));
    // Two sources that would share a result do not.
    forge.book("post/letter.txt", LETTER);
    let said = forge.on_books(&["hydrate", "--ext", "pdf,txt"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("its result would lie where that of"), "{}", said.out);
    forge.stop();
}

#[test]
fn results_of_an_earlier_installation_are_put_beside_their_sources_without_a_service() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let (books, results) = (folder.path().join("books"), folder.path().join("out"));
    fs::create_dir_all(&books).unwrap();
    fs::create_dir_all(&results).unwrap();
    fs::write(books.join("my book.pdf"), b"book").unwrap();
    let zip = fs::File::create(results.join(format!("{}.zip", hash(b"book")))).unwrap();
    let mut zip = zip::ZipWriter::new(zip);
    let files = [
        ("content.md", "# Book\n\n![map](assets/map.png)"),
        ("assets/map.png", "map"),
        ("info.json", "{}"),
        ("../../evil.md", "evil"),
    ];
    for (name, text) in files {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    let said = run(blobforge().arg("hydrate").arg(&books).arg("--results").arg(&results));
    assert_eq!(said.code, Some(0), "{said:?}");
    let text = fs::read_to_string(books.join("my book.md")).unwrap();
    assert_eq!(text, "# Book\n\n![map](my%20book.assets/map.png)");
    assert_eq!(fs::read_to_string(books.join("my book.assets/map.png")).unwrap(), "map");
    assert!(!folder.path().join("evil.md").exists() && !books.join("evil.md").exists());
}

#[test]
fn folders_are_watched_for_what_comes_in_and_what_comes_out() {
    let forge = Forge::serve(&["--with-worker"]);
    fs::create_dir_all(forge.books()).unwrap();
    let mut watching = forge.command(&["ingest", "--watch", "--every", "1", "--quiet"]);
    let mut watching =
        watching.arg(forge.books()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut hydrating = forge.command(&["hydrate", "--watch", "--every", "1", "--quiet"]);
    let mut hydrating =
        hydrating.arg(forge.books()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Whoever writes a file is given time to finish it; this one is an hour old.
    let letter = forge.write("letter.pdf", LETTER);
    let an_hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    fs::File::options().write(true).open(&letter).unwrap().set_modified(an_hour_ago).unwrap();
    fs::rename(&letter, forge.books().join("letter.pdf")).unwrap();
    let first = |child: &mut Child| {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        line
    };
    assert_eq!(first(&mut watching), "1\n");
    assert!(first(&mut hydrating).ends_with("books/letter.md\n"));
    for mut child in [watching, hydrating] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    forge.stop();
}

#[test]
fn no_result_is_put_where_a_source_lies() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let (books, results) = (folder.path().join("books"), folder.path().join("out"));
    fs::create_dir_all(books.join("2024.assets")).unwrap();
    fs::create_dir_all(&results).unwrap();
    fs::write(books.join("note.md"), b"handed in").unwrap();
    // A folder of somebody's own, which only looks as if it were one of results.
    fs::write(books.join("2024.assets/plan.md"), b"handed in as well").unwrap();
    let zip = fs::File::create(results.join(format!("{}.zip", hash(b"handed in")))).unwrap();
    let mut zip = zip::ZipWriter::new(zip);
    zip.start_file("content.md", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(b"what came out").unwrap();
    zip.finish().unwrap();
    let mut command = blobforge();
    command.args(["hydrate", "--ext", "md", "--force", "--results"]).args([&results, &books]);
    let said = run(&mut command);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.out.matches("its result would lie where that of").count(), 2, "{said:?}");
    assert_eq!(fs::read(books.join("note.md")).unwrap(), b"handed in");
}

#[test]
fn the_admin_token_of_this_machine_is_shown_to_no_other() {
    let forge = Forge::serve(&[]);
    let mut command = blobforge();
    command.args(["jobs", "list", "--server", "http://forge.invalid:8080"]);
    command.env("BLOBFORGE_DB_PATH", forge.folder.path().join("blobforge.db"));
    let said = run(&mut command);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("no API token is given for http://forge.invalid:8080"), "{said:?}");
    forge.stop();
}

#[test]
fn what_is_no_file_or_leads_nowhere_is_said_and_no_success() {
    use std::os::unix::ffi::OsStrExt as _;
    let forge = Forge::serve(&[]);
    let said = run(&mut forge.command(&["submit", "/dev/null"]));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("neither a file nor a folder"), "{}", said.out);
    // A name that is no text is one all the same.
    let name = std::ffi::OsStr::from_bytes(b"\xff.pdf");
    fs::create_dir_all(forge.books()).unwrap();
    fs::write(forge.books().join(name), b"odd").unwrap();
    std::os::unix::fs::symlink("/nowhere/at/all", forge.books().join("gone.pdf")).unwrap();
    let said = forge.on_books(&["ingest", "--json"]);
    assert_eq!((said.code, said.out.lines().count()), (Some(1), 2), "{said:?}");
    assert!(said.err.ends_with("1 submitted, 0 existing, 1 failed\n"), "{said:?}");
    assert!(said.out.contains("a link to what is not there"), "{}", said.out);
    forge.stop();
}

#[test]
fn files_that_are_the_same_count_as_one_also_in_a_dry_run() {
    let forge = Forge::serve(&[]);
    forge.book("a.pdf", b"same");
    forge.book("b.pdf", b"same");
    assert_eq!(last(&forge.on_books(&["ingest", "--dry-run"])), "1 to submit, 1 existing, 0 failed");
    assert_eq!(last(&forge.on_books(&["ingest"])), "1 submitted, 1 existing, 0 failed");
    forge.stop();
}

#[test]
fn when_nobody_answers_the_rest_is_not_tried_and_that_is_said() {
    let forge = Forge::serve(&[]);
    for number in 0..300 {
        forge.book(&format!("{number}.pdf"), format!("book {number}").as_bytes());
    }
    let (books, url) = (forge.books(), forge.url.clone());
    let kept = forge.folder.path().join("kept");
    fs::rename(&books, &kept).unwrap();
    let token = forge.token();
    let folder = tempfile::tempdir().unwrap();
    let books = folder.path().join("books");
    run(Command::new("cp").arg("-r").args([&kept, &books]));
    forge.stop();
    let said =
        run(blobforge().args(["ingest", "--server", &url]).arg(&books).env("BLOBFORGE_API_TOKEN", token));
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.contains("not all files were tried"), "{}", said.out);
}

#[test]
fn no_folder_is_replaced_in_which_a_source_lies() {
    let forge = Forge::serve(&["--with-worker"]);
    forge.book("letter.pdf", LETTER);
    forge.book("letter.assets/mine.pdf", include_bytes!("../../samples/tables.pdf"));
    forge.on_books(&["ingest"]);
    forge.all_ended();
    let said = forge.on_books(&["hydrate", "--force"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("where other files are"), "{}", said.out);
    assert!(forge.books().join("letter.assets/mine.pdf").exists());
    assert!(forge.books().join("letter.assets/mine.md").exists(), "the other one has room");
    forge.stop();
}
