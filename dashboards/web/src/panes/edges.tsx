// A list of edges in the drawer, those that fail first; each leads to why.

import { get, returned } from "../api";
import { shortEnd } from "../ends";
import { bytes, group, plain } from "../format";
import { badness } from "../layout";
import { type Held, useResource } from "../resource";
import { beat, select, span, state } from "../state";
import type { FlowMap, MapEdge } from "../types";
import { Glyph } from "../ui/glyph";
import { Name } from "../ui/name";

export const again = (): unknown => [beat.value, returned.value];

/** The edges between workloads that a condition picks, in the page's range. */
export function useEdges(cond: string, args: unknown[]): { held: Held<FlowMap>; list: MapEdge[] } {
  const held = useResource<FlowMap>(
    () => `${cond} ${JSON.stringify(state.value.range)}`,
    (stop) => {
      const s = span.peek();
      return get<FlowMap>("map", { q: cond, level: "workload", since: s.from, until: s.to }, stop);
    },
    again,
    args,
  );
  return { held, list: held.value?.edges ?? [] };
}

export function Edges({ title, list, ends }: { title: string; list: MapEdge[]; ends: ("src" | "dst")[] }) {
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
                <Name of={ends.map((s) => shortEnd(e[s])).join(" → ")} />
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
