import type Database from "better-sqlite3";
import { hashFromBytes, type Key, type Metric } from "@vlinder/protocol";
import type { Candidate, NearestQuery } from "../vector-storage.ts";
import { filterWhere, prefixWhere } from "./filter-sql.ts";
import type { Quantiser } from "./quantise.ts";
import { norm, score } from "./score.ts";
import { Top } from "./top.ts";

/** Rows read beyond the limit in the first pass, so that near ties seldom need a second. */
const SLACK = 32;

/** Of the rows nearest by bits, how many are scored: for each result, at least, and of all rows. */
const QUANTISED_PER_RESULT = 20;
const QUANTISED_AT_LEAST = 2000;
const QUANTISED_SHARE = 0.02;

/** Norms between which squares neither overflow nor vanish in float32. */
const SMALLEST = 1e-15;
const LARGEST = 1e15;

/**
 * Search in two passes. sqlite-vec computes in float32, with sums whose last digits depend on the
 * build; scores are doubles that must be the same everywhere. So SQL only bounds: `bound` is a
 * number that a row's score can't exceed, whatever rounding did. The rows of the highest bounds are
 * scored exactly; if the last of them could still hide a row that belongs among the results, all
 * rows whose bound reaches the worst result are scored. What comes out is exact.
 *
 * Over `exactRows` rows with the metric cosine, Hamming distance of the quantised vectors (an eighth of a
 * byte per component instead of four) chooses the rows that are scored. That is approximate.
 */
export class Nearest {
  readonly #db: Database.Database;
  readonly #metric: Metric;
  readonly #dimension: number;
  readonly #exactRows: number;
  readonly #quantiser: Quantiser;

  constructor(
    db: Database.Database,
    options: { readonly metric: Metric; readonly dimension: number; readonly exactRows: number },
    quantiser: Quantiser,
  ) {
    this.#db = db;
    this.#metric = options.metric;
    this.#dimension = options.dimension;
    this.#exactRows = options.exactRows;
    this.#quantiser = quantiser;
  }

  find(query: NearestQuery, rows: number): Candidate[] {
    const chosen = Math.max(QUANTISED_AT_LEAST, QUANTISED_PER_RESULT * query.limit, Math.ceil(QUANTISED_SHARE * rows));
    // With half of the rows chosen, choosing costs more than it saves.
    const quantised = this.#metric === "cosine" && rows > this.#exactRows && 2 * chosen < rows;
    return this.#ranked(query, quantised ? this.#nearestByBits(query, chosen) : allRows(query));
  }

  #ranked(query: NearestQuery, source: Source): Candidate[] {
    const bound = this.#bound(query.vector);
    const bounded = `select id, ${bound.sql} as bound from (${source.sql}) join vectors using (id)`;
    const values = [...bound.values, ...source.values];
    const first = this.#db.prepare(`${bounded} order by bound desc limit ?`).all(...values, query.limit + SLACK) as {
      id: number;
      bound: number;
    }[];
    const top = this.#score(
      query,
      first.map((row) => row.id),
    );
    const worst = top.at(query.limit - 1);
    if (first.length < query.limit + SLACK || worst === undefined) return top;
    if ((first.at(-1) as { bound: number }).bound < worst.score) return top;
    const reach = this.#db.prepare(`select id from (${bounded}) where bound >= ?`).pluck();
    return this.#score(query, reach.all(...values, worst.score) as number[]);
  }

  #nearestByBits(query: NearestQuery, chosen: number): Source {
    const { sql, values } = allRows(query);
    const nearest = `${sql} order by vec_distance_hamming(vec_bit(bits), vec_bit(?)) limit ?`;
    return {
      // In the order of the file, so that the vectors are read in one go through it.
      sql: `select * from (${nearest}) order by id limit -1`,
      values: [...values, this.#quantiser.bits(query.vector), chosen],
    };
  }

  /** The best of some rows, by their exact scores. */
  #score(query: NearestQuery, ids: number[]): Candidate[] {
    const top = new Top<Candidate>(query.limit);
    // In the order of the file, and one at a time: there may be many.
    ids.sort((a, b) => a - b);
    const read = this.#db.prepare("select key, hash, vector from rows join vectors using (id) where id = ?");
    const vector = new Float32Array(this.#dimension);
    const bytes = new Uint8Array(vector.buffer);
    for (const id of ids) {
      const row = read.get(id) as { key: Buffer; hash: Buffer; vector: Buffer };
      bytes.set(row.vector);
      top.offer({
        key: row.key.toString("latin1") as Key,
        hash: hashFromBytes(row.hash),
        score: score(this.#metric, query.vector, vector),
      });
    }
    return top.items();
  }

  /**
   * An upper bound of a row's score. A float32 sum of n products is off by at most n·2^-24 of the
   * product of the norms; the three sums of a cosine and their roots by less than twice that. Of
   * vectors whose squares leave the range of float32, nothing is known.
   */
  #bound(vector: Float32Array): { sql: string; values: (number | Buffer)[] } {
    const length = norm(vector);
    if (length < SMALLEST || length > LARGEST) return { sql: "9e999", values: [] };
    const off = (this.#dimension + 16) * 2 ** -23;
    const blob = Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength);
    const usual = `norm between ${SMALLEST} and ${LARGEST}`;
    const bound = {
      cosine: { sql: "1 - vec_distance_cosine(vector, ?) + ?", values: [blob, off] },
      dot: { sql: "(1 - vec_distance_cosine(vector, ?) + ?) * norm * ?", values: [blob, off, length] },
      l2: { sql: "vec_distance_l2(vector, ?) * (? - 1) + 1e-18", values: [blob, off] },
    }[this.#metric];
    return { sql: `case when ${usual} then ${bound.sql} else 9e999 end`, values: bound.values };
  }
}

/** A select of the id and norm of rows that may be results. */
interface Source {
  readonly sql: string;
  readonly values: readonly (string | number | Buffer)[];
}

function allRows(query: NearestQuery): Source {
  const parts = [
    { conditions: query.liveOnly ? ["live = 1"] : ["true"], values: [] },
    ...(query.prefix ? [prefixWhere(query.prefix)] : []),
    ...(query.filter ? [filterWhere(query.filter)] : []),
  ];
  return {
    sql: `select id, norm from rows where ${parts.flatMap((part) => part.conditions).join(" and ")}`,
    values: parts.flatMap((part) => part.values),
  };
}
