/** The same request for another model; null: it is no JSON object. */
export function withModel(body: Uint8Array, model: string): Uint8Array | null {
  let fields: unknown;
  try {
    fields = JSON.parse(new TextDecoder().decode(body));
  } catch {
    return null;
  }
  if (typeof fields !== "object" || fields === null || Array.isArray(fields)) return null;
  const { models: _others, ...rest } = fields as Record<string, unknown>;
  return Buffer.from(JSON.stringify({ ...rest, model }), "utf8");
}
