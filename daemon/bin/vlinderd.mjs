#!/usr/bin/env -S MALLOC_ARENA_MAX=1 node --max-semi-space-size=16
import { start } from "./start.mjs";

await start("vlinderd");
