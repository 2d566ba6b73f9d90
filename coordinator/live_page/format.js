// Numbers and times as people read them.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const whole = (number) => WHOLE.format(number);

export const short = (number) => (Math.abs(number) >= 1000 ? WHOLE : SHORT).format(number);

/** A span in ms. */
export function span(ms) {
  if (ms === null || ms === undefined) return "unknown";
  if (ms < 1000) return `${SHORT.format(ms)} ms`;
  if (ms < 60_000) return `${SHORT.format(ms / 1000)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Math.floor(ms / 3_600_000)} h`;
  return `${Math.floor(ms / 86_400_000)} days`;
}

/** How long ago, without more digits than can be read while they change. */
export function ago(ms) {
  return ms < 1000 ? "just now" : ms < 60_000 ? `${Math.floor(ms / 1000)} s ago` : `${span(ms)} ago`;
}

/** The time of day of µs since 1970. */
export const clock = (us) => new Date(us / 1000).toLocaleTimeString("en-GB");
