import { isDeepStrictEqual } from "node:util";
import {
  type AdminReplies,
  type AgentName,
  asVlinderError,
  encodeContract,
  isNewerFormat,
  type PlanReply,
  type RegisterReply,
  sha256,
  VlinderError,
} from "@vlinder/protocol";
import type { Logger } from "pino";
import { type Admission, admit, RESULTS } from "./admission.ts";
import type { Agent, EngineLike, OpenAgent, OpenedAgent, OpenSpec, RegistryItem, VectorsLike } from "./agent.ts";
import type { Config } from "./config.ts";
import { type Declaration, readDeclaration, uriRules } from "./declaration.ts";
import { isHere, notRegistered, reopening } from "./agent-errors.ts";
import { agentFolders, type Home } from "./home.ts";
import { type Manifest, manifestOf } from "./manifest.ts";
import { closeOpened } from "./close-opened.ts";
import { fillFolder, settleFolder } from "./brought-folder.ts";
import { contractFor, planOf } from "./plan.ts";
import { makeFolders, outsideOf, purgeFolder, requireFile } from "./provision.ts";
import { isRemoved, readRegistration, type Registration, registrationFile, writeRegistration } from "./registration.ts";
import { notesOn, setAside } from "./registration-notes.ts";
import { type ResolvedUri, resolveUri } from "./storage-uri.ts";
import { TomlSource } from "./toml-source.ts";

export interface RegistryOptions<Engine extends EngineLike, Vectors extends VectorsLike> {
  readonly home: Home;
  readonly config: Config;
  readonly openAgent: OpenAgent<Engine, Vectors>;
  readonly log: Logger;
}

/**
 * The agents of a home: who is registered, with what storage, and the open storage of each.
 *
 * Whatever changes that is done one at a time, in the order of the calls. Storage is provisioned
 * first and the registration is written last, so that after a crash an agent is registered whole or
 * not at all, and the same call again finishes the work.
 */
export class Registry<Engine extends EngineLike, Vectors extends VectorsLike> {
  readonly #home: Home;
  readonly #config: Config;
  readonly #openAgent: OpenAgent<Engine, Vectors>;
  readonly #log: Logger;
  readonly #items = new Map<AgentName, RegistryItem<Engine, Vectors>>();
  #last: Promise<unknown> = Promise.resolve();
  #closing = false;

  private constructor(options: RegistryOptions<Engine, Vectors>) {
    this.#home = options.home;
    this.#config = options.config;
    this.#openAgent = options.openAgent;
    this.#log = options.log;
  }

  /** Opens every registered agent. One that can't be opened is kept with its error; the others work. */
  static async open<Engine extends EngineLike, Vectors extends VectorsLike>(
    options: RegistryOptions<Engine, Vectors>,
  ): Promise<Registry<Engine, Vectors>> {
    const registry = new Registry(options);
    for (const name of await agentFolders(options.home)) await registry.#load(name);
    return registry;
  }

  /** Every registered agent, also those that can't be served; not the removed ones. By name. */
  list(): RegistryItem<Engine, Vectors>[] {
    const items = [...this.#items.values()].filter((item) => !isRemoved(item.registration));
    return items.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Null: it is not registered, or can't be served. */
  find(name: AgentName): Agent<Engine, Vectors> | null {
    const item = this.#items.get(name);
    return item === undefined || isRemoved(item.registration) ? null : item.agent;
  }

  /** @throws not_registered, or why the agent can't be served */
  get(name: AgentName): Agent<Engine, Vectors> {
    const item = this.#items.get(name);
    if (item === undefined || isRemoved(item.registration)) throw notRegistered(name, item !== undefined);
    if (item.agent === null) throw item.error ?? reopening(name);
    return item.agent;
  }

  /** Opens those that could not be opened and may be now; returns the ones that are served again. */
  async retry(): Promise<Agent<Engine, Vectors>[]> {
    const failed = this.list().filter(({ agent, error }) => agent === null && error?.retryable === true);
    for (const { name } of failed) {
      await this.#serially(async () => {
        if (this.#items.get(name)?.agent === null) await this.#load(name);
      });
    }
    return failed.flatMap(({ name }) => this.#items.get(name)?.agent ?? []);
  }

  /** Whether it was removed here, so that a pull must not bring it back. */
  isRemoved(name: AgentName): boolean {
    return isRemoved(this.#items.get(name)?.registration ?? null);
  }

  /** What `register` would do; nothing is done. @throws as `register` does */
  async plan(dir: string): Promise<PlanReply> {
    const declaration = await readDeclaration(dir, this.#home, this.#config);
    const { name } = declaration.manifest;
    const item = this.#items.get(name);
    const admission = this.#admit(declaration);
    const current = item?.agent === null || item === undefined ? null : await item.agent.engine.contract();
    return planOf(declaration, admission, item ?? null, current, this.#home.agentCreds(name));
  }

  /**
   * Registers the agent of a folder, or takes over its edited agent.toml. @throws invalid, with file,
   * line and column; conflict: another folder's name, or storage that is not where the data lies
   */
  async register(dir: string): Promise<Omit<RegisterReply, "creds">> {
    return this.#serially(async () => this.#register(await readDeclaration(dir, this.#home, this.#config)));
  }

  /**
   * Opens storage, where config.toml says, for an agent that comes from a bucket and has no folder
   * here. Of one that is there already it only adds the vector storage that it may lack.
   * @throws conflict: it was removed here
   */
  async adopt(name: AgentName, { vectors }: { readonly vectors: boolean }): Promise<Agent<Engine, Vectors>> {
    return this.#serially(() => this.#adopt(name, vectors));
  }

  /**
   * Opens storage, where config.toml says, for an agent that is brought by a file, and registers it when `fill` has brought
   * all of it; when that fails, what was made is deleted again, and what a removed agent kept stays.
   * @throws conflict: there is such an agent; what `fill` throws
   */
  async bring(name: AgentName, fill: (engine: Engine) => Promise<void>): Promise<Agent<Engine, Vectors>> {
    return this.#serially(async () => {
      const record = this.#items.get(name)?.registration ?? null;
      if (this.#items.has(name) && !isRemoved(record)) throw isHere(name);
      const folder = this.#home.agentFolder(name);
      const purged = record?.purged === true;
      return await fillFolder(folder, purged, () => this.#take(name, purged ? null : record, false, fill));
    });
  }

  /** Ends the registration. Data stays unless `purge`, which can also be asked for later. @throws not_registered */
  async remove(name: AgentName, { purge }: { readonly purge: boolean }): Promise<AdminReplies["agents.remove"]> {
    return this.#serially(() => this.#remove(name, purge));
  }

  /** Waits for what is under way, then closes every agent. Nothing may be called after it but itself. */
  async close(): Promise<void> {
    this.#closing = true;
    await this.#last;
    for (const name of this.#items.keys()) await this.#closeAgent(name);
  }

  /** One change at a time: two agents' registrations may want the same file. */
  #serially<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#last.then(() => {
      if (!this.#closing) return work();
      throw new VlinderError("unavailable", "the daemon is stopping", { remedy: "ask again when it is up" });
    });
    // The caller has the failure; the next in line only waits.
    this.#last = result.then(
      () => undefined,
      () => undefined,
    );
    return result;
  }

  async #load(name: AgentName): Promise<void> {
    const folder = this.#home.agentFolder(name);
    let registration: Registration | null = null;
    try {
      registration = await readRegistration(folder, name);
      await settleFolder(folder, registration !== null);
      if (registration === null) return;
      if (registration.removedAt !== null) {
        if (registration.purged) await purgeFolder(folder);
        this.#items.set(name, { name, registration, agent: null, error: null });
        return;
      }
      await this.#reopen(registration);
    } catch (cause) {
      const error = asVlinderError(cause);
      const isNews = this.#items.get(name)?.error?.message !== error.message;
      if (isNews) this.#log.error({ agent: name, err: error }, "the agent can't be served");
      this.#items.set(name, { name, registration, agent: null, error });
    }
  }

  /** Opens an agent as its record says. */
  async #reopen(registration: Registration): Promise<void> {
    const { name } = registration;
    const spec = await this.#specOf(registration);
    await requireFile(name, spec.objects);
    const manifest = this.#manifestOf(registration);
    await makeFolders(spec);
    const opened = await this.#openAgent(spec);
    try {
      // Storage that forgets, like memory://, starts again from agent.toml.
      if (manifest !== null && (await opened.engine.contract()) === null) {
        await opened.engine.setContract(contractFor(manifest, null));
      }
    } catch (error) {
      await closeOpened(name, opened, this.#log);
      throw error;
    }
    this.#serve({ ...opened, name, registration, manifest, storage: spec });
  }

  async #specOf({ name, objects, vectors }: Registration): Promise<OpenSpec> {
    const rules = uriRules(this.#home, this.#config, name);
    const resolve = (uri: string): Promise<ResolvedUri> => resolveUri(uri, { ...rules, fallback: uri });
    return {
      name,
      objects: await resolve(objects),
      vectors: vectors === null ? null : await resolve(vectors),
      folder: rules.folder,
    };
  }

  #manifestOf(registration: Registration): Manifest | null {
    if (registration.manifest === null) return null;
    const file = `agent.toml of ${registrationFile(this.#home.agentFolder(registration.name))}`;
    return manifestOf(new TomlSource(registration.manifest, file), Object.keys(this.#config.backends), null);
  }

  #serve(agent: Agent<Engine, Vectors>): void {
    const { name, registration } = agent;
    this.#items.set(name, { name, registration, agent, error: null });
  }

  #admit(declaration: Declaration): Admission {
    const { name } = declaration.manifest;
    const known = this.#items.get(name);
    // A damaged record is set aside and written anew; a newer release's is whole, and not ours to replace.
    if (known?.registration === null && isNewerFormat(known.error)) throw known.error;
    const others = [...this.#items.values()].flatMap((item) =>
      item.registration === null || item.name === name
        ? []
        : [{ record: item.registration, folder: this.#home.agentFolder(item.name) }],
    );
    return admit(declaration, known?.registration ?? null, others);
  }

  async #register(declaration: Declaration): Promise<Omit<RegisterReply, "creds">> {
    const { manifest, objects, vectors, source, dir } = declaration;
    const { name } = manifest;
    const folder = this.#home.agentFolder(name);
    const item = this.#items.get(name);
    const record = item?.registration ?? null;
    const admission = this.#admit(declaration);
    const notes = await notesOn(declaration, admission);
    if (admission !== "new") await requireFile(name, objects);

    return this.#change({ name, objects, vectors, folder }, manifest, async ({ engine }) => {
      const contract = contractFor(manifest, await engine.contract());
      const { state, changed } = await engine.setContract(contract);
      const registration: Registration = {
        name,
        source: dir,
        manifest: source.text,
        objects: objects.uri,
        vectors: vectors?.uri ?? null,
        registeredAt: (admission === "known" || admission === "adopt" ? record?.registeredAt : null) ?? now(),
        removedAt: null,
        purged: false,
      };
      const same = record !== null && isDeepStrictEqual(record, registration);
      if (!same) {
        if (item !== undefined && record === null) notes.push(await setAside(folder));
        await writeRegistration(folder, registration);
      }
      const result = RESULTS[admission] ?? (same && !changed ? "unchanged" : "updated");
      this.#log.info({ agent: name, result, dir }, "registered");
      const reply = {
        agent: name,
        result,
        state,
        contract: sha256(encodeContract(contract)),
        storage: { objects: objects.shown, vectors: vectors?.shown ?? null },
        notes,
      };
      return { registration, reply };
    });
  }

  async #adopt(name: AgentName, wantsVectors: boolean): Promise<Agent<Engine, Vectors>> {
    const item = this.#items.get(name);
    const record = item?.registration ?? null;
    if (isRemoved(record)) {
      throw new VlinderError("conflict", `agent "${name}" was removed here, so a pull does not bring it back`, {
        remedy: "`vlinder agent add DIR` takes it up again",
        details: { agent: name },
      });
    }
    if (item !== undefined) {
      const agent = this.get(name);
      if (!wantsVectors || agent.vectors !== null || agent.registration.source !== null) return agent;
    }
    return this.#take(name, record, wantsVectors);
  }

  /** Opens, fills and registers an agent that has no folder here. */
  async #take(
    name: AgentName,
    record: Registration | null,
    wantsVectors: boolean,
    fill: (engine: Engine) => Promise<void> = async () => {},
  ): Promise<Agent<Engine, Vectors>> {
    const { storage } = this.#config;
    const registration: Registration = {
      name,
      source: null,
      manifest: null,
      objects: record?.objects ?? storage.objects,
      vectors: wantsVectors ? storage.vectors : null,
      registeredAt: record?.registeredAt ?? now(),
      removedAt: null,
      purged: false,
    };
    const spec = await this.#specOf(registration);
    return this.#change(spec, null, async ({ engine }) => {
      await fill(engine);
      const canonical = { ...registration, objects: spec.objects.uri, vectors: spec.vectors?.uri ?? null };
      await writeRegistration(spec.folder, canonical);
      this.#log.info({ agent: name }, "adopted: it has no folder here");
      return { registration: canonical, reply: null };
    }).then(() => this.get(name));
  }

  async #remove(name: AgentName, purge: boolean): Promise<AdminReplies["agents.remove"]> {
    const item = this.#items.get(name);
    if (item === undefined) throw notRegistered(name, false);
    const record = item.registration;
    if (record === null) throw item.error ?? reopening(name);
    if (record.removedAt !== null && (record.purged || !purge)) throw notRegistered(name, true);
    await this.#closeAgent(name);
    const folder = this.#home.agentFolder(name);
    const registration = { ...record, removedAt: record.removedAt ?? now(), purged: purge };
    await writeRegistration(folder, registration);
    this.#items.set(name, { name, registration, agent: null, error: null });
    this.#log.info({ agent: name, purge }, "removed");
    if (purge) await purgeFolder(folder);
    const kept = [...(purge ? [] : [folder]), ...outsideOf(record)];
    return { agent: name, purged: purge, kept: kept.length === 0 ? null : kept.join(", ") };
  }

  /**
   * Opens storage in place of what is open of an agent (or goes on with that, when it is the same),
   * and serves it when `work` is done with it. When that fails, what was served before is again.
   */
  async #change<Reply>(
    spec: OpenSpec,
    manifest: Manifest | null,
    work: (opened: OpenedAgent<Engine, Vectors>) => Promise<{ registration: Registration; reply: Reply }>,
  ): Promise<Reply> {
    const { name } = spec;
    const previous = this.#items.get(name)?.agent ?? null;
    if (previous !== null && previous.storage.vectors?.uri === spec.vectors?.uri) {
      const { registration, reply } = await work(previous);
      this.#serve({ ...previous, registration, manifest });
      return reply;
    }
    if (previous?.storage.objects.scheme === "memory") {
      throw new VlinderError("conflict", `changing the vector storage of "${name}" would empty its memory:// storage`, {
        remedy: "remove the agent and add it again, or stop the daemon first: what memory:// holds is gone then",
        details: { agent: name },
      });
    }
    if (previous !== null) await this.#closeAgent(name);
    let opened: OpenedAgent<Engine, Vectors> | null = null;
    try {
      await makeFolders(spec);
      opened = await this.#openAgent(spec);
      const { registration, reply } = await work(opened);
      this.#serve({ ...opened, name, registration, manifest, storage: spec });
      return reply;
    } catch (error) {
      if (opened !== null) await closeOpened(name, opened, this.#log);
      if (previous !== null) await this.#load(name);
      throw error;
    }
  }

  /** Afterwards the agent is known and not served. */
  async #closeAgent(name: AgentName): Promise<void> {
    const item = this.#items.get(name);
    if (item === undefined || item.agent === null) return;
    this.#items.set(name, { ...item, agent: null });
    await closeOpened(name, item.agent, this.#log);
  }
}

function now(): string {
  return new Date().toISOString();
}
