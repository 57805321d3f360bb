// Draws Vega-Lite specifications with given data, without a browser.
//   node draw.mjs DIR < [{"spec": {...}, "answer": {...}, "width": 1, "height": 1}, ...] > [{"svg": "..."}, ...]
// DIR holds node_modules with vega and vega-lite. The data's url, which Kibana asks, is
// replaced by the answer; anything that Vega warns of is an error, but for the version of
// the schema, which is the one that Kibana has.
import { pathToFileURL } from "node:url";
import path from "node:path";

const at = (name) => import(pathToFileURL(path.join(process.argv[2], "node_modules", name)));
const vega = await at("vega/build/vega.module.js");
const lite = await at("vega-lite/build/index.js");

let text = "";
for await (const part of process.stdin) text += part;
const out = [];
for (const { spec, answer, width, height } of JSON.parse(text)) {
  const complaints = [];
  const complain = (...m) => /vega-lite schema|input spec uses/i.test(m.join(" ")) || complaints.push(m.join(" "));
  const logger = { level: () => logger, error: complain, warn: complain, info: () => logger, debug: () => logger };
  const { data, ...rest } = spec;
  const compiled = lite.compile({ ...rest, width, height, data: { values: answer, format: { type: "json", ...data.format } } }, { logger }).spec;
  const view = new vega.View(vega.parse(compiled), { renderer: "none", logger });
  await view.runAsync();
  const svg = await view.toSVG();
  out.push({ svg, complaints });
}
process.stdout.write(JSON.stringify(out));
