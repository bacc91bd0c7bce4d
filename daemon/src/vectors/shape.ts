import { invalid, type Metric, VlinderError } from "@vlinder/protocol";
import type { History, View } from "./history.ts";
import type { Heads } from "./position.ts";

export interface Shape {
  readonly dimension: number;
  readonly metric: Metric;
}

/** What a state's contract says about vectors; null: declared, but there is no vector yet. @throws not_declared */
export async function shapeOfView(view: View): Promise<Shape | null> {
  const contract = await view.contract();
  if (contract?.vectors === undefined) {
    throw new VlinderError("not_declared", "the agent declares no vector storage", {
      remedy: "add vector_storage to agent.toml and register the agent again",
    });
  }
  const { dimension, metric } = contract.vectors;
  return dimension === undefined ? null : { dimension, metric };
}

/** The shape that a search of this vector needs. @throws not_declared, invalid */
export async function shapeFor(view: View, vector: Float32Array): Promise<Shape | null> {
  const shape = await shapeOfView(view);
  if (shape === null || shape.dimension === vector.length) return shape;
  throw invalid(`a vector of ${vector.length} components; this agent's have ${shape.dimension}`, {
    details: { expected: shape.dimension, got: vector.length },
    remedy: `send ${shape.dimension} components, made by the model that made the stored vectors`,
  });
}

/**
 * What the index is made for: the shape at the head of main, else at any head that has one.
 * Null: there are no vectors on any.
 */
export async function shapeOfHeads(history: History, heads: Heads): Promise<Shape | null> {
  const main = history.branches().find(({ name }) => name === "main")?.id;
  const ordered = [...heads].sort(([a], [b]) => Number(b === main) - Number(a === main));
  for (const [, head] of ordered) {
    const { vectors } = (await (await history.view(head)).contract()) ?? {};
    if (vectors?.dimension !== undefined) return { dimension: vectors.dimension, metric: vectors.metric };
  }
  return null;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.dimension === b.dimension && a.metric === b.metric;
}
