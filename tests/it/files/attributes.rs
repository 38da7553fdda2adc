//! What a file has besides its content stays when it is replaced: its group, its access list, its attributes.

use super::bench;
use serde_json::json;
use skynet_tests::components;
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
};

/// A POSIX access list (linux/posix_acl_xattr.h): of each entry what it is for, what may be done and by whom.
fn access_list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (kind, rights, id) in entries {
        list.extend([kind.to_le_bytes(), rights.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    list
}

/// Rights for somebody else besides.
fn shared_list() -> Vec<u8> {
    let nobody = u32::MAX;
    access_list(&[(1, 6, nobody), (2, 7, 12_345), (4, 4, nobody), (16, 7, nobody), (32, 4, nobody)])
}

/// False where the filesystem has no such attribute.
fn set_attribute(path: &Path, name: &str, value: &[u8]) -> bool {
    match rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()) {
        Err(rustix::io::Errno::NOTSUP) => {
            components::skip(name, "this filesystem has no such attribute");
            false
        }
        set => set.map(|()| true).unwrap(),
    }
}

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 4096];
    let length = rustix::fs::getxattr(path, name, buffer.as_mut_slice()).ok()?;
    buffer.truncate(length);
    Some(buffer)
}

#[tokio::test]
async fn a_file_that_is_replaced_keeps_its_group_its_access_list_and_its_attributes() {
    let bench = bench();
    bench.write("f", "one\n");
    let path = bench.root.join("f");
    let own = fs::metadata(&path).unwrap().gid();
    let others = rustix::process::getgroups().unwrap().into_iter().map(|group| group.as_raw());
    let is_root = rustix::process::geteuid().is_root();
    let group = others.chain(is_root.then_some(12_345)).find(|group| *group != own);
    match group {
        Some(group) => chown(&path, None, Some(group)).unwrap(),
        // Who has no other group can give a file to none; root can.
        None => eprintln!("SKIP groups: this user is in one alone"),
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
    let has_note = set_attribute(&path, "user.note", b"kept");
    let has_list = set_attribute(&path, "system.posix_acl_access", &shared_list());
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    let edits = json!([{ "old": "two", "new": "three" }]);
    for (tool, input, expected) in [
        ("files_write", json!({ "path": "f", "content": "two\n" }), "two\n"),
        ("files_edit", json!({ "path": "f", "edits": edits }), "three\n"),
    ] {
        bench.call(tool, input).await.unwrap();
        assert_eq!(bench.read("f"), expected);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.gid(), group.unwrap_or(own), "{tool}");
        assert_eq!(metadata.permissions().mode(), mode, "{tool}");
        assert!(!has_note || attribute(&path, "user.note").as_deref() == Some(b"kept"), "{tool}");
        let list = attribute(&path, "system.posix_acl_access");
        assert!(!has_list || list == Some(shared_list()), "{tool}: {list:?}");
    }
}

#[tokio::test]
async fn a_replaced_file_is_given_no_access_list_that_it_did_not_have() {
    let bench = bench();
    bench.write("shared/f", "one");
    let (directory, path) = (bench.root.join("shared"), bench.root.join("shared/f"));
    // What is made in the directory from now on is for somebody else too.
    if !set_attribute(&directory, "system.posix_acl_default", &shared_list()) {
        return;
    }
    bench.call("files_write", json!({ "path": "shared/f", "content": "two" })).await.unwrap();
    assert_eq!(attribute(&path, "system.posix_acl_access"), None);
    bench.call("files_write", json!({ "path": "shared/new", "content": "" })).await.unwrap();
    assert!(attribute(&bench.root.join("shared/new"), "system.posix_acl_access").is_some());
}
