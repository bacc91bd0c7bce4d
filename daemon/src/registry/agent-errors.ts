import { type AgentName, VlinderError } from "@vlinder/protocol";

/** There is no such agent, or none any more. */
export function notRegistered(name: AgentName, removed: boolean): VlinderError {
  return new VlinderError("not_registered", `agent "${name}" ${removed ? "was removed" : "is not registered"}`, {
    remedy: `\`vlinder agent add DIR\` with the folder of its agent.toml ${removed ? "takes it up again" : "registers it"}`,
    details: { agent: name },
  });
}

/** Its storage is closed at the moment. */
export function reopening(name: AgentName): VlinderError {
  return new VlinderError("unavailable", `agent "${name}" is being opened again`, {
    remedy: "ask again in a moment",
    details: { agent: name },
  });
}

/** It can't be brought a second time. */
export function isHere(name: AgentName): VlinderError {
  return new VlinderError("conflict", `agent "${name}" is here already`, {
    remedy: "--name makes another agent of it; of an archive, --into merges what it holds, as a pull does",
    details: { agent: name },
  });
}

/** It was removed, and what it kept is in the way of another history. */
export function keptData(agent: AgentName): VlinderError {
  return new VlinderError("conflict", `agent "${agent}" was removed, and its data is still here`, {
    remedy: `import it under another name; or \`vlinder agent remove ${agent} --purge\` first`,
    details: { agent },
  });
}
