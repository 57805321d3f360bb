import { beforeAll, expect, test, vi } from "vitest";

// The module follows the page's state, which reads the address bar.
beforeAll(() => {
  vi.stubGlobal("location", { search: "", pathname: "/" });
  vi.stubGlobal("window", { addEventListener: () => undefined });
});

const bytes = (s: string) => new TextEncoder().encode(s);

test("lines are whole, however the bytes come", async () => {
  const { Lines } = await import("./live");
  const text = '{"a":1}\n\n{"b":"żó"}\n{"c":3}\n';
  const all = bytes(text);
  for (const size of [1, 2, 3, 7, 100]) {
    const l = new Lines();
    const got: string[] = [];
    for (let i = 0; i < all.length; i += size) l.push(all.subarray(i, i + size), (t) => got.push(t()));
    expect(got).toEqual(['{"a":1}', "", '{"b":"żó"}', '{"c":3}']);
  }
});

test("a batch counts all and reads some", async () => {
  const { Batch, perSecond } = await import("./live");
  const b = new Batch();
  const put = (s: string) => b.line(() => s, s.length);
  for (let i = 0; i < 5310; i++) put(`{"conn_id":"${i}","pad":"${"x".repeat(300)}"}`);
  put('{"weir":{"skipped":7}}');
  put('{"weir":{"end":true,"skipped":1}}');
  expect([b.came, b.rows.length, b.skipped, b.ended]).toEqual([5310, perSecond, 8, true]);
});

test("rows are bounded, and a connection is there once", async () => {
  const { kept, merge } = await import("./live");
  const row = (i: number, v: number) => ({ conn_id: String(i), bytes: v });
  expect(merge([row(1, 10), row(2, 10)], [row(3, 1), row(1, 20)])).toEqual([row(1, 20), row(3, 1), row(2, 10)]);
  let rows: ReturnType<typeof merge> = [];
  for (let i = 0; i < 20; i++)
    rows = merge(
      rows,
      Array.from({ length: 200 }, (_, k) => row(i * 200 + k, 0)),
    );
  expect(rows.length).toBe(kept);
});

test("ten minutes of batches leave no more than is kept", async () => {
  const { Batch, kept, merge, perSecond } = await import("./live");
  let rows: ReturnType<typeof merge> = [];
  for (let second = 0; second < 600; second++) {
    const b = new Batch();
    for (let i = 0; i < 2 * perSecond; i++) {
      const line = JSON.stringify({ conn_id: `${second}-${i}`, proto: 6 });
      b.line(() => line, 500);
    }
    rows = merge(rows, b.rows);
    if (rows.length > kept) break;
  }
  expect(rows.length).toBe(kept);
  expect(rows[0]).toEqual({ conn_id: `599-${perSecond - 1}`, proto: "tcp" });
}, 60_000);
