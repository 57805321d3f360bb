// No rows: why that may be, and what to do.

import { get, link } from "../api";
import { coverage, table } from "../data";
import { ago, count, plain, visible } from "../format";
import { chips, join, without } from "../query";
import { useResource } from "../resource";
import { beginOf } from "../series";
import { go, parts, span, state } from "../state";
import type { Result } from "../types";

/** Terms that are tried one by one. */
const tried = 4;

export function Empty({ live }: { live: boolean }) {
  if (link.value.state === "lost")
    return <p class="state muted">The aggregator does not answer; nothing was known before.</p>;
  const q = parts.value.expr;
  const s = span.value;
  const begin = beginOf(table.value.value?.notes);
  return (
    <div class="state empty">
      {q ? (
        <Terms q={q} live={live} />
      ) : (
        <p>
          <strong>{live ? "Nothing comes." : "Nothing in this range."}</strong>
        </p>
      )}
      {begin > s.from && begin < s.to && (
        <p class="muted">
          The history begins {ago(s.to - begin)} before the end of this range: what was before is not kept.
        </p>
      )}
      {begin >= s.to && <p class="muted">This range ends before the history begins: take a later one.</p>}
      <Nodes />
    </div>
  );
}

/** Which term it is that nothing fits: what there would be without each. */
function Terms({ q, live }: { q: string; live: boolean }) {
  const list = chips(q);
  const h = useResource<number[]>(
    () => `${q} ${JSON.stringify(state.value.range)}`,
    (stop) => {
      const s = span.peek();
      const rest = list.slice(0, tried).map((c) => c.terms.reduce(without, q));
      return Promise.all(
        rest.map((r) =>
          get<Result>("query", { q: join(r, "| stats active"), since: s.from, until: s.to }, stop).then((a) =>
            Number(a.rows[0]?.values[0] ?? 0),
          ),
        ),
      );
    },
    () => undefined,
    [q],
  );
  return (
    <>
      <p>
        <strong>No connection {live ? "that fits comes" : "fits"}.</strong> Take a term away:
      </p>
      <p class="chips">
        {list.map((c, i) => (
          <button
            key={c.text}
            type="button"
            class="chip"
            onClick={() => go({ q: c.terms.reduce(without, state.value.q) })}
          >
            {visible(c.text)} ×
            {h.value?.[i] !== undefined && <span class="muted"> leaves {plain(count(h.value[i]))}</span>}
          </button>
        ))}
      </p>
    </>
  );
}

function Nodes() {
  const cov = coverage.value.value;
  if (!cov) return null;
  const silent = (cov.tables ?? []).filter((t) => t.silent);
  return (
    <>
      {silent.map((t) => (
        <p key={t.node}>
          {visible(t.node)} has sent nothing for {ago(Date.parse(cov.time) - Date.parse(t.at))}:{" "}
          <code>weirctl check node {visible(t.node)}</code>
        </p>
      ))}
      {cov.nodes === 0 && (
        <p>
          No agent has told anything to this aggregator. See whether agents run and where they send:{" "}
          <code>weirctl check</code>
        </p>
      )}
    </>
  );
}
