import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { declaredModel } from "../../src/providers/declared-model.ts";
import { topLevelNames } from "../../src/providers/json-names.ts";
import { errorOf } from "../registry/folders.ts";

const DECLARED = ["good", "other"];
const model = (body: string | Uint8Array): string =>
  declaredModel(typeof body === "string" ? Buffer.from(body) : body, DECLARED);

test("the model that a body asks for", () => {
  expect(model('{"messages":[{"model":"bad","content":"\\"model\\":\\"bad\\""}],"model":"good"}')).toBe("good");
  expect(model(' {"model" : "other", "models": ["good", "other"], "nested": {"Model": 1}}')).toBe("other");
});

describe("what some reader could take for another model", () => {
  test.each([
    ['{"model":"bad"}', "not_declared"],
    ['{"model":"Good"}', "not_declared"],
    ['{"model":"good "}', "not_declared"],
    ['{"model":"good","models":["bad"]}', "not_declared"],
    ['{"model":"good","model":"bad"}', "invalid"],
    ['{"model":"good","model":"good"}', "invalid"],
    ['{"model":"good","mod\\u0065l":"bad"}', "invalid"],
    ['{"model":"good","MODEL":"bad"}', "invalid"],
    ['{"MODEL":"good"}', "invalid"],
    ['{"model":"good","model\\u017f":["bad"]}', "invalid"],
    ['{"model":"good","\\uff4dodel":"bad"}', "invalid"],
    ['{"model":"good","models":["other"],"models":["bad"]}', "invalid"],
    ['{"model":"good","models":"bad"}', "invalid"],
    ['{"model":"good","models":[{"id":"bad"}]}', "invalid"],
    ['{"model":["good"]}', "invalid"],
    ['{"model":null}', "invalid"],
    ["{}", "invalid"],
    ["[]", "invalid"],
    ['"model"', "invalid"],
    ["null", "invalid"],
    ["", "invalid"],
    ['{"model":"good"', "invalid"],
    ['\ufeff{"model":"good"}', "invalid"],
  ])("%s is %s", async (body, code) => expect((await errorOf(() => model(body))).code).toBe(code));

  test("bytes that are no UTF-8", async () => {
    const body = Buffer.concat([Buffer.from('{"model":"good","x":"'), Buffer.from([0xff]), Buffer.from('"}')]);
    expect((await errorOf(() => model(body))).message).toBe("the body is not UTF-8");
  });
});

test("the names of an object are found as JSON.parse finds them, and each as often as it is there", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.string(), fc.jsonValue())), fc.constantFrom("", " ", "\n\t"), (members, space) => {
      const text = `${space}{${members
        .map(([name, value]) => `${space}${JSON.stringify(name)}${space}:${space}${JSON.stringify(value)}`)
        .join(",")}}`;
      JSON.parse(text);
      expect(topLevelNames(text)).toEqual(members.map(([name]) => name));
    }),
  );
});
