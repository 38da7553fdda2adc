//! What Git and OpenSSH start while a remote is talked to: this program again, for one of three small tasks. Each runs in the
//! slot of its call.

use crate::lender::{Answer, Question, SOCKET, quoted};
use skynet_core::tool::PROXY_PORT;
use std::{
    ffi::OsString,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpStream},
    os::unix::{net::UnixStream, process::CommandExt as _},
    process::{Command, ExitCode},
    thread,
};

/// Of what a proxy says before the tunnel begins.
const LONGEST_HEAD: usize = 16 << 10;

/// Does what the arguments say, if they are those of a helper.
///
/// Says on stderr what went wrong, which Git shows.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let task = arguments.next()?;
    let arguments: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    let done = match task.to_str() {
        Some("credential") => credential(&arguments),
        Some("ssh") => ssh(&arguments),
        Some("connect") => connect(&arguments),
        _ => return None,
    };
    Some(done.map_or_else(
        |why| {
            eprintln!("{why}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

/// A helper as in gitcredentials(7): it answers `get`, and remembers nothing.
fn credential(arguments: &[String]) -> Result<(), String> {
    if arguments.first().map(String::as_str) != Some("get") {
        return Ok(());
    }
    let (mut scheme, mut host) = (String::new(), String::new());
    for line in io::stdin().lines() {
        let line = line.map_err(told("git"))?;
        match line.split_once('=') {
            Some(("protocol", value)) => value.clone_into(&mut scheme),
            Some(("host", value)) => value.clone_into(&mut host),
            _ => {}
        }
    }
    if let Some(Answer { username, value, .. }) = ask(&Question { scheme, host })? {
        let said = format!("username={username}\npassword={value}\n");
        io::stdout().write_all(said.as_bytes()).map_err(told("git"))?;
    }
    Ok(())
}

/// OpenSSH with a key or an agent of the lender's, the hosts that the user knows, and nothing that a configuration says.
fn ssh(arguments: &[String]) -> Result<(), String> {
    let host = host_of(arguments).ok_or("git named no host to ssh")?;
    let answer = ask(&Question { scheme: "ssh".to_owned(), host })?;
    let program = std::env::current_exe().map_err(told("this program"))?;
    let program = quoted(&program.display().to_string()).replace('%', "%%");
    let none = || "none".to_owned();
    let (key, agent) = match answer {
        None => (none(), none()),
        Some(Answer { value, is_agent: true, .. }) => (none(), value),
        Some(Answer { value, .. }) => (value, none()),
    };
    // Keys of an agent are not named by any file.
    let is_only = if agent == "none" { "yes" } else { "no" };
    let mut command = Command::new("ssh");
    command.args(["-F", "none", "-T", "-a", "-x"]);
    let options = [
        "BatchMode=yes".to_owned(),
        "StrictHostKeyChecking=yes".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        "UserKnownHostsFile=\"${HOME}/.ssh/known_hosts\"".to_owned(),
        "GlobalKnownHostsFile=/etc/ssh/ssh_known_hosts".to_owned(),
        "PreferredAuthentications=publickey".to_owned(),
        format!("IdentityAgent={agent}"),
        format!("IdentitiesOnly={is_only}"),
        format!("IdentityFile={key}"),
        format!("ProxyCommand={program} connect %h %p"),
        "LogLevel=ERROR".to_owned(),
    ];
    // Of several values of an option OpenSSH takes the first, so these hold whatever follows.
    command.args(options.iter().flat_map(|option| ["-o", option]));
    let err = command.args(arguments).exec();
    Err(format!("the `ssh` program cannot be started; install the client of OpenSSH: {err}"))
}

/// The host among the arguments that Git gives to `ssh`: options, `[USER@]HOST`, and a command.
fn host_of(arguments: &[String]) -> Option<String> {
    let (mut host, mut port) = (None, None);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-p" => port = rest.next(),
            "-o" => {
                rest.next();
            }
            option if option.starts_with('-') => {}
            named => {
                host = Some(named.rsplit_once('@').map_or(named, |(_, host)| host));
                break;
            }
        }
    }
    let host = host?;
    Some(port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// A tunnel through the proxy of the slot (RFC 9110, section 9.3.6), between stdin and stdout.
fn connect(arguments: &[String]) -> Result<(), String> {
    let [host, port] = arguments else { return Err("a host and a port are needed".to_owned()) };
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let mut proxy = TcpStream::connect((Ipv4Addr::LOCALHOST, PROXY_PORT)).map_err(told("the way out"))?;
    let request =
        format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    proxy.write_all(request.as_bytes()).map_err(told("the way out"))?;
    let mut answers = BufReader::new(proxy.try_clone().map_err(told("the way out"))?);
    let head = read_head(&mut answers).map_err(told("the way out"))?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        let mut why = String::new();
        // It was asked to close the connection after it has said why.
        let _ = answers.take(LONGEST_HEAD as u64).read_to_string(&mut why);
        return Err(format!("`{host}:{port}` is not reached ({status}): {}", why.trim_end()));
    }
    thread::spawn(move || {
        // A client that ends, and a server that does, are both the end of this.
        let _ = io::copy(&mut io::stdin().lock(), &mut proxy);
        let _ = proxy.shutdown(Shutdown::Write);
    });
    copy_out(&mut answers).map_err(told("the way out"))
}

/// What is buffered would wait for a line feed.
fn copy_out(from: &mut impl io::BufRead) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    loop {
        let bytes = from.fill_buf()?;
        let count = bytes.len();
        if count == 0 {
            return Ok(());
        }
        stdout.write_all(bytes)?;
        stdout.flush()?;
        from.consume(count);
    }
}

/// Up to the empty line.
fn read_head(from: &mut impl io::BufRead) -> io::Result<String> {
    let mut head = String::new();
    loop {
        let before = head.len();
        from.by_ref().take(LONGEST_HEAD as u64).read_line(&mut head)?;
        let line = head.get(before..).unwrap_or_default();
        if line.trim_end().is_empty() {
            return Ok(head);
        }
        if head.len() > LONGEST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// `None` if nothing is lent; why not, the lender tells the caller.
fn ask(question: &Question) -> Result<Option<Answer>, String> {
    let socket = std::env::var_os(SOCKET).ok_or("nobody lends credentials here")?;
    let mut stream = UnixStream::connect(socket).map_err(told("the lender"))?;
    let question = serde_json::to_string(question).map_err(|err| err.to_string())?;
    writeln!(stream, "{question}").map_err(told("the lender"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(told("the lender"))?;
    if answer.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(&answer).map(Some).map_err(|err| err.to_string())
}

fn told(what: &str) -> impl FnOnce(io::Error) -> String {
    move |err| format!("{what}: {err}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_found_among_what_git_tells_ssh() {
        for (line, host) in [
            ("git@example.org git-upload-pack", Some("example.org")),
            ("-o SendEnv=GIT_PROTOCOL -p 2222 example.org git-upload-pack", Some("example.org:2222")),
            ("-4 -p 22 a@b@example.org x -p 1", Some("example.org:22")),
            ("-p 22", None),
            ("", None),
        ] {
            let arguments: Vec<String> =
                line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
            assert_eq!(host_of(&arguments).as_deref(), host, "{line}");
        }
    }

    #[test]
    fn a_head_ends_at_the_empty_line() {
        let mut text = &b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nSSH-2.0"[..];
        assert_eq!(read_head(&mut text).unwrap(), "HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
        assert_eq!(text, b"SSH-2.0");
        let endless = vec![b'a'; LONGEST_HEAD * 3];
        assert!(read_head(&mut &endless[..]).is_err());
        assert_eq!(quoted("/it's/50%"), r"'/it'\''s/50%'");
    }
}
