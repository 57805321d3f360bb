// How the page opens on a day at 5,000 records a second, by the browser's own performance entries.
// It prints numbers and asserts nothing: they are a machine's, not the code's.
//
//   node day.mjs                           432 million records: 20 GB below $TMPDIR, ten minutes of two idle cores
//   node day.mjs -length 1h                the newest hour of it
//   node day.mjs -every 21                 a day of which each 21st record is there

import { closeBrowser, visit, World } from "./world.mjs";

const range = process.env.RANGE ?? "24h";
const patience = 20 * 60_000;
const panes = ["timeline", "map", "findings", "query", "ghost"];

const world = await World.start({ feed: false, day: process.argv.slice(2) });
try {
  console.log(world.made.log.trim());
  const page = await visit(world, `?since=${range}`, { expected: [/503|422/] });
  await page.evaluate(() => {
    window.seen = { events: [], long: [] };
    const on = (type, f, more) => new PerformanceObserver((l) => l.getEntries().forEach(f)).observe({ type, ...more });
    on("event", (e) => e.interactionId && window.seen.events.push(e.duration), { durationThreshold: 16 });
    on("longtask", (e) => window.seen.long.push(e.duration));
  });
  // A person does not wait: the keyboard is used while the rest is asked.
  const busy = setInterval(() => page.keyboard.press("j").catch(() => undefined), 1000);
  const end = Date.now() + patience;
  for (;;) {
    const still = await page.locator(".reach[role=status]:not(.warn-text)").count();
    const marks = await page.evaluate(() => performance.getEntriesByType("mark").map((m) => m.name));
    if ((panes.slice(0, 3).every((p) => marks.includes(`weir ${p}`)) && still === 0) || Date.now() > end) break;
    await new Promise((ok) => setTimeout(ok, 500));
  }
  clearInterval(busy);
  const r = await page.evaluate(() => ({
    paint: performance.getEntriesByType("paint").map((e) => `${e.name} ${Math.round(e.startTime)} ms`),
    marks: performance.getEntriesByType("mark").map((m) => ({ name: m.name.replace("weir ", ""), at: m.startTime, length: m.detail })),
    notes: [...document.querySelectorAll(".reach")].map((e) => `${e.closest("section")?.getAttribute("aria-label") ?? ""}: ${e.textContent}`),
    slowest: Math.max(0, ...window.seen.events),
    longest: Math.max(0, ...window.seen.long),
  }));
  console.log(r.paint.join(", "));
  const minutes = (ms) => (ms >= 3_600_000 ? `${(ms / 3_600_000).toFixed(1)} h` : `${Math.round(ms / 60_000)} min`);
  for (const p of panes) {
    const list = r.marks.filter((m) => m.name === p);
    console.log(`${p.padEnd(9)} ${list.map((m) => `${minutes(m.length)} at ${(m.at / 1000).toFixed(1)} s`).join(", ") || "no answer"}`);
  }
  console.log(`slowest interaction ${Math.round(r.slowest)} ms, longest task ${Math.round(r.longest)} ms`);
  for (const n of r.notes) console.log(`left: ${n}`);
  await page.context().close();
} finally {
  await world.stop();
  await closeBrowser();
}
