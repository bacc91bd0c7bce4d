import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { resolveUri } from "../../src/registry/storage-uri.ts";
import { errorOf, temporaryFolder } from "./folders.ts";

async function place(outside: string[] = []) {
  const root = await temporaryFolder();
  const folder = join(root, "agents", "todo");
  await mkdir(folder, { recursive: true });
  await mkdir(join(root, "elsewhere"));
  const rules = {
    folder,
    outside: outside.map((one) => join(root, one)),
    fallback: "sqlite://objects.db",
    schemes: ["redis"],
  };
  return { root, folder, resolve: (uri: string) => resolveUri(uri, rules) };
}

describe("what resolves", () => {
  test("a file in the agent's folder", async () => {
    const { folder, resolve } = await place();
    const expected = {
      scheme: "sqlite",
      path: join(folder, "objects.db"),
      name: null,
      uri: "sqlite://objects.db",
      shown: "sqlite://objects.db",
    };
    expect(await resolve("sqlite://objects.db")).toEqual(expected);
    expect(await resolve("default")).toEqual(expected);
    expect(await resolve("sqlite://./a/../objects.db")).toEqual(expected);
    expect(await resolve(`sqlite://${folder}/objects.db`)).toEqual(expected);
    expect((await resolve("sqlite://My Data/%41.db")).path).toBe(join(folder, "My Data/%41.db"));
  });

  test("also when the agent's folder is not there yet, and when it is a link that the user made", async () => {
    const root = await temporaryFolder();
    const rules = { outside: [], fallback: "sqlite://o.db", schemes: [] };
    const gone = join(root, "agents", "x");
    expect((await resolveUri("sqlite://o.db", { ...rules, folder: gone })).path).toBe(join(gone, "o.db"));
    await mkdir(join(root, "disk"));
    await symlink(join(root, "disk"), join(root, "linked"));
    const linked = await resolveUri("sqlite://o.db", { ...rules, folder: join(root, "linked") });
    expect(linked).toMatchObject({ path: join(root, "disk", "o.db"), uri: "sqlite://o.db" });
  });

  test("a memory, and a backend of config.toml, whose password is not shown", async () => {
    const { resolve } = await place();
    expect(await resolve("memory://m")).toMatchObject({ scheme: "memory", name: "m", path: null });
    const redis = await resolve("redis://ann:geheim@host/0?token=abc");
    expect(redis.uri).toBe("redis://ann:geheim@host/0?token=abc");
    expect(redis.shown).toBe("redis://ann:***@host/0?token=***");
  });

  test("an outside file that is permitted", async () => {
    const { root, resolve } = await place(["elsewhere"]);
    const file = join(root, "elsewhere", "o.db");
    expect(await resolve(`sqlite://${file}`)).toMatchObject({ path: file, uri: `sqlite://${file}` });
    expect(await resolve("sqlite://../../elsewhere/o.db")).toMatchObject({ path: file, uri: `sqlite://${file}` });
  });
});

describe("what escapes is refused, with the line that would permit it", () => {
  test.each([
    "sqlite://../librarian/objects.db",
    "sqlite://a/../../x.db",
    "sqlite:///etc/x.db",
    "sqlite://../todo2/x.db",
  ])("%s", async (uri) => {
    const { resolve } = await place(["elsewhere"]);
    const error = await errorOf(() => resolve(uri));
    expect(error.message).toContain("is outside of the agent's folder");
    expect(error.remedy).toMatch(/\[storage\] outside = \["/);
  });

  test("through symbolic links: to a folder, to a file, to nothing, and from a permitted place", async () => {
    const { root, folder, resolve } = await place(["elsewhere"]);
    await writeFile(join(root, "secret.db"), "");
    await symlink(root, join(folder, "up"));
    await symlink(join(root, "secret.db"), join(folder, "file.db"));
    await symlink(join(root, "not-there.db"), join(folder, "dangling.db"));
    await symlink(root, join(root, "elsewhere", "up"));
    for (const uri of ["up/x.db", "up/agents/librarian/x.db", "file.db", "dangling.db", `${root}/elsewhere/up/x.db`]) {
      expect((await errorOf(() => resolve(`sqlite://${uri}`))).message, uri).toContain("outside of the agent's folder");
    }
    await symlink("circle", join(folder, "circle"));
    expect((await errorOf(() => resolve("sqlite://circle/x.db"))).code).toBe("invalid");
  });

  test("no relative path leads out of the folder", async () => {
    const { root, folder, resolve } = await place();
    await symlink(root, join(folder, "up"));
    const part = fc.constantFrom("..", ".", "a", "up", "", "todo", "agents");
    await fc.assert(
      fc.asyncProperty(fc.array(part, { minLength: 1, maxLength: 6 }), async (parts) => {
        let path: string | null;
        try {
          path = (await resolve(`sqlite://${parts.join("/")}/x.db`)).path;
        } catch (error) {
          expect((error as { code: string }).code).toBe("invalid");
          return;
        }
        expect(path).toMatch(new RegExp(`^${folder}/`));
      }),
      { numRuns: 300 },
    );
  });
});

test.each([
  ["sqlite://", "it must name a file"],
  ["sqlite://a/", "it must name a file"],
  ["sqlite://..", "it must name a file"],
  ["sqlite://:memory:", "memory://<name>"],
  ["sqlite://~/x.db", "~ means nothing here"],
  ["sqlite://x.db?mode=ro", "no control characters, ? or #"],
  ["sqlite://a\0b", "no control characters, ? or #"],
  ["sqlite://registration.json", "vlinder's own"],
  ["sqlite://sync.db", "vlinder's own"],
  ["sqlite://objects.db-wal", "beside a database"],
  ["sqlite://objects.db-shm", "beside a database"],
  ["sqlite://v/objects.db-journal", "beside a database"],
  ["sqlite://v/objects.db-kept", "beside a database"],
  ["sqlite://./a/../registration.json", "vlinder's own"],
  ["sqlite:objects.db", "is no storage URI"],
  ["memory://", "a name is"],
  ["memory://a/b", "a name is"],
  ["redis://", "something must follow"],
  ["mysql://x", 'unknown scheme "mysql"; allowed: sqlite, memory, redis'],
])("%j is refused", async (uri, message) => {
  const { resolve } = await place();
  const error = await errorOf(() => resolve(uri));
  expect(error.message).toContain(message);
  expect(error.remedy).toBeTruthy();
});
