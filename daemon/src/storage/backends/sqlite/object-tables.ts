import { SHELVES } from "./shelves.ts";

/** The tables that version 1 had otherwise, or not at all: of objects, of where each is, and of notes. */
export const OBJECT_TABLES = `
  -- Objects, several in a row: block.ts.
  CREATE TABLE block(id INTEGER PRIMARY KEY, head BLOB NOT NULL, data BLOB NOT NULL) STRICT;

  -- Where objects are: run.ts, index-writer.ts. Blocks up to \`upto\` are in runs.
  CREATE TABLE run(
    id INTEGER PRIMARY KEY,
    level INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    pages INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    bloom BLOB NOT NULL) STRICT;
  CREATE TABLE run_page(id INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
  CREATE TABLE runs(generation INTEGER NOT NULL) STRICT;
  INSERT INTO runs VALUES (0);

  -- Blocks that hold replies, each the replies of one transaction; times in milliseconds since 1970.
  CREATE TABLE reply(block INTEGER PRIMARY KEY, oldest REAL NOT NULL, newest REAL NOT NULL) STRICT;

  CREATE TABLE note(name TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID;

  CREATE TABLE shelf(id INTEGER PRIMARY KEY, objects INTEGER NOT NULL) STRICT;
  INSERT INTO shelf VALUES ${SHELVES.map((_, shelf) => `(${shelf}, 0)`).join(", ")};
`;
