// How fast the page is, by the browser's own performance entries: 3,000 pods and 50,000 live
// connections. It prints numbers and asserts nothing: they are a machine's, not the code's.
//
//   node perf.mjs

import { growth, hourOfTail } from "./measure.mjs";
import { closeBrowser, eventually, rows, visit, World } from "./world.mjs";

/** Counts what the browser reports while f runs: events slower than 16 ms, long tasks, frames. */
async function during(page, name, f) {
  await page.evaluate(() => {
    window.seen = { events: [], long: [], frames: [] };
    const on = (type, f, more) => {
      const o = new PerformanceObserver((l) => l.getEntries().forEach(f));
      o.observe({ type, ...more });
      return o;
    };
    window.watch = [
      on("event", (e) => e.interactionId && window.seen.events.push(e.duration), { durationThreshold: 16 }),
      on("longtask", (e) => window.seen.long.push(e.duration)),
    ];
    let last = performance.now();
    const tick = (t) => {
      window.seen.frames.push(t - last);
      last = t;
      window.ticking = requestAnimationFrame(tick);
    };
    window.ticking = requestAnimationFrame(tick);
  });
  await f();
  await page.evaluate(() => new Promise((ok) => setTimeout(ok, 500)));
  const r = await page.evaluate(() => {
    cancelAnimationFrame(window.ticking);
    for (const o of window.watch) o.disconnect();
    const f = window.seen.frames.slice(2).sort((a, b) => a - b);
    return { interaction: Math.max(0, ...window.seen.events), long: Math.max(0, ...window.seen.long), median: f[f.length >> 1], p95: f[Math.floor(f.length * 0.95)] };
  });
  console.log(`${name.padEnd(34)} slowest interaction ${Math.round(r.interaction)} ms, longest task ${Math.round(r.long)} ms, frame ${r.median?.toFixed(1)} ms (p95 ${r.p95?.toFixed(1)})`);
}

const world = await World.start({ feed: ["-nodes", "30", "-apps", "600", "-live", "50000", "-rate", "100", "-history", "3m"] });
try {
  await eventually("50,000 connections live", async () => {
    const r = await fetch(`${world.url}api/v1/query?since=15m&q=${encodeURIComponent("| stats active")}`, { headers: { Accept: "application/json" } });
    return (await r.json()).rows[0]?.values[0] >= 50_000;
  });
  const began = Date.now();
  const page = await visit(world);
  await page.waitForSelector(rows);
  const paint = await page.evaluate(() => performance.getEntriesByType("paint").map((e) => `${e.name} ${Math.round(e.startTime)} ms`));
  console.log(`${paint.join(", ")}; rows after ${Date.now() - began} ms`);
  await page.evaluate(() => new Promise((ok) => setTimeout(ok, 3000)));
  await during(page, "j, ten times", async () => {
    for (let i = 0; i < 10; i++) await page.keyboard.press("j");
  });
  await during(page, "Enter: the drawer", () => page.keyboard.press("Enter"));
  await during(page, "Escape", () => page.keyboard.press("Escape"));
  await during(page, "click on a value", () => page.click(`${rows} .from >> nth=0`));
  await during(page, "Ctrl K and three letters", async () => {
    await page.keyboard.press("Control+k");
    await page.keyboard.type("app", { delay: 60 });
    await page.keyboard.press("Escape");
  });
  await page.goto(`${world.url}?live=0`);
  await page.waitForSelector(rows);
  await page.click("text=columns");
  await page.keyboard.press("Escape");
  await page.goto(`${world.url}?sort=-end`); // sorted rows are not folded: 1,000 lines
  await page.waitForSelector(rows);
  await during(page, "scroll the table", async () => {
    const b = await page.locator(".virtual").boundingBox();
    await page.mouse.move(b.x + 50, b.y + 100);
    for (let i = 0; i < 40; i++) {
      await page.mouse.wheel(0, 400);
      await page.evaluate(() => new Promise(requestAnimationFrame));
    }
  });
  await page.goto(`${world.url}?unfolded=1&level=pod`);
  await eventually("the map", async () => /Map of \d{4}/.test(await page.getAttribute(".map canvas", "aria-label")));
  console.log(await page.getAttribute(".map canvas", "aria-label"));
  await during(page, "pan the map", async () => {
    await page.mouse.move(200, 500);
    await page.mouse.down();
    for (let i = 0; i < 60; i++) {
      await page.mouse.move(200 + i * 6, 500 + i * 3);
      await page.evaluate(() => new Promise(requestAnimationFrame));
    }
    await page.mouse.up();
  });
  await page.context().close();
} finally {
  await world.stop();
}

// An hour of the live tail, at two rates; at the higher one 200 of each second are shown.
try {
  for (const rate of [100, 5000]) {
    const busy = await World.start({ feed: ["-rate", String(rate), "-history", "20s"] });
    try {
      const tail = await visit(busy);
      const samples = await hourOfTail(tail, busy.url, (s) =>
        console.log(`live tail at ${rate}/s, minute ${s.minute}: ${(s.bytes / 1e6).toFixed(2)} MB held by scripts, ${(s.heap / 1e6).toFixed(1)} MB of heap with code, ${s.nodes} nodes, ${s.listeners} listeners`),
      );
      console.log(`live tail at ${rate}/s: ${await tail.innerText(".table .basis")}; an hour adds ${((growth(samples, 20) * 60) / 1e6).toFixed(2)} MB`);
      await tail.context().close();
    } finally {
      await busy.stop();
    }
  }
} finally {
  await closeBrowser();
}
