#!/usr/bin/env -S node --max-semi-space-size=8
import { start } from "./start.mjs";

await start("vlinderd");
