const UNITS = ["kB", "MB", "GB", "TB", "PB"];

/** Bytes for people: 512 B, 1.2 kB, 6.4 MB; powers of 1,000. */
export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  let amount = bytes / 1000;
  let unit = 0;
  // 999,500 would be rounded to 1000 kB, which is written 1.0 MB.
  while (amount >= 999.5 && unit < UNITS.length - 1) {
    amount /= 1000;
    unit++;
  }
  return `${amount < 99.95 ? amount.toFixed(1) : Math.round(amount)} ${UNITS[unit]}`;
}

/** 1,930 */
export function count(number: number): string {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** 1 commit, 1,930 commits */
export function counted(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`;
}
