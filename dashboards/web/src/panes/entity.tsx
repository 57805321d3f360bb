// One name: who calls it, whom it calls, what fails, what changed.

import { get } from "../api";
import { changes } from "../data";
import { condition, endTerms, networkOf, shortEnd } from "../ends";
import { clock, group, visible } from "../format";
import { badness } from "../layout";
import { equals } from "../query";
import { useResource } from "../resource";
import { filter, span, state } from "../state";
import type { Result } from "../types";
import { Glyph } from "../ui/glyph";
import { Name, Value } from "../ui/name";
import { Failed, Loading } from "../ui/states";
import { Mix } from "./edge";
import { again, Edges, useEdges } from "./edges";

function isSelf(name: string, e: string): boolean {
  const short = shortEnd(e);
  return (
    e === name ||
    short === name ||
    short.split("/").at(-1) === name ||
    short === shortEnd(name) ||
    e.split("/")[0] === name
  );
}

export function EntityView({ name }: { name: string }) {
  const { held: h, list } = useEdges(condition(name), [name]);
  const m = h.value;
  const callers = list.filter((e) => isSelf(name, e.dst));
  const callees = list.filter((e) => isSelf(name, e.src));
  const other = list.filter((e) => !callers.includes(e) && !callees.includes(e));
  const failed: Record<string, number> = {};
  let total = 0;
  for (const e of list) {
    total += e.conns;
    for (const [o, n] of Object.entries(e.failed)) failed[o] = (failed[o] ?? 0) + n;
  }
  const bad = Object.values(failed).reduce((a, b) => a + b, 0);
  const short = name.split("/").at(-1) ?? name;
  const changed = (changes.value.value?.changes ?? []).filter(
    (c) => c.object.split("/")[1]?.startsWith(short) || c.namespace === name,
  );
  return (
    <article class={h.loading && m ? "refreshing" : ""}>
      <h2>
        <Name of={shortEnd(name)} />
      </h2>
      {h.failure && !m && <Failed failure={h.failure} what="Entity" />}
      {!m && h.loading && <Loading what="Looking for its edges" />}
      {m && (
        <>
          <p class="cause">
            <Glyph of={bad === 0 ? "ok" : badness(failed, total).bad} />
            {m.edges.length === 0
              ? "Not seen in this range."
              : bad === 0
                ? `${group(total)} connections, none failed.`
                : `${group(bad)} of ${group(total)} connections failed.`}
          </p>
          {bad > 0 && <Mix outcomes={{ ...failed, ...(total > bad ? { ok: total - bad } : {}) }} total={total} />}
          <Edges title="Who calls it" list={callers} ends={["src"]} />
          <Edges title="Whom it calls" list={callees} ends={["dst"]} />
          {other.length > 0 && <Edges title="Through it" list={other} ends={["src", "dst"]} />}
          {networkOf(name) && <Addresses of={name} />}
          <h3>What changed</h3>
          {changed.length === 0 ? (
            <p class="muted">Nothing in this range.</p>
          ) : (
            <ul class="plain">
              {changed.map((c) => (
                <li key={c.id}>
                  <span class="mono muted">{clock(c.time_ms, state.value.utc)}</span> {visible(`${c.object} ${c.what}`)}
                </li>
              ))}
            </ul>
          )}
          <div class="actions">
            <button type="button" onClick={() => filter(`(${condition(name)})`)}>
              only this
            </button>
            <button type="button" onClick={() => filter(`(${condition(name)})`, true)}>
              leave it out
            </button>
          </div>
        </>
      )}
    </article>
  );
}

/** The addresses of a network that most connections go to, or come from. */
function Addresses({ of: name }: { of: string }) {
  const most = 8;
  const ask = (side: "src" | "dst", stop: AbortSignal) => {
    const s = span.peek();
    const q = `${endTerms("workload", name, side)} | stats conns by ${side}.ip | top ${most}`;
    return get<Result>("query", { q, since: s.from, until: s.to }, stop);
  };
  const { value: rows } = useResource(
    () => `${name} ${JSON.stringify(state.value.range)}`,
    async (stop) => {
      const sides = ["src", "dst"] as const;
      const got = await Promise.all(sides.map((side) => ask(side, stop)));
      return got.flatMap((r, i) =>
        r.rows.map((row) => ({ side: sides[i], ip: row.values[0], n: row.values[1], other: row.other })),
      );
    },
    again,
    [name],
  );
  return (
    <>
      <h3>Its addresses</h3>
      {rows && rows.length === 0 && <p class="muted">None opened a connection, or was called, in this range.</p>}
      <ul class="edges">
        {(rows ?? []).map((r) => (
          <li key={`${r.side} ${r.ip}`} class="edge-row">
            <span class="muted">{r.side === "src" ? "from" : "to"}</span>
            <Value of={String(r.ip)} class="mono" term={r.other ? null : equals(`${r.side}.ip`, String(r.ip))} />
            <span class="num muted">{group(Number(r.n))}</span>
          </li>
        ))}
      </ul>
    </>
  );
}
