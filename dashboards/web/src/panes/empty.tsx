// No rows: why that may be, and what to do.

import { link } from "../api";
import { coverage, flowMap, table } from "../data";
import { ago, visible } from "../format";
import { terms, without } from "../query";
import { beginOf } from "../series";
import { go, parts, span, state } from "../state";

export function Empty({ live }: { live: boolean }) {
  if (link.value.state === "lost")
    return <p class="state muted">The aggregator does not answer; nothing was known before.</p>;
  const q = parts.value.expr;
  const cov = coverage.value.value;
  const silent = (cov?.tables ?? []).filter((t) => t.silent);
  const begin = beginOf(table.value.value?.notes);
  const s = span.value;
  return (
    <div class="state empty">
      {q ? (
        <>
          <p>
            <strong>No connection {live ? "comes that fits" : "fits"}.</strong>{" "}
            {flowMap.value.value && flowMap.value.value.edges.length > 0 ? "" : "Take a term away:"}
          </p>
          <p class="chips">
            {terms(q).map((t) => (
              <button key={t} type="button" class="chip" onClick={() => go({ q: without(state.value.q, t) })}>
                {visible(t)} ×
              </button>
            ))}
          </p>
        </>
      ) : (
        <p>
          <strong>{live ? "Nothing comes." : "Nothing in this range."}</strong>
        </p>
      )}
      {begin > s.from && begin < s.to + 1 && (
        <p class="muted">
          The history begins {ago(s.to - begin)} before the end of this range: what was before is not kept.
        </p>
      )}
      {begin >= s.to && <p class="muted">This range ends before the history begins: take a later one.</p>}
      {silent.map((t) => (
        <p key={t.node}>
          {visible(t.node)} has sent nothing for {ago(Date.parse(cov?.time ?? t.at) - Date.parse(t.at))}:{" "}
          <code>weirctl check node {visible(t.node)}</code>
        </p>
      ))}
      {cov && cov.nodes === 0 && (
        <p>
          No agent has told anything to this aggregator. See whether agents run and where they send:{" "}
          <code>weirctl check</code>
        </p>
      )}
    </div>
  );
}
