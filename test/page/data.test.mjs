// What the page makes of its data, held against the API's own answers: ends outside, policies,
// clocks, and a long range that is asked in parts.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { answer, closeBrowser, done, drawer, eventually, look, onMap, params, rows, texts, visit, World } from "./world.mjs";

after(closeBrowser);

describe("ends outside the cluster", () => {
  let world;
  before(async () => {
    world = await World.start({ feed: ["-rate", "40", "-history", "4m", "-outside", "-incident", "0s"] });
  });
  after(() => world.stop());

  test("stand on the map by name or network, and lead to why and to their connections", async () => {
    const page = await look(world, "?since=10m&q=src.ns+%3D+shop+or+dst.ns+%3D+shop");
    for (const name of ["bank.example.com", "internet", "10.200.0.0/16", "nodes"]) await onMap(page, new RegExp(`^${name}\n`));
    assert.deepEqual((await answer(world, "map", { since: "10m" })).edges.filter((e) => e.src === "" || e.dst === ""), []);
    await page.mouse.click(...(await onMap(page, /^internet\n/)));
    await eventually("its addresses", async () => {
      const t = await page.innerText(drawer);
      return /Who calls it 1\s+shop\/payments/.test(t) && /Whom it calls 1\s+shop\/frontend/.test(t) && /to\s+198\.51\.100\.7/.test(t) && /from\s+2001:db8::7/.test(t);
    });
    await page.click(`${drawer} >> text=198.51.100.7`);
    await eventually("an address filters", () => /dst\.ip = 198\.51\.100\.7/.test(params(page).get("q")));
    await eventually("the table has only it", async () => {
      const to = await texts(page, `${rows} .to`);
      return to.length > 0 && to.every((t) => t === "198.51.100.7");
    });
    await page.goto(`${world.url}?since=10m`);
    await page.waitForSelector(".map canvas");
    await page.mouse.click(...(await onMap(page, /^shop\/cart → 10\.200\.0\.0\/16/)));
    await eventually("why", async () => /connections of shop\/cart -> 10\.200\.0\.0\/16 failed/i.test(await page.innerText(`${drawer} .cause >> nth=0`)));
    await page.click(`${drawer} h2 >> text=10.200.0.0/16`);
    await eventually("the network filters", () => params(page).get("q") === "dst.net = 10.200.0.0/16 not has dst.name");
    await eventually("every row lies in it", async () => {
      const to = await texts(page, `${rows} .to`);
      return to.length > 0 && to.every((t) => t.startsWith("10.200."));
    });
    const api = await answer(world, "query", { q: "dst.ip = 10.200.0.0/16 | stats conns", since: "10m" });
    assert.equal((await answer(world, "query", { q: "dst.net = 10.200.0.0/16 | stats conns", since: "10m" })).rows[0].values[0] > 0, true);
    assert.ok(api.rows[0].values[0] > 0);
    await done(page);
  });

  test("an edge of the map of namespaces opens the edges in it", async () => {
    const page = await look(world, "?since=10m&level=namespace");
    await page.mouse.click(...(await onMap(page, /^shop → data/)));
    await eventually("edges between workloads", async () => /Edges between the two \d+/.test(await page.innerText(drawer)) && /shop\/cart → data\/cache/.test(await page.innerText(drawer)));
    await page.click(`${drawer} >> text=shop/cart → data/cache`);
    await eventually("why of one of them", async () => /denied|cache-access/i.test(await page.innerText(`${drawer} .cause >> nth=0`)));
    await done(page);
  });
});

const policies = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {kubernetes.io/metadata.name: shop}}
---
apiVersion: v1
kind: Namespace
metadata: {name: data, labels: {kubernetes.io/metadata.name: data}}
---
apiVersion: v1
kind: Pod
metadata: {name: cart, namespace: shop, labels: {app: cart}}
spec: {nodeName: node-a, containers: [{name: c, image: x}]}
status: {podIP: 10.99.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: cache, namespace: data, labels: {app: cache}}
spec: {nodeName: node-b, containers: [{name: c, image: x}]}
status: {podIP: 10.99.0.2}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: cache-access, namespace: data}
spec:
  podSelector: {matchLabels: {app: cache}}
  policyTypes: [Ingress]
  ingress:
  - from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: admin}}}]
    ports: [{port: 22, protocol: TCP}]
  - from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: frontend}}}]
    ports: [{port: 6379, protocol: TCP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db-access, namespace: data}
spec: {podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}
`;

describe("policies that are known", () => {
  let world;
  before(async () => {
    world = await World.start({ feed: ["-rate", "30", "-history", "10s", "-incident", "0s"], manifests: policies });
  });
  after(() => world.stop());

  test("stand in the drawer in the order in which they are asked, as the API says", async () => {
    const page = await look(world, "?since=10m&q=src.workload+%3D+cart+dst.workload+%3D+cache+outcome+%3D+denied&select=edge~shop%2FDeployment%2Fcart~data%2FStatefulSet%2Fcache");
    await page.waitForSelector(`${drawer} .policies li`);
    const api = await answer(world, "why", { src: "shop/cart", dst: "data/cache", since: "10m" });
    assert.deepEqual(
      api.policies.map((s) => [s.direction, s.policy ?? "", s.rule ?? "", s.result, s.decides ?? false, s.nearest ?? false, s.observed ?? false]),
      [
        ["egress", "", "", "allow", true, false, false],
        ["ingress", "", "", "not_selected", false, false, false],
        ["ingress", "data/cache-access", "0", "no_match", false, false, false],
        ["ingress", "data/cache-access", "1", "no_match", false, true, false],
        ["ingress", "", "", "deny", true, false, true],
      ],
    );
    const shown = await texts(page, `${drawer} .policies li`);
    assert.equal(shown.length, api.policies.length);
    api.policies.forEach((s, i) => assert.ok(shown[i].includes(s.why), `${shown[i]} has not ${s.why}`));
    assert.match(shown[3], /data\/cache-access\s*\[1\] does not fit nearest allow\s+peers are app=frontend/);
    assert.match(shown[4], /denies decides, observed/);
    const counted = await page.innerText(`${drawer} .ends-table >> nth=0`);
    const b = (await answer(world, "why", { src: "shop/cart", dst: "data/cache", since: "10m" })).both_ends;
    assert.ok(b.conns > 0 && /packets →/.test(counted), counted);
    await page.click(`${drawer} .policies >> text=data/cache-access >> nth=0`);
    await eventually("a policy filters", () => /ingress\.policy = cache-access/.test(params(page).get("q")));
    await page.keyboard.press("Escape");
    await page.click(`${rows} >> nth=0`, { position: { x: 4, y: 4 } });
    await eventually("of one connection too", async () => {
      const t = await page.innerText(drawer);
      return /denies decides, observed/.test(t) && /client saw\s+server saw\s+difference/.test(t);
    });
    await done(page);
  });
});

for (const [skew, words, noticed] of [
  ["-10m", "10 min behind", /node-b is (9|10) min behind/],
  ["10m", "10 min ahead", /node-b is (9|10) min ahead/],
]) {
  describe(`a node whose clock is ${words}`, () => {
    let world;
    before(async () => {
      world = await World.start({ feed: ["-rate", "20", "-history", "1m", "-skewed", "node-b", "-skew", skew] });
    });
    after(() => world.stop());

    test("is named with how much, in the pill, above all, among the findings, and on the page of coverage", async () => {
      const sign = skew.startsWith("-") ? -1 : 1;
      await eventually("the API says so", async () => {
        const t = (await answer(world, "coverage", {})).tables;
        const off = Object.fromEntries(t.map((x) => [x.node, x.clock_ms ?? 0]));
        return t.length === 3 && off["node-a"] === 0 && off["node-c"] === 0 && Math.abs(off["node-b"] - sign * 600_000) < 20_000;
      });
      assert.equal((await answer(world, "coverage", {})).tables.some((t) => t.silent), false, "a node that tells is not silent");
      const f = (await answer(world, "findings", { since: "15m" })).findings.filter((x) => x.kind === "clock");
      assert.equal(f.length, 1);
      assert.match(f[0].text, /^clock of node node-b is (9m5\ds|10m\ds) (behind|ahead of) the aggregator's: what it tells stands .* too (early|late)$/);
      const page = await look(world, "?since=30m");
      await eventually("a notice", async () => noticed.test((await texts(page, ".notice")).join()));
      assert.match((await texts(page, ".pill")).join(), /clock of node-b (9|10) min/);
      await eventually("a finding", async () => /clock of node node-b/i.test((await texts(page, ".finding")).join()));
      await page.click(".pill >> nth=0");
      await eventually("coverage", async () => /node-b\s+its clock is (9|10) min/.test(await page.innerText(".sheet")));
      await done(page);
    });
  });
}

describe("a day of history", () => {
  let world;
  before(async () => {
    world = await World.start({ feed: false, day: ["-length", "5h", "-every", "301"] });
  });
  after(() => world.stop());

  const marks = (page, name) => page.evaluate((n) => performance.getEntriesByName(`weir ${n}`).map((m) => m.detail), name);
  const asked = (page) => page.locator(".reach[role=status]").count();

  test("opens on its newest part and refines to what the API says of the whole", async () => {
    const page = await visit(world, "?since=24h&level=namespace");
    await eventually("a first answer", async () => (await marks(page, "map")).length > 0);
    assert.ok((await marks(page, "map"))[0] < 3_600_000, "the first map is of a part");
    await eventually("the whole", async () => (await marks(page, "map")).at(-1) >= 86_400_000 && (await marks(page, "findings")).at(-1) >= 86_400_000 && (await marks(page, "timeline")).at(-1) >= 86_400_000 && (await asked(page)) === 0);
    for (const pane of ["map", "findings", "timeline"]) {
      const list = await marks(page, pane);
      assert.ok(list.length >= 4, `${pane} came in ${list.length} parts`);
      assert.deepEqual(list, list.toSorted((a, b) => a - b), pane);
    }
    const m = await answer(world, "map", { since: "24h", level: "namespace" });
    assert.match(await page.innerText(".map .basis"), new RegExp(`^${m.edges.length.toLocaleString("en-GB")}${m.more ? ` of ${(m.edges.length + m.more).toLocaleString("en-GB")}` : ""} edges`));
    assert.match(await page.innerText(".table .basis"), /^newest 1,000, /);
    assert.match((await texts(page, ".table .reach")).join(), /^of the newest \d+ (min|h)$/);
    await done(page);
  });
});

describe("a long range with records of the last hours", () => {
  let world;
  before(async () => {
    world = await World.start({ feed: ["-rate", "5", "-history", "70m"] });
  });
  after(() => world.stop());

  test("adds the slices of its timeline up to what one answer says", async () => {
    const now = Date.now();
    const until = new Date(now - 60_000).toISOString();
    const since = new Date(now - 86_460_000).toISOString();
    const page = await look(world, "?since=5m");
    const slices = [];
    page.on("response", (r) => {
      const q = new URL(r.url()).searchParams;
      if (r.url().includes("/query?") && /by outcome every/.test(q.get("q") ?? "")) slices.push({ from: Number(q.get("since")), to: Number(q.get("until")), answer: r.json().catch(() => null) });
    });
    slices.length = 0;
    await page.goto(`${world.url}?since=${since}&until=${until}`);
    await eventually("the whole timeline", () => page.evaluate(() => performance.getEntriesByName("weir timeline").at(-1)?.detail >= 86_400_000));
    const answers = await Promise.all(slices.map(async (x) => ({ ...x, answer: await x.answer }))).then((list) => list.filter((x) => x.answer && x.to <= Date.parse(until)));
    assert.ok(answers.length >= 4, `${answers.length} slices`);
    const sum = (r, name) => {
      const i = r.columns.findIndex((c) => c.name === name);
      return r.rows.reduce((n, x) => n + Number(x.values[i] ?? 0), 0);
    };
    assert.ok(answers.filter((x) => sum(x.answer, "conns") > 0).length >= 2, "connections in more than one slice");
    const range = { since: Math.min(...answers.map((x) => x.from)), until: Math.max(...answers.map((x) => x.to)) };
    const whole = await answer(world, "query", { q: "| stats conns, sum(bytes)", ...range });
    const added = (name) => answers.reduce((n, x) => n + sum(x.answer, name), 0);
    assert.deepEqual([added("conns"), added("sum(bytes)")], whole.rows[0].values.map(Number));
    await done(page);
  });
});
