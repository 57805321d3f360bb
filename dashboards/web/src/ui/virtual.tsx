// A long list of rows of one height, of which only those in view are in the document.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

interface Props {
  n: number;
  row: (i: number) => ComponentChildren;
  rowHeight: number;
  at: number; // the row of the cursor, which is kept in view; -1 for none
  onScroll?: (top: number) => void;
  label: string;
}

const beyond = 6;

export function Virtual({ n, row, rowHeight, at, onScroll, label }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  useEffect(() => {
    const el = box.current;
    if (!el) return;
    const o = new ResizeObserver(() => setHeight(el.clientHeight));
    o.observe(el);
    return () => o.disconnect();
  }, []);
  useEffect(() => {
    const el = box.current;
    if (!el || at < 0) return;
    if (at * rowHeight < el.scrollTop) el.scrollTop = at * rowHeight;
    else if ((at + 1) * rowHeight > el.scrollTop + el.clientHeight)
      el.scrollTop = (at + 1) * rowHeight - el.clientHeight;
  }, [at, rowHeight]);
  const first = Math.max(0, Math.floor(top / rowHeight) - beyond);
  const last = Math.min(n, Math.ceil((top + height) / rowHeight) + beyond);
  const rows = [];
  for (let i = first; i < last; i++) rows.push(row(i));
  return (
    <div
      class="virtual"
      ref={box}
      role="rowgroup"
      aria-label={label}
      tabIndex={-1}
      onScroll={(e) => {
        setTop(e.currentTarget.scrollTop);
        onScroll?.(e.currentTarget.scrollTop);
      }}
    >
      <div class="virtual-space" style={{ height: `${n * rowHeight}px` }}>
        <div style={{ transform: `translateY(${first * rowHeight}px)` }}>{rows}</div>
      </div>
    </div>
  );
}
