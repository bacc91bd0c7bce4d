import { readFile } from "node:fs/promises";
import path from "node:path";
import { expect, it } from "vitest";
import { type Role, ROLES } from "../../src/broker/permissions.ts";

const document = await readFile(path.resolve(import.meta.dirname, "../../../docs/nats.md"), "utf8");
const roles = Object.keys(ROLES) as Role[];

/** The subjects in backticks of each column after the first, of the table's row of this role. */
function row(role: Role): string[][] {
  const line = document.split("\n").find((one) => one.startsWith(`| ${role} |`)) ?? "";
  const columns = line.split("|").slice(2, -1);
  return columns.map((column) => [...column.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? ""));
}

it.each(roles)("docs/nats.md has the permissions of the role %s", (role) => {
  const { publish, subscribe } = ROLES[role];
  const written = (subjects: readonly string[]) => subjects.map((one) => one.replace("{{name()}}", "<name>"));
  expect(row(role)).toEqual([publish.allow, publish.deny, subscribe.allow].map(written));
});

it.each(roles)("docs/nats.md makes the role %s with nsc", (role) => {
  const command = document.split("nsc edit signing-key").find((one) => one.includes(`--role ${role} `)) ?? "";
  const option = (name: string) => new RegExp(`--${name}\\s+'([^']+)'`).exec(command)?.[1]?.split(",") ?? [];
  const { publish, subscribe } = ROLES[role];
  expect([option("allow-pub"), option("deny-pub"), option("allow-sub")]).toEqual([
    publish.allow,
    publish.deny,
    subscribe.allow,
  ]);
});
