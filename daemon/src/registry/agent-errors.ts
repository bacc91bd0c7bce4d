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
    remedy: `--into ${name} merges what the file holds into it, as a pull does`,
    details: { agent: name },
  });
}
