// The page, in a real browser, on a real aggregator.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { closeBrowser, done, drawer, eventually, look, onMap, params, patience, rows, texts, visit, World } from "./world.mjs";

after(closeBrowser);

describe("a cluster with an incident", () => {
  let world;
  before(async () => {
    world = await World.start({ feed: ["-rate", "30", "-history", "25m", "-incident", "2s"] });
    await eventually("the incident is a finding", async () => {
      const f = await (await fetch(`${world.url}api/v1/findings?since=10m`)).json();
      return f.findings.length >= 2 && f.findings.some((x) => x.kind === "denied");
    });
  });
  after(() => world.stop());

  test("says on one screen what is worth a look", async () => {
    const page = await look(world, "?since=10m");
    await page.waitForSelector(".finding.failed");
    const found = (await texts(page, ".finding")).join("\n");
    assert.match(found, /shop\/checkout → shop\/payments:8443 fails\s+[\d.]+ % refused, none before/);
    assert.match(found, /shop\/cart → data\/cache:6379 is denied/);
    assert.match(await page.getAttribute(".map canvas", "aria-label"), /Map of \d+ ends and \d+ edges/);
    assert.match((await texts(page, ".pill")).join(" "), /3 of 3 nodes.*books balance/s);
    const drawn = await page.evaluate(() => {
      const c = document.querySelector(".map canvas");
      const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
      let n = 0;
      for (let i = 3; i < d.length; i += 4) if (d[i] > 0) n++;
      return n;
    });
    assert.ok(drawn > 5000, `the map has ${drawn} pixels`);
    await done(page);
  });

  test("one click on a finding says why, and filters every pane", async () => {
    const page = await look(world, "?since=10m");
    await page.click("text=shop/checkout → shop/payments:8443 fails");
    await page.waitForSelector(`${drawer} .cause`);
    await eventually("the cause", async () => /nobody listens on port 8443/i.test(await page.innerText(`${drawer} .cause >> nth=0`)));
    await page.waitForSelector(`${drawer} .evidence li`);
    assert.match(params(page).get("q"), /dst\.port = 8443 proto = tcp outcome not in \(ok, denied, unknown\)/);
    await eventually("the table shows only these", async () => {
      const list = await texts(page, rows);
      return list.length > 0 && list.every((t) => /8443/.test(t) && /REFUSED/.test(t));
    });
    await eventually("the map shows only these", async () => /Map of 2 ends and 1 edges/.test(await page.getAttribute(".map canvas", "aria-label")));
    await done(page);
  });

  test("a denied edge is no error, and names its policy", async () => {
    const page = await look(world, "?since=10m");
    await page.click("text=shop/cart → data/cache:6379 is denied");
    await eventually("the cause", async () => /denied|cache-access/i.test(await page.innerText(`${drawer} .cause >> nth=0`)));
    await eventually("the rows name the policy", async () => /DENIED.*data\/cache-access/s.test((await texts(page, rows)).join("\n")));
    await page.click(`${rows} >> nth=0`, { position: { x: 4, y: 4 } });
    await eventually("both ends", async () => /client saw/.test(await page.innerText(drawer)));
    await eventually("its policy", async () => /rule of the node|NetworkPolicy data\/cache-access/.test(await page.innerText(drawer)));
    await done(page);
  });

  test("every value filters, and with Alt is left out", async () => {
    const page = await look(world, "?since=10m");
    await page.locator(`${rows} .from`, { hasText: "shop/cart" }).first().click();
    await eventually("by the client", async () => (await texts(page, `${rows} .from`)).every((t) => t === "shop/cart"));
    assert.match(params(page).get("q"), /src\.ns = shop src\.workload = Deployment\/cart/);
    assert.match((await texts(page, ".query .chip")).join(), /from shop\/cart/);
    await page.locator(`${rows} .to`, { hasText: "data/dns" }).first().click({ modifiers: ["Alt"] });
    await eventually("without the server", async () => {
      const to = await texts(page, `${rows} .to`);
      return to.length > 0 && !to.includes("data/dns");
    });
    await page.click(".query .chip >> nth=0 >> button");
    await eventually("the chip is gone", async () => !/src\.workload/.test(params(page).get("q")));
    await done(page);
  });

  test("the map leads to edges, ends and namespaces", async () => {
    const page = await look(world, "?since=10m");
    await page.waitForSelector(".map canvas");
    const edge = await eventually("an edge", () => onMap(page, /checkout → shop\/payments/));
    await page.mouse.click(...edge);
    await eventually("why", async () => /nobody listens/i.test(await page.innerText(drawer)));
    await page.keyboard.press("Escape");
    await page.waitForSelector(drawer, { state: "detached" });
    const node = await onMap(page, /^shop\/Deployment\/cart\n/);
    await page.mouse.click(...node);
    await eventually("callers and callees", async () => {
      const t = await page.innerText(drawer);
      return /Who calls it 1/.test(t) && /shop\/frontend/.test(t) && /Whom it calls [23]/.test(t) && /% denied/.test(t);
    });
    await page.keyboard.press("Escape");
    await page.click("text=namespaces");
    await eventually("namespaces", async () => /Map of 4 ends/.test(await page.getAttribute(".map canvas", "aria-label")));
    await page.mouse.click(...(await onMap(page, /^shop\n/)));
    await eventually("a namespace opens its workloads", () => params(page).get("q") === "ns = shop" && params(page).get("level") === "workload");
    await done(page);
  });

  test("before and after marks what is new and gone", async () => {
    const page = await look(world, "?since=10m");
    await page.click("text=before / after");
    await eventually("a legend", async () => /\d+ new\s*\d+ gone\s*[12] changed/.test(await page.innerText(".legend")));
    await done(page);
  });

  test("a brushed region is compared with the rest, or zoomed into", async () => {
    const page = await look(world, "?since=10m");
    const drag = async () => {
      const box = await page.locator(".lane.volume .u-over").boundingBox();
      await page.mouse.move(box.x + box.width * 0.5, box.y + 20);
      await page.mouse.down();
      await page.mouse.move(box.x + box.width * 0.8, box.y + 20, { steps: 5 });
      await page.mouse.move(box.x + box.width - 1, box.y + 20, { steps: 5 });
      // The marked region follows the pointer once a frame.
      await page.evaluate(() => new Promise((ok) => requestAnimationFrame(() => requestAnimationFrame(ok))));
      await page.mouse.up();
    };
    await drag();
    await page.click("text=what is different?");
    await eventually("differences", async () => (await page.locator(".differences li").count()) > 0);
    assert.match(await page.innerText(".differences"), /outcome (refused|denied)|dst\.workload \S+\/(payments|cache)/);
    await page.keyboard.press("Escape");
    await drag();
    await page.click("text=zoom in");
    const p = params(page);
    const length = Date.parse(p.get("until")) - Date.parse(p.get("since"));
    assert.ok(length > 4 * 60_000 && length < 6 * 60_000, `the range is ${length} ms`);
    await done(page);
  });

  test("the keyboard does all", async () => {
    const page = await look(world, "?since=10m");
    const key = (k) => page.keyboard.press(k);
    await key("j");
    await key("j");
    await key("k");
    await page.waitForSelector(`${rows}.cursor`);
    await key("Enter");
    await page.waitForSelector(drawer);
    await key("Escape");
    await page.waitForSelector(drawer, { state: "detached" });
    await key("ArrowRight");
    await key("ArrowRight");
    await key("f");
    await eventually("f filters by the cell", () => /dst\.port = \d+/.test(params(page).get("q") ?? ""));
    await eventually("rows again", async () => (await page.locator(rows).count()) > 0);
    await key("j");
    await key("l");
    await key("l");
    await key("l");
    await key("x");
    await eventually("x leaves out", () => /not outcome = \w+/.test(params(page).get("q") ?? ""));
    await key("/");
    await page.waitForSelector(".query input:focus");
    await page.fill(".query input", "src.workload = check");
    await page.waitForSelector(".suggestions >> text=checkout");
    await key("Tab");
    assert.match(await page.inputValue(".query input"), /src\.workload = checkout /);
    await key("Enter");
    await eventually("the query is asked", () => params(page).get("q") === "src.workload = checkout");
    await key("?");
    await page.waitForSelector("text=Keys and language");
    await key("Escape");
    await key("Control+k");
    await page.waitForSelector(".palette input:focus");
    await page.keyboard.type("payments");
    await page.waitForSelector(".palette >> text=workload");
    await key("Enter");
    await eventually("an entity opens", async () => /payments/.test(await page.innerText(`${drawer} h2`)));
    await key("Escape");
    await key("p");
    await page.waitForSelector(".bar >> text=held still");
    await key("p");
    await key("t");
    await eventually("the map as a table", () => /dst\.workload/.test(params(page).get("group") ?? ""));
    await eventually("with its edges", async () => /checkout\s+payments/.test((await texts(page, rows)).join()));
    await done(page);
  });

  test("what is shown stands in the address", async () => {
    const page = await look(world, "?since=10m");
    await page.click("text=shop/checkout → shop/payments:8443 fails");
    await page.click("text=before / after");
    await eventually("all of it", () => params(page).get("compare") === "1");
    const address = page.url();
    const second = await look(world, `?${address.split("?")[1]}`);
    await eventually("the same cause", async () => /nobody listens/i.test(await second.innerText(drawer)));
    assert.deepEqual(await texts(second, ".query .chip bdi"), await texts(page, ".query .chip bdi"));
    assert.equal(await second.getAttribute("text=before / after", "aria-pressed"), "true");
    await done(second);
    await page.goBack();
    await eventually("back", () => params(page).get("compare") === null);
    await page.goBack();
    await page.waitForSelector(drawer, { state: "detached" });
    await page.goForward();
    await page.waitForSelector(drawer);
    await done(page);
  });

  test("it goes elsewhere: command, Markdown, CSV", async () => {
    const page = await look(world, "?since=10m&q=outcome+%3D+refused");
    const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
    await page.click(".table >> text=copy");
    await page.click("text=Copy as CLI");
    await eventually("the command", async () => (await clipboard()) === "weirctl query 'outcome = refused' --since 10m");
    await page.click(".table >> text=copy");
    await page.click("text=Copy as Markdown");
    await eventually("a table", async () => /^\| Time \|.*\n\|---.*\n\| .*REFUSED/m.test(await clipboard()));
    await page.click(".table >> text=copy");
    const [file] = await Promise.all([page.waitForEvent("download"), page.click("text=Download CSV")]);
    const csv = readFileSync(await file.path(), "utf8").trim().split("\r\n");
    assert.match(csv[0], /^start,end,conn_id,outcome/);
    assert.ok(csv.length > 10 && csv.slice(1).every((l) => l.includes(",refused,")), csv[1]);
    await done(page);
  });

  test("columns, sort and groups", async () => {
    const page = await look(world, "?since=10m", { viewport: { width: 1920, height: 1080 } });
    await page.click(".th >> text=Bytes");
    await eventually("sorted", () => params(page).get("sort") === "-bytes");
    await page.click("text=columns");
    await page.click(".menu-panel >> text=From node");
    await page.keyboard.press("Escape");
    await eventually("a column more", async () => (await texts(page, ".th")).includes("From node"));
    await eventually("its values", async () => /node-[abc]/.test((await texts(page, rows)).join()));
    await page.selectOption(".quiet-select select", { label: "node pairs" });
    await eventually("groups", async () => /node-a.*node-b/s.test((await texts(page, rows)).join()));
    await done(page);
  });

  test("live rows come in batches, and hold", async () => {
    const page = await look(world, "?live=1");
    await eventually("a rate", async () => /^\d+\/s/.test((await texts(page, ".table .basis")).join()));
    const first = await page.innerText(".table .virtual");
    await eventually("rows move", async () => (await page.innerText(".table .virtual")) !== first);
    await page.keyboard.press("p");
    await eventually("paused", async () => /paused/.test((await texts(page, ".table .basis")).join()));
    const held = await page.innerText(".table .virtual");
    await new Promise((ok) => setTimeout(ok, 2500));
    assert.equal(await page.innerText(".table .virtual"), held);
    await page.keyboard.press("p");
    await eventually("they go on", async () => (await page.innerText(".table .virtual")) !== held);
    await done(page);
  });

  test("coverage and ledger have a page each", async () => {
    const page = await look(world, "?since=10m");
    await page.click(".pill >> nth=0");
    await page.waitForSelector("text=Which traffic can be seen");
    assert.match(await page.innerText(".matrix"), /node-a\s+yes\s+yes/);
    await page.keyboard.press("Escape");
    await page.click(".pill >> nth=1");
    await page.waitForSelector("text=Whether the books balance");
    assert.match(await page.innerText(".sheet"), /They do: nothing is unaccounted for/);
    assert.match(await page.innerText(".sheet"), /Agent of node-c/);
    await done(page);
  });

  test("where nothing fits, it says which term it is", async () => {
    const page = await visit(world, "?since=10m&q=outcome+%3D+reset+ns+%3D+shop");
    await eventually("what each term leaves", async () => {
      const t = await page.innerText(".empty");
      return /outcome = reset ×\s+leaves [1-9]/.test(t) && /ns = shop ×\s+leaves 0/.test(t);
    });
    await page.click(".empty >> text=outcome = reset");
    await eventually("rows", async () => (await page.locator(rows).count()) > 0);
    await done(page);
  });

  test("a query that is none is told with its column", async () => {
    const page = await visit(world, "?since=10m&q=outcom+%3D+ok", { expected: [/400/] });
    await eventually("the error", async () => /Column 1.*did you mean outcome/is.test(await page.innerText(".table")));
    await page.waitForSelector(".query.wrong");
    await done(page);
  });

  test("every control has a name, and the page no overflow, at every width and in both themes", async () => {
    for (const [width, colorScheme] of [[1024, "light"], [1440, "dark"], [2560, "light"]]) {
      const page = await look(world, "?since=10m", { viewport: { width, height: 900 }, colorScheme, reducedMotion: "reduce" });
      const bad = await page.evaluate(() => {
        const out = [];
        for (const el of document.querySelectorAll("button, input, select, canvas[role], [role=slider]")) {
          const name = el.getAttribute("aria-label") || el.innerText?.trim() || el.labels?.[0]?.innerText || el.title || el.placeholder;
          if (!name && el.offsetParent) out.push(el.outerHTML.slice(0, 120));
        }
        if (document.documentElement.scrollWidth > innerWidth) out.push(`the page is ${document.documentElement.scrollWidth} px wide`);
        return out;
      });
      assert.deepEqual(bad, []);
      assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), colorScheme);
      if (width === 1024) {
        await page.click("[role=tab] >> text=map");
        await page.waitForSelector(".map canvas");
        assert.equal(await page.locator(".table").isVisible(), false);
      }
      await done(page);
    }
  });

  for (const [ms, words] of [[-600_000, /clock is (9|10) min behind/], [600_000, /clock is (9|10) min ahead of/]])
    test(`a browser's clock that is off by ${ms / 60_000} min is noticed, and the aggregator's holds`, async () => {
      const page = await visit(world);
      await page.clock.install({ time: Date.now() + ms });
      await page.goto(world.url);
      await page.clock.resume();
      await eventually("a notice", async () => words.test((await texts(page, ".notice")).join()));
      await eventually("the aggregator's time holds", async () => (await page.locator(rows).count()) > 0);
      // The range that the page asks for is the aggregator's last 15 minutes.
      const asked = page.waitForRequest((q) => q.url().includes("/map?"));
      await page.click("text=namespaces");
      const until = Number(new URL((await asked).url()).searchParams.get("until"));
      assert.ok(Math.abs(until - Date.now()) < 20_000, `it asked until ${until - Date.now()} ms from now`);
      await done(page);
    });

  test("a lost connection is told, keeps what was known, and comes back", async () => {
    const page = await look(world, "?since=5m", { expected: [/ERR_|Failed to load/] });
    await world.end(world.aggregator);
    await page.waitForSelector(".notice.lost");
    assert.match(await page.innerText(".notice.lost"), /does not answer since/);
    assert.ok((await page.locator(rows).count()) > 0);
    await world.startAggregator();
    await page.waitForSelector(".notice.lost", { state: "detached" });
    await eventually("rows again", async () => (await page.locator(rows).count()) > 0);
    await done(page);
  });
});

describe("a calm cluster with a node that fell silent", () => {
  let world;
  before(async () => {
    world = await World.start({ feed: ["-rate", "20", "-history", "25m", "-silent", "node-c"] });
  });
  after(() => world.stop());

  test("says so, with the command", async () => {
    const page = await look(world);
    await eventually("calm", async () => /all is calm|node-c/i.test((await texts(page, ".findings")).join()));
    await eventually("silent", async () => /1 silent/.test((await texts(page, ".pill")).join()), 3 * patience);
    await page.click(".pill >> nth=0");
    await page.waitForSelector("text=weirctl check node node-c");
    await done(page);
  });
});

describe("an aggregator that asks for a token", () => {
  const all = "token-of-all-0123456789";
  const shop = "token-of-shop-0123456789";
  let world;
  before(async () => {
    world = await World.start({ feed: ["-rate", "30", "-history", "5m"], api: { auth: "token" }, tokens: `${all} name=all\n${shop} name=shop namespaces=data\n` });
  });
  after(() => world.stop());

  const signIn = async (page, token) => {
    await page.fill(".signin input", token);
    await page.click(".signin >> text=Sign in");
  };

  test("asks for it, refuses a wrong one, forgets it", async () => {
    const page = await visit(world, "", { expected: [/401/] });
    await page.waitForSelector(".signin input:focus");
    await signIn(page, "a-token-that-nobody-has");
    await page.waitForSelector(".signin >> text=not known");
    await signIn(page, all);
    await eventually("rows", async () => (await page.locator(rows).count()) > 0);
    assert.equal(page.url().includes(all), false);
    await page.reload();
    await eventually("rows after a reload", async () => (await page.locator(rows).count()) > 0);
    await page.click(".more > button");
    await page.click("text=Sign out");
    await page.waitForSelector(".signin input");
    await done(page);
  });

  test("shows a caller of one namespace that one", async () => {
    const page = await visit(world, "?since=10m&group=src.ns,+src.workload,+dst.ns,+dst.workload", { expected: [/401|403/] });
    await page.waitForSelector(".signin input");
    await signIn(page, shop);
    await eventually("rows", async () => (await page.locator(rows).count()) > 0);
    const list = await texts(page, rows);
    assert.ok(list.every((t) => /data/.test(t)), list.join("\n"));
    assert.equal(list.some((t) => /Deployment\/(cart|frontend)/.test(t)), false, "the other end's workload is hidden");
    assert.equal(await page.locator(".pill").count(), 0);
    await page.goto(`${world.url}?sheet=ledger`);
    await page.waitForSelector("text=tells of the whole cluster");
    await done(page);
  });
});
