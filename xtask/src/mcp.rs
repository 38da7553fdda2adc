//! A small MCP client over stdio, for showing a session and for measuring servers.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

/// A server and the pipes to it; killed when dropped.
pub(crate) struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    next_id: u64,
    line: String,
}

impl Client {
    /// Starts a server.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let stdin = child.stdin.take().context("stdin")?;
        let stdout = BufReader::with_capacity(1 << 20, child.stdout.take().context("stdout")?);
        Ok(Self { child, stdin, stdout, next_id: 0, line: String::new() })
    }

    /// Starts a server and shakes hands with it.
    pub(crate) fn connect(command: Command) -> Result<Self> {
        let mut client = Self::start(command)?;
        let info = json!({ "name": "skynet-xtask", "version": env!("CARGO_PKG_VERSION") });
        client.request(
            "initialize",
            &json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": info }),
        )?;
        client.write(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))?;
        Ok(client)
    }

    /// The server's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request without waiting; returns its id.
    pub(crate) fn post(&mut self, method: &str, params: &Value) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        Ok(id)
    }

    /// Sends a request and returns its result.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> Result<Value> {
        Ok(self.measure(method, params)?.0)
    }

    /// Sends a request; returns its result, and the time from the first byte sent to the last byte of the answer. The
    /// answer is read and checked after that: how long a client takes to parse it depends on its language and is the same
    /// for every server, so a ratio of servers with it in both terms would be one of something else.
    pub(crate) fn measure(&mut self, method: &str, params: &Value) -> Result<(Value, Duration)> {
        let begun = Instant::now();
        let id = self.post(method, params)?;
        loop {
            self.read()?;
            let took = begun.elapsed();
            let mut message: Value = serde_json::from_str(&self.line)?;
            if message["id"] == id && message.get("method").is_none() {
                if message.get("error").is_some() {
                    bail!("{method}: {}", message["error"]);
                }
                return Ok((message["result"].take(), took));
            }
        }
    }

    /// Calls a tool; an error of the tool is an error.
    pub(crate) fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value> {
        Ok(self.measure_call(tool, arguments)?.0)
    }

    /// Calls a tool; see [`Client::measure`].
    pub(crate) fn measure_call(&mut self, tool: &str, arguments: &Value) -> Result<(Value, Duration)> {
        let params = json!({ "name": tool, "arguments": arguments });
        self.measure_tool(tool, &params)
    }

    /// Calls a tool that takes long: who is told of progress waits for the answer, and gets no job in its place.
    pub(crate) fn call_to_the_end(&mut self, tool: &str, arguments: &Value) -> Result<Value> {
        let meta = json!({ "progressToken": self.next_id });
        let params = json!({ "name": tool, "arguments": arguments, "_meta": meta });
        Ok(self.measure_tool(tool, &params)?.0)
    }

    fn measure_tool(&mut self, tool: &str, params: &Value) -> Result<(Value, Duration)> {
        let (result, took) = self.measure("tools/call", params)?;
        if result["isError"] == true {
            bail!("{tool}: {}", result["content"][0]["text"]);
        }
        Ok((result, took))
    }

    /// Sends many calls at once and waits for all answers.
    pub(crate) fn call_at_once(&mut self, tool: &str, arguments: &Value, count: usize) -> Result<()> {
        for _ in 0..count {
            self.post("tools/call", &json!({ "name": tool, "arguments": arguments }))?;
        }
        let mut answers = 0;
        while answers < count {
            self.read()?;
            answers += usize::from(self.line.contains("\"result\""));
        }
        Ok(())
    }

    fn write(&mut self, message: &Value) -> Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.stdin.write_all(&line)?;
        Ok(self.stdin.flush()?)
    }

    fn read(&mut self) -> Result<()> {
        self.line.clear();
        if self.stdout.read_line(&mut self.line)? == 0 {
            bail!("the server closed its stdout");
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
