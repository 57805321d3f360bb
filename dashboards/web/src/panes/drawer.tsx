// One connection, one edge, one entity, a comparison, or the changes: over the map, never over the table.

import { useEffect, useRef } from "preact/hooks";
import { differences } from "../data";
import { select, state } from "../state";
import { useFocus } from "../ui/focus";
import { ChangesView } from "./changes";
import { ConnView } from "./conn";
import { DifferencesView } from "./differences";
import { EdgeView } from "./edge";
import { EntityView } from "./entity";

export function Drawer() {
  const s = state.value.select;
  const box = useRef<HTMLElement>(null);
  const key = JSON.stringify(s);
  useEffect(() => {
    if (box.current) box.current.scrollTop = 0;
  }, [key]);
  useFocus(s ? key : null, box);
  if (!s) return null;
  return (
    <section class="drawer" aria-label="Details" tabIndex={-1} ref={box} key={s.kind}>
      <div class="drawer-close">
        <button type="button" class="quiet" aria-label="close" title="close (Escape)" onClick={() => select(null)}>
          ×
        </button>
      </div>
      {s.kind === "edge" && <EdgeView src={s.src} dst={s.dst} port={s.port} />}
      {s.kind === "conn" && <ConnView id={s.id} at={s.at} />}
      {s.kind === "entity" && <EntityView name={s.name} />}
      {s.kind === "differences" && <DifferencesView region={s.region} h={differences.value} />}
      {s.kind === "changes" && <ChangesView at={s.at} />}
    </section>
  );
}
