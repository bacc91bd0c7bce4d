import { afterAll } from "vitest";
import { keepThreads } from "./kept-threads.ts";

// Before each file. What a file does to its process, as commands do that run in it, is not there for the next one.
keepThreads();
const environment = { ...process.env };
const mask = process.umask();
afterAll(() => {
  process.umask(mask);
  for (const name of Object.keys(process.env)) if (!(name in environment)) delete process.env[name];
  Object.assign(process.env, environment);
});
