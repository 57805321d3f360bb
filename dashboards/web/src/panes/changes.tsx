// What changed in the cluster, newest first.

import { useEffect, useRef } from "preact/hooks";
import { changes } from "../data";
import { absolute, clock, visible } from "../format";
import { go, span, state } from "../state";
import type { Change } from "../types";
import { Failed, Loading } from "../ui/states";

/** The change that is looked at, where many came at once the nearest. */
const near = 1;

export function ChangesView({ at }: { at?: number | undefined }) {
  const h = changes.value;
  const c = h.value;
  return (
    <article>
      <h2>Changes</h2>
      {h.failure && !c && <Failed failure={h.failure} what="Changes" />}
      {!c && h.loading && <Loading what="Asking" />}
      {c && c.changes.length === 0 && <p>Nothing changed in this range.</p>}
      {c && (
        <ol class="changes-list">
          {c.changes.toReversed().map((x) => (
            <Line key={x.id} c={x} on={at !== undefined && Math.abs(x.time_ms - at) < near} />
          ))}
        </ol>
      )}
      {c && (
        <p class="muted foot">
          From {visible(c.source)}.
          {c.total > c.changes.length ? ` ${c.total - c.changes.length} older ones are not shown.` : ""}
        </p>
      )}
    </article>
  );
}

function Line({ c, on }: { c: Change; on: boolean }) {
  const utc = state.value.utc;
  const li = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (on) li.current?.scrollIntoView({ block: "nearest" });
  }, [on]);
  const [kind = "", name = ""] = c.object.split("/");
  return (
    <li class={`${c.bad ? "bad" : ""} ${on ? "selected" : ""}`} ref={li}>
      <div>
        <button
          type="button"
          class="value mono"
          title={`${absolute(c.time_ms, utc)}\nclick: ten minutes around it`}
          onClick={() =>
            go({
              range: {
                since: c.time_ms - 300_000,
                until: Math.min(c.time_ms + 300_000, Math.max(span.value.to, c.time_ms + 1000)),
              },
            })
          }
        >
          {clock(c.time_ms, utc)}
        </button>{" "}
        <button
          type="button"
          class="value"
          title="who calls it, whom it calls, what failed"
          onClick={() => go({ select: { kind: "entity", name: c.namespace ? `${c.namespace}/${name}` : name } })}
        >
          <span class="muted">{visible(kind)}</span> {visible(`${c.namespace ? `${c.namespace}/` : ""}${name}`)}
        </button>
      </div>
      <div class="what">{visible(c.what)}</div>
    </li>
  );
}
