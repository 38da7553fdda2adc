// What sharp does with pictures, as a server of MCP on stdio that stays in memory: the least that can be compared with.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const sharp = createRequire(process.argv[2] + "/")("sharp");
sharp.cache(false);

const tools = {
  // A photograph of twelve megapixels: noise, softened, so that it compresses as one does.
  make: ({ output }) =>
    sharp({ create: { width: 4000, height: 3000, channels: 3, background: "gray", noise: { type: "gaussian", mean: 128, sigma: 60 } } })
      .blur(3)
      .jpeg({ quality: 90 })
      .toFile(output),
  resize: ({ input, output, width }) => sharp(input).rotate().resize(width).jpeg({ quality: 80 }).toFile(output),
};

const answer = (id, result) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", id, result }) + "\n");

for await (const line of createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (method === "initialize") {
    answer(id, { protocolVersion: params.protocolVersion, capabilities: { tools: {} }, serverInfo: { name: "sharp", version: "0" } });
  } else if (method === "tools/call") {
    const made = await tools[params.name](params.arguments);
    answer(id, { content: [], structuredContent: made });
  }
}
