//! How many jobs are kept, for how long, and with which keepers.

use super::*;

#[test]
fn a_user_has_so_many_jobs_and_no_more() {
    let mut bench = Bench::new();
    let jobs: Vec<String> = (0..16).map(|_| bench.start(json!({ "command": ["cat"] }))).collect();
    let err = bench.refused("exec_start_job", json!({ "command": ["cat"] }));
    assert!(err.contains("quota_exceeded") && err.contains("`exec_signal_job`"), "{err}");
    for job in &jobs {
        bench.call("exec_signal_job", json!({ "job": job, "signal": "KILL" }));
    }
    let job = bench.bash("true");
    bench.wait(&job);
    assert_eq!(bench.jobs().len(), 17);
}

#[test]
fn jobs_that_ended_long_ago_are_forgotten() {
    let mut bench = Bench::new();
    let [old, new] = ["true", "true"].map(|script| bench.bash(script));
    let lost = bench.bash("true");
    for job in [&old, &new, &lost] {
        bench.wait(job);
    }
    let end = bench.directory(&old).join("end");
    let mut ended = skynet_sandbox::job::End::read(&fs::File::open(&end).unwrap()).unwrap().unwrap();
    ended.at_ms -= 25 * 3600 * 1000;
    ended.write(&fs::File::options().write(true).open(&end).unwrap()).unwrap();
    // As if the power had failed before it could be written. It is told for a day, however long ago it began.
    fs::write(bench.directory(&lost).join("end"), "").unwrap();
    let left: Vec<Value> = bench.jobs().iter().map(|job| job["job"].clone()).collect();
    assert_eq!(left, [json!(lost), json!(new)]);
    assert!(!bench.directory(&old).exists());
    assert_eq!(bench.jobs()[0]["state"], "lost");
}

#[test]
fn a_keeper_of_another_version_is_read_and_killed_and_nothing_else() {
    let mut bench = Bench::new();
    // One of ours that is asked by a newer daemon.
    let job = bench.start(json!({ "script": "echo old; cat" }));
    bench.read_until(&job, "old\n");
    let ask = |request: Request, version: u32| {
        let directory = fs::File::open(bench.directory(&job)).unwrap();
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        let path = format!("/proc/self/fd/{}/socket", std::os::fd::AsRawFd::as_raw_fd(&directory));
        rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(path).unwrap()).unwrap();
        let socket = BlockingSocket::new(socket);
        socket.send(&ToKeeper { version, request: Some(request) }, &[]).unwrap();
        let (answer, _) = socket.receive::<FromKeeper>(&mut Buffer::default()).unwrap().unwrap();
        answer
    };
    assert_eq!(ask(Request::Signal(9), VERSION + 1), FromKeeper { version: VERSION, answer: None });
    assert_eq!(ask(Request::Watch(1), VERSION).answer, Some(Answer::Done(4)));
    assert_eq!(ask(Request::Kill(true), VERSION + 1).answer, Some(Answer::Done(4)));
    assert_eq!(bench.wait(&job)["status"]["ended_by"], "kill");

    // A newer one that we ask: the directory of that job, with somebody else at its socket.
    let theirs = bench.directory("newer");
    fs::create_dir(&theirs).unwrap();
    fs::copy(bench.directory(&job).join("job.json"), theirs.join("job.json")).unwrap();
    let files = Directory::open(&theirs).unwrap().prepare().unwrap();
    fs::copy(bench.directory(&job).join("output"), theirs.join("output")).unwrap();
    rustix::io::ioctl_fionbio(&files.listener, false).unwrap();
    let asked = std::thread::spawn(move || {
        loop {
            let socket = BlockingSocket::new(accept_with(&files.listener, SocketFlags::CLOEXEC).unwrap());
            let Ok(Some((asked, _))) = socket.receive::<ToKeeper>(&mut Buffer::default()) else { continue };
            socket.send(&FromKeeper { version: asked.version + 1, answer: None }, &[]).unwrap();
            return asked;
        }
    });
    let part = bench.call("exec_read_job", json!({ "job": "newer" }));
    assert_eq!((&part["output"], &part["status"]["state"]), (&json!("old\n"), &json!("running")), "{part}");
    let err = bench.refused("exec_write_job", json!({ "job": "newer", "text": "x" }));
    assert!(err.contains("unavailable") && err.contains("another version") && err.contains("KILL"), "{err}");
    assert_eq!(asked.join().unwrap().version, VERSION);
}
