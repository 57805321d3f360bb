// Who calls whom, from left to right. The table grouped by edges is the same for those who read it.

import { effect } from "@preact/signals";
import { flowMap } from "../data";
import { group } from "../format";
import { go, state } from "../state";
import type { FlowMap } from "../types";
import { Menu } from "../ui/menu";
import { Reach } from "../ui/reach";
import { Failed, Loading } from "../ui/states";
import { Drawing, foldNoise } from "./drawing";

/** Above so many ends a map of workloads says less than one of namespaces. */
const many = 90;

// Where nobody chose a level, a large map goes up to namespaces by itself.
effect(() => {
  const m = flowMap.value.value;
  if (!m || state.value.level !== "" || m.level !== "workload") return;
  if (m.more > 0 || new Set(m.edges.flatMap((e) => [e.src, e.dst])).size > many) go({ level: "namespace" }, true);
});

export function MapPane() {
  const h = flowMap.value;
  const m = h.value;
  const compare = state.value.compare;
  return (
    <section class={`map ${h.loading && m ? "refreshing" : ""}`} aria-label="Map" id="map-pane">
      <header class="pane-head">
        <fieldset class="segments">
          <legend class="sr">Level</legend>
          {(["namespace", "workload", "pod"] as const).map((l) => (
            <button
              key={l}
              type="button"
              aria-pressed={(m?.level ?? state.value.level) === l}
              class={(m?.level ?? state.value.level) === l ? "on" : ""}
              onClick={() => go({ level: l })}
            >
              {l}s
            </button>
          ))}
        </fieldset>
        <button
          type="button"
          class={`toggle ${compare ? "on" : ""}`}
          aria-pressed={compare}
          onClick={() => go({ compare: !compare })}
          title="against the period before: new, gone and changed edges"
        >
          before / after
        </button>
        {compare && m && <Legend m={m} />}
        <Reach of={h} />
        <span class="basis">
          {m && `${group(m.edges.length)}${m.more ? ` of ${group(m.edges.length + m.more)}` : ""} edges`}
        </span>
        <Menu label="view" title="how the map is drawn">
          <label class="check">
            <input type="checkbox" checked={foldNoise.value} onChange={() => (foldNoise.value = !foldNoise.value)} />{" "}
            fold noise (DNS, metrics)
          </label>
          <label class="check">
            <input
              type="checkbox"
              checked={state.value.unfolded}
              onChange={() => go({ unfolded: !state.value.unfolded }, true)}
            />{" "}
            show every end
          </label>
          <button
            type="button"
            onClick={() => go({ group: "src.workload, dst.workload, dst.port, outcome", pane: "table" })}
          >
            the same as a table
          </button>
        </Menu>
      </header>
      {h.failure && !m && <Failed failure={h.failure} what="Map" />}
      {!m && !h.failure && <Loading what="Drawing" />}
      {m && m.edges.length === 0 && <p class="state muted">Nobody talks to anybody here.</p>}
      {m && m.edges.length > 0 && <Drawing m={m} />}
    </section>
  );
}

function Legend({ m }: { m: FlowMap }) {
  const n = { new: 0, gone: 0, changed: 0 };
  for (const e of m.edges) if (e.change) n[e.change]++;
  return (
    <span class="legend">
      <span class="key new">{n.new} new</span>
      <span class="key gone">{n.gone} gone</span>
      <span class="key changed">{n.changed} changed</span>
    </span>
  );
}
