//! A registry of images of a test's own, with one image of two layers, which gives and takes nothing else.

use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::Arc,
};

/// What is at a path: a media type and bytes.
type Files = HashMap<String, (String, Vec<u8>)>;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

fn digest(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    format!("sha256:{}", text.split(' ').next().unwrap())
}

/// Serves `two:latest` until this process ends; returns its port. It is made in `directory`.
#[must_use]
pub fn serve(directory: &Path) -> u16 {
    let mut files = Files::new();
    let mut keep = |name: &str, kind: &str, bytes: Vec<u8>| {
        let path = directory.join("part");
        std::fs::write(&path, &bytes).unwrap();
        let digest = digest(&path);
        let descriptor = json!({ "mediaType": kind, "size": bytes.len(), "digest": digest });
        let at = if kind == MANIFEST { "manifests" } else { "blobs" };
        for name in [name, &digest] {
            files.insert(format!("/v2/two/{at}/{name}"), (kind.to_owned(), bytes.clone()));
        }
        descriptor
    };
    let mut layers: Vec<Value> = Vec::new();
    for name in ["first", "second"] {
        std::fs::write(directory.join(name), vec![b'x'; 300_000]).unwrap();
        let output = Command::new("tar").arg("-C").arg(directory).args(["-cf", "-", name]).output().unwrap();
        layers.push(keep(name, LAYER, output.stdout));
    }
    let ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let config = json!({ "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": ids } });
    let config = keep("config", CONFIG, config.to_string().into_bytes());
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
    keep("latest", MANIFEST, manifest.to_string().into_bytes());
    let files = Arc::new(files);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let files = files.clone();
            std::thread::spawn(move || answer(stream, &files));
        }
    });
    port
}

fn answer(mut stream: TcpStream, files: &Files) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    for _ in lines.by_ref().take_while(|line| !line.is_empty()) {}
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let empty = ("application/json".to_owned(), b"{}".to_vec());
    let (status, (kind, bytes)) = match files.get(path) {
        Some(file) => ("200 OK", file),
        None if path == "/v2/" => ("200 OK", &empty),
        None => ("404 Not Found", &empty),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        bytes.len()
    );
    // Who hangs up has what he wanted.
    let _ = stream.write_all(head.as_bytes());
    if method != "HEAD" {
        let _ = stream.write_all(bytes);
    }
}
