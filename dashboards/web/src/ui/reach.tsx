// Says of an answer that is not whole yet how far back it reaches.

import { ago, visible } from "../format";
import type { Held } from "../resource";
import { span } from "../state";

export function Reach({ of: h }: { of: Held<unknown> }) {
  if (h.from === undefined) return null;
  const newest = `the newest ${ago(span.value.to - h.from)}`;
  if (h.failure)
    return (
      <span class="reach warn-text" role="status" title={visible(h.failure.message)}>
        {newest} only: {visible(h.failure.message)}
      </span>
    );
  if (h.enough) return <span class="reach">of {newest}</span>;
  return (
    <span class="reach" role="status">
      {newest} so far …
    </span>
  );
}
