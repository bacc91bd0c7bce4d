import { fetchUnderTest } from "../harness/providers/fetch-under-test.ts";
import { sdkSuite } from "../harness/providers/suites/sdk-suite.ts";

sdkSuite("straight to the server", fetchUnderTest);
