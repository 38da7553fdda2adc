//! Hands that a broker begins and that never are ready.

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
};
use skynet_core::{Caller, Connection, Workspace, process::Process};
use skynet_hands::Pool;
use skynet_sandbox::{
    Slots,
    channel::{BlockingSocket, Buffer},
    protocol::{Request, ToBroker},
};
use std::{path::Path, sync::Arc};
use tokio::sync::mpsc;

fn caller(uid: u32) -> Caller {
    Caller {
        uid,
        user: uid.to_string().into(),
        groups: Arc::from([]),
        pid: 1,
        client: "test".into(),
        workspace: None,
        no_workspace: None,
        token: None,
        home: Arc::from(Path::new("/nonexistent")),
        connection: Connection::noted(uid.into(), Process::Numbered, |_| {}),
        ssh_agent: None,
    }
}

#[tokio::test]
async fn hands_that_do_not_start_keep_nobody_else_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broker");
    let listener =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 1).unwrap();
    let (tell, mut asked) = mpsc::unbounded_channel();
    // It takes what it is asked, and begins nothing.
    std::thread::spawn(move || {
        let socket = BlockingSocket::new(accept_with(&listener, SocketFlags::CLOEXEC).unwrap());
        let mut buffer = Buffer::default();
        while let Ok(Some((ToBroker { request }, _))) = socket.receive::<ToBroker>(&mut buffer) {
            if let Some(Request::Run(run)) = request {
                tell.send(run.connection).unwrap();
            }
        }
    });
    let (slots, _arrivals) = Slots::of_host(path);
    let pool = Pool::new(slots);
    let project = directory.path().to_owned();
    let waiting = [7, 8].map(|uid| {
        let (pool, project) = (pool.clone(), project.clone());
        tokio::spawn(async move {
            let workspace = Workspace::open(&project).unwrap();
            pool.watch(&caller(uid), &workspace, "file").await.is_ok()
        })
    });
    let mut users = [asked.recv().await.unwrap(), asked.recv().await.unwrap()];
    users.sort_unstable();
    assert_eq!(users, [7, 8]);
    // Nor whoever asks how many there are.
    assert!(pool.pids().is_empty());
    for one in waiting {
        one.abort();
    }
}
