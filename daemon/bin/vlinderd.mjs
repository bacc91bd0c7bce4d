#!/usr/bin/env -S MALLOC_ARENA_MAX=1 node --max-semi-space-size=8
import { start } from "./start.mjs";

await start("vlinderd");
