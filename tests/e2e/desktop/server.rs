//! A session bus with a server of notifications on it, as the Desktop Notifications Specification 1.2 has it (sections 9 and 10). What
//! that does not allow, it refuses and remembers.
#![allow(clippy::too_many_arguments, reason = "as published")]

use skynet_tests::{components, programs::wait_until};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::runtime::Runtime;
use zbus::{Connection, connection::Builder, fdo, zvariant::OwnedValue};

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// A bus of one user, on which no program is started because somebody asks for it.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow own="*"/><allow send_destination="*" eavesdrop="false"/><allow send_type="signal"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"#;

/// Why a notification is gone (section 10, `NotificationClosed`).
const WIPED_AWAY: u32 = 2;
const CLOSED_BY_CALL: u32 = 3;

/// What is shown.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    pub(super) number: u32,
    pub(super) summary: String,
    pub(super) body: String,
    /// The keys of its buttons.
    pub(super) buttons: Vec<String>,
}

#[derive(Default)]
struct Screen {
    shown: BTreeMap<u32, Notice>,
    /// How many there ever were.
    count: u32,
    was_asked: bool,
    faults: Vec<String>,
}

struct Notifications {
    screen: Arc<Mutex<Screen>>,
    capabilities: Vec<String>,
}

impl Notifications {
    fn refuse(&self, why: String) -> fdo::Error {
        self.screen.lock().unwrap().faults.push(why.clone());
        fdo::Error::InvalidArgs(why)
    }
}

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Notifications {
    fn get_capabilities(&self) -> Vec<String> {
        self.screen.lock().unwrap().was_asked = true;
        self.capabilities.clone()
    }

    fn get_server_information(&self) -> (String, String, String, String) {
        ("stand-in".into(), "tests".into(), "1".into(), "1.2".into())
    }

    fn notify(
        &self,
        app_name: String,
        replaces_id: u32,
        _app_icon: String,
        summary: String,
        body: String,
        actions: Vec<String>,
        hints: HashMap<String, OwnedValue>,
        expire_timeout: i32,
    ) -> fdo::Result<u32> {
        if app_name.is_empty() || summary.is_empty() || summary.contains('\n') {
            return Err(self.refuse(format!("`{app_name}`, `{summary}`: a name and one line are wanted")));
        }
        if replaces_id != 0 || expire_timeout < -1 {
            return Err(self.refuse(format!("replaces {replaces_id}, ends after {expire_timeout}")));
        }
        if !actions.len().is_multiple_of(2) {
            return Err(self.refuse(format!("{actions:?} are no pairs")));
        }
        let urgency = hints.get("urgency").map(u8::try_from);
        if !matches!(urgency, None | Some(Ok(0..=2))) {
            return Err(self.refuse(format!("{hints:?}: `urgency` is a byte from 0 to 2")));
        }
        // Markup: no element is expected, and an ampersand begins one of these.
        let mut rest = body.split('&').skip(1);
        if body.contains('<')
            || !rest.all(|text| ["amp;", "lt;", "gt;"].iter().any(|name| text.starts_with(name)))
        {
            return Err(self.refuse(format!("{body}: not as text in XML")));
        }
        let mut screen = self.screen.lock().unwrap();
        screen.count += 1;
        let number = screen.count;
        let buttons = actions.into_iter().step_by(2).collect();
        screen.shown.insert(number, Notice { number, summary, body, buttons });
        drop(screen);
        Ok(number)
    }

    async fn close_notification(&self, #[zbus(connection)] bus: &Connection, id: u32) -> fdo::Result<()> {
        let was_shown = self.screen.lock().unwrap().shown.remove(&id).is_some();
        if !was_shown {
            // Which may be so: the user may have wiped it away in the same moment.
            return Err(fdo::Error::Failed(String::new()));
        }
        bus.emit_signal(None::<&str>, PATH, NAME, "NotificationClosed", &(id, CLOSED_BY_CALL)).await?;
        Ok(())
    }
}

/// The bus and the server, until this is dropped.
pub(super) struct Desktop {
    pub(super) address: String,
    screen: Arc<Mutex<Screen>>,
    server: Connection,
    runtime: Runtime,
    bus: Child,
}

impl Desktop {
    /// One with buttons, in `directory`; `None` after saying on stderr what makes that possible.
    pub(super) fn start(directory: &Path) -> Option<Self> {
        Self::with(directory, &["actions", "body", "body-markup"])
    }

    pub(super) fn with(directory: &Path, capabilities: &[&str]) -> Option<Self> {
        let program = components::program("dbus-daemon")?;
        let (socket, config) = (directory.join("bus"), directory.join("bus.conf"));
        fs::write(&config, BUS.replace("SOCKET", socket.to_str().unwrap())).unwrap();
        let mut command = Command::new(program);
        command.args(["--nofork", "--nosyslog", "--print-address=1", "--config-file"]).arg(config);
        let mut bus = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        // It listens once it says where.
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        let runtime = Runtime::new().unwrap();
        let screen = Arc::<Mutex<Screen>>::default();
        let capabilities = capabilities.iter().map(|&one| one.to_owned()).collect();
        let notifications = Notifications { screen: screen.clone(), capabilities };
        let server = runtime.block_on(async {
            let builder = Builder::address(&*address).unwrap().serve_at(PATH, notifications).unwrap();
            builder.name(NAME).unwrap().build().await.unwrap()
        });
        Some(Self { address, screen, server, runtime, bus })
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap()
    }

    /// Waits until somebody wants to know what this server can do: from then on calls wait for whoever looks at it.
    pub(super) fn wait_until_asked(&self) {
        wait_until(|| self.screen().was_asked);
    }

    /// Waits for a notification.
    pub(super) fn notice(&self) -> Notice {
        wait_until(|| !self.screen().shown.is_empty());
        let shown = self.screen().shown.values().next().cloned();
        shown.unwrap()
    }

    /// Waits until none is shown.
    pub(super) fn wait_until_clear(&self) {
        wait_until(|| self.screen().shown.is_empty());
    }

    /// How many were ever shown.
    pub(super) fn count(&self) -> u32 {
        self.screen().count
    }

    /// The user presses a button, whether it is there or not.
    pub(super) fn press(&self, number: u32, button: &str) {
        self.tell("ActionInvoked", (number, button));
    }

    /// The user wipes a notification away.
    pub(super) fn wipe_away(&self, number: u32) {
        self.screen().shown.remove(&number);
        self.tell("NotificationClosed", (number, WIPED_AWAY));
    }

    fn tell<B: serde::Serialize + zbus::zvariant::Type>(&self, signal: &str, body: B) {
        let emit = self.server.emit_signal(None::<&str>, PATH, NAME, signal, &body);
        self.runtime.block_on(emit).unwrap();
    }

    /// Another program of the session says that the user pressed a button.
    pub(super) fn forge(&self, number: u32, button: &str) {
        self.runtime.block_on(async { say_pressed(&self.stranger().await, number, button).await });
    }

    /// Another program takes the server's name, and says at once that the user pressed a button.
    pub(super) fn usurp(&self, number: u32, button: &str) {
        self.runtime.block_on(async {
            let other = self.stranger().await;
            assert!(self.server.release_name(NAME).await.unwrap(), "it had the name");
            other.request_name(NAME).await.unwrap();
            say_pressed(&other, number, button).await;
        });
    }

    async fn stranger(&self) -> Connection {
        Builder::address(&*self.address).unwrap().build().await.unwrap()
    }

    /// What was asked of the server that its specification does not allow.
    pub(super) fn faults(&self) -> Vec<String> {
        self.screen().faults.clone()
    }
}

/// Returns once the bus has passed it on.
async fn say_pressed(from: &Connection, number: u32, button: &str) {
    from.emit_signal(None::<&str>, PATH, NAME, "ActionInvoked", &(number, button)).await.unwrap();
    // It answers in order.
    let bus = "org.freedesktop.DBus";
    from.call_method(Some(bus), "/org/freedesktop/DBus", Some(bus), "GetId", &()).await.unwrap();
}

impl Drop for Desktop {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}
