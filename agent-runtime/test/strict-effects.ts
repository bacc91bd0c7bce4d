import { type Hash, sha256, VlinderError } from "@vlinder/protocol";

type Body = Record<string, unknown>;

interface StrictEffect {
  readonly id: string;
  readonly begun: Hash;
  done: { readonly state: Hash; readonly result: Uint8Array | null; readonly form: string | null } | null;
}

/** What turns did once in the outside world, in the simplest way: as long as nothing crashes. */
export class StrictEffects {
  private readonly effects = new Map<string, StrictEffect>();

  /** @param first the turn that the asking one does again, at last */
  begin(first: string, { key }: Body): Body {
    const id = `e-${sha256(`${first}\n${String(key)}`).slice(0, 24)}`;
    const known = this.effects.get(id);
    if (known?.done != null) return { status: "done", effect: id, lost: null, ...known.done };
    if (known !== undefined) throw new VlinderError("conflict", `the effect ${id} is under way`);
    const begun = sha256(`begun ${id}`);
    this.effects.set(id, { id, begun, done: null });
    return { status: "run", effect: id, begun };
  }

  end({ begun, result, form, error }: Body): Body {
    const effect = [...this.effects.values()].find((one) => one.begun === begun);
    if (effect === undefined) throw new VlinderError("not_found", `no effect was begun by ${String(begun)}`);
    const state = sha256(`end ${effect.id}`);
    if (error !== undefined) {
      this.effects.delete(effect.id);
      return { effect: effect.id, status: "failed", state };
    }
    const bytes = result === undefined ? null : new Uint8Array(result as Uint8Array);
    effect.done = { state, result: bytes, form: (form as string | undefined) ?? null };
    return { effect: effect.id, status: "done", state };
  }
}
