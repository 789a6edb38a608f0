//! Everything that a job produced: as one zip file, and into a folder.

use std::{collections::BTreeMap, fs, io::Read, net::Ipv4Addr};

use blobforge_core::{
    JobId, Output,
    broker::{Assignment, Broker, Ending},
};
use blobforge_service::{ServeConfig, Service};
use blobforge_worker_sdk::client::{Client, ClientConfig, SubmitFile};
use poem::{
    Route, Server, get, handler,
    listener::{Acceptor, Listener, TcpListener},
    web::{Json, Path, Query},
};
use serde_json::{Value, json};

use crate::{Forge, MIB, claim, content};

/// A job that has done its work, with these outputs.
async fn done(client: &Client, folder: &std::path::Path, outputs: &[(String, usize)]) -> JobId {
    let source = folder.join("Buch über Öfen.pdf");
    fs::write(&source, "%PDF-1.7").unwrap();
    client.submit_file(SubmitFile::new("pdf", source), |_, _| {}).await.unwrap();
    let work = claim(client, "smith", "pdf").await;
    let mut sent = Vec::new();
    for (name, size) in outputs {
        sent.push(send(client, &work, folder, name, *size).await);
    }
    client.finish(&work, Ending::Complete { outputs: sent, result: None }).await.unwrap();
    work.job
}

async fn send(
    client: &Client,
    work: &Assignment,
    folder: &std::path::Path,
    name: &str,
    size: usize,
) -> Output {
    let file = folder.join("output");
    fs::write(&file, content(name, size)).unwrap();
    client.put_output(work, name, &file).await.unwrap()
}

async fn zip_of(service: &Service, job: JobId) -> reqwest::Response {
    let url = format!("{}/api/jobs/{job}/outputs.zip", service.url());
    reqwest::Client::new().get(url).bearer_auth(service.admin_token()).send().await.unwrap()
}

fn many() -> Vec<(String, usize)> {
    let mut outputs: Vec<_> = (0..60).map(|n| (format!("images/p{n}.png"), 100 + n)).collect();
    outputs.extend([
        ("text.md".to_owned(), 21 * MIB),
        ("größe.txt".to_owned(), 0),
        ("TEXT.md".to_owned(), 10),
    ]);
    outputs
}

#[tokio::test]
async fn a_zip_file_has_every_output_under_a_name_of_its_own() {
    let forge = Forge::start().await;
    let job = done(&forge.client(), forge.folder.path(), &many()).await;
    let reply = zip_of(&forge.service, job).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.headers()["content-type"], "application/zip");
    let name = reply.headers()["content-disposition"].to_str().unwrap();
    assert!(name.ends_with("filename*=UTF-8''Buch%20%C3%BCber%20%C3%96fen-outputs.zip"), "{name}");
    assert!(reply.content_length().is_none(), "its size is not known before it is made");
    let bytes = reply.bytes().await.unwrap();
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let mut found = BTreeMap::new();
    for at in 0..zip.len() {
        let mut file = zip.by_index(at).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        found.insert(file.name().unwrap().into_owned(), bytes);
    }
    let called = |name: &str| if name == "TEXT.md" { "TEXT-2.md".to_owned() } else { name.to_owned() };
    let wanted: BTreeMap<_, _> =
        many().into_iter().map(|(name, size)| (called(&name), content(&name, size))).collect();
    assert!(found == wanted, "{:?}", found.keys());
}

#[tokio::test]
async fn a_zip_file_of_which_a_part_cannot_be_read_breaks_off() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(ServeConfig::local(folder.path())).await.unwrap();
    let client = Client::new(ClientConfig::new(service.url(), service.admin_token())).unwrap();
    let outputs: Vec<_> = ["a.bin", "b.bin", "c.bin"].map(|name| (name.to_owned(), MIB)).into();
    let job = done(&client, folder.path(), &outputs).await;
    assert!(zip_of(&service, job).await.bytes().await.is_ok());
    let gone = service.queue().job(job).await.unwrap().outputs[1].key.clone();
    fs::remove_file(folder.path().join("files").join(gone)).unwrap();
    let reply = zip_of(&service, job).await;
    assert_eq!(reply.status(), 200, "it had begun");
    let bytes = reply.bytes().await;
    assert!(bytes.is_err(), "nobody takes it for whole: {} bytes", bytes.unwrap().len());
}

#[tokio::test]
async fn a_zip_file_of_a_file_that_is_shorter_than_it_was_breaks_off() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(ServeConfig::local(folder.path())).await.unwrap();
    let client = Client::new(ClientConfig::new(service.url(), service.admin_token())).unwrap();
    let outputs: Vec<_> = ["a.bin", "b.bin"].map(|name| (name.to_owned(), MIB)).into();
    let job = done(&client, folder.path(), &outputs).await;
    let outputs = service.queue().job(job).await.unwrap().outputs;
    let [first, second] = [0, 1].map(|n: usize| folder.path().join("files").join(&outputs[n].key));
    fs::write(second, "half of it").unwrap();
    assert!(zip_of(&service, job).await.bytes().await.is_err(), "nobody takes it for whole");
    // What is wrong from the start is said.
    fs::remove_file(first).unwrap();
    let reply = zip_of(&service, job).await;
    assert_eq!(reply.status(), 404);
    assert_eq!(reply.json::<Value>().await.unwrap()["code"], "file_not_found");
}

#[tokio::test]
async fn a_job_that_is_not_done_has_no_outputs_at_all() {
    let forge = Forge::start().await;
    let file = forge.file("a.pdf", 10);
    let job = forge.client().submit_file(SubmitFile::new("pdf", file), |_, _| {}).await.unwrap().job_id;
    let reply = zip_of(&forge.service, job).await;
    assert_eq!(reply.status(), 404);
    assert_eq!(reply.json::<Value>().await.unwrap()["code"], "output_not_found");
    let to = forge.folder.path().join("fetched");
    let refused = forge.client().download_outputs(job, &to).await.unwrap_err();
    assert!(refused.to_string().contains("it is pending") && !to.exists(), "{refused}");
}

#[tokio::test]
async fn all_outputs_come_into_a_folder() {
    let forge = Forge::start().await;
    let client = forge.client();
    let job = done(&client, forge.folder.path(), &many()).await;
    let to = forge.folder.path().join("fetched");
    let paths = client.download_outputs(job, &to).await.unwrap();
    assert_eq!(paths.len(), many().len());
    for (path, (name, size)) in paths.iter().zip(many()) {
        assert!(fs::read(path).unwrap() == content(&name, size), "{name}");
    }
}

const HOSTILE: [&str; 4] = ["../../evil", "/tmp/evil", "a/../../evil", "link/evil"];

#[handler]
fn hostile_job() -> Json<Value> {
    let outputs: Vec<_> = HOSTILE.map(|name| json!({"name": name, "size": 4})).into();
    Json(json!({
        "id": 7, "type": "pdf", "status": "completed", "status_label": "completed", "priority": 3,
        "source_path": null, "progress": null, "last_error": null, "result": null, "outputs": outputs,
    }))
}

#[handler]
fn hostile_url(Query(asked): Query<BTreeMap<String, String>>) -> Json<Value> {
    assert!(HOSTILE.contains(&asked["name"].as_str()));
    Json(json!({"method": "GET", "url": "/evil", "headers": {}}))
}

#[handler]
fn evil(_: Path<()>) -> &'static str {
    "evil"
}

#[tokio::test]
async fn a_hostile_service_writes_nothing_outside_the_folder() {
    let acceptor = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).into_acceptor().await.unwrap();
    let url = format!("http://{}", acceptor.local_addr()[0].as_socket_addr().unwrap());
    let routes = Route::new()
        .at("/api/jobs/7", get(hostile_job))
        .at("/api/files/7/output/url", get(hostile_url))
        .at("/evil", get(evil));
    let server = tokio::spawn(Server::new_with_acceptor(acceptor).run(routes));
    let client = Client::new(ClientConfig::new(url, "a token")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let (to, elsewhere) = (home.path().join("here/fetched"), home.path().join("elsewhere"));
    fs::create_dir_all(&elsewhere).unwrap();
    let fetched = client.download_outputs(JobId::new(7), &to).await.unwrap();
    let inside = to.canonicalize().unwrap();
    assert!(fetched.iter().all(|path| path.starts_with(&inside)), "{fetched:?}");
    assert!(!home.path().join("evil").exists() && !home.path().join("here/evil").exists());

    // Not by a link that lies there either.
    fs::remove_dir_all(&to).unwrap();
    fs::create_dir_all(&to).unwrap();
    std::os::unix::fs::symlink(&elsewhere, to.join("link")).unwrap();
    let refused = client.download_outputs(JobId::new(7), &to).await.unwrap_err();
    assert!(refused.to_string().contains("link"), "{refused}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    server.abort();
}
