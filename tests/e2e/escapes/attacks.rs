//! The attacks themselves.

use Outside::{Bites, Unknown};

/// Whether an attack works for a program of the same user outside of the sandbox.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Outside {
    Bites,
    /// Also the kernel of most hosts refuses it to an ordinary user, or it would harm this one.
    Unknown,
}

/// Calls for attacks in Python.
pub(super) const PRELUDE: &str = r#"
import ctypes, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    return libc.syscall(number, *arguments)
def escaped(condition=True):
    if condition: print("ESCAPED")
def attempt(function):
    try: return function()
    except OSError: return None
"#;

/// Name, whether it bites outside, and the script for bash.
pub(super) const SHELL: &[(&str, Outside, &str)] = &[
    ("a file of the home", Bites, "cat $HOME/secret && echo ESCAPED"),
    ("a file beside the workspace", Bites, "cat $PWD/../secret && echo ESCAPED"),
    ("the list of the home", Bites, "ls -A $HOME | grep -q ^secret && echo ESCAPED"),
    ("another project", Bites, "cat $HOME/other/file && echo ESCAPED"),
    ("through a symbolic link", Bites, "ln -s $HOME/secret link; cat link && echo ESCAPED; rm link"),
    ("through a link to a directory", Bites, "ln -s $HOME link; cat link/secret && echo ESCAPED; rm link"),
    ("through a hard link", Bites, "ln $HOME/secret hard && cat hard && echo ESCAPED; rm -f hard"),
    ("through the root of pid 1", Unknown, "cat /proc/1/root$HOME/secret && echo ESCAPED"),
    ("through the directory of pid 1", Unknown, "ls /proc/1/cwd/ && echo ESCAPED"),
    ("through the descriptors of pid 1", Unknown, "ls -l /proc/1/fd/ | grep -q -- '->' && echo ESCAPED"),
    ("through another process's root", Bites, "cat /proc/$VICTIM/root$HOME/secret && echo ESCAPED"),
    ("the state of the daemon", Bites, "ls $STATE && echo ESCAPED"),
    ("the audit log", Bites, "cat $STATE/ledger/audit/* && echo ESCAPED"),
    ("the key of the audit log", Bites, "cat $STATE/keys/audit.key && echo ESCAPED"),
    ("/tmp of the host", Bites, "ls $HOST_TMP && echo ESCAPED"),
    ("/run of the host", Bites, "test -n \"$(ls -A /run)\" && echo ESCAPED"),
    ("/var of the host", Bites, "test -e /var/lib && echo ESCAPED"),
    ("/sys of the host", Bites, "test -e /sys/kernel && echo ESCAPED"),
    (
        "/boot, /root, /srv, /mnt, /media",
        Bites,
        "for d in /boot /root /srv /mnt /media; do test -e $d && echo ESCAPED; done",
    ),
    (
        "devices of the host",
        Bites,
        "for d in kmsg mem port kvm fuse loop-control net mapper disk; do test -e /dev/$d && echo ESCAPED; done",
    ),
    ("writing to /usr", Unknown, "touch /usr/escaped && echo ESCAPED"),
    ("writing to /etc", Unknown, "touch /etc/escaped && echo ESCAPED"),
    ("writing to /", Unknown, "touch /escaped && echo ESCAPED; mkdir /escaped && echo ESCAPED"),
    (
        "private files of /etc",
        Unknown,
        "for f in shadow gshadow sudoers ssh crontab; do test -e /etc/$f && cat /etc/$f && echo ESCAPED; done",
    ),
    (
        "kernel settings",
        Unknown,
        "echo x > /proc/sys/kernel/core_pattern && echo ESCAPED; echo 1 > /proc/sys/vm/drop_caches && echo ESCAPED",
    ),
    ("the magic keys", Unknown, "echo h > /proc/sysrq-trigger && echo ESCAPED"),
    (
        "memory of the kernel",
        Unknown,
        "head -c1 /proc/kcore && echo ESCAPED; head -c1 /dev/mem && echo ESCAPED",
    ),
    ("messages of the kernel", Unknown, "dmesg && echo ESCAPED"),
    ("a device node", Unknown, "mknod m c 1 1 && head -c1 m && echo ESCAPED; rm -f m"),
    ("a device node in scratch", Unknown, "mknod /tmp/m b 7 0 && echo ESCAPED"),
    ("processes of the host", Bites, "grep -qas 'skynet-victi[m]' /proc/[0-9]*/cmdline && echo ESCAPED"),
    ("a signal to a process of the user", Bites, "kill -0 $VICTIM && echo ESCAPED"),
    ("the environment of a process", Bites, "grep -qa VICTIM_SECRET /proc/$VICTIM/environ && echo ESCAPED"),
    ("the environment of pid 1", Unknown, "cat /proc/1/environ && echo ESCAPED"),
    (
        "the memory of pid 1",
        Unknown,
        "cat /proc/1/maps | grep -q . && echo ESCAPED; head -c1 /proc/1/mem && echo ESCAPED",
    ),
    ("killing pid 1", Unknown, "kill -9 1; kill -TERM 1; kill -STOP 1; kill -SEGV 1; true"),
    (
        "the namespaces of pid 1",
        Unknown,
        "nsenter -t 1 -m true && echo ESCAPED; readlink /proc/1/ns/mnt && echo ESCAPED",
    ),
    ("a user namespace", Bites, "unshare -U true && echo ESCAPED"),
    ("root in a user namespace", Bites, "unshare -Ur true && echo ESCAPED"),
    (
        "a mount",
        Bites,
        "unshare -Urm mount -t tmpfs x /mnt && echo ESCAPED; mount -t tmpfs x /tmp && echo ESCAPED",
    ),
    (
        "unmounting what protects",
        Unknown,
        "umount .git/hooks && echo ESCAPED; umount /proc && echo ESCAPED; umount -l / && echo ESCAPED",
    ),
    ("chroot", Unknown, "chroot / true && echo ESCAPED"),
    (
        "programs with set-user-id",
        Unknown,
        "su -c true && echo ESCAPED; sudo -n true && echo ESCAPED; pkexec true && echo ESCAPED; newgrp root && echo ESCAPED",
    ),
    (
        "a set-user-id program of its own",
        Unknown,
        "cp /bin/sh s && chmod u+s s && ./s -p -c 'grep NoNewPrivs:.0 /proc/self/status' && echo ESCAPED; rm -f s",
    ),
    (
        "capabilities",
        Bites,
        "grep -E 'Cap(Bnd|Eff|Prm|Inh|Amb):' /proc/self/status | grep -qv 0000000000000000 && echo ESCAPED",
    ),
    ("without seccomp", Bites, "grep -q 'Seccomp:.0' /proc/self/status && echo ESCAPED"),
    ("new privileges", Bites, "grep -q 'NoNewPrivs:.0' /proc/self/status && echo ESCAPED"),
    (
        "more descriptors than its own",
        Unknown,
        "for f in /proc/self/fd/*; do case $(readlink $f) in /dev/null|pipe:*|/proc/*|'') ;; *) readlink $f; echo ESCAPED;; esac; done",
    ),
    ("a core dump", Bites, "ulimit -c unlimited && echo ESCAPED"),
    (
        "more processes than allowed",
        Unknown,
        "ulimit -u unlimited && echo ESCAPED; ulimit -u 100000 && echo ESCAPED",
    ),
    ("a controlling terminal", Unknown, "echo x > /dev/tty && echo ESCAPED"),
    ("the socket of the daemon", Bites, "test -S $SOCKET && echo ESCAPED"),
    (
        "the socket of Docker",
        Unknown,
        "test -e /var/run/docker.sock && echo ESCAPED; test -e /run/docker.sock && echo ESCAPED",
    ),
    ("interfaces of the host", Unknown, "tail -n +3 /proc/net/dev | grep -qv '^ *lo:' && echo ESCAPED"),
    ("connections of the host", Unknown, "tail -n +2 /proc/net/tcp | grep -q . && echo ESCAPED"),
    ("the name of the host", Bites, "test $(uname -n) = $HOST_NAME && echo ESCAPED"),
    (
        "the cgroups of the host",
        Unknown,
        "mkdir /sys/fs/cgroup/escaped && echo ESCAPED; grep -v ':/$' /proc/self/cgroup | grep -q : && echo ESCAPED",
    ),
    ("a log on to another user", Unknown, "ssh -o BatchMode=yes localhost true && echo ESCAPED"),
];

/// The same for Python.
pub(super) const PYTHON: &[(&str, Outside, &str)] = &[
    (
        "a port of the host",
        Bites,
        "escaped(attempt(lambda: socket.create_connection(('127.0.0.1', int(os.environ['PORT'])), 2)))",
    ),
    (
        "a port of the host by IPv6",
        Unknown,
        "escaped(attempt(lambda: socket.create_connection(('::ffff:127.0.0.1', int(os.environ['PORT'])), 2)))",
    ),
    (
        "the network",
        Unknown,
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); escaped(attempt(lambda: s.sendto(b'x', ('192.0.2.1', 53))))",
    ),
    (
        "an abstract socket",
        Bites,
        "s = socket.socket(socket.AF_UNIX); escaped(attempt(lambda: s.connect('\\0' + os.environ['ABSTRACT']) or True))",
    ),
    (
        "the socket of the daemon, connected",
        Bites,
        "s = socket.socket(socket.AF_UNIX); escaped(attempt(lambda: s.connect(os.environ['SOCKET']) or True))",
    ),
    ("raw sockets", Unknown, "escaped(attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)))"),
    ("packet sockets", Unknown, "escaped(attempt(lambda: socket.socket(17, socket.SOCK_RAW)))"),
    (
        "sockets of the kernel's ciphers",
        Unknown,
        "escaped(attempt(lambda: socket.socket(38, socket.SOCK_SEQPACKET)))",
    ),
    (
        "sockets between virtual machines",
        Unknown,
        "escaped(attempt(lambda: socket.socket(40, socket.SOCK_STREAM)))",
    ),
    (
        "sockets of other families",
        Unknown,
        "[escaped(attempt(lambda: socket.socket(f, t))) for f in range(3, 46) if f not in (10, 16) for t in (1, 2, 3, 5)]",
    ),
    ("events of devices", Bites, "escaped(attempt(lambda: socket.socket(16, socket.SOCK_RAW, 15)))"),
    ("the packet filter", Bites, "escaped(attempt(lambda: socket.socket(16, socket.SOCK_RAW, 12)))"),
    ("the audit of the kernel", Bites, "escaped(attempt(lambda: socket.socket(16, socket.SOCK_RAW, 9)))"),
    ("io_uring", Unknown, "escaped(call(425, 1, ctypes.create_string_buffer(120)) >= 0)"),
    ("bpf", Unknown, "escaped(call(321, 0, ctypes.create_string_buffer(120), 72) >= 0)"),
    ("userfaultfd", Unknown, "escaped(call(323, 1) >= 0)"),
    (
        "perf events",
        Unknown,
        "escaped(call(298, ctypes.create_string_buffer(struct.pack('IIQ', 1, 112, 0) + bytes(96)), 0, -1, -1, 0) >= 0)",
    ),
    ("the keyring", Bites, "escaped(call(250, 0, -3, 1) >= 0)"),
    ("a key", Bites, "escaped(call(248, b'user', b'x', b'y', 1, -2) >= 0)"),
    ("tracing itself", Bites, "escaped(call(101, 0, 0, 0, 0) == 0)"),
    (
        "tracing a process",
        Unknown,
        "escaped(call(101, 16, int(os.environ['VICTIM']), 0, 0) == 0); escaped(call(101, 16, 1, 0, 0) == 0)",
    ),
    (
        "reading pid 1",
        Unknown,
        "b = ctypes.create_string_buffer(8); v = struct.pack('QQ', ctypes.addressof(b), 8); r = struct.pack('QQ', 0x400000, 8); escaped(call(310, 1, v, 1, r, 1, 0) > 0)",
    ),
    ("a descriptor of pid 1", Unknown, "p = call(434, 1, 0); escaped(p >= 0 and call(438, p, 3, 0) >= 0)"),
    (
        "clone with a user namespace",
        Bites,
        "r = call(56, 0x10000000 | 17, 0, 0, 0, 0)\nif r == 0: os._exit(0)\nescaped(r > 0)",
    ),
    (
        "clone with each namespace",
        Unknown,
        "for f in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):\n  r = call(56, f | 17, 0, 0, 0, 0)\n  if r == 0: os._exit(0)\n  escaped(r > 0)",
    ),
    ("clone with a time namespace", Unknown, "r = call(272, 0x80); escaped(r == 0)"),
    (
        "clone3",
        Bites,
        "a = struct.pack('8Q', 0, 0, 0, 0, 17, 0, 0, 0)\nr = call(435, a, 64)\nif r == 0: os._exit(0)\nescaped(r > 0)",
    ),
    (
        "calls of the x32 ABI",
        Unknown,
        "escaped(call(0x40000000 + 39) >= 0); escaped(call(0x40000000 + 165, b'x', b'/tmp', b'tmpfs', 0, 0) >= 0)",
    ),
    (
        "the new mount calls",
        Unknown,
        "escaped(call(430, b'tmpfs', 0) >= 0); escaped(call(428, -100, b'/tmp', 1) >= 0); escaped(call(442, -100, b'/tmp', 0, bytes(32), 32) == 0)",
    ),
    (
        "files by handle",
        Unknown,
        "escaped(call(304, -100, ctypes.create_string_buffer(struct.pack('II', 8, 1) + bytes(64)), 0) >= 0)",
    ),
    ("fanotify", Unknown, "escaped(call(300, 0, 0) >= 0)"),
    (
        "limits of pid 1",
        Unknown,
        "r = struct.pack('QQ', 0, 0); escaped(call(302, 1, 7, r, 0) == 0); escaped(call(302, 1, 0, r, 0) == 0)",
    ),
    ("another personality", Unknown, "escaped(call(135, 0x0040000) >= 0)"),
    ("the clock", Unknown, "escaped(call(227, 0, struct.pack('QQ', 0, 0)) == 0)"),
    ("the name of this host", Unknown, "escaped(call(170, b'x', 1) == 0)"),
    (
        "root",
        Unknown,
        "escaped(attempt(lambda: os.setuid(0) or True)); escaped(attempt(lambda: os.setresuid(0, 0, 0) or True)); escaped(attempt(lambda: os.setgid(0) or True))",
    ),
    ("other groups", Unknown, "escaped(attempt(lambda: os.setgroups([0]) or True))"),
    ("files in memory", Bites, "escaped(attempt(lambda: os.memfd_create('x')))"),
    (
        "typing into a terminal",
        Unknown,
        "import fcntl, pty\nm, s = pty.openpty()\ndef f():\n  fcntl.ioctl(s, 0x5412, b'x'); return True\nescaped(attempt(f))",
    ),
    (
        "swap, modules, reboot",
        Unknown,
        "escaped(call(167, b'/x', 0) == 0); escaped(call(175, b'', 0, b'') == 0); escaped(call(169, 0, 0, 0, 0) == 0)",
    ),
];

/// What a command plants: the script, and the path that must not be there, or must be as it was, afterwards. A script that
/// begins with `cd` and a colon starts in that directory.
pub(super) const PLANTED: &[(&str, &str)] = &[
    ("cd .git:echo evil >> config", ".git/config"),
    ("cd .git/hooks:echo evil > pre-commit", ".git/hooks/pre-commit"),
    ("cd kept:echo evil > .envrc", "kept/.envrc"),
    (
        "mkdir -p evil/objects evil/refs; echo x > evil/config; echo ../evil > .git/commondir",
        ".git/commondir",
    ),
    ("mkdir -p objects refs; echo x > HEAD; echo evil > config", "config"),
    ("rm linked.d/.envrc; echo evil > linked.d/.envrc", "linked.d/.envrc"),
    ("rm linked.d/.envrc; ln -s evil linked.d/.envrc", "linked.d/.envrc"),
    (
        "echo evil > .envrc; mkdir deep; cd deep; for i in $(seq 25); do n=$(printf d%.0s $(seq 200)); mkdir $n; cd $n; done",
        ".envrc",
    ),
    ("mkdir -p .idea/sub; echo evil > .idea/sub/.envrc", ".idea"),
    ("mkdir .hg; echo evil > .hg/hgrc", ".hg"),
    ("mkdir dark; echo evil > dark/.envrc; chmod 300 dark", "dark/.envrc"),
    ("mkdir dark; echo evil > dark/.envrc; chmod 555 dark", "dark/.envrc"),
    (
        "mkdir -p dark/x; echo evil > dark/x/.envrc; echo evil > .envrc; chmod 555 dark/x; chmod 111 dark",
        ".envrc",
    ),
    ("echo evil > .envrc; chmod 555 .", ".envrc"),
    (
        "mkdir -p evil/objects evil/refs; echo x > evil/config; mkdir x; echo x > x/HEAD; echo ../evil > x/commondir",
        "x/commondir",
    ),
    ("echo evil > .envrc; ulimit -n 8; prlimit --pid 1 --nofile=0 2>/dev/null; sleep 0.2", ".envrc"),
    ("echo evil > .git/hooks/pre-commit", ".git/hooks/pre-commit"),
    ("echo evil >> .git/config", ".git/config"),
    ("mv .git old; mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit", ".git/hooks/pre-commit"),
    ("rm -rf .git; mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit", ".git/hooks/pre-commit"),
    ("mv .git/hooks .git/h; mkdir .git/hooks; echo evil > .git/hooks/pre-commit", ".git/hooks/pre-commit"),
    ("ln .git/config linked && echo evil >> linked", ".git/config"),
    ("cp .git/config c; echo evil >> c; mv -f c .git/config", ".git/config"),
    ("git config core.pager evil", ".git/config"),
    ("echo evil > .git/config.worktree", ".git/config.worktree"),
    ("echo evil > .envrc", ".envrc"),
    ("mkdir -p a/b/c; echo evil > a/b/c/.envrc", "a/b/c/.envrc"),
    ("mkdir -p a/b; echo evil > a/b/.envrc; chmod 000 a/b", "a/b/.envrc"),
    ("mkdir .vscode; echo evil > .vscode/tasks.json", ".vscode"),
    ("mkdir x; echo evil > x/tasks.json; ln -s x .vscode", ".vscode"),
    ("echo evil > evil; ln -s evil .mcp.json", ".mcp.json"),
    ("echo evil > .MCP.json", ".MCP.json"),
    ("echo evil > kept/.envrc", "kept/.envrc"),
    ("mv kept gone; mkdir kept; echo evil > kept/.envrc", "kept/.envrc"),
    ("rm kept/.envrc; echo evil > kept/.envrc", "kept/.envrc"),
    ("sed -i s/good/evil/ kept/.envrc", "kept/.envrc"),
    ("mkdir -p .claude; echo evil > .claude/settings.json", ".claude"),
    ("git init -q nested; echo evil >> nested/.git/config", "nested/.git/config"),
    ("git init -q --bare bare.git; echo evil >> bare.git/config", "bare.git/config"),
    ("(sleep 0.2; echo evil > .envrc) & disown", ".envrc"),
    ("echo evil > .envrc; kill -9 $$", ".envrc"),
    ("echo evil > .envrc; sleep 60", ".envrc"),
];
