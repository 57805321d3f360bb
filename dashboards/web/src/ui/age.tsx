// The page's clock: one signal that moves once a second.

import { signal } from "@preact/signals";
import { ago } from "../format";

export const second = signal(Date.now());

export function Age({ of }: { of: number }) {
  return <>{ago(second.value - of)}</>;
}
