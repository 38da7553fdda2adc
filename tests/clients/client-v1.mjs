// The official TypeScript SDK, version 1: client-v1.mjs legacy stdio SHIM SOCKET WORKSPACE, or client-v1.mjs legacy http URL TOKEN.
import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [, kind, ...target] = process.argv.slice(2);
const [first, second, third] = target;
const transport =
  kind === "stdio"
    ? new StdioClientTransport({ command: first, args: ["--socket", second, "--workspace", third] })
    : new StreamableHTTPClientTransport(new URL(first), { requestInit: { headers: { Authorization: `Bearer ${second}` } } });
const client = new Client({ name: "test-v1", version: "1" });
await client.connect(transport);
const { tools } = await client.listTools();
assert.ok(tools.length >= 20);
const read = await client.callTool({ name: "files_read", arguments: { path: "hello.txt" } });
assert.equal(read.structuredContent.content, "hello\n");
const written = await client.callTool({ name: "files_write", arguments: { path: `from-v1-${kind}.txt`, content: "x" } });
assert.ok(!written.isError);
const missing = await client.callTool({ name: "files_read", arguments: { path: "missing" } });
assert.ok(missing.isError && missing.content[0].text.includes("not_found"));
await Promise.all(Array.from({ length: 20 }, () => client.callTool({ name: "files_list", arguments: {} })));
if (kind === "http") await transport.terminateSession();
await client.close();
console.log("DONE");
