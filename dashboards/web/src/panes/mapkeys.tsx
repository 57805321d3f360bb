// The map for the keyboard and for those who are read to: its edges and ends as one list, the worst first.

import { useMemo, useRef, useState } from "preact/hooks";
import { shortEnd } from "../ends";
import { group, visible } from "../format";
import type { Edge, Layout, Node } from "../layout";
import { isEdge } from "../paint";

/** Entries that are listed; the table has all. */
const most = 200;

const weight = (e: Edge): number => (e.bad === "ok" ? 0 : 1e12) + e.conns;

/** Edges, those that fail first, then ends. */
export function entries(l: Layout): (Edge | Node)[] {
  return [
    ...l.edges.toSorted((a, b) => weight(b) - weight(a)),
    ...l.nodes.toSorted((a, b) => b.conns - a.conns || (a.label < b.label ? -1 : 1)),
  ].slice(0, most);
}

/** An edge or an end in words. */
export function inWords(what: Edge | Node): string {
  const end = (n: Node) => (n.bundle ? n.label : visible(shortEnd(n.id)));
  if (!isEdge(what)) return `${end(what)}, ${group(what.conns)} connections`;
  const change = what.change && what.change !== "changed" ? `, ${what.change}` : "";
  return `${end(what.from)} to ${end(what.to)}, ${group(what.conns)} connections${what.label ? `, ${what.label}` : ""}${change}`;
}

export function MapKeys({
  l,
  onAt,
  onChoose,
}: {
  l: Layout;
  onAt: (what: Edge | Node | null) => void;
  onChoose: (what: Edge | Node, alt: boolean) => void;
}) {
  const list = useMemo(() => entries(l), [l]);
  const [row, setRow] = useState(0);
  const at = Math.min(row, list.length - 1);
  const box = useRef<HTMLUListElement>(null);
  const steps: Record<string, number> = {
    ArrowDown: 1,
    ArrowRight: 1,
    ArrowUp: -1,
    ArrowLeft: -1,
    Home: -most,
    End: most,
  };
  return (
    <ul
      class="sr map-keys"
      aria-label="Edges and ends of the map"
      ref={box}
      onKeyDown={(e) => {
        const by = steps[e.key];
        if (by === undefined) return;
        e.preventDefault();
        e.stopPropagation();
        const next = Math.min(list.length - 1, Math.max(0, at + by));
        setRow(next);
        box.current?.querySelectorAll("button")[next]?.focus();
      }}
    >
      {list.map((what, i) => (
        <li key={isEdge(what) ? `${what.from.id} ${what.to.id}` : what.id}>
          <button
            type="button"
            tabIndex={i === at ? 0 : -1}
            onFocus={() => {
              setRow(i);
              onAt(what);
            }}
            onBlur={() => onAt(null)}
            onClick={(e) => onChoose(what, e.altKey)}
          >
            {inWords(what)}
          </button>
        </li>
      ))}
    </ul>
  );
}
