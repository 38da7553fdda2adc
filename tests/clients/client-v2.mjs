// The official TypeScript client, version 2: client-v2.mjs MODE stdio SHIM SOCKET WORKSPACE, or client-v2.mjs MODE http URL TOKEN.
import assert from "node:assert/strict";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const [mode, kind, ...target] = process.argv.slice(2);
const [first, second, third] = target;
const negotiation = { legacy: "legacy", auto: "auto", modern: { pin: "2026-07-28" } }[mode];
const transport =
  kind === "stdio"
    ? new StdioClientTransport({ command: first, args: ["--socket", second, "--workspace", third] })
    : new StreamableHTTPClientTransport(new URL(first), { authProvider: { token: async () => second } });
const client = new Client({ name: "test-v2", version: "1" }, { versionNegotiation: { mode: negotiation } });
await client.connect(transport);
const { tools } = await client.listTools();
assert.ok(tools.length >= 20);
const read = await client.callTool({ name: "files_read", arguments: { path: "hello.txt" } });
assert.equal(read.structuredContent.content, "hello\n");
const written = await client.callTool({ name: "files_write", arguments: { path: `from-v2-${kind}-${mode}.txt`, content: "x" } });
assert.ok(!written.isError);
const missing = await client.callTool({ name: "files_read", arguments: { path: "missing" } });
assert.ok(missing.isError && missing.content[0].text.includes("not_found"));
await Promise.all(Array.from({ length: 20 }, () => client.callTool({ name: "files_list", arguments: {} })));
if (kind === "http" && transport.sessionId) await transport.terminateSession();
await client.close();
console.log("DONE");
