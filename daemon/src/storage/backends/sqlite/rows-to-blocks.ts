import type Database from "better-sqlite3";
import { SLOT_BYTES } from "./block.ts";
import { PAGE_ROOM } from "./blocks-of.ts";
import { IndexWriter } from "./index-writer.ts";
import { SLOTS } from "./location.ts";
import type { Migration } from "./migrate.ts";
import { OBJECT_TABLES } from "./object-tables.ts";
import { REPLY_SHELF, SHELVES } from "./shelves.ts";

/** Rows read at a time. */
const ROWS = 500;

interface Row {
  readonly id: number;
  readonly prefix: number;
  readonly tail: Buffer;
  readonly data: Buffer;
  readonly time?: number;
}

/**
 * From version 1, with a row for each object and a B-tree of hash prefixes for each kind, to blocks of several
 * objects and runs of their index. Branches and the reflog stay as they are.
 */
export const rowsToBlocks: Migration = {
  from: 1,
  what: "putting objects into blocks",
  space: 1.5,
  run(db, progress) {
    const total = SHELVES.reduce((sum, shelf) => sum + countOf(db, shelf), 0);
    db.exec(OBJECT_TABLES);
    const index = new IndexWriter(db);
    const insert = db.prepare<[Buffer, Buffer]>("INSERT INTO block(head, data) VALUES (?, ?)");
    const addReplies = db.prepare("INSERT INTO reply(block, oldest, newest) VALUES (?, ?, ?)");
    let done = 0;
    for (const [shelf, name] of SHELVES.entries()) {
      const time = shelf === REPLY_SHELF ? ", time" : "";
      const rows = db.prepare<[number, number], Row>(
        `SELECT id, prefix, tail, data${time} FROM object_${name} WHERE id > ? ORDER BY id LIMIT ?`,
      );
      const store = (group: readonly Row[]): void => {
        if (group.length === 0) return;
        const block = Number(insert.run(headOf(shelf, group), Buffer.concat(group.map(bytesOf))).lastInsertRowid);
        if (shelf === REPLY_SHELF) {
          const times = group.map((row) => row.time ?? 0);
          addReplies.run(block, Math.min(...times), Math.max(...times));
        }
        index.add(group.length);
        index.step();
        done += group.length;
        progress(done, total);
      };
      let group: Row[] = [];
      let size = 0;
      for (let page = rows.all(0, ROWS); page.length > 0; page = rows.all(page.at(-1)?.id ?? 0, ROWS)) {
        for (const row of page) {
          const bytes = SLOT_BYTES + bytesOf(row).length;
          if (group.length === SLOTS || size + bytes > PAGE_ROOM) {
            store(group);
            group = [];
            size = 0;
          }
          group.push(row);
          size += bytes;
        }
      }
      store(group);
      db.prepare("UPDATE shelf SET objects = ? WHERE id = ?").run(countOf(db, name), shelf);
    }
    for (const name of SHELVES) db.exec(`DROP TABLE object_${name}; DROP TABLE index_${name}`);
    db.exec("DROP TABLE recent; DROP TABLE gap");
    db.pragma("incremental_vacuum");
  },
};

function countOf(db: Database.Database, name: string): number {
  return db.prepare<[], number>(`SELECT count(*) FROM object_${name}`).pluck().get() ?? 0;
}

/** A reply has its time in its bytes now. */
function bytesOf({ data, time }: Row): Buffer {
  if (time === undefined) return data;
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeDoubleLE(time);
  return Buffer.concat([bytes, data]);
}

function headOf(shelf: number, rows: readonly Row[]): Buffer {
  const head = Buffer.allocUnsafe(rows.length * SLOT_BYTES);
  let at = 0;
  for (const row of rows) {
    head[at] = shelf;
    head.writeUIntBE(row.prefix, at + 1, 6);
    row.tail.copy(head, at + 7);
    head.writeUInt32LE(bytesOf(row).length, at + 33);
    at += SLOT_BYTES;
  }
  return head;
}
