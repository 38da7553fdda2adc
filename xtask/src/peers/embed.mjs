import { readFileSync } from 'node:fs';
import { env, pipeline } from '@huggingface/transformers';
const [models, texts] = process.argv.slice(-2);
env.allowRemoteModels = false;
env.localModelPath = models;
const begun = performance.now();
const options = { dtype: 'q8', session_options: { intraOpNumThreads: 1, interOpNumThreads: 1 } };
const embed = await pipeline('feature-extraction', 'model', options);
const make = (part) => embed(part, { pooling: 'mean', normalize: true });
await make(['a first text']);
const told = { first_ms: performance.now() - begun };
for (const [name, all] of Object.entries(JSON.parse(readFileSync(texts, 'utf8')))) {
  const begun = process.cpuUsage();
  for (let start = 0; start < all.length; start += 16) await make(all.slice(start, start + 16));
  const { user, system } = process.cpuUsage(begun);
  told[name] = all.length / ((user + system) / 1e6);
}
console.log(JSON.stringify(told));
