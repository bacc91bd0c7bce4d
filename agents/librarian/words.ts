/** English words that say how a sentence is built and nothing about what it is about. */
const STOP = new Set(
  `a about ca wo after again all also am an and any are as at be because been before being between both but by can cannot
  could did do does doing done down each either else etc even ever every few for from get gets got had has have having
  he her here hers him his how however i if in instead into is it its itself just let lets like make makes many may me
  might more most much must my need needs neither no nor not now of off often on once one only or other others our out
  over own per please put rather same see shall she should since so some something still such than that the their them
  then there these they this those through thus to too under until up upon us use used uses using very via want was way
  we well were what when where whether which while who whose why will with within without would yes yet you your`.split(
    /\s+/,
  ),
);

/** The words of a text that carry meaning, in lower case and reduced to their stems, in order. */
export function words(text: string): string[] {
  const found: string[] = [];
  // A name like `maxRetries` is also the words that it is made of.
  const apart = text.replace(/(\p{Ll}|\d)(\p{Lu})/gu, "$1 $2");
  for (const [token] of apart
    .normalize("NFKC")
    .toLowerCase()
    .matchAll(/[\p{L}\p{N}]+(?:['’]\p{L}+)?/gu)) {
    const word = token.replace(/n?['’]\p{L}+$/u, "");
    if (word.length < 2 || word.length > 40 || STOP.has(word) || /^\d+$/.test(word)) continue;
    found.push(stem(word));
  }
  return found;
}

const ENDINGS: readonly (readonly [string, string])[] = [
  ["ational", "ate"],
  ["ization", "ize"],
  ["isation", "ize"],
  ["iveness", "ive"],
  ["fulness", "ful"],
  ["ations", "ate"],
  ["ation", "ate"],
  ["ities", "ity"],
  ["ments", ""],
  ["ings", ""],
  ["ment", ""],
  ["ness", ""],
  ["ions", ""],
  ["ies", "y"],
  ["ied", "y"],
  ["ing", ""],
  ["ion", ""],
  ["ers", ""],
  ["ely", ""],
  ["ed", ""],
  ["er", ""],
  ["es", ""],
  ["ly", ""],
  ["s", ""],
  ["e", ""],
];

/**
 * The part of an English word that its forms have in common, roughly: endings are taken off once or
 * twice while at least three letters stay. Two forms that meet are worth more than a stem that is a word.
 */
export function stem(word: string): string {
  let short = word;
  for (let round = 0; round < 2; round++) {
    const ending = ENDINGS.find(
      ([end]) => short.endsWith(end) && short.length - end.length >= 3 && !short.endsWith("ss"),
    );
    if (ending === undefined) break;
    short = short.slice(0, short.length - ending[0].length) + ending[1];
    if (ending[1] === "") short = short.replace(/([bdfgmnprt])\1$/, "$1");
  }
  return short;
}
