/** A Vitest reporter: how many tests passed and failed, into the file that `VLINDER_TEST_COUNTS` names. */
import { writeFileSync } from "node:fs";

export default class CountReporter {
  onTestRunEnd(modules, errors) {
    // A file that could not be loaded, and an error outside of all tests, each count as one failed.
    let [passed, failed] = [0, errors.length];
    for (const module of modules) {
      const states = [...module.children.allTests()].map((test) => test.result().state);
      const failures = states.filter((state) => state === "failed").length;
      passed += states.filter((state) => state === "passed").length;
      failed += failures === 0 && module.state() === "failed" ? 1 : failures;
    }
    writeFileSync(process.env.VLINDER_TEST_COUNTS, JSON.stringify({ passed, failed }));
  }
}
