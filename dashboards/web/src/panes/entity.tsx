// One name: who calls it, whom it calls, what fails, what changed.

import { get, returned } from "../api";
import { changes } from "../data";
import { bytes, clock, group, plain, visible } from "../format";
import { badness } from "../layout";
import { value } from "../query";
import { useResource } from "../resource";
import { beat, filter, select, span, state } from "../state";
import type { FlowMap, MapEdge } from "../types";
import { Glyph } from "../ui/glyph";
import { Name, shortEnd } from "../ui/name";
import { Failed, Loading } from "../ui/states";
import { Mix } from "./edge";

/** The condition for a name as people write it: shop/cart, shop/Deployment/cart, cart, node-3, payments.example. */
export function condition(name: string): string {
  const p = name.split("/");
  if (p.length === 3 && p[2]) return `${side("src", p)} or ${side("dst", p)}`;
  if (p.length === 2 && p[0] && p[1]) {
    const one = (s: string) =>
      `(${s}.ns = ${value(p[0] as string)} (${s}.workload = ${value(p[1] as string)} or ${s}.pod = ${value(p[1] as string)}))`;
    return `${one("src")} or ${one("dst")} or service = ${value(name)}`;
  }
  if (p.length === 2 && p[0]) return `ns = ${value(p[0])}`;
  if (/^[0-9.]+$|^[0-9a-f:]+:[0-9a-f:]*$/i.test(name)) return `ip = ${name}`;
  return `${value(name)} or node = ${value(name)}`;
}

const side = (s: string, p: string[]) =>
  `(${s}.ns = ${value(p[0] as string)} ${s}.workload = ${value(`${p[1]}/${p[2]}`)})`;

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
  const h = useResource<FlowMap>(
    () => `${name} ${JSON.stringify(state.value.range)}`,
    (stop) => {
      const s = span.peek();
      return get<FlowMap>("map", { q: condition(name), level: "workload", since: s.from, until: s.to }, stop);
    },
    () => [beat.value, returned.value],
    [name],
  );
  const m = h.value;
  const callers = m?.edges.filter((e) => isSelf(name, e.dst)) ?? [];
  const callees = m?.edges.filter((e) => isSelf(name, e.src)) ?? [];
  const other = m?.edges.filter((e) => !callers.includes(e) && !callees.includes(e)) ?? [];
  const failed: Record<string, number> = {};
  let total = 0;
  for (const e of m?.edges ?? []) {
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
          <Edges title="Who calls it" list={callers} end="src" />
          <Edges title="Whom it calls" list={callees} end="dst" />
          {other.length > 0 && <Edges title="Through it" list={other} end="dst" />}
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

function Edges({ title, list, end }: { title: string; list: MapEdge[]; end: "src" | "dst" }) {
  const most = 12;
  const sorted = list.toSorted((a, b) => sum(b) - sum(a) || b.conns - a.conns);
  return (
    <>
      <h3>
        {title} <span class="muted">{list.length || "nobody"}</span>
      </h3>
      <ul class="edges">
        {sorted.slice(0, most).map((e) => {
          const b = badness(e.failed, e.conns);
          return (
            <li key={`${e.src} ${e.dst}`}>
              <button
                type="button"
                class="edge-row"
                onClick={() => select({ kind: "edge", src: e.src, dst: e.dst })}
                title="why"
              >
                <Glyph of={b.bad} />
                <Name of={shortEnd(e[end])} />
                <span class={`num outcome ${b.bad}`}>{b.label}</span>
                <span class="num muted">
                  {group(e.conns)} · {e.bytes === null ? "–" : plain(bytes((e.bytes ?? 0) + (e.reverse_bytes ?? 0)))}
                </span>
              </button>
            </li>
          );
        })}
      </ul>
      {list.length > most && <p class="muted">and {list.length - most} more</p>}
    </>
  );
}

const sum = (e: MapEdge) => Object.values(e.failed).reduce((a, b) => a + b, 0);
