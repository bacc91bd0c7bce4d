import { MAIN } from "@vlinder/protocol";
import { onTestFinished, test } from "vitest";
import { BACKENDS } from "./backends.ts";
import { key, openEngine, put } from "./harness.ts";

test("hot key", { timeout: 120000 }, async () => {
  const place = await BACKENDS["memory"]!();
  onTestFinished(() => place.dispose());
  const { engine } = await openEngine({ storage: await place.open() });
  onTestFinished(() => engine.close());
  for (const read of [true]) {
    await put(engine, { "/counter": "0" }, MAIN);
    if (read) await engine.find(key("/counter"));
    let t = performance.now();
    for (let i = 1; i <= 400; i++) {
      // 100 puts that arrive together
      await Promise.all(Array.from({ length: 50 }, (_, j) => put(engine, { "/counter": `${i}.${j}` }, MAIN)));
      if (i % 50 === 0) {
        const n = performance.now();
        const t0 = performance.now();
        for (let j = 0; j < 20; j++) await engine.find(key("/counter"));
        console.log(
          i * 50,
          "us per put",
          (((n - t) * 1000) / 2500).toFixed(0),
          "us per get",
          (((performance.now() - t0) * 1000) / 20).toFixed(0),
        );
        t = performance.now();
        if (t > 90000) break;
      }
    }
  }
});
