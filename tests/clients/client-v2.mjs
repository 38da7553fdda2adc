// Drives skynet-shim with the official TypeScript client, version 2: client-v2.mjs MODE SHIM SOCKET WORKSPACE.
import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const [mode, shim, socket, workspace] = process.argv.slice(2);
const negotiation = { legacy: "legacy", auto: "auto", modern: { pin: "2026-07-28" } }[mode];
const client = new Client({ name: "test-v2", version: "1" }, { versionNegotiation: { mode: negotiation } });
await client.connect(new StdioClientTransport({ command: shim, args: ["--socket", socket, "--workspace", workspace] }));
const { tools } = await client.listTools();
assert.ok(tools.length >= 20);
const read = await client.callTool({ name: "files_read", arguments: { path: "hello.txt" } });
assert.equal(read.structuredContent.content, "hello\n");
const written = await client.callTool({ name: "files_write", arguments: { path: `from-v2-${mode}.txt`, content: "x" } });
assert.ok(!written.isError);
const missing = await client.callTool({ name: "files_read", arguments: { path: "missing" } });
assert.ok(missing.isError && missing.content[0].text.includes("not_found"));
await Promise.all(Array.from({ length: 20 }, () => client.callTool({ name: "files_list", arguments: {} })));
await client.close();
console.log("DONE");
