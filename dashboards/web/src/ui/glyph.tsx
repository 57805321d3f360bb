// A state is colour, glyph, dash and word together, so that none of them has to be told apart alone.

import { type Tone, tone, word } from "../columns";

const paths: Record<Tone, string> = {
  ok: "M3 6.5 5.2 8.6 9 3.8",
  failed: "M3 3l6 6M9 3l-6 6",
  denied: "M6 1.8a4.2 4.2 0 1 0 .01 0M3.2 6h5.6",
  unanswered: "M4 4.2a2 2 0 1 1 2.9 1.9c-.6.3-.9.7-.9 1.4M6 9.6v.2",
  unknown: "M2.5 9.5l7-7M2.5 6l3.5-3.5M6 9.5 9.5 6",
};

export function Glyph({ of }: { of: Tone }) {
  return (
    <svg class={`glyph ${of}`} viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
      <path d={paths[of]} />
    </svg>
  );
}

export function Outcome({ of, n }: { of: string; n?: number }) {
  const t = tone(of);
  if (t === "unknown")
    return (
      <span class="muted" title="nothing has proven an outcome yet">
        –
      </span>
    );
  return (
    <span class={`outcome ${t}`}>
      <Glyph of={t} />
      {word(of)}
      {n !== undefined && n > 1 && <span class="times"> ×{n}</span>}
    </span>
  );
}
