/** Numbers as they are shown. */

export const NONE = "–";

/** Three digits that mean something. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return NONE;
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(3)));
}

export function milliseconds(value: number): string {
  return Number.isFinite(value) ? `${figure(value)} ms` : NONE;
}

/** Of milliseconds. */
export function seconds(value: number): string {
  return Number.isFinite(value) ? `${figure(value / 1000)} s` : NONE;
}

export function perSecond(value: number): string {
  return Number.isFinite(value) ? `${figure(value)}/s` : NONE;
}

export function kilobytes(bytes: number): string {
  return Number.isFinite(bytes) ? `${figure(bytes / 1024)} KB` : NONE;
}

export function megabytes(bytes: number): string {
  return Number.isFinite(bytes) ? `${figure(bytes / 1024 / 1024)} MB` : NONE;
}
