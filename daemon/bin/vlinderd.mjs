#!/usr/bin/env -S node --max-semi-space-size=16
import { start } from "./start.mjs";

await start("vlinderd");
