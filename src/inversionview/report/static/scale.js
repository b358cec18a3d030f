/**
 * The colour scale: names of classes that `theme.css` gives a colour, blue for raised and orange for lowered.
 */

export const STEPS = 8;

/**
 * The class of a change in [-1, 1]; none for no change.
 * @param {number | null | undefined} value
 */
export function changeClass(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  const step = Math.round(Math.max(-1, Math.min(1, value)) * STEPS);
  return step === 0 ? "" : `${step > 0 ? "p" : "m"}${Math.abs(step)}`;
}

/** Bits as a share of a feature's entropy, in [0, 1]; 0 for a feature that is constant. */
export function shareKnown(bits, of) {
  return of > 0 ? Math.max(0, Math.min(1, bits / of)) : 0;
}

/** The class of a distance: the nearer, the bluer; from 1 on, as far as an unrelated activation, none. */
export function nearClass(distance) {
  return distance === null || distance === undefined ? "" : changeClass(Math.max(0, 1 - distance));
}
