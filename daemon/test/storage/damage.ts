import Database from "better-sqlite3";

/** Where the bytes lie in a database: a blob of a row, from an offset on. */
interface Place {
  readonly table: string;
  readonly column: string;
  readonly row: number;
  readonly offset: number;
}

/** Looks into every blob of every table, so that it knows nothing of the schema. */
function placesOf(db: Database.Database, bytes: Uint8Array): Place[] {
  const tables = db
    .prepare<[], string>("SELECT name FROM pragma_table_list WHERE type = 'table' AND NOT wr AND schema = 'main'")
    .pluck()
    .all();
  return tables.flatMap((table) =>
    db
      .prepare<[string], string>("SELECT name FROM pragma_table_info(?) WHERE upper(type) = 'BLOB'")
      .pluck()
      .all(table)
      .flatMap((column) =>
        db
          .prepare<[Uint8Array, Uint8Array], { row: number; at: number }>(
            `SELECT rowid AS row, instr("${column}", ?) AS at FROM "${table}" WHERE instr("${column}", ?) > 0`,
          )
          .all(bytes, bytes)
          .map(({ row, at }): Place => ({ table, column, row, offset: at - 1 })),
      ),
  );
}

/** @throws where the bytes are not, or twice */
function placeOf(db: Database.Database, bytes: Uint8Array): Place {
  const places = placesOf(db, bytes);
  const [place] = places;
  if (place === undefined || places.length > 1) throw new Error(`the bytes lie in ${places.length} places`);
  return place;
}

function change<T>(path: string, work: (db: Database.Database) => T): T {
  const db = new Database(path, { fileMustExist: true });
  try {
    return work(db);
  } finally {
    db.close();
  }
}

function flip(db: Database.Database, { table, column, row, offset }: Place, at: number): void {
  const blob = db.prepare<[number], Buffer>(`SELECT "${column}" FROM "${table}" WHERE rowid = ?`).pluck().get(row);
  const copy = Buffer.from(blob as Buffer);
  copy[offset + at] = (copy[offset + at] as number) ^ 0x10;
  db.prepare(`UPDATE "${table}" SET "${column}" = ? WHERE rowid = ?`).run(copy, row);
}

/** Flips a bit of the object with these bytes, in the file; `at` counts from their start, default their middle. */
export function flipBit(path: string, bytes: Uint8Array, at = bytes.length >> 1): void {
  change(path, (db) => flip(db, placeOf(db, bytes), at));
}

/** Flips a bit of these bytes in every row that has them; returns in how many. */
export function flipEverywhere(path: string, bytes: Uint8Array): number {
  return change(path, (db) => {
    const places = placesOf(db, bytes);
    for (const place of places) flip(db, place, 0);
    return places.length;
  });
}

/** Deletes the row that has these bytes, whatever else is in it. */
export function deleteRow(path: string, bytes: Uint8Array): void {
  change(path, (db) => {
    const { table, row } = placeOf(db, bytes);
    db.prepare(`DELETE FROM "${table}" WHERE rowid = ?`).run(row);
  });
}
