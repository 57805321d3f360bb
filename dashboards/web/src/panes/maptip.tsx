// What is under the pointer on the map, in words.

import { shortEnd } from "../ends";
import { bytes, count, group, micros, percent, plain, visible } from "../format";
import { badness, type Edge, type Node } from "../layout";
import { isEdge } from "../paint";
import { scaled } from "../ui/rem";

export interface Hover {
  what: Node | Edge;
  x: number;
  y: number;
}

export function Tip({ h, w, height }: { h: Hover; w: number; height: number }) {
  const style = {
    left: `${Math.min(h.x + 14, Math.max(0, w - scaled(280)))}px`,
    top: `${Math.min(h.y + 14, Math.max(0, height - scaled(120)))}px`,
  };
  if (!isEdge(h.what)) {
    const n = h.what;
    return (
      <div class="tip" style={style}>
        <strong>{n.bundle ? n.label : visible(/^(net|kind|name):|^$/.test(n.id) ? shortEnd(n.id) : n.id)}</strong>
        <div class="muted">
          {n.bundle
            ? `${n.bundle
                .slice(0, 6)
                .map((b) => visible(shortEnd(b)))
                .join(", ")}${n.bundle.length > 6 ? " …" : ""}: click to show`
            : `${group(n.conns)} connections. Click: ${n.external || n.id.includes("/") || n.id === "" ? "its callers and callees" : "its workloads"}. Alt-click: leave it out.`}
        </div>
      </div>
    );
  }
  const e = h.what;
  const one = e.edges[0];
  return (
    <div class="tip" style={style}>
      <strong>
        {visible(shortEnd(e.from.bundle ? e.from.label : e.from.id))} →{" "}
        {visible(shortEnd(e.to.bundle ? e.to.label : e.to.id))}
      </strong>
      <div>
        {group(e.conns)} connections, {e.bytes === null ? "bytes not counted" : plain(bytes(e.bytes))}
        {one?.rtt_p95_us != null && e.edges.length === 1 ? `, RTT p95 ${plain(micros(one.rtt_p95_us))}` : ""}
      </div>
      {Object.entries(e.failed).map(([o, n]) => (
        <div key={o} class={`outcome ${badness({ [o]: n }, n).bad}`}>
          {o.replace("_", " ")} {plain(count(n))} ({percent(Math.min(1, n / Math.max(1, e.conns)))})
        </div>
      ))}
      {e.change && (
        <div class="muted">
          {e.change === "new"
            ? "not there in the period before"
            : e.change === "gone"
              ? `gone: ${group(one?.previous?.conns ?? 0)} connections in the period before`
              : "it began or ceased to fail"}
        </div>
      )}
    </div>
  );
}
