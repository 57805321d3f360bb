// An hour of the live tail leaves a tab as large as it was.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { growth, hourOfTail } from "./measure.mjs";
import { closeBrowser, done, visit, World } from "./world.mjs";

after(closeBrowser);

test("an hour of the live tail holds no more than its first minutes", async () => {
  const world = await World.start({ feed: ["-rate", "1000", "-history", "20s"] });
  try {
    const page = await visit(world);
    const samples = await hourOfTail(page, world.url);
    const told = samples.map((s) => `${s.minute} min: ${(s.bytes / 1e6).toFixed(2)} MB, ${s.nodes} nodes, ${s.listeners} listeners`).join("\n");
    console.log(told);
    const first = samples.find((s) => s.minute === 20);
    const last = samples.at(-1);
    // The rows that are kept are full after some seconds, the browser's own buffers after some minutes.
    assert.ok(growth(samples, 20) * 60 < 0.1 * first.bytes, `an hour would add ${(growth(samples, 20) * 60 / 1e6).toFixed(2)} MB\n${told}`);
    assert.ok(last.bytes < 1.15 * first.bytes, told);
    assert.ok(last.listeners < 2 * first.listeners && last.nodes < 2 * first.nodes, told);
    await done(page);
  } finally {
    await world.stop();
  }
});
