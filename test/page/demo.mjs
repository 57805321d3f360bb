// The five questions after the demo's incident, asked of its page: each answered in at most three clicks from the
// address that a person opens, counted as the browser gets them. The demo runs already, its incident is staged.
//
//   node demo.mjs [URL]

import assert from "node:assert/strict";
import { closeBrowser, eventually, texts, visit } from "./world.mjs";

const world = { url: process.argv[2] ?? "http://127.0.0.1:8443/" };
const most = 3;
const within = 120_000;

/** A page of its own for each question, that counts the clicks it gets. */
async function ask(question, clicks, answered) {
  const page = await visit(world, "", { reducedMotion: "reduce" });
  await page.evaluate(() => {
    window.clicks = 0;
    addEventListener("click", (e) => e.isTrusted && window.clicks++, true);
  });
  for (const c of clicks) await page.locator(c).first().click({ timeout: within });
  await eventually(question, () => answered(page), within);
  const n = await page.evaluate(() => window.clicks);
  assert.ok(n >= 1 && n <= most, `${question}: ${n} clicks`);
  assert.deepEqual(page.faults, []);
  console.log(`${question}  ${n} ${n === 1 ? "click" : "clicks"}`);
  await page.context().close();
}

const all = async (page, selector) => (await texts(page, selector)).join("\n");
/** The demo always has failures on its way: those of the incident may stand behind them. */
const more = ".findings-more >> text=/^\\d+ more$/";
/** By the menu at the right of the bar: what Ctrl K does. */
const goTo = (action) => [".more > button", "text=Go to …", `.palette [role=option] >> text=${action}`];

try {
  await ask("why is checkout refused?", [more, ".finding-main:has-text('shop/checkout → shop/payments'):has-text('fails')"], async (page) => {
    const t = await all(page, ".drawer");
    return /nobody listens on port 8443 of shop\/payments: it listens on 8080/i.test(t) && /set targetPort of Service shop\/payments/.test(t);
  });
  await ask("who talks outside?", goTo("Who talks outside?"), async (page) => {
    const t = await all(page, ".table .tr");
    return /frontend\s+payments\.example/.test(t) && /cart\s+api\.example\.com/.test(t);
  });
  await ask("which edge lost packets?", goTo("Which node pairs lose packets?"), async (page) => /node-a\s+node-c/.test(await all(page, ".table .tr")));
  await ask("what changed?", [".change >> nth=-1"], async (page) => {
    const t = await all(page, ".drawer .changes-list");
    return /payments\s+.*rolled out.*8080/s.test(t) && /cache-access\s+.*changed/s.test(t);
  });
  await ask("what does the tightened policy break?", [more, ".finding-main:has-text('shop/cart → data/cache'):has-text('denied')"], async (page) => /cache-access/.test(await all(page, ".drawer")) && /denie/i.test(await all(page, ".drawer .cause")));
} finally {
  await closeBrowser();
}
